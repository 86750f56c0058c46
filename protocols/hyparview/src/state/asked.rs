//! Requests of others to become neighbours: accepted, refused with a sample, or kept waiting until
//! a request of our own has been answered.

use rand::Rng;

use super::{
    State,
    ask::{Ask, Kind},
    half_open::HALF_OPEN_MAX,
    line::Line,
    relations::Neighbor,
    request::Purpose,
};
use crate::{Address, DisconnectReason, DownReason, Epoch, Id, Message, message};

/// Requests that wait. Each one waits for half a second; when there are more, the others are
/// better off elsewhere.
pub(super) const WAITING_MAX: usize = 8;

/// What becomes of a request.
enum Verdict {
    Accept,
    /// Once the peer has shown that it hears us.
    OnceConfirmed,
    Refuse,
    Wait,
}

impl<I: Id, A: Address> State<I, A> {
    /// A peer asks to become a neighbour.
    pub(super) fn on_ask<R: Rng>(&mut self, ask: Ask<I, A>, rng: &mut R) {
        let peer = ask.contact.id;
        // Only the side that asks names a relation, or two of them could have one name (R3). And one that has
        // ended stays so, however late a request for it comes once more.
        if ask.epoch.by != peer || self.relations.has_ended(&ask.epoch) {
            return;
        }
        // Others may spread the name of a peer that has left; that it is back only its own word shows.
        self.guards.quarantine.returned(peer);
        self.set_record_of(&ask.contact);
        if let Some(known) = self.relations.active.get(&peer) {
            match order(&ask.epoch, known) {
                // To answer would revive a relation that the peer has replaced since.
                Order::Stale => return,
                // It would not ask again had our answer reached it.
                Order::Same => return self.accept(&ask, rng),
                Order::Newer => self.supersede(peer),
            }
        }
        match self.relations.half_open_with(peer) {
            // As for a neighbour: the first answer did not reach it.
            Some(known) if known == ask.epoch => return self.accept(&ask, rng),
            Some(known)
                if (ask.epoch.incarnation, ask.epoch.serial)
                    < (known.incarnation, known.serial) =>
            {
                return;
            }
            // A new request means that the peer has given up the old one, and will never confirm it.
            Some(known) => {
                self.relations.no_longer_half_open(peer, known);
            }
            None => {}
        }
        let crossing = match self.relations.pending.get_mut(&peer) {
            // Both sides see both requests; the one of the smaller id is pursued. Were both, two relations
            // would be made, each end holding another one.
            Some(ours) if self.me.id < peer => {
                // Noted, so that it is known as stale should it come once more.
                ours.crossed = Some((ask.epoch.incarnation, ask.epoch.serial));
                return;
            }
            Some(ours) => {
                // What ours was for decides about theirs as well: see `Kind::Low` below.
                let purpose = ours.purpose;
                self.relations.pending.remove(&peer);
                Some(purpose)
            }
            None => None,
        };
        match self.verdict(&ask, crossing, rng) {
            Verdict::Accept => {}
            Verdict::OnceConfirmed => return self.half_open(ask, rng),
            Verdict::Refuse => return self.refuse(ask, rng),
            Verdict::Wait => return self.keep_waiting(ask),
        }
        self.hold(&ask, rng);
        self.accept(&ask, rng);
        self.welcome(&ask, rng);
    }

    /// The peer that asked becomes a neighbour; there is a slot.
    pub(super) fn hold<R: Rng>(&mut self, ask: &Ask<I, A>, rng: &mut R) {
        // Who has a full view and asks nevertheless is a walk's end.
        let full = usize::from(ask.pulse.degree) >= self.config.active_capacity();
        let at_hand = ask.kind == Kind::Low && !full;
        self.admit(Neighbor {
            contact: ask.contact.clone(),
            epoch: ask.epoch,
            incarnation: ask.epoch.incarnation,
            crossed: None,
            // It was told before the peer had this relation.
            degree: ask.pulse.degree.saturating_add(1),
            heard: self.now,
            since: self.now,
            // A switch puts it in the place of a link that stood: it must not be easier to get rid of.
            tenured_from: self.tenured_from(matches!(ask.kind, Kind::Switch(_))),
            line: Line::default(),
            crowded: self.is_new() && at_hand,
        });
        self.spread_soon(rng);
    }

    /// A new neighbour is listened to, and a newcomer introduced.
    pub(super) fn welcome<R: Rng>(&mut self, ask: &Ask<I, A>, rng: &mut R) {
        self.hear_tag(ask.pulse.tag, rng);
        if ask.kind == Kind::Join {
            self.introduce(&ask.contact);
        }
    }

