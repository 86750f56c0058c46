//! What the application hears.

use libp2p::PeerId;

use crate::{ConfigError, EdgeRole, MessageId, Refusal, SealError};

/// What the behaviour tells the application.
///
/// Whoever matches it names every kind, so that a new one is not swallowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message of another node, for the first and only time, and sealed by it.
    Received {
        /// Which; its origin is who said it.
        id: MessageId<PeerId>,
        /// What it says.
        content: Vec<u8>,
        /// How many links it went over.
        hops: u16,
    },
    /// No announcer of this message sent it, so far.
    Missing {
        /// Which.
        id: MessageId<PeerId>,
    },
    /// An edge of the root's tree changed its role.
    EdgeChanged {
        /// The neighbour at its other end.
        peer: PeerId,
        /// What it is now. A new neighbour's is lazy unless something else is said.
        role: EdgeRole,
    },
    /// `peer` sent something that it must not. Its connections are being closed. What it sent had
    /// no effect.
    Misbehaved {
        /// Who.
        peer: PeerId,
        /// What it did.
        what: Refusal,
    },
}

/// Why a behaviour could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Values of the configuration contradict each other.
    #[error("unusable configuration")]
    Config(#[from] ConfigError),
    /// Our messages could not be sealed.
    #[error("unusable key")]
    Seal(#[from] SealError),
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BroadcastError {
    /// The content is too long for one message.
    #[error("content of {bytes} bytes, allowed are {most}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest that is sent.
        most: usize,
    },
    /// It could not be sealed.
    #[error("cannot seal the message")]
    Seal(#[from] SealError),
}
