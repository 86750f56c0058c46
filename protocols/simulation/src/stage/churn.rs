//! Nodes die and come back while others speak.

use std::{collections::VecDeque, time::Duration};

use rand::seq::{IndexedRandom, SliceRandom};

use super::{Stage, secs};
use crate::{Crash, NodeId, Step, Subject};

/// Until what was said last must have come.
const DRAIN: Duration = Duration::from_secs(15);
/// Through how many contacts a node comes back.
const CONTACTS: usize = 2;

impl<M: Subject> Stage<'_, M> {
    pub(super) fn churn(&mut self, step: &Step) {
        let Step::Churn {
            label,
            senders,
            cycles,
            seconds,
            percent,
            back,
            messages,
        } = step
        else {
            return;
        };
        self.begin_counting();
        let senders = self.speakers(*senders);
        let cycle = secs(*seconds);
        let mut turn = senders.iter().copied().cycle();
        let mut dead: VecDeque<NodeId> = (0..self.case.nodes)
            .filter(|id| self.world.machine(*id).is_none())
            .collect();
        for _ in 0..*cycles {
            let mut victims = self.some(*percent);
            // A dead sender's turn would be skipped, and the cycle would have fewer messages.
            victims.retain(|node| !senders.contains(node));
            victims.shuffle(&mut self.scenario_rng);
            let start = self.world.now();
            for (at, event) in timetable(cycle, victims, *messages) {
                self.run((start + at).saturating_sub(self.world.now()));
                match event {
                    Some(node) => self.replace(node, *back, &mut dead),
                    None => {
                        if let Some(node) = turn.next() {
                            self.say(node, true);
                        }
                    }
                }
            }
            self.run((start + cycle).saturating_sub(self.world.now()));
        }
        self.run(DRAIN);
        self.end_counting(label);
    }

    /// A node dies, and the one that has been dead for longest comes back.
    fn replace(&mut self, node: NodeId, back: bool, dead: &mut VecDeque<NodeId>) {
        self.remember(node);
        // It is not expected to get what it lacks in this incarnation, nor in a later one.
        self.world.observer.broadcasts.died(node);
        self.world.crash(node, Crash::Reset);
        dead.push_back(node);
        if !back {
            return;
        }
        if let Some(again) = dead.pop_front() {
            let known = std::mem::take(&mut self.memory[again as usize]);
            let alive: Vec<NodeId> = self.well();
            let contacts: Vec<NodeId> = alive
                .sample(&mut self.scenario_rng, CONTACTS)
                .copied()
                .collect();
            self.start(again, &contacts, &known);
        }
    }
}

/// Deaths (of whom) and messages, each evenly over the cycle.
fn timetable(
    cycle: Duration,
    victims: Vec<NodeId>,
    messages: u32,
) -> Vec<(Duration, Option<NodeId>)> {
    let deaths = u32::try_from(victims.len()).unwrap_or(u32::MAX);
    let dies = (0..deaths)
        .zip(victims)
        .map(|(at, node)| (cycle * at / deaths, Some(node)));
    // In the middle of their shares, so that none falls on the edge of a cycle.
    let speaks = (0..messages).map(|at| (cycle * (2 * at + 1) / (2 * messages), None));
    let mut all: Vec<(Duration, Option<NodeId>)> = dies.chain(speaks).collect();
    all.sort_unstable();
    all
}
