//! What adversaries have come to, and what they cost the others.

use super::Stage;
use crate::{Adversaries, Graph, Membership, NodeId, Subject, report::Row};

/// What the honest hold.
#[derive(Default)]
struct Held {
    nodes: usize,
    active: usize,
    bad_active: usize,
    passive: usize,
    bad_passive: usize,
    /// Without an honest neighbour.
    eclipsed: usize,
    messages: u64,
}

impl<M: Subject> Stage<'_, M> {
    pub(super) fn measure_adversaries(&mut self, row: &mut Row) {
        let Some(plan) = self.setup.adversaries else {
            return;
        };
        let held = self.held(&plan);
        let share = |bad: usize, all: usize| bad as f64 / all.max(1) as f64;
        // Of the living: they outlive a crash of the others.
        let alive = self.world.alive().count();
        let theirs = share(alive - held.nodes, alive);
        let active = share(held.bad_active, held.active);
        row.set("bad_active_percent", 100.0 * active);
        row.set(
            "bad_passive_percent",
            100.0 * share(held.bad_passive, held.passive),
        );
        // Where all of them are gone, a ratio to their share says nothing.
        if theirs > 0.0 {
            row.set("bad_active_over_share", active / theirs);
        }
        row.set("eclipsed", held.eclipsed as f64);
        let graph = Graph::of_some(&self.world, |id| !plan.contain(id));
        let largest = graph.components().first().copied().unwrap_or(0);
        row.set("honest_components", graph.components().len() as f64);
        row.set("cut_off", (held.nodes - largest) as f64);
        row.set(
            "honest_degree",
            share(held.active - held.bad_active, held.nodes),
        );
        let now = self.world.now();
        let span = (now - self.since.at).as_secs_f64() * held.nodes as f64;
        let sent = held.messages.saturating_sub(self.since.honest_messages);
        row.set("honest_messages_s", sent as f64 / span.max(1e-9));
    }

    pub(super) fn honest_messages(&self) -> u64 {
        let plan = self.setup.adversaries;
        plan.map_or(0, |plan| self.held(&plan).messages)
    }

    fn held(&self, plan: &Adversaries) -> Held {
        let mut held = Held::default();
        let mut peers: Vec<NodeId> = Vec::new();
        let bad = |peers: &[NodeId]| peers.iter().filter(|peer| plan.contain(**peer)).count();
        for (id, machine) in self.world.alive().filter(|(id, _)| !plan.contain(*id)) {
            held.nodes += 1;
            held.messages += self.world.load(id).messages;
            peers.clear();
            machine.neighbors(&mut peers);
            held.active += peers.len();
            held.bad_active += bad(&peers);
            // Without any neighbour there is no honest one either.
            held.eclipsed += usize::from(bad(&peers) == peers.len());
            peers.clear();
            machine.backups(&mut peers);
            held.passive += peers.len();
            held.bad_passive += bad(&peers);
        }
        held
    }
}
