//! Why a link does not stream or does not get on: a sentence, what mends it, and at which end it lies.

use super::error::Error;
use super::protocol::code;
use crate::api::{LinkState, Side};

/// What mends a clock.
pub(crate) const SET_CLOCK: &str =
    "chronyc makestep  # or: timedatectl set-ntp true; on the machine of the store that is ahead";

/// What mends a store that other machines cannot reach.
pub(crate) const LISTEN: &str = "start that node with --pg-listen 0.0.0.0:7432, or with another \
     address that other machines can reach";

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

    pub(crate) fn mend(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }

    /// What a step that failed means for its link, when we are its subscriber.
    pub(crate) fn of(error: &Error) -> Self {
        let (state, side) = match error {
            Error::Refused { code, message } => return Self::of_refusal(code, message),
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
            Error::Misplaced => (LinkState::Refused, Some(Side::Peer)),
            Error::Panicked(_) => (LinkState::Down, Some(Side::Here)),
        };
        let fix = match error {
            Error::LoopbackOnly { .. } | Error::Secluded { .. } => Some(LISTEN.to_owned()),
            Error::PublisherUnreachable { .. } => Some(
                "see that the peer's store runs, and that this machine's store reaches it there \
                 (firewall, --pg-listen, --pg-advertise)"
                    .to_owned(),
            ),
            Error::TurnedAway { .. } => Some(
                "see the pg_hba.conf of the peer's server and the rights of the role \
                 starling_replication on its database; `starling doctor` on the peer names them"
                    .to_owned(),
            ),
            Error::StoreUnreachable(_)
            | Error::StoreNotReady(_)
            | Error::Store { .. }
            | Error::Publisher { .. }
            | Error::Transport(_)
            | Error::Refused { .. }
            | Error::HostRefused { .. }
            | Error::Imposter { .. }
            | Error::Misplaced
            | Error::Behind(_)
            | Error::Panicked(_)
            | Error::Timeout(_) => None,
        };
        Self {
            state,
            text: error.to_string(),
            fix,
            side,
        }
    }

    /// What it means that the publisher said no.
    fn of_refusal(code: &str, message: &str) -> Self {
        let state = match code {
            code::NOT_A_NEIGHBOR | code::BUSY | code::NO_SUCH_LINK | code::STOPPING => {
                LinkState::Opening
            }
            code::STORE_DOWN => LinkState::Down,
            // A newer peer may know reasons that we do not.
            _ => LinkState::Refused,
        };
        let fix = match code {
            code::LOOPBACK_ONLY => Some(LISTEN),
            code::STORE_REFUSED => Some("run `starling doctor` on the peer"),
            _ => None,
        };
        Self {
            state,
            text: format!("the peer says: {message}"),
            fix: fix.map(str::to_owned),
            side: Some(Side::Peer),
        }
    }

    /// What it means that we said no to a subscriber; `None` if that passes by itself.
    pub(crate) fn of_denial(code: &str, message: &str) -> Option<Self> {
        let fix = match code {
            code::STORE_REFUSED => Some("starling doctor".to_owned()),
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
    fn a_denial_that_passes_by_itself_is_not_remembered() {
        for code in [code::BUSY, code::NOT_A_NEIGHBOR, code::STOPPING] {
            assert_eq!(Reason::of_denial(code, "no"), None);
        }
        let denial = Reason::of_denial(code::STORE_REFUSED, "no").unwrap();
        assert_eq!(
            (denial.state, denial.side),
            (LinkState::Refused, Some(Side::Here))
        );
    }
}
