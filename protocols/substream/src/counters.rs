//! Counters that all connections of a protocol share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// One counter, from 0 at the start. Clones count together. Relaxed ordering: a reading is a statistic, it
/// orders nothing.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happens to frames, live. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Frames read and accepted.
    pub frames_in: Counter,
    /// Frames handed to the network completely.
    pub frames_out: Counter,
    /// Frames that broke the protocol and were refused.
    pub frames_refused: Counter,
    /// Frames of ours that were given up because a queue was full.
    pub frames_shed: Counter,
}
