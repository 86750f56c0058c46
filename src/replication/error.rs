//! What can go wrong with a link, and what that means for the next attempt.

use std::{net::IpAddr, time::Duration};

use super::protocol::code;
use crate::driver::DriverError;

/// What `crdv.apply_catch_up` and `crdv.checkpoint_begin` say of a store that is an older copy of itself.
pub(crate) const BEHIND: &str = "SL001";

/// The other controller could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection to it, or the connection broke before the answer. The peer may have acted.
    #[error("the peer cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time. The peer may have acted, or still act.
    #[error("the peer did not answer in time")]
    Timeout,
    /// It answered with something that we cannot read.
    #[error("the peer's answer cannot be read: {0}")]
    Malformed(String),
}

/// A step on a link failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our store cannot be reached.
    #[error("store unreachable: {0}")]
    StoreUnreachable(DriverError),
    /// Our store is reachable, but is not installed or not identified yet.
    #[error("store not ready: {0}")]
    StoreNotReady(String),
    /// Our store refused a statement.
    #[error("cannot {what}: {cause}")]
    Store {
        /// What was tried, as `cannot ...` goes on.
        what: &'static str,
        /// The server's answer.
        cause: DriverError,
    },
    /// The publisher's store broke off or refused.
    #[error("the publisher's store cannot {what}: {cause}")]
    Publisher {
        /// What was tried, as `cannot ...` goes on.
        what: &'static str,
        /// The server's answer.
        cause: DriverError,
    },
    /// None of the publisher's addresses leads to its store.
    #[error("the peer's store cannot be reached on port {port} of {hosts}: {last}")]
    PublisherUnreachable {
        /// What was tried.
        hosts: String,
        /// Its port.
        port: u16,
        /// What happened at the last one.
        last: String,
    },
    /// The publisher's store was reached and did not let the link's role in.
    #[error("the server on port {port} of {host} does not let the link in: {answer}")]
    TurnedAway {
        /// Where.
        host: String,
        /// Its port.
        port: u16,
        /// The server's answer.
        answer: String,
    },
    /// Our own store listens on its loopback address only.
    #[error(
        "this store listens on loopback only and its peer at {host} is another machine: start the \
         store's node with --pg-listen ADDRESS:PORT, an address that other machines can reach"
    )]
    Secluded {
        /// The peer's best address.
        host: IpAddr,
    },
    /// The publisher's store listens on its loopback address only.
    #[error(
        "the peer's store listens on loopback only and {host} is another machine: start the peer \
         with --pg-listen ADDRESS:PORT, an address that other machines can reach"
    )]
    LoopbackOnly {
        /// The peer's best address.
        host: IpAddr,
    },
    /// The peer names a host for its store that is not one of its own addresses.
    #[error(
        "the peer says that its store is at {host}, where nobody has seen it: if that is right, allow it \
         with --store-host {host}"
    )]
    HostRefused {
        /// What it names, fit to be shown.
        host: String,
    },
    /// What answers where the peer's store should be is not the peer's store.
    #[error("what answers on port {port} of {host} is not the peer's store: {why}")]
    Imposter {
        /// Where.
        host: String,
        /// Its port.
        port: u16,
        /// What is odd about it.
        why: String,
    },
    /// The other controller could not be asked.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The other controller said no.
    #[error("the peer refused ({code}): {message}")]
    Refused {
        /// Stable code, see [`code`].
        code: String,
        /// For people.
        message: String,
        /// What mends it there, if the peer says so.
        fix: Option<String>,
    },
    /// The other controller answered another question.
    #[error("the peer's answer does not fit the question")]
    UnexpectedReply,
    /// Our store is an older copy of itself, or may be: it must not be linked under its site.
    #[error("the store is behind its own site: {0}")]
    Behind(String),
    /// A defect of ours ended the step.
    #[error("the step ended unexpectedly: {0}")]
    Panicked(String),
    /// This node is stopping, and with it what was under way.
    #[error("the node is stopping")]
    Stopping,
    /// A time limit passed.
    #[error("{0} took too long")]
    Timeout(&'static str),
}

