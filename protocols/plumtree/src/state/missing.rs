//! What was announced and did not come is asked for, from all announcers in turn (R12).

use std::{collections::BTreeMap, time::Duration};

use super::{
    State,
    neighbors::{Slot, SlotSet},
};
use crate::{
    Id, Keep, Timer,
    io::Event,
    message::{MessageId, Position},
};

/// Most announcements remembered of one origin.
const CLAIMS_MAX: usize = 128;

/// A neighbour's word that it has a message.
#[derive(Debug, Clone, Copy)]
struct Claim {
    slot: Slot,
    incarnation: u64,
    seq: u64,
    /// How far the neighbour is from the origin, if it said so.
    hops: Option<u16>,
    at: Duration,
}

/// What is missing of one origin.
#[derive(Debug, Clone, Default)]
pub(super) struct Missing {
    /// In the order in which they were heard.
    claims: Vec<Claim>,
    /// Neighbours asked already.
    asked: SlotSet,
    /// Whom we wait for, if for anybody.
    waiting_for: Option<Slot>,
    due: Duration,
}

impl Missing {
    /// Neighbours that claim to have something.
    pub(super) fn claimants(&self) -> impl Iterator<Item = Slot> {
        self.claims.iter().map(|claim| claim.slot)
    }

    pub(super) fn due(&self) -> Duration {
        self.due
    }
}

impl<I: Id> State<I> {
    /// `slot` says that it has a message that we lack, and perhaps over how many links it came there.
    pub(super) fn claim(&mut self, slot: Slot, id: &MessageId<I>, hops: Option<u16>) {
        let latest = self.config.keep() == Keep::Latest;
        let at_most = self.config.missing_max();
        let many = self.missing.len() >= at_most;
        let Some(neighbor) = self.neighbors.get_mut(slot) else {
            return;
        };
        let first = !self.missing.contains_key(&id.origin);
        // A share for each, so that one that promises everything does not crowd out what others have.
        if neighbor.claims >= at_most / 8 || (first && many) {
            self.counters.shed += 1;
            return;
        }
        let missing = self.missing.entry(id.origin).or_default();
        let claim = Claim {
            slot,
            incarnation: id.incarnation,
            seq: id.seq,
            hops,
            at: self.now,
        };
        let many_claims = missing.claims.len() >= CLAIMS_MAX;
        // Where the latest supersedes the rest, a neighbour's newest word is all that counts of it.
        let same = missing.claims.iter_mut().find(|known| {
            known.slot == slot
                && (latest || (known.incarnation, known.seq) == (id.incarnation, id.seq))
        });
        match same {
            Some(known) if (known.incarnation, known.seq) <= (id.incarnation, id.seq) => {
                (known.incarnation, known.seq, known.hops) = (id.incarnation, id.seq, hops);
            }
            Some(_) => {}
            None if many_claims => self.counters.shed += 1,
            None => {
                missing.claims.push(claim);
                neighbor.claims += 1;
            }
        }
        // Set once: further announcements must not put off the time at which somebody is asked.
        if first {
            let due = self.now.saturating_add(self.patience());
            self.set_due(id.origin, due);
        }
    }

    /// T1: how long a message may come later than its announcement.
    fn patience(&self) -> Duration {
        // It may be the slowest neighbour that pushes it.
        let longest = self
            .neighbors
            .iter()
            .map(|neighbor| {
                neighbor
                    .round_trip
                    .unwrap_or(self.config.round_trip_initial())
            })
            .max()
            .unwrap_or(self.config.round_trip_initial());
        // 2.5 times one way, which is half of a round trip.
        (longest / 4 * 5)
            .saturating_add(self.config.flush_interval())
            .clamp(self.config.graft_delay_min(), self.config.graft_delay_max())
    }

    /// T2: how long the answer of one neighbour is waited for.
    fn answer_time(&self, slot: Slot) -> Duration {
        let known = self
            .neighbors
            .get(slot)
            .and_then(|neighbor| neighbor.round_trip);
        let round_trip = known.unwrap_or(self.config.round_trip_initial());
        (round_trip / 2 * 3).clamp(self.config.flush_interval(), self.config.graft_delay_max())
    }

    fn set_due(&mut self, origin: I, due: Duration) {
        if let Some(missing) = self.missing.get_mut(&origin) {
            self.due.remove(&(missing.due, origin));
            missing.due = due;
            self.due.insert((due, origin));
            self.wake(Timer::Graft, due);
        }
    }

    pub(super) fn was_asked(&self, slot: Slot, origin: I) -> bool {
        self.missing
            .get(&origin)
            .is_some_and(|missing| missing.asked.contains(slot))
    }

    /// A message of `origin` came from `slot`: if that was asked for, it tells the round trip.
    pub(super) fn answered(&mut self, slot: Slot, origin: I) {
        let awaited = self
            .missing
            .get(&origin)
            .is_some_and(|missing| missing.waiting_for == Some(slot));
        if awaited
            && let Some(neighbor) = self.neighbors.get_mut(slot)
            && let Some(asked_at) = neighbor.asked_at.take()
        {
            neighbor.measured(self.now.saturating_sub(asked_at));
        }
    }

