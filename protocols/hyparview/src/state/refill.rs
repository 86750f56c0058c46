//! Keeping the active view full (R5).
//!
//! A pass asks every candidate once, several at a time, the next one as soon as an answer or
//! failure is in. A lost neighbour starts a new pass; a pass that left slots free is repeated
//! after a pause.

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, seq::IteratorRandom};

use super::{
    State,
    alarms::{doubled, spread},
    request::Purpose,
    reserve::Backup,
};
use crate::{Address, Config, Contact, Id, Timer, io::Event};

/// First pause of a node without neighbours.
const ALONE_PAUSE: Duration = Duration::from_secs(1);

/// Passes in vain after which others are asked for. One is in vain easily: who was asked had no slot free just then.
const VAIN_PASSES: u32 = 2;

/// Where the current pass is.
#[derive(Debug)]
pub(super) struct Refill<I> {
    first: Duration,
    most: Duration,
    /// Who was asked in this pass.
    tried: BTreeSet<I>,
    /// Passes since a neighbour was last lost or found.
    passes: u32,
    /// When the next pass begins, if this one is over.
    again_at: Option<Duration>,
    /// Slots are left to others until then; not before `start`, either.
    held_until: Duration,
}

impl<I: Id> Refill<I> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            first: config.refill_interval(),
            most: config.refill_interval_max(),
            tried: BTreeSet::new(),
            passes: 0,
            again_at: None,
            held_until: Duration::MAX,
        }
    }

    /// A neighbour was lost: everybody may be asked again.
    pub(super) fn lost(&mut self, alone: bool) {
        // It cannot wait for walks that nobody will start.
        if alone {
            self.held_until = Duration::ZERO;
        }
        self.tried.clear();
        self.passes = 0;
        self.again_at = None;
    }

    /// A neighbour was found.
    pub(super) fn found(&mut self) {
        self.passes = 0;
    }

    pub(super) fn tried_len(&self) -> usize {
        self.tried.len()
    }

    /// Leaves free slots to others until then.
    pub(super) fn hold(&mut self, until: Duration) {
        self.held_until = until;
    }

    /// The pause after this pass.
    fn pause(&mut self, alone: bool) -> Duration {
        let first = if alone {
            ALONE_PAUSE.min(self.first)
        } else {
            self.first
        };
        let pause = doubled(first, self.passes, self.most);
        self.passes = self.passes.saturating_add(1);
        pause
    }
}

impl<I: Id, A: Address> State<I, A> {
    /// Goes on with the pass as far as possible now. Called after every input.
    pub(super) fn top_up<R: Rng>(&mut self, rng: &mut R) {
        // Not by free slots: where requests hold all of them there is still the wake-up to ask for, below.
        if self.left || self.unheld_slots() == 0 || self.now < self.refill.held_until {
            return;
        }
        if self.refill.again_at.is_some_and(|at| at <= self.now) {
            self.refill.again_at = None;
            self.refill.tried.clear();
        }
        // Several at a time, since most of those asked may be dead; few, since each that accepts in vain has
        // to be told no.
        while self.free_slots() > 0 && self.fresh_requests() < self.config.refill_parallel() {
            let Some(candidate) = self.candidate(rng) else {
                return self.pass_over(rng);
            };
            self.mark_tried(candidate.id);
            self.request(candidate, Purpose::Refill);
        }
        self.wake_when_slot_is_lost();
    }

    /// Notes that a peer was asked in this pass.
    pub(super) fn mark_tried(&mut self, peer: I) {
        // Shuffles may bring ever new candidates into one pass; its end is near then anyway.
        if self.refill.tried.len() >= self.tried_max() {
            self.refill.tried.clear();
        }
        self.refill.tried.insert(peer);
    }

    fn fresh_requests(&self) -> usize {
        self.relations
            .pending
            .values()
            .filter(|ours| ours.purpose == Purpose::Refill && self.is_fresh(ours))
            .count()
    }

    /// Whom to ask next: backups in random order, then suspects whose turn has come. A node
    /// without neighbours asks everybody it knows; those that dropped it only when a pass over the
    /// others was in vain (R15).
    fn candidate<R: Rng>(&self, rng: &mut R) -> Option<Contact<I, A>> {
        let alone = self.relations.active.is_empty();
        // Whoever asks us, and is kept waiting, gets the next slot without being asked.
        let suits = |contact: &Contact<I, A>| {
            !self.refill.tried.contains(&contact.id)
                && !self.relations.pending.contains_key(&contact.id)
                && !self.relations.active.contains_key(&contact.id)
                && !self.relations.keeps_waiting(contact.id)
                && (alone || !self.is_kept_out(contact.id))
                && !self.share_used_up(&contact.record)
        };
        // As long as others are left to ask: who dropped us would most likely do so again (R15).
        let desperate = alone && self.refill.passes > 0;
        let rested = |backup: &Backup<I, A>| desperate || backup.rest_until <= self.now;
        let backup = self
            .reserve
            .backup(|backup| suits(&backup.contact) && rested(backup), rng)
            .map(|backup| &backup.contact);
        // Bootstrap contacts are everybody's: whoever has a neighbour leaves them alone.
        let permanent = || {
            self.permanent()
                .filter(|contact| alone && suits(contact))
                .choose(rng)
        };
        // Alone, nobody is worth waiting for: suspects are asked whether or not their turn has come.
        let due_by = (!alone).then_some(self.now);
        let due = |peer| self.reserve.suspects.get(peer).is_some_and(&suits);
        backup
            .or_else(permanent)
            .or_else(|| self.reserve.suspects.next(due_by, due))
            .cloned()
    }

    /// Nobody is left to ask in this pass; it is over when all have answered.
    fn pass_over<R: Rng>(&mut self, rng: &mut R) {
        let waiting = self
            .relations
            .pending
            .values()
            .any(|ours| ours.purpose == Purpose::Refill);
        // One of them may yet accept, or name others.
        if waiting {
            return self.wake_when_slot_is_lost();
        }
        // The pause has begun, and is not begun anew by each input.
        if self.refill.again_at.is_some() {
            return;
        }
        let alone = self.relations.active.is_empty();
        let pause = spread(self.refill.pause(alone), rng);
        self.refill.again_at = Some(self.now.saturating_add(pause));
        self.wake(Timer::Refill, pause);
        if alone {
            self.emit(Event::Isolated);
        } else {
            if self.refill.passes >= VAIN_PASSES {
                self.emit(Event::Wanting);
            }
            // Free slots that nobody else has are filled by stepping between two others.
            self.insert_self(rng);
        }
    }

    /// Asks for a wake-up when the first outstanding request has lost its slot.
    fn wake_when_slot_is_lost(&mut self) {
        let hold = self.config.slot_hold();
        let soonest = self
            .relations
            .pending
            .values()
            .filter(|ours| ours.purpose.waits() && self.is_fresh(ours))
            .map(|ours| ours.since.saturating_add(hold))
            .min();
        if let Some(at) = soonest {
            self.wake(Timer::Refill, at.saturating_sub(self.now));
        }
    }

    /// How many peers one pass asks: all that the views can hold, and as many again.
    pub(super) fn tried_max(&self) -> usize {
        let config = &self.config;
        2 * (config.passive_capacity() + config.suspect_capacity() + config.permanent_capacity())
    }
}