/// What mends a store that other machines cannot reach.
pub(crate) const LISTEN: &str = "start that node with --pg-listen 0.0.0.0:7432, or with another \
     address that other machines can reach";

impl Error {
    /// What an operator can do about it, at the end where it lies; `None` if that is not known, or if it passes
    /// by itself.
    pub(crate) fn cure(&self) -> Option<String> {
        let cure = match self {
            Self::LoopbackOnly { .. } | Self::Secluded { .. } => LISTEN,
            Self::PublisherUnreachable { .. } => {
                "see that the peer's store runs, and that this machine's store reaches it there \
                 (firewall, --pg-listen, --pg-advertise)"
            }
            Self::TurnedAway { .. } => {
                "see the pg_hba.conf of the peer's server and the rights of the role \
                 starling_replication on its database; `starling doctor` on the peer names them"
            }
            Self::Store { cause, .. } => cause.cure()?,
            Self::Refused { fix, .. } => return fix.clone(),
            Self::StoreUnreachable(_)
            | Self::StoreNotReady(_)
            // It was asked as the link's role, whom nobody grants anything by hand.
            | Self::Publisher { .. }
            | Self::Transport(_)
            | Self::HostRefused { .. }
            | Self::Imposter { .. }
            | Self::UnexpectedReply
            | Self::Behind(_)
            | Self::Panicked(_)
            | Self::Stopping
            | Self::Timeout(_) => return None,
        };
        Some(cure.to_owned())
    }

    /// The peer has not heard yet that we are neighbours.
    pub(crate) fn is_awaiting_acquaintance(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == code::NOT_A_NEIGHBOR)
    }

    /// How long to wait after the `failures`-th failure in a row before trying again, without
    /// jitter.
    ///
    /// A peer that has not seen us as its neighbour yet will in a moment; a store of a peer that is not up
    /// yet comes up soon, and asking costs one message; a refusing store needs somebody to act; the rest
    /// heals by itself, at a pace in between.
    #[must_use]
    pub fn retry_after(&self, failures: u32) -> Duration {
        let (first, longest) = match self {
            Self::Refused { code, .. } if code == code::NOT_A_NEIGHBOR => (100, 5_000),
            Self::Refused { code, .. } if code == code::BUSY => (500, 2_000),
            Self::Refused { code, .. } if code == code::STORE_DOWN => (200, 1_000),
            Self::Store { .. }
            | Self::Refused { .. }
            | Self::LoopbackOnly { .. }
            | Self::HostRefused { .. }
            | Self::Imposter { .. }
            | Self::Secluded { .. }
            | Self::TurnedAway { .. }
            | Self::Behind(_) => (1_000, 60_000),
            Self::StoreUnreachable(_) | Self::StoreNotReady(_) => (200, 2_000),
            Self::Publisher { .. }
            | Self::PublisherUnreachable { .. }
            | Self::Transport(_)
            | Self::UnexpectedReply
            | Self::Panicked(_)
            | Self::Stopping
            | Self::Timeout(_) => (200, 15_000),
        };
        let doubled = 2_u64
            .saturating_pow(failures.saturating_sub(1))
            .saturating_mul(first);
        Duration::from_millis(doubled.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Error, code};

    #[test]
    fn back_off_doubles_up_to_a_bound() {
        let waits: Vec<_> = (1..=9)
            .map(|n| Error::UnexpectedReply.retry_after(n).as_millis())
            .collect();
        assert_eq!(
            waits,
            [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000]
        );
        assert_eq!(
            Error::UnexpectedReply.retry_after(u32::MAX),
            Duration::from_secs(15)
        );
    }

    #[test]
    fn a_neighbour_that_is_about_to_know_us_is_asked_again_soon() {
        let refused = Error::Refused {
            code: code::NOT_A_NEIGHBOR.to_owned(),
            message: String::new(),
            fix: None,
        };
        assert_eq!(refused.retry_after(1), Duration::from_millis(100));
    }
}
