//! Why a link does not stream or does not get on: a sentence, what mends it, and at which end it lies.

use super::{
    error::{Error, LISTEN},
    protocol::code,
};
use crate::api::{LinkState, Side};

/// What mends a clock.
pub(crate) const SET_CLOCK: &str =
    "chronyc makestep  # or: timedatectl set-ntp true; on the machine of the store that is ahead";

/// Where to look when nobody knows a cure.
const SERVER_LOG: &str = "the server's log may say more";

/// Why a link is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// What the link is because of it.
    pub(crate) state: LinkState,
    /// A sentence.
    pub(crate) text: String,
    /// What mends it.
    pub(crate) fix: Option<String>,
    /// At which end it lies.
    pub(crate) side: Option<Side>,
}

impl Reason {
    pub(crate) fn new(state: LinkState, text: impl Into<String>) -> Self {
        Self {
            state,
            text: text.into(),
            fix: None,
            side: None,
        }
    }

    pub(crate) fn at(self, side: Side) -> Self {
        Self {
            side: Some(side),
            ..self
        }
    }

    pub(crate) fn fixed_by(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }

    /// What a step that failed means for its link, when we are its subscriber.
    pub(crate) fn of(error: &Error) -> Self {
        let (state, side) = match error {
            Error::Refused { code, message, fix } => {
                return Self::of_refusal(code, message, fix.as_deref());
            }
            Error::StoreUnreachable(_) | Error::StoreNotReady(_) => {
                (LinkState::Down, Some(Side::Here))
            }
            Error::Store { .. } | Error::Behind(_) | Error::Secluded { .. } => {
                (LinkState::Refused, Some(Side::Here))
            }
            Error::Publisher { .. }
            | Error::LoopbackOnly { .. }
            | Error::TurnedAway { .. }
            | Error::HostRefused { .. }
            | Error::Imposter { .. } => (LinkState::Refused, Some(Side::Peer)),
            // It may be away, or the way to it may be barred, at either end.
            Error::PublisherUnreachable { .. } | Error::Transport(_) | Error::Timeout(_) => {
                (LinkState::Down, None)
            }
            Error::UnexpectedReply => (LinkState::Refused, Some(Side::Peer)),
            Error::Panicked(_) | Error::Stopping => (LinkState::Down, Some(Side::Here)),
        };
        Self {
            state,
            text: error.to_string(),
            fix: error.cure(),
            side,
        }
    }

    /// What it means that the publisher said no.
    fn of_refusal(code: &str, message: &str, fix: Option<&str>) -> Self {
        let state = match code {
            // These pass by themselves, so the link is still on its way.
            code::NOT_A_NEIGHBOR | code::BUSY | code::NO_SUCH_LINK | code::STOPPING => {
                LinkState::Opening
            }
            code::STORE_DOWN => LinkState::Down,
            // A newer peer may know reasons that we do not.
            _ => LinkState::Refused,
        };
        let fix = match (fix, code) {
            (Some(fix), _) => Some(format!("at the peer: {fix}")),
            // A peer of an earlier version names no cure.
            (None, code::LOOPBACK_ONLY) => Some(LISTEN.to_owned()),
            (None, code::STORE_REFUSED) => Some(format!("at the peer: {SERVER_LOG}")),
            (None, _) => None,
        };
        Self {
            state,
            text: format!("the peer says: {message}"),
            fix,
            side: Some(Side::Peer),
        }
    }

    /// What it means that we said no to a subscriber; `None` if that passes by itself.
    pub(crate) fn of_denial(code: &str, message: &str, fix: Option<&str>) -> Option<Self> {
        let fix = match code {
            code::STORE_REFUSED => Some(fix.unwrap_or(SERVER_LOG).to_owned()),
            code::LOOPBACK_ONLY => Some(LISTEN.to_owned()),
            code::STORE_DOWN => None,
            _ => return None,
        };
        let text = format!("refused to the peer: {message}");
        let state = match code {
            code::STORE_DOWN => LinkState::Down,
            _ => LinkState::Refused,
        };
        Some(Self {
            fix,
            ..Self::new(state, text).at(Side::Here)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use crate::api::{LinkState, Side};
    use crate::replication::error::{Error, TransportError};
    use crate::replication::protocol::code;

    fn refused(code: &str) -> Error {
        Error::Refused {
            code: code.to_owned(),
            message: "because".to_owned(),
            fix: None,
        }
    }

    #[test]
    fn what_passes_is_no_refusal_and_what_does_not_names_its_end() {
        for (error, state, side) in [
            (refused(code::BUSY), LinkState::Opening, Some(Side::Peer)),
            (refused(code::STORE_DOWN), LinkState::Down, Some(Side::Peer)),
            (
                refused(code::STORE_REFUSED),
                LinkState::Refused,
                Some(Side::Peer),
            ),
            (
                refused("of a later version"),
                LinkState::Refused,
                Some(Side::Peer),
            ),
            (
                Error::StoreNotReady(String::new()),
                LinkState::Down,
                Some(Side::Here),
            ),
            (TransportError::Timeout.into(), LinkState::Down, None),
        ] {
            let reason = Reason::of(&error);
            assert_eq!((reason.state, reason.side), (state, side), "{error}");
        }
        assert!(Reason::of(&refused(code::BUSY)).text.contains("because"));
    }

    #[test]
    fn the_cure_of_who_refuses_is_told_at_both_ends() {
        let refused = Error::Refused {
            code: code::STORE_REFUSED.to_owned(),
            message: "no".to_owned(),
            fix: Some("raise it".to_owned()),
        };
        let fix = Reason::of(&refused).fix.unwrap();
        assert_eq!(fix, "at the peer: raise it");
    }

    #[test]
    fn a_denial_that_passes_by_itself_is_not_remembered() {
        for code in [code::BUSY, code::NOT_A_NEIGHBOR, code::STOPPING] {
            assert_eq!(Reason::of_denial(code, "no", None), None);
        }
        let denial = Reason::of_denial(code::STORE_REFUSED, "no", Some("raise it")).unwrap();
        assert_eq!(
            (denial.state, denial.side),
            (LinkState::Refused, Some(Side::Here))
        );
        assert_eq!(denial.fix.as_deref(), Some("raise it"));
    }
}
