//! Relations that are half open (R3): granted here, and not yet confirmed by the peer that asked.
//!
//! A peer without neighbours is let in even if a neighbour must go for it. It may be one that speaks but
//! does not hear: then it has no neighbours because it hears nobody, would never learn that it was let in, and
//! would ask again and again, at the cost of a healthy link each time. So the neighbour goes only when the peer
//! has confirmed, by a first heartbeat, that our answer has reached it.
//!
//! Who may come, and who may go for it, is looked at twice. When the request is granted there must be somebody who
//! may go; when it is confirmed somebody else may have come, and the latest link is another one.

use rand::Rng;

use super::{
    State,
    ask::{Ask, HalfOpen},
};
use crate::{Address, Epoch, Id};

/// Relations half open at a time. Each is so for a round trip, or until its timer rings.
pub(super) const HALF_OPEN_MAX: usize = 32;

impl<I: Id, A: Address> State<I, A> {
    /// Grants a request for which a neighbour will have to go.
    pub(super) fn half_open<R: Rng>(&mut self, ask: Ask<I, A>, rng: &mut R) {
        let (peer, serial) = (ask.contact.id, self.next_serial());
        // The answer is given now: it is what the peer has to hear.
        self.accept(&ask, rng);
        self.expect(peer, serial);
        self.relations
            .half_open
            .insert(peer, HalfOpen { ask, serial });
    }

    /// The peer confirms. Returns whether that was waited for.
    pub(super) fn confirmed<R: Rng>(&mut self, peer: I, epoch: Epoch<I>, rng: &mut R) -> bool {
        let Some(ask) = self.relations.no_longer_half_open(peer, epoch) else {
            return false;
        };
        // Others may have come meanwhile.
        let kept_out = self.is_kept_out(peer) && !self.relations.active.is_empty();
        let wanted = !kept_out && !self.share_used_up(&ask.contact.record);
        if wanted && self.make_room(0, rng) {
            self.hold(&ask, rng);
            self.welcome(&ask, rng);
        } else {
            // It was granted, and is not: then it is told whom it may ask instead.
            let sample = self.sample(peer, rng);
            self.learn(ask.contact, &[], rng);
            self.decline(peer, epoch, sample);
        }
        true
    }
}