    /// What becomes of a request. If it is to be accepted there is a slot afterwards.
    fn verdict<R: Rng>(
        &mut self,
        ask: &Ask<I, A>,
        crossing: Option<Purpose>,
        rng: &mut R,
    ) -> Verdict {
        let peer = ask.contact.id;
        let alone = self.relations.active.is_empty();
        // Who has nobody takes anybody: a peer that flaps is better than none.
        let kept_out = self.is_kept_out(peer) && !alone;
        if self.left || kept_out || self.share_used_up(&ask.contact.record) {
            return Verdict::Refuse;
        }
        let free = self.free_slots() > 0;
        // Switches were agreed upon, and nobody goes for a request into a free slot: both cost no allowance.
        // A join does, for it sends walks through all neighbours.
        let accepted = match ask.kind {
            Kind::Switch(token) => self.complete_switch(peer, token, rng),
            Kind::High if free => true,
            Kind::Join | Kind::High => return self.let_in(peer, rng),
            // Had our request been the one that is pursued, we would have made room when it was accepted.
            // Which of two crossing requests wins must not decide that.
            Kind::Low => free || (crossing.is_some_and(Purpose::evicts) && self.make_room(0, rng)),
        };
        // A slot is held for a request of our own. Were we to refuse, a crowd in which everybody
        // asks would refuse itself. Requests wait for greater ids only: never in a circle.
        let may_wait = ask.kind == Kind::Low
            && peer < self.me.id
            && self.unheld_slots() > 0
            && self.relations.waiting.len() < WAITING_MAX;
        match accepted {
            true => Verdict::Accept,
            false if may_wait => Verdict::Wait,
            false => Verdict::Refuse,
        }
    }

    /// A peer asks to be let in even if a neighbour must go for it.
    fn let_in<R: Rng>(&mut self, peer: I, rng: &mut R) -> Verdict {
        if !self.guards.admission.admit(peer, self.now) {
            Verdict::Refuse
        // A slot that is held for a request of ours will do: this peer is here, the other one may never
        // answer.
        } else if self.unheld_slots() > 0 {
            Verdict::Accept
        // The victim is only looked for. It goes when the peer has shown that it hears (`half_open`).
        } else if self.victim(0, rng).is_some() && self.relations.half_open.len() < HALF_OPEN_MAX {
            Verdict::OnceConfirmed
        } else {
            Verdict::Refuse
        }
    }

    fn keep_waiting(&mut self, ask: Ask<I, A>) {
        // Of one peer the latest request counts.
        self.relations.stop_waiting(ask.contact.id);
        self.relations.waiting.push(ask);
    }

    /// Looks again at the requests that wait for an answer to one of ours.
    pub(super) fn serve_waiting<R: Rng>(&mut self, rng: &mut R) {
        for ask in std::mem::take(&mut self.relations.waiting) {
            self.on_ask(ask, rng);
        }
    }

    /// Frees a slot by evicting a neighbour if need be. When each neighbour would be left alone
    /// or must not go, the newcomer is better sent on to them: they have room.
    pub(super) fn make_room<R: Rng>(&mut self, gained: usize, rng: &mut R) -> bool {
        if self.unheld_slots() > 0 {
            return true;
        }
        let Some(victim) = self.victim(gained, rng) else {
            return false;
        };
        self.part(victim, DisconnectReason::Evicted, DownReason::Evicted, rng);
        true
    }

    pub(super) fn accept<R: Rng>(&mut self, ask: &Ask<I, A>, rng: &mut R) {
        let peer = ask.contact.id;
        // Passive peers only: a newcomer that linked up with our neighbours would close triangles.
        let sample = self.reserve.sample(peer, self.config.list_max(), rng);
        let message = Message::Accept(message::Accept {
            epoch: ask.epoch,
            incarnation: self.incarnation,
            record: self.me.record.clone(),
            pulse: self.pulse(),
            sample,
        });
        self.tell(peer, message);
    }

    fn refuse<R: Rng>(&mut self, ask: Ask<I, A>, rng: &mut R) {
        let peer = ask.contact.id;
        // Whom a node knows that has left is of the past, and it knows nobody any more.
        let sample = if self.left {
            Vec::new()
        } else {
            self.sample(peer, rng)
        };
        self.tell(
            peer,
            Message::Refuse(message::Refuse {
                epoch: ask.epoch,
                sample,
            }),
        );
        self.release(peer);
        // It is alive: worth asking when one of ours is free.
        if !self.left {
            self.learn(ask.contact, &[], rng);
        }
    }

    /// The peer has asked anew: it does not hold the old relation, or has been restarted.
    fn supersede(&mut self, peer: I) {
        if let Some(gone) = self.dismiss(peer, DownReason::Closed) {
            self.judge(&gone);
        }
    }
}

enum Order {
    Stale,
    Same,
    Newer,
}

/// How a request of a neighbour relates to the relation that we hold with it.
fn order<I: Id, A>(asked: &Epoch<I>, known: &Neighbor<I, A>) -> Order {
    if *asked == known.epoch {
        return Order::Same;
    }
    let theirs = (asked.incarnation, asked.serial);
    // Serials can only be compared within what one side has asked.
    let own = (known.epoch.by == asked.by).then_some((known.epoch.incarnation, known.epoch.serial));
    // Older than the start of the peer that we know, than the request that made this relation, or than the
    // one that crossed ours.
    let older = asked.incarnation < known.incarnation
        || own.is_some_and(|own| theirs <= own)
        || known.crossed.is_some_and(|crossed| theirs <= crossed);
    if older { Order::Stale } else { Order::Newer }
}
