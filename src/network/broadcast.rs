//! What one node says to all: sent along the broadcast's trees, heard once, and only the latest.

use tracing::{debug, warn};

use super::{Counter, Event, event_loop::EventLoop, neighbors::node_id};

/// Longest content of one broadcast: the protocol's longest payload without the room of a seal.
pub const BROADCAST_BYTES_MAX: usize = 32 * 1024 - 128;

impl EventLoop {
    pub(super) fn broadcast(&mut self, content: &[u8]) {
        match self.swarm.behaviour_mut().broadcast.broadcast(content) {
            Ok(_) => self.counters.count(Counter::BroadcastsSent),
            Err(error) => {
                warn!(%error, "broadcast not sent");
                self.counters.count(Counter::Oversized);
            }
        }
    }

    pub(super) fn on_broadcast_event(&mut self, event: plumtree::Event) {
        match event {
            plumtree::Event::Received { id, content, hops } => {
                self.counters.count(Counter::BroadcastsReceived);
                let from = node_id(&id.origin);
                // A node that has fallen behind hears the next one, or of it from a neighbour.
                let heard = Event::Broadcast {
                    from,
                    content,
                    hops,
                };
                if self.events.try_send(heard).is_err() {
                    self.counters.count(Counter::BroadcastsShed);
                }
            }
            plumtree::Event::Misbehaved { peer, what } => {
                debug!(%peer, %what, "peer misbehaved");
                self.counters.count(Counter::Misbehaved);
            }
            // The next exchange of positions asks whoever has it.
            plumtree::Event::Missing { id } => {
                debug!(?id, "a broadcast was announced and did not come");
            }
            // Of the tree that the node follows (R16), if it follows one.
            plumtree::Event::EdgeChanged { peer, role } => {
                debug!(%peer, ?role, "an edge of the tree changed its role");
                if self.peers.edge_changed(&peer, role) {
                    self.publish_overlay();
                }
            }
        }
    }
}
