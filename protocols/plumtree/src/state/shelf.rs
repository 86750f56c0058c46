//! The payloads kept to answer requests, and the origins they are of. Bounded in number, bytes and age.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{State, neighbors::Slot, tree::Tree, window::Window};
use crate::{
    Id, Keep, Timer,
    message::{Held, MessageId, Payload},
};

/// A payload kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) seq: u64,
    /// Over how many links it came here; 0 our own.
    pub(super) hops: u16,
    /// When its origin sent it, in [`State::born`]'s reckoning.
    pub(super) born: Duration,
    pub(super) payload: Payload,
}

/// What is known of one origin. Small: there is one per node of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) incarnation: u64,
    pub(super) window: Window,
    /// Of the newest message: over how many links it came, from whom, and when it was sent.
    pub(super) hops: u16,
    pub(super) from: Option<Slot>,
    pub(super) born: Duration,
    /// When the newest came here.
    pub(super) came: Duration,
    /// Its tree, with `Trees::PerOrigin`.
    pub(super) tree: Tree,
    /// By number.
    pub(super) kept: Vec<Kept>,
}

impl Origin {
    pub(super) fn is_newest(&self, incarnation: u64, seq: u64) -> bool {
        self.incarnation == incarnation && self.window.newest() == seq
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.seq == seq)
    }

    /// What can be supplied.
    pub(super) fn supply(&self) -> Held {
        Held::of(self.incarnation, self.kept.iter().map(|kept| kept.seq))
    }
}

/// All origins and what is kept of them.
#[derive(Debug, Clone)]
pub(super) struct Shelf<I> {
    pub(super) origins: BTreeMap<I, Origin>,
    /// Every payload kept, oldest first.
    pub(super) by_age: BTreeSet<(Duration, I, u64)>,
    pub(super) bytes: usize,
}

impl<I: Id> Shelf<I> {
    pub(super) fn new() -> Self {
        Self {
            origins: BTreeMap::new(),
            by_age: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(super) fn put(&mut self, id: I, kept: Kept) {
        let Some(origin) = self.origins.get_mut(&id) else {
            return;
        };
        self.bytes += kept.payload.len();
        self.by_age.insert((kept.born, id, kept.seq));
        let at = origin.kept.partition_point(|other| other.seq < kept.seq);
        origin.kept.insert(at, kept);
    }

    /// Drops the payloads of `id` that `drop` says yes to.
    pub(super) fn drop_if(&mut self, id: I, drop: impl Fn(&Kept) -> bool) {
        let Some(origin) = self.origins.get_mut(&id) else {
            return;
        };
        let (by_age, bytes) = (&mut self.by_age, &mut self.bytes);
        origin.kept.retain(|kept| {
            let gone = drop(kept);
            if gone {
                *bytes -= kept.payload.len();
                by_age.remove(&(kept.born, id, kept.seq));
            }
            !gone
        });
        // There is a list for each origin of the network, and most hold one payload or none.
        origin.kept.shrink_to_fit();
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id, seq)) = self.by_age.first().copied() {
            self.drop_if(id, |kept| kept.seq == seq);
        }
    }

    pub(super) fn remove(&mut self, id: I) {
        self.drop_if(id, |_| true);
        self.origins.remove(&id);
    }
}

/// The machine's clock starts this late, so that there are times before its start.
const BEFORE_START: Duration = Duration::from_secs(7 * 24 * 3600);

impl<I: Id> State<I> {
    /// When a message was sent that is `age` old now.
    pub(super) fn born(&self, age: Duration) -> Duration {
        (self.now + BEFORE_START).saturating_sub(age)
    }

    pub(super) fn age(&self, born: Duration) -> Duration {
        (self.now + BEFORE_START).saturating_sub(born)
    }

    /// Whether a message with this name is wanted.
    pub(super) fn lacks(&self, id: &MessageId<I>) -> bool {
        // What we said ourselves is no news to us, whichever incarnation said it; no message has the number 0.
        if id.origin == self.me || id.seq == 0 {
            return false;
        }
        match self.shelf.origins.get(&id.origin) {
            None => true,
            Some(origin) if origin.incarnation == id.incarnation => {
                origin.window.lacks(id.seq, self.config.keep())
            }
            Some(origin) => id.incarnation > origin.incarnation,
        }
    }

    /// Makes place for one more origin. A known one that can be heard of is not given up for it.
    pub(super) fn make_room(&mut self) -> bool {
        if self.shelf.origins.len() < self.config.origins_max() {
            return true;
        }
        let oldest = self
            .shelf
            .origins
            .iter()
            .filter(|(id, _)| **id != self.me)
            .min_by_key(|(_, origin)| origin.born)
            .map(|(id, origin)| (*id, self.age(origin.born)));
        match oldest {
            // Nobody offers messages of this age any more, so what was seen of it need not be known.
            Some((id, age)) if age >= self.config.cache_age() => {
                self.forget_origin(id);
                true
            }
            _ => false,
        }
    }

    /// Keeps a payload whose origin is known, within all bounds.
    pub(super) fn keep(&mut self, id: MessageId<I>, kept: Kept) {
        if self.config.keep() == Keep::Latest {
            self.shelf.drop_if(id.origin, |older| older.seq < kept.seq);
        }
        self.shelf.put(id.origin, kept);
        while self.shelf.by_age.len() > self.config.cache_messages_max()
            || self.shelf.bytes > self.config.cache_bytes_max()
        {
            self.shelf.drop_oldest();
        }
        self.age_soon();
    }

    fn age_soon(&mut self) {
        // Coarse on purpose: a payload may stay a sixteenth of its time longer.
        let pause = self.config.cache_age() / 16;
        self.wake(Timer::Age, self.now.saturating_add(pause));
    }

    pub(super) fn on_age_timer(&mut self) {
        let too_old = (self.now + BEFORE_START).saturating_sub(self.config.cache_age());
        while let Some((born, _, _)) = self.shelf.by_age.first()
            && *born <= too_old
        {
            self.shelf.drop_oldest();
        }
        let silent: Vec<I> = self
            .shelf
            .origins
            .iter()
            .filter(|(_, origin)| self.age(origin.born) >= self.config.origin_age())
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            self.forget_origin(id);
        }
        if !self.shelf.origins.is_empty() {
            self.age_soon();
        }
    }

    fn forget_origin(&mut self, id: I) {
        // First, while its edges are still known.
        self.report_tree_gone(id);
        self.shelf.remove(id);
        self.drop_missing(id);
    }
}
