//! What is heard of the nodes while they run.

use std::{collections::BTreeMap, time::Duration};

use super::broadcast_stats::BroadcastStats;
use crate::{Adversaries, Flood, NodeId, Observer, Subject, Told};

/// How far one broadcast has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spread {
    pub(super) sent: Duration,
    /// How many could be reached when it was sent, its origin included.
    pub(super) audience: usize,
    pub(super) reached: usize,
    pub(super) hops: u16,
    pub(super) last: Duration,
    /// Sum of the times it took to each node.
    pub(super) delays: Duration,
}

/// Counters of a run.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What these hear does not count.
    adversaries: Option<Adversaries>,
    pub(super) spreads: Vec<Spread>,
    /// Broadcasts over the tree.
    pub(super) broadcasts: BroadcastStats,
    /// Neighbours that came, counted at both ends.
    pub(super) came: u64,
    /// Most neighbours that came to one node within one second.
    pub(super) came_peak: u32,
    this_second: Vec<(u64, u32)>,
    /// Neighbours that went, and why.
    pub(super) went: BTreeMap<&'static str, u64>,
}

impl Watch {
    pub(super) fn of(adversaries: Option<Adversaries>) -> Self {
        Self {
            adversaries,
            ..Self::default()
        }
    }

    fn count(&mut self, now: Duration, node: NodeId) {
        let at = node as usize;
        if self.this_second.len() <= at {
            self.this_second.resize(at + 1, (0, 0));
        }
        let (second, count) = &mut self.this_second[at];
        if *second != now.as_secs() {
            (*second, *count) = (now.as_secs(), 0);
        }
        *count += 1;
        self.came_peak = self.came_peak.max(*count);
    }
}

impl<M: Subject> Observer<Flood<M>> for Watch {
    fn on_event(&mut self, now: Duration, node: NodeId, event: &Told<M::Event>) {
        if self.adversaries.is_some_and(|plan| plan.contain(node)) {
            return;
        }
        match event {
            Told::Delivered { number, hops } => {
                let spread = &mut self.spreads[*number as usize];
                spread.reached += 1;
                spread.hops = spread.hops.max(*hops);
                // Events come in order of time: the last one that is heard is the last delivery.
                spread.last = now;
                spread.delays += now - spread.sent;
            }
            Told::Below(event) => {
                if let Some(news) = M::news(event) {
                    self.broadcasts.hear(now, node, news);
                } else if M::came(event).is_some() {
                    self.came += 1;
                    self.count(now, node);
                } else if let Some(why) = M::went(event) {
                    *self.went.entry(why).or_default() += 1;
                }
            }
        }
    }
}
