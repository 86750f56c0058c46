//! What is kept of another node.

use std::time::Duration;

use super::record::NodeRecord;
use crate::{
    api::Presence,
    identity::{NodeId, Run},
};

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) record: NodeRecord,
    /// Greatest beat heard in the record's incarnation.
    pub(super) beat: u64,
    /// When that beat reached us...
    pub(super) heard: Duration,
    /// ...and how old it was then, if it was not fresh.
    pub(super) stale: Duration,
    /// Our revision at which the record last changed.
    pub(super) changed: u64,
    /// Our revision at which the beat last grew.
    pub(super) pulsed: u64,
    /// It was a neighbour whose connection broke, and nothing newer was heard of it since.
    pub(super) is_lost: bool,
    /// The neighbour, and its run, that brought the record: no need to send it back.
    pub(super) from: Option<(NodeId, Option<Run>)>,
}

impl Entry {
    /// How long the node has not been heard of.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard) + self.stale
    }

    /// Neither left nor evicted.
    pub(super) fn is_member(&self) -> bool {
        !self.record.left && !self.record.evicted
    }

    /// Counted as present: a member heard of recently.
    pub(super) fn is_alive(&self, now: Duration, alive_after: Duration) -> bool {
        self.presence(now, alive_after) == Presence::Here
    }

    pub(super) fn presence(&self, now: Duration, alive_after: Duration) -> Presence {
        if self.record.left {
            Presence::Left
        } else if self.record.evicted {
            Presence::Evicted
        } else if self.record.stopped {
            // Its own word comes before its silence, which follows from it.
            Presence::Stopped
        } else if self.is_lost || self.age(now) >= alive_after {
            Presence::Silent
        } else {
            Presence::Here
        }
    }

    /// A new beat, `stale` old on arrival.
    pub(super) fn feel(&mut self, beat: u64, now: Duration, stale: Duration, revision: u64) {
        // A newer beat by a slow way must not make the node look older than before.
        self.stale = stale.min(self.age(now));
        self.heard = now;
        self.is_lost = false;
        self.beat = beat;
        self.pulsed = revision;
    }

    pub(super) fn is_from(&self, peer: &NodeId, run: Option<Run>) -> bool {
        self.from
            .as_ref()
            .is_some_and(|(from, of)| from == peer && *of == run)
    }
}
