//! What was done, counted for the metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As meant.
    Done,
    /// With an error; it comes up again.
    Failed,
}

impl Outcome {
    /// As a metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// All counters at one moment. Each counts from the start of the data plane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountersSnapshot {
    /// Steps by name and outcome.
    pub steps: BTreeMap<(&'static str, Outcome), u64>,
    /// Requests of peers that were refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Rows received by catch-ups.
    pub caught_up_rows: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Times that a peer's clock was found too far ahead.
    pub mistrusted: u64,
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<CountersSnapshot>);

impl Counters {
    pub(crate) fn step(&self, name: &'static str, outcome: Outcome) {
        *self.lock().steps.entry((name, outcome)).or_default() += 1;
    }

    pub(crate) fn refused(&self, code: &str) {
        *self.lock().refused.entry(code.to_owned()).or_default() += 1;
    }

    pub(crate) fn caught_up(&self, rows: u64) {
        self.lock().caught_up_rows += rows;
    }

    pub(crate) fn mistrusted(&self, peers: usize) {
        self.lock().mistrusted += peers as u64;
    }

    pub(crate) fn checkpoint(&self) {
        self.lock().checkpoints += 1;
    }

    pub(crate) fn snapshot(&self) -> CountersSnapshot {
        self.lock().clone()
    }

    /// A count is worth reading even after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, CountersSnapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