    /// A message came from `slot`. Returns who announced it, and with how many hops.
    pub(super) fn came(&mut self, slot: Slot, id: &MessageId<I>) -> Vec<(Slot, Option<u16>)> {
        let Some(mut missing) = self.missing.remove(&id.origin) else {
            return Vec::new();
        };
        let announcers = missing
            .claims
            .iter()
            .filter(|claim| (claim.incarnation, claim.seq) == (id.incarnation, id.seq))
            .map(|claim| (claim.slot, claim.hops))
            .collect();
        let (open, settled): (Vec<Claim>, Vec<Claim>) =
            missing.claims.drain(..).partition(|claim| {
                self.lacks(&MessageId {
                    origin: id.origin,
                    incarnation: claim.incarnation,
                    seq: claim.seq,
                })
            });
        for claim in settled {
            self.settle(claim.slot);
        }
        // Who answers may be asked again.
        missing.asked = missing.asked.without(SlotSet::single(slot));
        let earliest = open.iter().map(|claim| claim.at).min();
        missing.claims = open;
        let (due, waiting_for) = (missing.due, missing.waiting_for);
        self.due.remove(&(due, id.origin));
        if let Some(earliest) = earliest {
            self.missing.insert(id.origin, missing);
            let due = match waiting_for {
                // The rest of its answer is on the way; another would send all of it again.
                Some(awaited) if awaited == slot => self.now.saturating_add(self.answer_time(slot)),
                Some(_) => due,
                // Nobody was asked yet: what is left waits from its own announcement on.
                None => earliest.saturating_add(self.patience()),
            };
            self.set_due(id.origin, due);
        }
        announcers
    }

    fn settle(&mut self, slot: Slot) {
        if let Some(neighbor) = self.neighbors.get_mut(slot) {
            neighbor.claims = neighbor.claims.saturating_sub(1);
        }
    }

    /// The origin is forgotten, or given up for now.
    pub(super) fn drop_missing(&mut self, origin: I) {
        if let Some(missing) = self.missing.remove(&origin) {
            self.due.remove(&(missing.due, origin));
            for claim in missing.claims {
                self.settle(claim.slot);
            }
        }
    }

    /// A neighbour is gone, and its word with it.
    pub(super) fn unclaim(&mut self, slot: Slot) {
        let mut void = Vec::new();
        let mut waiting = Vec::new();
        for (origin, missing) in &mut self.missing {
            missing.claims.retain(|claim| claim.slot != slot);
            missing.asked = missing.asked.without(SlotSet::single(slot));
            if missing.claims.is_empty() {
                void.push(*origin);
            } else if missing.waiting_for == Some(slot) {
                missing.waiting_for = None;
                waiting.push(*origin);
            }
        }
        for origin in void {
            self.drop_missing(origin);
        }
        // Its answer will not come: the next announcer's turn.
        for origin in waiting {
            self.set_due(origin, self.now);
        }
    }

    pub(super) fn on_graft_timer(&mut self) {
        // All that falls due together and goes to one neighbour goes in one message.
        let mut grafts: BTreeMap<Slot, Vec<Position<I>>> = BTreeMap::new();
        while let Some((due, origin)) = self.due.first().copied()
            && due <= self.now
        {
            self.due.remove(&(due, origin));
            match self.next_announcer(origin) {
                Some(slot) => {
                    let due = self.now.saturating_add(self.answer_time(slot));
                    self.ask(origin, slot);
                    self.set_due(origin, due);
                    grafts.entry(slot).or_default().push(self.position(origin));
                }
                None => self.hand_over(origin),
            }
        }
        self.graft(grafts);
        if let Some((due, _)) = self.due.first().copied() {
            self.wake(Timer::Graft, due);
        }
    }

    /// The announcer whose turn it is: the first that was not asked yet.
    fn next_announcer(&self, origin: I) -> Option<Slot> {
        let missing = self.missing.get(&origin)?;
        missing
            .claimants()
            .find(|slot| !missing.asked.contains(*slot))
    }

    fn ask(&mut self, origin: I, slot: Slot) {
        let key = self.key(origin);
        let parent = self.tree(key).and_then(|tree| tree.parent);
        let Some(missing) = self.missing.get_mut(&origin) else {
            return;
        };
        missing.asked = missing.asked.with(slot);
        missing.waiting_for = Some(slot);
        // Others have it and our parent did not bring it.
        if let Some(parent) = parent
            // One that announced it takes the edge for lazy, and is not to blame.
            && !missing.claimants().any(|claimant| claimant == parent)
            && let Some(neighbor) = self.neighbors.get_mut(parent)
        {
            neighbor.distrusted_until = self.now.saturating_add(self.config.distrust());
        }
        // Whoever mends the tree becomes part of it: it will push the next one.
        self.change(key, |tree| tree.eager = tree.eager.with(slot));
        self.unprune(slot, origin);
    }

    /// All announcers were asked. From here on it is up to the exchange of positions (R14).
    fn hand_over(&mut self, origin: I) {
        let newest = self.missing.get(&origin).and_then(|missing| {
            let newest = missing
                .claims
                .iter()
                .map(|claim| (claim.incarnation, claim.seq));
            newest.max()
        });
        self.drop_missing(origin);
        if let Some((incarnation, seq)) = newest {
            self.counters.missing += 1;
            self.emit(Event::Missing {
                id: MessageId {
                    origin,
                    incarnation,
                    seq,
                },
            });
        }
    }
}
