//! The control plane's network: one libp2p swarm.
//!
//! It keeps the node in the overlay (HyParView, fed by [`discovery`](crate::discovery)), measures
//! its neighbours (ping), carries requests between nodes (the link protocol), and tells all nodes what
//! one says (broadcasts, by Plumtree). It knows nothing of stores: what requests and broadcasts mean is
//! the node's concern.
//!
//! [`start()`] returns a [`Handle`] and the [`Event`]s. Behind them one task owns the swarm: the
//! event loop waits, routing says what one event means to the other parts, and everything that
//! decides is a machine without I/O.

mod behaviour;
mod broadcast;
mod codec;
mod counters;
mod error;
mod event;
mod event_loop;
mod handle;
mod inbound;
mod key;
mod neighbors;
mod requests;
mod routing;
mod runs;
mod settings;
mod start;
mod swarm_key;
mod transport;

pub use broadcast::BROADCAST_BYTES_MAX;
pub use codec::{REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
pub use counters::{Counter, Counters, ProtocolCounters};
pub use error::{Error, RequestError};
pub use event::Event;
pub use handle::Handle;
pub use key::{FILE_NAME as IDENTITY_FILE_NAME, KeyError, identity, node_id};
pub use libp2p::{Multiaddr, identity::Keypair};
pub use neighbors::{Contact, Ended, Failure, Neighbor, NeighborChange, Neighbors, Overlay};
pub use runs::Other;
pub use settings::Settings;
pub use start::start;
pub use swarm_key::{SwarmKey, SwarmKeyError};

/// Whether nobody but this machine reaches a multiaddr.
#[must_use]
pub fn is_loopback(address: &str) -> bool {
    let host = address
        .split('/')
        .nth(2)
        .and_then(|host| host.parse::<std::net::IpAddr>().ok());
    host.is_some_and(|host| host.is_loopback())
}
