//! Joining, and the walks that spread a newcomer over the overlay (paper 4.2, R9).

use rand::{Rng, seq::IteratorRandom};

use super::{State, request::Purpose};
use crate::{
    Address, Contact, DisconnectReason, DownReason, Id, Message, Timer, message::ForwardJoin,
};

impl<I: Id, A: Address> State<I, A> {
    /// [`Command::Join`](crate::Command::Join).
    pub(super) fn join<R: Rng>(&mut self, contact: Contact<I, A>, rng: &mut R) {
        self.left = false;
        // The application knows better than our suspicion.
        self.reserve.suspects.remove(contact.id);
        // Also if nothing comes of the request: the contact is known from now on.
        self.learn(contact.clone(), &[], rng);
        if self.unheld_slots() == 0 {
            return;
        }
        // The refill has its turn in the same input, and must not ask it once more.
        self.mark_tried(contact.id);
        self.request(contact, Purpose::Join);
    }

    /// We are in. The walks that the contact has started are given time to fill our view with
    /// peers from all over the overlay, before we turn to those that the contact named.
    pub(super) fn joined(&mut self) {
        self.refill
            .hold(self.now.saturating_add(self.config.walk_grace()));
        self.wake(Timer::Refill, self.config.walk_grace());
    }

    /// The contact starts one walk through each of its other neighbours (paper 4.2).
    pub(super) fn introduce(&mut self, newcomer: &Contact<I, A>) {
        let ttl = self.config.active_walk();
        let through: Vec<I> = self
            .relations
            .active
            .keys()
            .copied()
            // The newcomer is a neighbour by now.
            .filter(|id| *id != newcomer.id)
            .collect();
        for peer in through {
            self.tell(
                peer,
                Message::ForwardJoin(ForwardJoin {
                    newcomer: newcomer.clone(),
                    ttl,
                }),
            );
        }
    }

    /// A walk passes. Only neighbours may send one here.
    pub(super) fn on_forward_join<R: Rng>(
        &mut self,
        from: I,
        walk: ForwardJoin<I, A>,
        rng: &mut R,
    ) {
        let ForwardJoin { newcomer, ttl } = walk;
        // A walk makes a request at its end, so strangers may not start one here, and a neighbour sends no
        // more than an honest one lets in.
        if newcomer.id == self.me.id
            || !self.relations.active.contains_key(&from)
            || !self.guards.admission.walk(from, self.now)
        {
            return;
        }
        // A walk sent with a greater number of hops would go round for long.
        let ttl = ttl.min(self.config.active_walk());
        let onward = self.onward(&[from, newcomer.id], rng);
        let (Some(next), true) = (onward, ttl > 0) else {
            return self.on_walk_end(newcomer, rng);
        };
        // On the way it leaves the name in a passive view (paper 4.2).
        if ttl == self.config.passive_walk() {
            self.learn(newcomer.clone(), &[], rng);
        }
        self.tell(
            next,
            Message::ForwardJoin(ForwardJoin {
                newcomer,
                ttl: ttl - 1,
            }),
        );
    }

    /// The walk ends here.
    ///
    /// Modification from the paper: the newcomer is asked with low priority and a neighbour is
    /// evicted only once it has accepted, so that a newcomer that is full already, or cannot be
    /// reached, costs nobody a link.
    fn on_walk_end<R: Rng>(&mut self, newcomer: Contact<I, A>, rng: &mut R) {
        // A victim is looked for, though nobody goes before the newcomer has accepted: without one there
        // would be no slot then.
        let able = self.free_slots() > 0 || self.victim(1, rng).is_some();
        let wanted = !self.is_kept_out(newcomer.id)
            && !self.relations.active.contains_key(&newcomer.id)
            && !self.share_used_up(&newcomer.record);
        // Asking means a dial. Beyond the allowance of services the name is kept, and asked when a slot is
        // free.
        if able && wanted && self.guards.admission.serve(self.now) {
            self.request(newcomer, Purpose::Walk);
        } else {
            self.learn(newcomer, &[], rng);
        }
    }

    /// A random neighbour to send a walk on to.
    pub(super) fn onward<R: Rng>(&self, not: &[I], rng: &mut R) -> Option<I> {
        self.relations
            .active
            .keys()
            .copied()
            .filter(|id| !not.contains(id))
            .choose(rng)
    }

    /// [`Command::Leave`](crate::Command::Leave).
    pub(super) fn leave<R: Rng>(&mut self, rng: &mut R) {
        let neighbors: Vec<I> = self.relations.active.keys().copied().collect();
        for peer in neighbors {
            self.part(peer, DisconnectReason::Leaving, DownReason::Left, rng);
        }
        // Who says yes to one of these meanwhile would hold a relation with nobody.
        let pending = std::mem::take(&mut self.relations.pending);
        for (peer, ours) in pending {
            self.decline(peer, ours.epoch, Vec::new());
        }
        for (peer, granted) in std::mem::take(&mut self.relations.half_open) {
            self.decline(peer, granted.epoch(), Vec::new());
        }
        self.left = true;
        self.reserve.clear();
        self.healing.probe = None;
        self.offer = None;
        self.switching.stop();
    }
}
