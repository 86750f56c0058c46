//! The neighbours, each in a numbered slot, so that sets of them are machine words.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{Id, message::MessageId};

/// Most neighbours. An active view is five; a node that is given more uses the first 64.
pub(super) const NEIGHBORS_MAX: usize = 64;

/// A neighbour's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u8);

impl Slot {
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SlotSet(u64);

impl SlotSet {
    pub(super) fn single(slot: Slot) -> Self {
        Self(1 << slot.0)
    }

    pub(super) fn contains(self, slot: Slot) -> bool {
        self.0 & Self::single(slot).0 != 0
    }

    pub(super) fn with(self, slot: Slot) -> Self {
        Self(self.0 | Self::single(slot).0)
    }

    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(super) fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Slot> {
        (0..64).map(Slot).filter(move |slot| self.contains(*slot))
    }
}

/// How far the exchange of positions with a neighbour has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass<I> {
    /// None under way.
    Idle,
    /// The next digest begins after this origin, or with the first.
    After(Option<I>),
}

/// A neighbour, and what waits for it.
#[derive(Debug, Clone)]
pub(super) struct Neighbor<I> {
    pub(super) id: I,
    /// Messages to announce, with their hops here.
    pub(super) announcements: BTreeMap<MessageId<I>, u16>,
    /// Trees that the link leaves; with one shared tree, any entry stands for that.
    pub(super) prunes: BTreeSet<I>,
    pub(super) pass: Pass<I>,
    /// Smoothed round trip, if one was measured.
    pub(super) round_trip: Option<Duration>,
    /// When it was last asked for messages, until the first of them comes.
    pub(super) asked_at: Option<Duration>,
    /// Until when it is not preferred.
    pub(super) distrusted_until: Duration,
    /// Bytes that it may still ask for, as of `allowed_at`.
    pub(super) allowance: usize,
    pub(super) allowed_at: Duration,
    /// How many entries of the missing list count on it.
    pub(super) claims: usize,
}

impl<I: Id> Neighbor<I> {
    fn new(id: I, now: Duration, allowance: usize) -> Self {
        Self {
            id,
            announcements: BTreeMap::new(),
            prunes: BTreeSet::new(),
            pass: Pass::After(None),
            round_trip: None,
            asked_at: None,
            distrusted_until: Duration::ZERO,
            allowance,
            allowed_at: now,
            claims: 0,
        }
    }

    /// Takes in a measured round trip: one eighth of it counts, as in TCP (RFC 6298).
    pub(super) fn measured(&mut self, round_trip: Duration) {
        self.round_trip = Some(match self.round_trip {
            Some(known) => known / 8 * 7 + round_trip / 8,
            None => round_trip,
        });
    }

    /// Whether `bytes` may be sent at its request, at `rate` per second; if so they are taken off.
    pub(super) fn spend(&mut self, bytes: usize, rate: usize, now: Duration) -> bool {
        // No more than one second is saved up, so a long silence buys no burst.
        let elapsed = now.saturating_sub(self.allowed_at).as_secs_f64().min(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of `rate`, which is far below 2^52"
        )]
        let gained = (rate as f64 * elapsed) as usize;
        self.allowance = self.allowance.saturating_add(gained).min(rate);
        self.allowed_at = now;
        let enough = self.allowance >= bytes;
        if enough {
            self.allowance -= bytes;
        }
        enough
    }
}

/// The table of neighbours.
#[derive(Debug, Clone)]
pub(super) struct Neighbors<I> {
    slots: BTreeMap<I, Slot>,
    table: Vec<Option<Neighbor<I>>>,
    all: SlotSet,
}

impl<I: Id> Neighbors<I> {
    pub(super) fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
            table: Vec::new(),
            all: SlotSet::default(),
        }
    }

    pub(super) fn all(&self) -> SlotSet {
        self.all
    }

    pub(super) fn slot(&self, id: I) -> Option<Slot> {
        self.slots.get(&id).copied()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Neighbor<I>> {
        self.table.get(slot.index())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Neighbor<I>> {
        self.table.get_mut(slot.index())?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Neighbor<I>> {
        self.table.iter().flatten()
    }

    /// Puts a new neighbour into a free slot. `None` if it is one already, or there is no slot.
    pub(super) fn add(&mut self, id: I, now: Duration, allowance: usize) -> Option<Slot> {
        if self.slots.contains_key(&id) {
            return None;
        }
        let free =
            (0..NEIGHBORS_MAX).find(|index| self.table.get(*index).is_none_or(Option::is_none))?;
        let slot = Slot(u8::try_from(free).ok()?);
        // The lowest free place was taken, so the table grows only when it is full.
        if free == self.table.len() {
            self.table.push(None);
        }
        self.table[free] = Some(Neighbor::new(id, now, allowance));
        self.slots.insert(id, slot);
        self.all = self.all.with(slot);
        Some(slot)
    }

    pub(super) fn remove(&mut self, id: I) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        self.table[slot.index()] = None;
        self.all = self.all.without(SlotSet::single(slot));
        Some(slot)
    }

    /// The neighbour after `last` in the order of ids, the first again after the last.
    pub(super) fn after(&self, last: Option<I>) -> Option<(I, Slot)> {
        let next = last.and_then(|last| self.slots.iter().find(|(id, _)| **id > last));
        next.or_else(|| self.slots.first_key_value())
            .map(|(id, slot)| (*id, *slot))
    }
}
