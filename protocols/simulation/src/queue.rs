//! What is to happen, in order of time.
//!
//! A calendar: one bucket per millisecond for the next four seconds, where almost everything falls,
//! and one per four seconds beyond. Things of the same instant happen in the order in which they were
//! asked for, so that a run depends on its seed alone.

use std::collections::BTreeMap;

/// A bucket spans 2^20 ns, about a millisecond.
const BUCKET_BITS: u32 = 20;
/// There are 2^12 near buckets.
const NEAR_BITS: u32 = 12;
const NEAR: u64 = 1 << NEAR_BITS;

#[derive(Debug, Clone, Copy)]
struct Key {
    at: u64,
    sequence: u64,
    slot: u32,
}

impl Key {
    fn order(self) -> (u64, u64) {
        (self.at, self.sequence)
    }
}

/// The calendar. Times are nanoseconds.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    sequence: u64,
    /// Number of the bucket that is being emptied.
    bucket: u64,
    /// What is left of it, the latest first.
    current: Vec<Key>,
    near: Vec<Vec<Key>>,
    near_len: usize,
    far: BTreeMap<u64, Vec<Key>>,
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            sequence: 0,
            bucket: 0,
            current: Vec::new(),
            near: (0..NEAR).map(|_| Vec::new()).collect(),
            near_len: 0,
            far: BTreeMap::new(),
            items: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How much is to happen.
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// Adds what happens at `at`, which is not before what was taken last.
    pub(crate) fn push(&mut self, at: u64, item: T) {
        let slot = self.store(item);
        self.sequence += 1;
        let key = Key {
            at,
            sequence: self.sequence,
            slot,
        };
        let bucket = at >> BUCKET_BITS;
        // What is left of that bucket is sorted already, so this takes its place in it.
        if bucket <= self.bucket {
            let place = self
                .current
                .partition_point(|later| later.order() > key.order());
            self.current.insert(place, key);
        } else if bucket < self.bucket + NEAR {
            self.near_len += 1;
            self.near[index(bucket)].push(key);
        } else {
            self.far.entry(bucket >> NEAR_BITS).or_default().push(key);
        }
    }

    /// Takes the next thing, if it happens at `until` or before.
    pub(crate) fn pop(&mut self, until: u64) -> Option<(u64, T)> {
        while self.current.is_empty() {
            if !self.advance(until >> BUCKET_BITS) {
                return None;
            }
        }
        let key = self.current.pop_if(|key| key.at <= until)?;
        let item = self.items[key.slot as usize].take()?;
        self.free.push(key.slot);
        Some((key.at, item))
    }

    fn store(&mut self, item: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.items[slot as usize] = Some(item);
            return slot;
        }
        self.items.push(Some(item));
        u32::try_from(self.items.len() - 1).expect("fewer than 2^32 things are to happen")
    }

    /// Turns to the next bucket, but to none after `last`. Returns whether there was one.
    fn advance(&mut self, last: u64) -> bool {
        if self.bucket >= last {
            return false;
        }
        self.bucket = if self.near_len > 0 {
            self.bucket + 1
        } else {
            // Nothing is near: go on where the next far bucket begins.
            let far = self.far.keys().next().map(|epoch| epoch << NEAR_BITS);
            far.unwrap_or(last).clamp(self.bucket + 1, last)
        };
        self.bring_near();
        let bucket = &mut self.near[index(self.bucket)];
        self.near_len -= bucket.len();
        // Swapped, so that the emptied list keeps its room for the next time round.
        std::mem::swap(&mut self.current, bucket);
        self.current
            .sort_unstable_by_key(|key| std::cmp::Reverse(key.order()));
        true
    }

    /// Spreads the far buckets that are near now.
    fn bring_near(&mut self) {
        let epoch = self.bucket >> NEAR_BITS;
        while let Some(entry) = self.far.first_entry()
            && *entry.key() <= epoch
        {
            // They are sorted when their bucket is emptied, not here.
            for key in entry.remove() {
                self.near_len += 1;
                self.near[index(key.at >> BUCKET_BITS)].push(key);
            }
        }
    }
}

fn index(bucket: u64) -> usize {
    // Used in turn: four seconds on the same place stands for another time.
    (bucket & (NEAR - 1)) as usize
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    use super::Queue;

    #[test]
    fn things_happen_in_order_of_time_and_then_of_asking() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut queue = Queue::new();
        let mut expected = Vec::new();
        let (mut now, mut number) = (0u64, 0u64);
        let mut taken = Vec::new();
        for _ in 0..3000 {
            for _ in 0..rng.random_range(0..4) {
                // From this very instant to beyond the near buckets.
                let after = match rng.random_range(0..4) {
                    0 => 0,
                    1 => rng.random_range(0..2_000_000),
                    2 => rng.random_range(0..4_000_000_000),
                    _ => rng.random_range(0..400_000_000_000),
                };
                queue.push(now + after, number);
                expected.push((now + after, number));
                number += 1;
            }
            let until = now + rng.random_range(0..500_000_000);
            while let Some((at, item)) = queue.pop(until) {
                assert!(at >= now);
                now = at;
                taken.push((at, item));
            }
            now = until;
        }
        while let Some(next) = queue.pop(u64::MAX >> 1) {
            taken.push(next);
        }
        expected.sort_unstable();
        assert_eq!(taken, expected);
        assert_eq!(queue.len(), 0);
    }
}
