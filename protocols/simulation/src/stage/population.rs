//! Nodes come, go, and come back.

use std::time::Duration;

use rand::{RngExt, seq::SliceRandom};

use super::Stage;
use crate::{Crash, Flood, Membership, NodeId, Order, Subject};

/// How many peers an address book holds.
const BOOK_MAX: usize = 32;
/// Through how many contacts a node joins.
const CONTACTS: usize = 2;

impl<M: Subject> Stage<'_, M> {
    pub(super) fn join(&mut self, every: Duration, one_contact: bool) {
        for id in 0..self.case.nodes {
            if id > 0 {
                self.run(every);
            }
            let contacts = match id {
                0 => Vec::new(),
                _ if one_contact => vec![0],
                _ => self.contacts(id),
            };
            self.start(id, &contacts, &[]);
        }
    }

    /// Nodes that have never been there join.
    pub(super) fn arrive(&mut self, percent: f64, every: Duration, one_contact: bool) {
        for _ in 0..self.some(percent).len() {
            let contacts = if one_contact {
                vec![0]
            } else {
                let mut well = self.well();
                well.shuffle(&mut self.scenario_rng);
                well.truncate(CONTACTS);
                well
            };
            // Everything that is kept per node has a place for it before it starts.
            self.sides.push(0);
            self.memory.push(Vec::new());
            let id = NodeId::try_from(self.world.len()).unwrap_or(NodeId::MAX);
            self.start(id, &contacts, &[]);
            self.run(every);
        }
    }

    pub(super) fn renew(&mut self, percent: f64, times: u32, pause: Duration) {
        for _ in 0..times {
            // Of those that are left, as many as went.
            let share = 100.0 * percent / (100.0 - percent);
            // They never come back, so nothing of theirs is remembered.
            for id in self.some(percent) {
                self.world.crash(id, Crash::Reset);
            }
            self.arrive(share, Duration::ZERO, false);
            self.run(pause);
        }
    }

    /// Random ones of those that came before. Nobody is given an adversary as a contact.
    fn contacts(&mut self, id: NodeId) -> Vec<NodeId> {
        let mut contacts: Vec<NodeId> = (0..CONTACTS)
            .map(|_| self.scenario_rng.random_range(0..id))
            .map(|contact| {
                // Node 0 is no adversary, and it is there from the start.
                if self.ailing.contains(&contact) {
                    0
                } else {
                    contact
                }
            })
            .collect();
        contacts.sort_unstable();
        contacts.dedup();
        contacts
    }

    pub(super) fn start(&mut self, id: NodeId, contacts: &[NodeId], known: &[NodeId]) {
        let incarnation = self.world.incarnation(id) + 1;
        let machine = M::create(id, self.setup, incarnation);
        self.world
            .start(id, Flood::new(machine, self.case.catch_up));
        let commands = M::recall(known).into_iter().chain(M::enter(contacts));
        for command in commands {
            self.world.command(id, Order::Below(command));
        }
    }

    pub(super) fn crash(&mut self, percent: f64, how: Crash) {
        for id in self.some(percent) {
            // Before: nobody can be asked afterwards.
            self.remember(id);
            self.world.crash(id, how);
        }
    }

    pub(super) fn leave(&mut self, percent: f64) {
        let leaving = self.some(percent);
        for id in &leaving {
            self.remember(*id);
            if let Some(leave) = M::leave() {
                self.world.command(*id, Order::Below(leave));
            }
        }
        // Time to say so.
        self.run(Duration::from_secs(1));
        for id in leaving {
            self.world.crash(id, Crash::Reset);
        }
    }

    /// What the node would have written to its address book.
    pub(super) fn remember(&mut self, id: NodeId) {
        let mut known = Vec::new();
        if let Some(machine) = self.world.machine(id) {
            machine.neighbors(&mut known);
            machine.backups(&mut known);
        }
        // Neighbours come first, so they are what is kept.
        known.truncate(BOOK_MAX);
        self.memory[id as usize] = known;
    }

    pub(super) fn bring_back(&mut self, every: Duration) {
        let mut gone: Vec<NodeId> = (0..self.case.nodes)
            .filter(|id| self.world.machine(*id).is_none())
            .collect();
        // In the order of ids, those that joined first would always be first again.
        gone.shuffle(&mut self.scenario_rng);
        for id in gone {
            let known = std::mem::take(&mut self.memory[id as usize]);
            let mut contacts = known.clone();
            contacts.shuffle(&mut self.scenario_rng);
            contacts.truncate(CONTACTS);
            self.start(id, &contacts, &known);
            self.run(every);
        }
    }

    pub(super) fn flap(&mut self, percent: f64, times: u32, pause: Duration) {
        let restless = self.some(percent);
        for _ in 0..times {
            for id in &restless {
                self.remember(*id);
                self.world.crash(*id, Crash::Reset);
            }
            self.run(pause);
            self.bring_back(Duration::ZERO);
            self.run(pause);
        }
    }
}
