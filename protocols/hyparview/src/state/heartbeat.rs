//! Heartbeats: a relation lives as long as both sides confirm it (R4).

use rand::Rng;

use super::{State, request::Purpose};
use crate::{
    Address, DownReason, Epoch, Id, Message, Output, Pulse, Tag, Timer,
    message::{Disconnect, Heartbeat},
};

impl<I: Id, A: Address> State<I, A> {
    /// Confirms all relations, and ends those that the other side no longer confirms.
    pub(super) fn on_heartbeat_timer<R: Rng>(&mut self, rng: &mut R) {
        self.wake(Timer::Heartbeat, self.config.heartbeat_interval());
        self.healing.beacon.beat(self.now);
        self.excuse_silence();
        let silent: Vec<I> = self
            .relations
            .active
            .values()
            .filter(|neighbor| {
                self.now.saturating_sub(neighbor.heard) > self.config.silence_deadline()
            })
            .map(|neighbor| neighbor.contact.id)
            .collect();
        for peer in silent {
            // Closing in order would wait for a peer that does not answer.
            self.outputs.push_back(Output::Cut { peer });
            if let Some(gone) = self.dismiss(peer, DownReason::Silent) {
                // A peer that comes and falls silent again and again is kept out longer each time.
                self.judge(&gone);
                self.suspect(gone.contact, true, rng);
            }
        }
        let pulse = self.pulse();
        let live: Vec<_> = self
            .relations
            .active
            .iter()
            .map(|(id, neighbor)| (*id, neighbor.epoch))
            .collect();
        // Before the heartbeats, which say what is left to chance.
        self.align();
        for (peer, epoch) in live {
            self.beat(peer, epoch, pulse);
        }
    }

    /// Confirms one relation.
    pub(super) fn beat(&mut self, peer: I, epoch: Epoch<I>, pulse: Pulse<I>) {
        let gauge = self.gauge(peer);
        self.tell(
            peer,
            Message::Heartbeat(Heartbeat {
                epoch,
                pulse,
                gauge,
            }),
        );
    }

    /// If it was this node that stood still, its neighbours have not been silent.
    fn excuse_silence(&mut self) {
        // The timer rings when the process runs again: after it was stopped, or its host suspended, what the
        // neighbours have said meanwhile is still in the sockets.
        let due = self
            .beat_at
            .saturating_add(self.config.heartbeat_interval());
        if self.now.saturating_sub(due) > self.config.silence_deadline() / 2 {
            for neighbor in self.relations.active.values_mut() {
                neighbor.heard = self.now;
            }
        }
        self.beat_at = self.now;
    }

    /// The other side confirms a relation.
    pub(super) fn on_heartbeat<R: Rng>(&mut self, from: I, heartbeat: Heartbeat<I>, rng: &mut R) {
        let Heartbeat {
            epoch,
            pulse,
            gauge,
        } = heartbeat;
        if let Some(neighbor) = self.relations.active.get_mut(&from) {
            // About another relation it is late, or the other side is wrong: then both fall silent
            // for each other and start anew.
            if neighbor.epoch == epoch {
                neighbor.heard = self.now;
                neighbor.degree = pulse.degree;
                neighbor.line.hear(gauge, self.now);
                self.hear_tag(pulse.tag, rng);
            }
        // With a request of ours under way the answer to that decides.
        } else if !self.confirmed(from, epoch, rng) && !self.relations.pending.contains_key(&from) {
            self.on_stray_heartbeat(from, epoch, rng);
        }
    }

    /// A peer believes to be our neighbour (R4): make it true if it does no harm, else say no. A
    /// relation that we ended ourselves stays ended.
    fn on_stray_heartbeat<R: Rng>(&mut self, from: I, epoch: Epoch<I>, rng: &mut R) {
        let resting = self
            .reserve
            .passive
            .get(&from)
            .is_some_and(|backup| self.now < backup.rest_until);
        let unwelcome = self.left
            || resting
            || self.free_slots() == 0
            || self.relations.has_ended(&epoch)
            || self.is_kept_out(from);
        match self.contact_of(from).filter(|_| !unwelcome) {
            Some(contact) => self.request(contact, Purpose::Repair),
            None => {
                let reason = crate::DisconnectReason::Unwanted;
                let sample = if self.left {
                    Vec::new()
                } else {
                    self.sample(from, rng)
                };
                self.tell(
                    from,
                    Message::Disconnect(Disconnect {
                        epoch,
                        reason,
                        sample,
                    }),
                );
                self.release(from);
            }
        }
    }

    /// A neighbour told us its component's tag.
    pub(super) fn hear_tag<R: Rng>(&mut self, tag: Tag<I>, rng: &mut R) {
        if self.healing.beacon.hear(tag, self.now) {
            self.merged(rng);
        }
    }
}
