//! Broadcasts, and what became of them.

use std::{ops::Add, time::Duration};

use rand::seq::IndexedRandom;

use super::{Stage, watch::Spread};
use crate::{Flood, Graph, Order, Subject, report::Row};

/// A broadcast that takes longer has stopped.
const SETTLED_MOST: Duration = Duration::from_secs(5);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(100);
/// The time of a membership cycle: that of a shuffle.
const CYCLE: Duration = Duration::from_secs(10);
/// What is on its way at the end gets this long.
const DRAIN: Duration = Duration::from_secs(3);
/// Between messages that neither wait for each other nor cause repairs.
const AT_ONCE: Duration = Duration::from_millis(5);
/// Reliability is what it was before if not more than this is missing, in percent points: as much as the
/// messages of a cycle differ when the protocol leaves to chance whom they reach.
const NEARLY: f64 = 0.5;

impl<M: Subject> Stage<'_, M> {
    pub(super) fn broadcast(&mut self, label: &str, messages: u32, every: Option<Duration>) {
        let first = self.world.observer.spreads.len();
        let start = self.world.now();
        // Before the first message, which may already set repairs going.
        let components = Graph::of(&self.world).components();
        for _ in 0..messages {
            let well = self.well();
            let Some(origin) = well.choose(&mut self.scenario_rng).copied() else {
                break;
            };
            // Numbers go on through all steps, for nodes remember those that they have seen.
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
                None if M::CONNECTED => self.settle(),
                None => self.run(AT_ONCE),
            }
        }
        self.run(DRAIN);
        let spreads = self.world.observer.spreads[first..].to_vec();
        let mut row = outcome(label, start, self.world.now(), &spreads);
        without_repairs(&components, &mut row);
        let mean = |row: &Row| row.values.get("reliability_mean").copied();
        if let Some(before) = self.rows.iter().find_map(mean) {
            let regained = regained(&spreads, start, before - NEARLY);
            row.set(
                "regain_cycles",
                regained.map_or(f64::INFINITY, |cycle| cycle as f64),
            );
        }
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
            let reached = self
                .world
                .observer
                .spreads
                .last()
                .map(|spread| spread.reached);
            self.run(LOOK);
            let still = reached
                == self
                    .world
                    .observer
                    .spreads
                    .last()
                    .map(|spread| spread.reached);
            let busy = |machine: &Flood<M>| machine.below().waits();
            // Deliveries alone may pause while a request to a dead peer is pending.
            let done = still && !self.world.alive().any(|(_, machine)| busy(machine));
            if done || self.world.now() - start >= SETTLED_MOST {
                return;
            }
        }
    }
}

/// What a message can reach that is sent before anything is repaired: its origin's component. The largest
/// one, and the mean over all origins.
fn without_repairs(components: &[usize], row: &mut Row) {
    let nodes = components.iter().sum::<usize>().max(1) as f64;
    let largest = components.first().copied().unwrap_or(0) as f64;
    row.set("component_largest", 100.0 * largest / nodes);
    let squares: f64 = components.iter().map(|size| (*size as f64).powi(2)).sum();
    row.set("component_mean", 100.0 * squares / (nodes * nodes));
}

fn share(spread: &Spread) -> f64 {
    100.0 * spread.reached as f64 / spread.audience.max(1) as f64
}

/// The first cycle, counted from 1, whose messages reach `wanted` percent on average.
fn regained(spreads: &[Spread], start: Duration, wanted: f64) -> Option<u64> {
    let cycle = |spread: &Spread| (spread.sent - start).as_secs() / CYCLE.as_secs();
    let mut cycles = spreads.chunk_by(|spread, next| cycle(spread) == cycle(next));
    let good = cycles.find(|all| {
        let sum: f64 = all.iter().map(share).sum();
        sum / all.len() as f64 >= wanted
    })?;
    good.first().map(|spread| cycle(spread) + 1)
}

fn outcome(label: &str, start: Duration, now: Duration, spreads: &[Spread]) -> Row {
    let mut row = Row::new(label, now);
    let shares: Vec<f64> = spreads.iter().map(share).collect();
    let count = shares.len().max(1) as f64;
    let complete = |spread: &&Spread| spread.reached >= spread.audience;
    row.set("reliability_mean", shares.iter().sum::<f64>() / count);
    row.set("reliability_first", shares.first().copied().unwrap_or(0.0));
    let least = shares.iter().copied().fold(100.0, f64::min);
    row.set("reliability_least", least);
    row.set("reliability_last", shares.last().copied().unwrap_or(0.0));
    // The last message that did not reach everybody says how long healing took.
    let wrong = spreads.iter().rposition(|spread| !complete(&spread));
    let healed = match wrong {
        None => 0.0,
        Some(at) => spreads
            .get(at + 1)
            .map_or(f64::INFINITY, |next| (next.sent - start).as_secs_f64()),
    };
    row.set("heal_s", healed);
    // A cycle that has begun counts whole, for the paper counts in cycles.
    row.set("heal_cycles", (healed / CYCLE.as_secs_f64()).ceil());
    row.set("heal_messages", wrong.map_or(0.0, |at| (at + 1) as f64));
    let first = spreads.first().filter(complete);
    let first = first.map_or(f64::INFINITY, |spread| {
        (spread.last - spread.sent).as_secs_f64()
    });
    row.set("first_complete_s", first);
    // A message that stopped half way has no last hop that could be compared.
    let full: Vec<&Spread> = spreads.iter().filter(complete).collect();
    let many = full.len().max(1) as f64;
    let hops = full.iter().map(|spread| f64::from(spread.hops));
    row.set("hops_last_mean", hops.clone().fold(0.0, Add::add) / many);
    row.set("hops_last_most", hops.fold(0.0, f64::max));
    let spans = full
        .iter()
        .map(|spread| (spread.last - spread.sent).as_secs_f64());
    row.set(
        "last_delivery_ms",
        1000.0 * spans.fold(0.0, Add::add) / many,
    );
    let reached: usize = spreads.iter().map(|spread| spread.reached).sum();
    let delays: f64 = spreads
        .iter()
        .map(|spread| spread.delays.as_secs_f64())
        .sum();
    row.set("delivery_ms", 1000.0 * delays / reached.max(1) as f64);
    row.series = shares;
    row
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Spread, regained, without_repairs};
    use crate::report::Row;

    #[test]
    fn what_is_lost_is_regained_in_the_first_cycle_that_is_good_on_average() {
        let sent = |second: u64, reached| Spread {
            sent: Duration::from_secs(100 + second),
            audience: 100,
            reached,
            ..Spread::default()
        };
        let all = [
            sent(0, 10),
            sent(5, 100),
            sent(10, 97),
            sent(20, 96),
            sent(25, 100),
        ];
        let cycles = |wanted| regained(&all, Duration::from_secs(100), wanted);
        assert_eq!([55.0, 97.0, 98.0].map(cycles), [Some(1), Some(2), Some(3)]);
        assert_eq!(cycles(99.0), None);
    }

    #[test]
    fn a_message_reaches_the_component_of_its_origin() {
        let mut row = Row::new("a", Duration::ZERO);
        without_repairs(&[6, 3, 1], &mut row);
        let value = |what| row.values[what];
        assert!((value("component_largest") - 60.0).abs() < 1e-9);
        // Six origins reach 6, three 3, and one only itself.
        assert!((value("component_mean") - 46.0).abs() < 1e-9);
    }
}
