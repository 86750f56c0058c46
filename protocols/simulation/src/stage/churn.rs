//! Nodes die and come back while others speak.

use std::{collections::VecDeque, time::Duration};

use rand::seq::{IndexedRandom, SliceRandom};

use super::Stage;
use crate::{Crash, NodeId, Subject};

/// Until what was said last must have come.
const DRAIN: Duration = Duration::from_secs(15);
/// Through how many contacts a node comes back.
const CONTACTS: usize = 2;

/// How the churn goes.
#[derive(Debug, Clone)]
pub(super) struct Course {
    pub(super) cycles: u32,
    pub(super) cycle: Duration,
    pub(super) percent: f64,
    pub(super) back: bool,
    pub(super) messages: u32,
}

impl<M: Subject> Stage<'_, M> {
    pub(super) fn churn(&mut self, label: &str, senders: &[NodeId], course: &Course) {
        self.grove_reset();
        let mut turn = senders.iter().copied().cycle();
        let mut dead: VecDeque<NodeId> = (0..self.case.nodes)
            .filter(|id| self.world.machine(*id).is_none())
            .collect();
        for _ in 0..course.cycles {
            let mut victims = self.some(course.percent);
            victims.retain(|node| !senders.contains(node));
            victims.shuffle(&mut self.dice);
            // Deaths and messages, each evenly over the cycle, half a step apart.
            let deaths = u32::try_from(victims.len()).unwrap_or(u32::MAX);
            let mut events: Vec<(Duration, Option<NodeId>)> = Vec::new();
            for (at, node) in (0..deaths).zip(victims) {
                events.push((course.cycle * at / deaths, Some(node)));
            }
            for at in 0..course.messages {
                let middle = course.cycle * (2 * at + 1) / (2 * course.messages);
                events.push((middle, None));
            }
            events.sort_unstable();
            let start = self.world.now();
            for (at, event) in events {
                let wait = (start + at).saturating_sub(self.world.now());
                self.run(wait);
                match event {
                    Some(node) => self.replace(node, course.back, &mut dead),
                    None => {
                        if let Some(node) = turn.next() {
                            self.say(node, true);
                        }
                    }
                }
            }
            let wait = (start + course.cycle).saturating_sub(self.world.now());
            self.run(wait);
        }
        self.run(DRAIN);
        self.grove_report(label);
    }

    /// A node dies, and the one that has been dead for longest comes back.
    fn replace(&mut self, node: NodeId, back: bool, dead: &mut VecDeque<NodeId>) {
        self.remember(node);
        self.world.observer.grove.died(node);
        self.world.crash(node, Crash::Reset);
        dead.push_back(node);
        if !back {
            return;
        }
        if let Some(again) = dead.pop_front() {
            let known = std::mem::take(&mut self.memory[again as usize]);
            let alive: Vec<NodeId> = self.well();
            let contacts: Vec<NodeId> = alive.sample(&mut self.dice, CONTACTS).copied().collect();
            self.start(again, &contacts, &known);
        }
    }
}
