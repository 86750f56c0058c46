//! What this node knows of its component, and how it looks for others (R7).

use std::time::Duration;

use super::{beacon::Beacon, probe::Probe};
use crate::{Config, Id};

/// The tag of the component, and the probe under way.
#[derive(Debug)]
pub(super) struct Healing<I> {
    pub(super) beacon: Beacon<I>,
    /// The probe without an answer.
    pub(super) probe: Option<Probe<I>>,
    /// Counts probes, to take turns between kinds of targets.
    pub(super) probes: u64,
    /// When the next partition may be healed with a high-priority request.
    pub(super) heal_after: Duration,
}

impl<I: Id> Healing<I> {
    pub(super) fn new(me: I, incarnation: u64, config: &Config) -> Self {
        Self {
            beacon: Beacon::new(me, incarnation, config.tag_timeout()),
            probe: None,
            probes: 0,
            heal_after: Duration::ZERO,
        }
    }

    /// Whether `peer` has yet to answer a probe.
    pub(super) fn asks(&self, peer: I) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.peer == peer)
    }
}
