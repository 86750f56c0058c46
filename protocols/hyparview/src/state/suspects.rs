//! Peers that are out of reach (R6): not forgotten but asked again, with back-off, for ever. After
//! a long cut they are the only way back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{Rng, seq::IteratorRandom};

use super::{
    State,
    alarms::{doubled, spread},
};
use crate::{Address, Config, Contact, Id};

/// Neighbours lost by one cause are missed within this time of each other.
const LOST_TOGETHER: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Suspect<I, A> {
    contact: Contact<I, A>,
    failures: u32,
    /// When its turn comes again.
    due: Duration,
    /// Since when.
    since: Duration,
    /// We have spoken with it before: worth more than a name from hearsay.
    proven: bool,
}

/// The list, bounded.
#[derive(Debug)]
pub(super) struct Suspects<I, A> {
    capacity: usize,
    first: Duration,
    most: Duration,
    all: BTreeMap<I, Suspect<I, A>>,
    /// Those lost at one time that are heard again.
    returned: Returned<I>,
}

/// Former neighbours that come back together.
#[derive(Debug)]
struct Returned<I> {
    who: BTreeSet<I>,
    /// When the first of them was lost.
    lost: Duration,
    /// When it was heard again.
    heard: Duration,
}

impl<I: Id, A: Address> Suspects<I, A> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            capacity: config.suspect_capacity(),
            first: config.suspect_backoff(),
            most: config.suspect_backoff_max(),
            all: BTreeMap::new(),
            returned: Returned {
                who: BTreeSet::new(),
                lost: Duration::ZERO,
                heard: Duration::ZERO,
            },
        }
    }

    pub(super) fn contacts(&self) -> impl Iterator<Item = &Contact<I, A>> {
        self.all.values().map(|suspect| &suspect.contact)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn contains(&self, peer: I) -> bool {
        self.all.contains_key(&peer)
    }

    pub(super) fn get(&self, peer: I) -> Option<&Contact<I, A>> {
        self.all.get(&peer).map(|suspect| &suspect.contact)
    }

    pub(super) fn get_mut(&mut self, peer: I) -> Option<&mut Contact<I, A>> {
        self.all.get_mut(&peer).map(|suspect| &mut suspect.contact)
    }

    pub(super) fn remove(&mut self, peer: I) -> Option<Contact<I, A>> {
        self.all.remove(&peer).map(|suspect| suspect.contact)
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    /// An attempt to reach the peer failed, or its connection was lost.
    fn fail<R: Rng>(&mut self, contact: Contact<I, A>, proven: bool, now: Duration, rng: &mut R) {
        let id = contact.id;
        let known = self.all.remove(&id);
        let failures = known
            .as_ref()
            .map_or(0, |suspect| suspect.failures.saturating_add(1));
        // Of the first failure: it tells who was lost together.
        let since = known.as_ref().map_or(now, |suspect| suspect.since);
        let proven = proven || known.is_some_and(|suspect| suspect.proven);
        // Before it is put in, so that it cannot be the one that goes.
        while self.all.len() >= self.capacity.max(1) {
            self.forget_one(rng);
        }
        // Many lose the same peer at one moment; they must not all ask it at one moment.
        let pause = spread(doubled(self.first, failures, self.most), rng);
        let due = now.saturating_add(pause);
        self.all.insert(
            id,
            Suspect {
                contact,
                failures,
                due,
                since,
                proven,
            },
        );
    }

    /// Hearsay goes first; a flood of invented names must not wash out the peers we knew.
    fn forget_one<R: Rng>(&mut self, rng: &mut R) {
        let hearsay = self
            .all
            .iter()
            .filter(|(_, suspect)| !suspect.proven)
            .choose(rng);
        if let Some(id) = hearsay
            .or_else(|| self.all.iter().choose(rng))
            .map(|(id, _)| *id)
        {
            self.all.remove(&id);
        }
    }

    /// A third party knows another way to reach the peer: its turn comes at once.
    pub(super) fn hear(&mut self, contact: &Contact<I, A>, now: Duration) {
        // Only a newer record: otherwise each shuffle that names a dead peer would have it dialled.
        if let Some(suspect) = self.all.get_mut(&contact.id)
            && contact.record.supersedes(&suspect.contact.record)
        {
            suspect.contact = contact.clone();
            suspect.due = now;
        }
    }

    /// A neighbour that was lost is heard again. Returns whether it makes `many` of those that were lost
    /// together and are heard again within `window`.
    fn reunited(
        &mut self,
        (peer, lost): (I, Duration),
        many: usize,
        now: Duration,
        window: Duration,
    ) -> bool {
        let known = &mut self.returned;
        let together = lost.abs_diff(known.lost) <= LOST_TOGETHER;
        // Lost at another time, or back much later: another cause, so counting begins anew.
        if !together || now.saturating_sub(known.heard) > window {
            known.who.clear();
        }
        if known.who.is_empty() {
            (known.lost, known.heard) = (lost, now);
        }
        // Counting stops at `many`, so that the news comes once.
        known.who.len() < many && known.who.insert(peer) && known.who.len() == many
    }

    /// Two components have merged: everybody's turn comes at once.
    pub(super) fn amnesty(&mut self, now: Duration) {
        for suspect in self.all.values_mut() {
            suspect.failures = 0;
            suspect.due = now;
        }
    }

    /// The one that waits longest for its turn, among those for which `suits` holds. If
    /// `due_by` is given its turn must have come.
    pub(super) fn next(
        &self,
        due_by: Option<Duration>,
        suits: impl Fn(I) -> bool,
    ) -> Option<&Contact<I, A>> {
        self.all
            .values()
            .filter(|suspect| due_by.is_none_or(|now| suspect.due <= now))
            .filter(|suspect| suits(suspect.contact.id))
            .min_by_key(|suspect| suspect.due)
            .map(|suspect| &suspect.contact)
    }
}

impl<I: Id, A: Address> State<I, A> {
    /// Notes that `contact` cannot be reached. `proven`: we have spoken with it before.
    pub(super) fn suspect<R: Rng>(&mut self, contact: Contact<I, A>, proven: bool, rng: &mut R) {
        debug_assert!(!self.relations.active.contains_key(&contact.id));
        self.reserve.passive.remove(&contact.id);
        self.reserve.suspects.fail(contact, proven, self.now, rng);
    }

    /// `peer` speaks: it is a suspect no longer.
    pub(super) fn rehabilitate<R: Rng>(&mut self, peer: I, rng: &mut R) {
        // It speaks, but is not to be turned to: as a backup it would be.
        if self.is_kept_out(peer) {
            return;
        }
        let Some(suspect) = self.reserve.suspects.all.remove(&peer) else {
            return;
        };
        self.learn(suspect.contact, &[], rng);
        // One that comes back was restarted; half of the neighbours at once were cut off.
        let many = (self.config.active_capacity() / 2).max(1);
        let (now, window) = (self.now, self.config.tag_timeout());
        let lost = (peer, suspect.since);
        if suspect.proven && self.reserve.suspects.reunited(lost, many, now, window) {
            self.reunite(rng);
        }
    }
}
