//! The handshake (R3): a peer enters the active view only after one side has asked and the other
//! has accepted, both naming the relation by the same epoch.
//!
//! The side that accepts holds the relation from then on; nothing is pending there. The side that
//! asked has a timer, and gives the relation up explicitly when the answer comes too late.

use rand::Rng;

use super::{
    State,
    line::Line,
    relations::Neighbor,
    request::{Pending, Purpose},
};
use crate::{
    Address, Contact, DisconnectReason, Epoch, Id, Message, Priority,
    message::{self, Accept, Refuse},
};

/// Requests without an answer that a node has at most. Refill stays far below; a flood of walks
/// that end here does not get beyond.
pub(super) const PENDING_MAX: usize = 128;

impl<I: Id, A: Address> State<I, A> {
    /// Slots held for requests that may yet be accepted. One that keeps us waiting loses its slot
    /// to the next candidate; should it be accepted after all, it is declined.
    pub(super) fn reserved_slots(&self) -> usize {
        let holds = |ours: &&Pending<I, A>| {
            matches!(ours.purpose, Purpose::Switch(_))
                || (ours.purpose.waits() && self.is_fresh(ours))
        };
        self.relations.pending.values().filter(holds).count()
    }

    /// Whether the answer to a request may still be expected at any moment.
    pub(super) fn is_fresh(&self, pending: &Pending<I, A>) -> bool {
        self.now.saturating_sub(pending.since) < self.config.slot_hold()
    }

    /// Asks a peer to become a neighbour.
    pub(super) fn request(&mut self, contact: Contact<I, A>, purpose: Purpose) {
        let peer = contact.id;
        if self.relations.is_engaged(peer)
            || peer == self.me.id
            || self.relations.pending.len() >= PENDING_MAX
        {
            return;
        }
        let serial = self.next_serial();
        let epoch = Epoch {
            by: self.me.id,
            incarnation: self.incarnation,
            serial,
        };
        let (record, pulse) = (self.me.record.clone(), self.pulse());
        // Priority costs the other side a neighbour, so only who has none asks with it, or who joins two
        // components that might not find each other again.
        let priority = match purpose {
            Purpose::Refill if self.relations.active.is_empty() => Priority::High,
            Purpose::Heal => Priority::High,
            Purpose::Switch(token) => Priority::Switch(token),
            Purpose::Join | Purpose::Refill | Purpose::Walk | Purpose::Repair => Priority::Low,
        };
        let message = match purpose {
            Purpose::Join => Message::Join(message::Join {
                epoch,
                record,
                pulse,
            }),
            _ => Message::Neighbor(message::Neighbor {
                epoch,
                priority,
                record,
                pulse,
            }),
        };
        // The answer may never come, also if the peer was reached: then the timer ends it (R2).
        self.send(contact.clone(), message);
        self.expect(peer, serial);
        let since = self.now;
        self.relations.pending.insert(
            peer,
            Pending {
                contact,
                epoch,
                since,
                purpose,
                pressing: purpose == Purpose::Join || priority == Priority::High,
                crossed: None,
            },
        );
    }

    /// A request of ours was accepted.
    pub(super) fn on_accept<R: Rng>(&mut self, peer: I, accept: Accept<I, A>, rng: &mut R) {
        let Accept {
            epoch,
            incarnation,
            record,
            pulse,
            sample,
        } = accept;
        let contact = Contact { id: peer, record };
        // The answer once more: the relation is as it was.
        if self.relations.holds(peer, epoch) {
            return;
        }
        // The sender holds a relation that we have given up, and would hold it until its heartbeats are
        // answered.
        if !self.relations.awaits(peer, epoch) {
            return self.decline(peer, epoch, Vec::new());
        }
        let Some(ours) = self.relations.pending.remove(&peer) else {
            return;
        };
        self.set_record_of(&contact);
        // The slot may be gone meanwhile. Nobody goes for a request that was to fill a free one.
        let room = self.unheld_slots() > 0 || (ours.purpose.evicts() && self.make_room(1, rng));
        if !room {
            self.learn(contact, &[], rng);
            return self.decline(peer, epoch, Vec::new());
        }
        self.admit(Neighbor {
            contact,
            epoch,
            incarnation,
            crossed: ours.crossed,
            degree: pulse.degree,
            heard: self.now,
            since: self.now,
            tenured_from: self.tenured_from(matches!(ours.purpose, Purpose::Switch(_))),
            line: Line::default(),
            // Switches and other components lead to random places; whoever else is met by a newcomer may have
            // come with it.
            crowded: self.is_new() && !matches!(ours.purpose, Purpose::Switch(_) | Purpose::Heal),
        });
        // The other side lets a neighbour go only when it hears from us (`half_open`).
        if ours.pressing {
            self.beat(peer, epoch, self.pulse());
        }
        self.spread_soon(rng);
        self.learn_all(sample, &[], rng);
        self.hear_tag(pulse.tag, rng);
        if ours.purpose == Purpose::Join {
            self.joined();
        }
    }

    /// Gives up a relation that the other side holds and we do not. `sample`: whom it may ask instead.
    pub(super) fn decline(&mut self, peer: I, epoch: Epoch<I>, sample: Vec<Contact<I, A>>) {
        let reason = DisconnectReason::Unwanted;
        self.tell(
            peer,
            Message::Disconnect(message::Disconnect {
                epoch,
                reason,
                sample,
            }),
        );
        self.release(peer);
    }

    /// A request of ours was refused: the next candidate is asked at once (R5).
    pub(super) fn on_refuse<R: Rng>(&mut self, from: I, refuse: Refuse<I, A>, rng: &mut R) {
        let Refuse { epoch, sample } = refuse;
        if !self.relations.awaits(from, epoch) {
            return;
        }
        // It is alive, only full: a backup as before. The slot is free for the next one.
        if let Some(ours) = self.relations.pending.remove(&from) {
            self.learn(ours.contact, &[], rng);
            self.learn_all(sample, &[], rng);
            self.release(from);
        }
    }

    /// The timer of request, probe or switch `serial` has expired.
    pub(super) fn on_overdue<R: Rng>(&mut self, peer: I, serial: u64, rng: &mut R) {
        if self
            .relations
            .pending
            .get(&peer)
            .is_some_and(|ours| ours.epoch.serial == serial)
        {
            if let Some(ours) = self.relations.pending.remove(&peer) {
                self.suspect(ours.contact, false, rng);
                // It may have accepted, and the answer is late.
                self.decline(peer, ours.epoch, Vec::new());
            }
        } else if self
            .healing
            .probe
            .as_ref()
            .is_some_and(|probe| probe.serial == serial)
        {
            self.probe_failed(rng);
            self.release(peer);
        } else if self
            .switching
            .switch
            .as_ref()
            .is_some_and(|switch| switch.serial == serial)
        {
            self.switching.switch = None;
            self.release(peer);
        } else if let Some(contact) = self.relations.unconfirmed(peer, serial) {
            self.suspect(contact, false, rng);
            self.release(peer);
        } else {
            self.search_overdue(serial);
        }
    }
}
