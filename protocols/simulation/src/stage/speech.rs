//! Nodes speak over the tree, and what they said is followed.

use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};

use super::{
    Stage,
    broadcast_stats::{BroadcastStats, MessageStats},
    millis, secs,
};
use crate::{NodeId, Order, Step, Subject, Wish, network::mix};

/// Bytes of a message: a node's status.
const BYTES: usize = 200;

impl<M: Subject> Stage<'_, M> {
    /// Those that will speak: the first of the living in an order that is the same in every step, so that who
    /// spoke before the others died speaks after it; all for 0.
    pub(super) fn speakers(&self, count: usize) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = (0..self.case.nodes).collect();
        // Made anew each time, so that every step finds the same order.
        all.shuffle(&mut SmallRng::seed_from_u64(mix(self.seed ^ 3)));
        let well = self.well();
        all.retain(|node| well.binary_search(node).is_ok());
        // Truncated after the dead were taken out, so that as many speak as were asked for.
        if count > 0 {
            all.truncate(count);
        }
        all
    }

    /// All are told that who speaks first is the best connected.
    pub(super) fn name_root(&mut self) {
        if let Some(root) = self.speakers(1).first() {
            self.wish_all(&Wish::SetRoot(*root));
        }
    }

    pub(super) fn wish_all(&mut self, wish: &Wish<()>) {
        for node in self.well() {
            self.wish(node, wish);
        }
    }

    fn wish(&mut self, node: NodeId, wish: &Wish<()>) {
        if let Some(command) = M::wish(wish.clone()) {
            self.world.command(node, Order::Below(command));
        }
    }

    /// One node speaks; `measured`, what becomes of that is noted.
    pub(super) fn say(&mut self, node: NodeId, measured: bool) {
        let machine = self.world.machine(node);
        let Some(id) = machine.and_then(|machine| Some(machine.below().tree()?.next_id())) else {
            return;
        };
        if measured {
            let others = self.well().into_iter().filter(|other| *other != node);
            let stats = MessageStats::new(self.world.now(), others);
            self.world.observer.broadcasts.messages.insert(id, stats);
        }
        self.wish(node, &Wish::Broadcast(BYTES));
    }

    /// Counting begins anew.
    pub(super) fn begin_counting(&mut self) {
        self.world.observer.broadcasts = BroadcastStats::since(self.world.now());
    }

    /// Counting ends.
    pub(super) fn end_counting(&mut self, label: &str) {
        let (now, nodes) = (self.world.now(), self.world.alive().count());
        let behind = self.behind();
        let mut row = self.world.observer.broadcasts.row(label, now, nodes);
        row.set("behind", behind as f64);
        self.rows.push(row);
        self.check_trees();
        self.begin_counting();
    }

    /// How many nodes, among them those that came later, do not have the newest message of all.
    fn behind(&self) -> usize {
        let messages = self.world.observer.broadcasts.messages.iter();
        let Some((newest, _)) = messages.max_by_key(|(_, message)| message.sent) else {
            return 0;
        };
        let alive = self.world.alive();
        alive
            .filter(|(_, machine)| {
                let tree = machine.below().tree();
                tree.is_some_and(|tree| tree.is_news(newest))
            })
            .count()
    }

    /// What must always hold of the trees; looked at now and then, for it takes its time.
    fn check_trees(&mut self) {
        let broken: Vec<String> = self
            .world
            .alive()
            .filter_map(|(id, machine)| {
                let broken = machine.below().tree()?.check().err()?;
                Some(format!("tree: {id}: {broken}"))
            })
            .collect();
        for violation in broken {
            self.complain(&violation);
        }
    }

    pub(super) fn speak(&mut self, step: &Step) {
        let Step::Speak {
            label,
            senders,
            warm_up,
            rounds,
            every_ms,
            drain_s,
        } = step
        else {
            return;
        };
        let senders = self.speakers(*senders);
        for round in 0..warm_up + rounds {
            // The first messages are flooded: what comes twice shapes the tree. Their cost is not its own.
            if round == *warm_up {
                self.begin_counting();
            }
            for node in &senders {
                self.say(*node, round >= *warm_up);
                self.run(millis(*every_ms));
            }
        }
        self.run(secs(*drain_s));
        if let Some(label) = label {
            self.end_counting(label);
        }
    }
}
