//! What other nodes ask, and what they say to all.

use tokio::sync::oneshot;
use tracing::debug;

use super::Core;
use crate::{
    identity::NodeId,
    node::peer_protocol::{self, BroadcastMessage, Reply, Request, Time},
};

impl Core {
    pub(super) fn on_request(
        &mut self,
        from: NodeId,
        body: &[u8],
        reply: oneshot::Sender<Vec<u8>>,
    ) {
        match peer_protocol::decode(body) {
            Some(Request::Status(gossip)) => {
                let now = self.born.elapsed();
                if self.directory.receive(&from, gossip, now) {
                    self.gossiper.exchange_soon();
                }
                self.note_members();
                let answer = Reply::Status(self.directory.gossip_for(&from, now));
                let _ = reply.send(peer_protocol::encode(&answer));
            }
            Some(Request::Clock) => {
                let clock = self.plane.as_ref().and_then(|plane| *plane.clock.borrow());
                let time = clock.map(|clock| Time {
                    at: clock.now(),
                    error: clock.error,
                });
                let _ = reply.send(peer_protocol::encode(&Reply::Clock(time)));
            }
            Some(Request::Presence(presence)) => {
                let seen = self.see(&from, presence);
                let _ = reply.send(peer_protocol::encode(&Reply::Presence(seen)));
            }
            Some(Request::Roles(records)) => self.on_roles_told(&from, records, reply),
            // An objection comes first: it needs no store of ours, so a copy is denied while ours is down.
            Some(Request::Link(request)) => match (self.objection(&from, &request), &self.plane) {
                (Some(refusal), _) => {
                    drop(reply.send(peer_protocol::encode(&Reply::Link(refusal))));
                }
                (None, Some(plane)) => plane.serve(from, request, reply),
                (None, None) => drop(reply.send(peer_protocol::encode(&Reply::not_ready()))),
            },
            None => {
                debug!(%from, bytes = body.len(), "request makes no sense to this version");
                // No silence: who asks for a clock takes that for "not yet", and would ask again without end.
                let _ = reply.send(peer_protocol::encode(&Reply::Unknown));
            }
        }
    }

    pub(super) fn on_broadcast(&mut self, from: &NodeId, content: &[u8]) {
        match peer_protocol::decode(content) {
            Some(BroadcastMessage::Status(rumor)) => {
                // All others hear it as well: nothing needs to be passed on.
                self.directory.hear_status(from, rumor, self.born.elapsed());
                self.starts.learn_all(&self.directory);
                self.note_departed();
            }
            None => {
                debug!(%from, bytes = content.len(), "broadcast makes no sense to this version");
            }
        }
    }
}
