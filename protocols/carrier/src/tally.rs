//! Counters that all connections of a protocol share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// One counter. Relaxed ordering: a reading is a statistic, it orders nothing.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
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

/// What happened to frames. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Cells>);

/// The counters of a [`Tally`].
#[derive(Debug, Default)]
pub struct Cells {
    /// Frames read and accepted.
    pub frames_in: Cell,
    /// Frames handed to the network completely.
    pub frames_out: Cell,
    /// Frames that broke the protocol and were refused.
    pub frames_refused: Cell,
    /// Frames of ours that were given up because a queue was full.
    pub frames_shed: Cell,
}

impl std::ops::Deref for Tally {
    type Target = Cells;

    fn deref(&self) -> &Cells {
        &self.0
    }
}
