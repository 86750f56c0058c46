//! What the node is told.
//!
//! The swarm never waits for the node: what is told is handed over at once, or refused and counted. What
//! the node must not miss is no event but a state, see [`Neighbors`](super::Neighbors).

use tokio::sync::oneshot;

use crate::identity::NodeId;

/// Events that the node has not taken yet. Enough for a burst of requests from every neighbour.
pub(super) const CHANNEL_CAPACITY: usize = 64;

/// What the network tells the node.
#[derive(Debug)]
pub enum Event {
    /// `peer` is connected and belongs to the cluster. Told for each connection.
    Met {
        /// Who.
        peer: NodeId,
    },
    /// `from` asks; it need not be a neighbour. Dropping `reply` refuses.
    Request {
        /// The authenticated sender.
        from: NodeId,
        /// What it asks, as its node encoded it.
        body: Vec<u8>,
        /// Takes the answer; at most [`REPLY_BYTES_MAX`](super::REPLY_BYTES_MAX) bytes.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// `from` says this to all nodes; it supersedes what it said before. Heard once, and sealed by
    /// `from`.
    Broadcast {
        /// Who says it; it need not be a neighbour.
        from: NodeId,
        /// As its node encoded it.
        content: Vec<u8>,
        /// How many links it has come along.
        hops: u16,
    },
}
