//! What other nodes ask, and what they say to all.

use tokio::sync::oneshot;
use tracing::debug;

use super::Core;
use crate::{
    identity::NodeId,
    node::{
        part::Event,
        peer_protocol::{self, BroadcastMessage, Reply, Request, Time},
    },
};

impl Core {
    /// One row for each kind of request, with the part that answers it. The data plane answers beside the
    /// loop: that may take long.
    pub(super) fn on_request(
        &mut self,
        from: NodeId,
        body: &[u8],
        reply: oneshot::Sender<Vec<u8>>,
    ) {
        let answer = match peer_protocol::decode(body) {
            Some(Request::Status(gossip)) => {
                self.tell_parts(&Event::Gossip(from.clone(), gossip));
                let now = self.now();
                Reply::Status(self.members.directory.gossip_for(&from, now))
            }
            Some(Request::Clock) => Reply::Clock(self.store_time()),
            Some(Request::Presence(presence)) => {
                let others = self.network.others(&from, presence.run);
                Reply::Presence(self.members.see(&from, presence, others))
            }
            Some(Request::Roles(records)) => {
                self.tell_parts(&Event::Roles(from, records));
                Reply::Roles(self.app_roles.records())
            }
            Some(Request::Position(position)) => {
                self.tell_parts(&Event::Position(from.clone(), position));
                Reply::Position(self.positions.toward(&from))
            }
            Some(Request::Link(request)) => {
                let others = |run| self.network.others(&from, run);
                // An objection comes first: it needs no store of ours, so a copy is denied while ours is down.
                match (
                    self.members.objection(&from, &request, others),
                    self.stage.plane(),
                ) {
                    (Some(refusal), _) => Reply::Link(refusal),
                    (None, Some(plane)) => return plane.serve(from, request, reply),
                    (None, None) => Reply::not_ready(),
                }
            }
            None => {
                debug!(%from, bytes = body.len(), "request makes no sense to this version");
                // No silence: who asks for a clock takes that for "not yet", and would ask again without end.
                Reply::Unknown
            }
        };
        // The asker may have gone.
        let _ = reply.send(peer_protocol::encode(&answer));
    }

    fn store_time(&self) -> Option<Time> {
        let clock = (*self.stage.plane()?.clock.borrow())?;
        Some(Time {
            at: clock.now(),
            error: clock.error,
        })
    }

    pub(super) fn on_broadcast(&mut self, from: NodeId, content: &[u8]) {
        match peer_protocol::decode(content) {
            Some(BroadcastMessage::Status(rumor)) => self.tell_parts(&Event::Status(from, rumor)),
            None => {
                debug!(%from, bytes = content.len(), "broadcast makes no sense to this version");
            }
        }
    }
}
