//! Broadcasts, and what became of them.

use std::{ops::Add, time::Duration};

use rand::seq::IndexedRandom;

use super::{Stage, watch::Spread};
use crate::{Flood, Order, Subject, report::Row};

/// A broadcast that takes longer has stopped.
const SETTLED_MOST: Duration = Duration::from_secs(5);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(100);
/// The time of a membership cycle: that of a shuffle.
const CYCLE: f64 = 10.0;
/// What is on its way at the end gets this long.
const DRAIN: Duration = Duration::from_secs(3);

impl<M: Subject> Stage<'_, M> {
    pub(super) fn broadcast(&mut self, label: &str, messages: u32, every: Option<Duration>) {
        let first = self.world.observer.spreads.len();
        let start = self.world.now();
        for _ in 0..messages {
            let well = self.well();
            let Some(origin) = well.choose(&mut self.dice).copied() else {
                break;
            };
            let number = self.world.observer.spreads.len();
            self.world.observer.spreads.push(Spread {
                sent: self.world.now(),
                audience: well.len(),
                last: self.world.now(),
                ..Spread::default()
            });
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.world.command(origin, Order::Broadcast(number));
            match every {
                Some(pause) => self.run(pause),
                None => self.settle(),
            }
        }
        self.run(DRAIN);
        let spreads = self.world.observer.spreads[first..].to_vec();
        let mut row = outcome(label, start, self.world.now(), &spreads);
        let delay = |row: &Row| row.values.get("delivery_ms").copied();
        // How much slower than the first broadcasts of the case.
        let before = self.rows.iter().find_map(delay);
        if let (Some(before), Some(now)) = (before, delay(&row)) {
            row.set("delivery_over_before", now / before.max(1e-9));
        }
        self.rows.push(row);
    }

    /// Lets the broadcast and the repairs that it causes come to an end.
    fn settle(&mut self) {
        let start = self.world.now();
        loop {
            let reached = self.world.observer.spreads.last().map(|one| one.reached);
            self.run(LOOK);
            let still = reached == self.world.observer.spreads.last().map(|one| one.reached);
            let busy = |machine: &Flood<M>| machine.below().waits();
            let done = still && !self.world.alive().any(|(_, machine)| busy(machine));
            if done || self.world.now() - start >= SETTLED_MOST {
                return;
            }
        }
    }
}

fn outcome(label: &str, start: Duration, now: Duration, spreads: &[Spread]) -> Row {
    let mut row = Row::new(label, now);
    let shares: Vec<f64> = spreads
        .iter()
        .map(|one| 100.0 * one.reached as f64 / one.audience.max(1) as f64)
        .collect();
    let count = shares.len().max(1) as f64;
    let complete = |one: &&Spread| one.reached >= one.audience;
    row.set("reliability_mean", shares.iter().sum::<f64>() / count);
    row.set("reliability_first", shares.first().copied().unwrap_or(0.0));
    let least = shares.iter().copied().fold(100.0, f64::min);
    row.set("reliability_least", least);
    row.set("reliability_last", shares.last().copied().unwrap_or(0.0));
    // The last message that did not reach everybody says how long healing took.
    let wrong = spreads.iter().rposition(|one| !complete(&one));
    let healed = match wrong {
        None => 0.0,
        Some(at) => spreads
            .get(at + 1)
            .map_or(f64::INFINITY, |next| (next.sent - start).as_secs_f64()),
    };
    row.set("heal_s", healed);
    row.set("heal_cycles", (healed / CYCLE).ceil());
    row.set("heal_messages", wrong.map_or(0.0, |at| (at + 1) as f64));
    let full: Vec<&Spread> = spreads.iter().filter(complete).collect();
    let many = full.len().max(1) as f64;
    let hops = full.iter().map(|one| f64::from(one.hops));
    row.set("hops_last_mean", hops.clone().fold(0.0, Add::add) / many);
    row.set("hops_last_most", hops.fold(0.0, f64::max));
    let spans = full.iter().map(|one| (one.last - one.sent).as_secs_f64());
    row.set(
        "last_delivery_ms",
        1000.0 * spans.fold(0.0, Add::add) / many,
    );
    let reached: usize = spreads.iter().map(|one| one.reached).sum();
    let delays: f64 = spreads.iter().map(|one| one.delays.as_secs_f64()).sum();
    row.set("delivery_ms", 1000.0 * delays / reached.max(1) as f64);
    row.series = shares;
    row
}
