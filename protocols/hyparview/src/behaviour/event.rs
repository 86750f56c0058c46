//! What the application hears.

use libp2p::{Multiaddr, PeerId, identity::SigningError};

use crate::{ConfigError, DownReason, Refusal};

/// What the behaviour tells the application.
///
/// Whoever matches it names every kind, so that a new one is not swallowed.
#[derive(Debug)]
pub enum Event {
    /// `peer` is a neighbour from now on; it says the same of us.
    NeighborUp {
        /// Who.
        peer: PeerId,
        /// How it can be reached: the address that we reached it at, those on the host
        /// that it is connected from, the rest of what it signed, what we were told locally.
        addresses: Vec<Multiaddr>,
    },
    /// `peer` is not a neighbour any more. It may still be connected.
    NeighborDown {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: DownReason,
    },
    /// A neighbour is reached at other addresses from now on.
    NeighborMoved {
        /// Who.
        peer: PeerId,
        /// As in `NeighborUp`.
        addresses: Vec<Multiaddr>,
    },
    /// There is no neighbour and nobody left to ask: supply contacts with [`Behaviour::join`](crate::Behaviour::join).
    /// Repeated with back-off.
    Isolated,
    /// There are fewer neighbours than there may be, and everybody known was asked in vain: there may be others,
    /// whom [`Behaviour::learn`](crate::Behaviour::learn) can name. Repeated with back-off.
    Wanting,
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
    /// The key cannot sign our record.
    #[error("cannot sign with this key")]
    Signing(#[from] SigningError),
}
