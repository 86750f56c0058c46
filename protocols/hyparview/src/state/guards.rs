//! What this node remembers of others in order to limit what they make it do (R11).

use super::{admission::Admission, quarantine::Quarantine};
use crate::{Config, Id};

/// Who is kept out, and how much each may still ask for.
#[derive(Debug)]
pub(super) struct Guards<I> {
    pub(super) quarantine: Quarantine<I>,
    pub(super) admission: Admission<I>,
}

impl<I: Id> Guards<I> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            quarantine: Quarantine::new(config),
            admission: Admission::new(config),
        }
    }
}
