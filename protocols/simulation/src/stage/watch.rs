//! What is heard of the nodes while they run.

use std::{collections::BTreeMap, time::Duration};

use crate::{Flood, NodeId, Observer, Subject, Told};

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
    pub(super) spreads: Vec<Spread>,
    /// Neighbours that came, counted at both ends.
    pub(super) came: u64,
    /// Neighbours that went, and why.
    pub(super) went: BTreeMap<&'static str, u64>,
}

impl<M: Subject> Observer<Flood<M>> for Watch {
    fn on_event(&mut self, now: Duration, _: NodeId, event: &Told<M::Event>) {
        match event {
            Told::Delivered { number, hops } => {
                let spread = &mut self.spreads[*number as usize];
                spread.reached += 1;
                spread.hops = spread.hops.max(*hops);
                spread.last = now;
                spread.delays += now - spread.sent;
            }
            Told::Below(event) => {
                if M::came(event).is_some() {
                    self.came += 1;
                } else if let Some(why) = M::went(event) {
                    *self.went.entry(why).or_default() += 1;
                }
            }
        }
    }
}
