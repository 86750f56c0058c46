//! Healing partitions (R7): every node asks, now and then and for ever, somebody who is not in its
//! view. When the answer comes from another component, the two are joined.

use std::time::Duration;

use rand::{Rng, RngExt, seq::IteratorRandom};

use super::{State, request::Purpose};
use crate::{
    Address, Contact, Id, Message, Timer,
    message::{self, ProbeReply},
};

/// Pause after a suspect has answered, until the next one is asked.
const AFTER_SUCCESS: Duration = Duration::from_millis(500);

/// Fewer missing peers are single failures, not a cut: a newcomer with the smallest id must not
/// set the whole network in motion.
const CUT_MIN: usize = 3;

/// A probe without an answer.
#[derive(Debug)]
pub(super) struct Probe<I> {
    pub(super) peer: I,
    pub(super) serial: u64,
    /// The peer was a suspect.
    suspected: bool,
}

impl<I: Id, A: Address> State<I, A> {
    pub(super) fn on_probe_timer<R: Rng>(&mut self, rng: &mut R) {
        let shortest = self.config.probe_interval_min();
        let longest = self.config.probe_interval_max().max(shortest);
        let after = rng.random_range(shortest..=longest);
        self.wake(Timer::Probe, after);
        // A node without neighbours asks everybody anyway (`refill`).
        if self.left || self.healing.probe.is_some() || self.relations.active.is_empty() {
            return;
        }
        let Some(target) = self.probe_target(rng) else {
            return;
        };
        let (peer, serial) = (target.id, self.next_serial());
        let suspected = self.reserve.suspects.contains(peer);
        let record = self.me.record.clone();
        self.send(target, Message::Probe(message::Probe { serial, record }));
        self.expect(peer, serial);
        self.healing.probe = Some(Probe {
            peer,
            serial,
            suspected,
        });
    }

    /// Suspects take every other turn, bootstrap contacts and backups one in four. The back-off
    /// only orders the suspects; the rate is bounded by the timer.
    fn probe_target<R: Rng>(&mut self, rng: &mut R) -> Option<Contact<I, A>> {
        self.healing.probes = self.healing.probes.wrapping_add(1);
        let suits = |peer: I| self.is_open_to(peer);
        // Whose turn has not come may be asked as well: a cut that has healed is noticed sooner, and the
        // timer bounds the rate.
        let suspect = self.reserve.suspects.next(None, suits);
        let permanent = self
            .permanent()
            .filter(|contact| suits(contact.id))
            .choose(rng);
        let passive = self.reserve.backup(|backup| suits(backup.contact.id), rng);
        let passive = passive.map(|backup| &backup.contact);
        // Suspects are the likeliest to be on the other side of a cut. A bootstrap contact may know a
        // component of which nothing is known here. A backup shows whether the passive view is still of use.
        let target = match self.healing.probes % 4 {
            0 => permanent.or(suspect).or(passive),
            1 | 3 => suspect.or(passive).or(permanent),
            _ => passive.or(suspect).or(permanent),
        };
        target.cloned()
    }

    /// Somebody asks whether we are alive, and where.
    pub(super) fn on_probe<R: Rng>(&mut self, peer: I, probe: message::Probe<A>, rng: &mut R) {
        let message::Probe { serial, record } = probe;
        let contact = Contact { id: peer, record };
        // Not answered rather than refused: who probes has a timer, and others to ask.
        if self.left || !self.guards.admission.serve(self.now) {
            return self.release(peer);
        }
        self.set_record_of(&contact);
        let (record, pulse) = (self.me.record.clone(), self.pulse());
        let sample = self.sample(peer, rng);
        self.learn(contact, &[], rng);
        self.tell(
            peer,
            Message::ProbeReply(ProbeReply {
                serial,
                record,
                pulse,
                sample,
            }),
        );
        self.release(peer);
    }

    /// A peer that we lost sight of is alive. If it lives in another component we become
    /// neighbours; both make room for it.
    pub(super) fn on_probe_reply<R: Rng>(&mut self, peer: I, reply: ProbeReply<I, A>, rng: &mut R) {
        let ProbeReply {
            serial,
            record,
            pulse,
            sample,
        } = reply;
        let contact = Contact { id: peer, record };
        let asked = |probe: &mut Probe<I>| probe.peer == peer && probe.serial == serial;
        let Some(probe) = self.healing.probe.take_if(asked) else {
            return self.on_sounded(&contact, serial);
        };
        if probe.suspected && self.reserve.suspects.len() > 0 {
            // Where one has come back, others may have.
            self.healing.probes = 0;
            self.wake(Timer::Probe, AFTER_SUCCESS);
        }
        self.set_record_of(&contact);
        self.learn(contact.clone(), &[], rng);
        self.learn_all(sample, &[], rng);
        // Tags that are still spreading differ within one component as well: both must have settled.
        let own = self.pulse();
        let apart = own.settled && pulse.settled && own.tag.root != pulse.tag.root;
        if apart && self.now >= self.healing.heal_after && !self.is_kept_out(peer) {
            // Once per node and settling time: joining is for the first links across, mixing for
            // the many.
            self.healing.heal_after = self.now.saturating_add(self.config.tag_timeout());
            self.request(contact, Purpose::Heal);
        }
        self.release(peer);
    }

    /// The probe under way has failed.
    pub(super) fn probe_failed<R: Rng>(&mut self, rng: &mut R) {
        let Some(probe) = self.healing.probe.take() else {
            return;
        };
        if !self.relations.active.contains_key(&probe.peer)
            && !self.relations.pending.contains_key(&probe.peer)
            && let Some(contact) = self.contact_of(probe.peer)
        {
            self.suspect(contact, false, rng);
        }
    }

    /// Half of our neighbours were lost, and are heard again all at once: a cut has healed, perhaps before
    /// the tags told the sides apart.
    pub(super) fn reunite<R: Rng>(&mut self, rng: &mut R) {
        self.reserve.suspects.amnesty(self.now);
        self.mix(self.config.remix_burst(), rng);
    }

    /// Our component has come under another root. If we miss several peers, a cut has healed:
    /// they are on the other side, and are the candidates for links across it.
    pub(super) fn merged<R: Rng>(&mut self, rng: &mut R) {
        if self.reserve.suspects.len() >= CUT_MIN {
            self.reserve.suspects.amnesty(self.now);
            self.mix(self.config.remix_burst(), rng);
        }
    }
}
