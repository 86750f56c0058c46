//! The graph, the traffic and the changes, as numbers.

use std::{collections::BTreeMap, time::Duration};

use rand::{SeedableRng, rngs::SmallRng};

use super::Stage;
use crate::{
    Graph, Membership, NodeId, Subject,
    report::{Row, Verdict},
};

/// Nodes from which shortest paths are measured; from all if there are fewer.
const SOURCES: usize = 200;
/// With as many neighbours a network is compared with no random graph.
const RULER_DEGREE: u32 = 16;

/// What the counters showed at some time.
#[derive(Debug, Clone, Default)]
pub(super) struct Mark {
    pub(super) at: Duration,
    /// Of those that are no adversaries.
    pub(super) honest_messages: u64,
    messages: u64,
    bytes: u64,
    dials: u64,
    came: u64,
    went: BTreeMap<&'static str, u64>,
}

/// The share of nodes that have all the neighbours they may have.
pub(super) fn full(graph: &Graph, capacity: usize) -> f64 {
    // A node cannot have more neighbours than there are others.
    let most = capacity.min(graph.len().saturating_sub(1));
    let full: usize = graph.degrees().iter().skip(most).sum();
    full as f64 / graph.len().max(1) as f64
}

/// Links between sides as a share of those that a random graph has.
pub(super) fn crossing_over_random(graph: &Graph, side: impl Fn(NodeId) -> u8) -> f64 {
    let mut sizes: BTreeMap<u8, f64> = BTreeMap::new();
    let names = (0..).take(graph.len()).map(|node| graph.name(node));
    for name in names {
        *sizes.entry(side(name)).or_default() += 1.0;
    }
    let nodes = graph.len() as f64;
    let arcs: usize = graph.degrees().iter().enumerate().map(|(d, n)| d * n).sum();
    let apart: f64 = sizes.values().map(|size| size * (nodes - size)).sum();
    let expected = arcs as f64 * apart / (nodes * (nodes - 1.0)).max(1.0);
    graph.across(side) as f64 / expected.max(1e-9)
}

impl<M: Subject> Stage<'_, M> {
    pub(super) fn reset(&mut self) {
        let totals = self.world.totals();
        self.since = Mark {
            at: self.world.now(),
            honest_messages: self.honest_messages(),
            messages: totals.messages,
            bytes: totals.bytes,
            dials: totals.dials,
            came: self.world.observer.came,
            went: self.world.observer.went.clone(),
        };
        self.world.forget_peaks();
    }

    pub(super) fn measure(&mut self, label: &str, rest: bool) {
        // Where nobody has a connection, nothing is ever at rest: views are of one side only.
        if rest && M::CONNECTED {
            self.at_rest();
        }
        // Made after the rest, in which links may have changed.
        let graph = Graph::of(&self.world);
        let mut row = Row::new(label, self.world.now());
        self.measure_graph(&graph, &mut row);
        self.measure_lengths(&graph, &mut row);
        self.measure_traffic(graph.len(), &mut row);
        self.measure_adversaries(&mut row);
        // A view that others need not share is always full; who is known to how many says more.
        row.degrees = if graph.asymmetric() > graph.len() {
            graph.in_degrees()
        } else {
            graph.degrees()
        };
        self.rows.push(row);
    }

    fn measure_graph(&self, graph: &Graph, row: &mut Row) {
        let nodes = graph.len() as f64;
        let capacity = M::capacity(self.setup);
        row.set("nodes", nodes);
        row.set("full_percent", 100.0 * full(graph, capacity));
        row.set(
            "isolated",
            graph.degrees().first().copied().unwrap_or(0) as f64,
        );
        let components = graph.components();
        let largest = components.first().copied().unwrap_or(0);
        row.set("components", components.len() as f64);
        row.set("outside", nodes - largest as f64);
        row.set("asymmetric", graph.asymmetric() as f64);
        let ails = |id: &NodeId| self.ailing.contains(id);
        // The links among those in trouble are nobody's fault.
        let held: usize = (0..)
            .take(graph.len())
            .filter(|node| !ails(&graph.name(*node)))
            .map(|node| {
                let peers = graph.peers(node).iter().map(|peer| graph.name(*peer));
                peers.filter(ails).count()
            })
            .sum();
        row.set("links_to_ailing", held as f64);
        row.set("dangling", graph.dangling() as f64);
        let across = crossing_over_random(graph, |id| self.sides[id as usize]);
        row.set("crossing_over_random", across);
        // The sample of sources is the same in every run.
        let mut sample_rng = SmallRng::seed_from_u64(1);
        let paths = graph.paths(SOURCES, &mut sample_rng);
        row.set("path_mean", paths.mean);
        row.set("path_longest", f64::from(paths.longest));
        let clustering = graph.clustering();
        row.set("clustering", clustering);
        let degree = u32::try_from(capacity).unwrap_or(u32::MAX);
        let size = u32::try_from(graph.len()).unwrap_or(u32::MAX);
        // A random graph is a ruler only where paths can be long: not with so many neighbours, or among so few
        // nodes, that nearly everybody is one link or two away.
        if degree < RULER_DEGREE && size > 2 * degree {
            let random = Graph::random_regular(size, degree, &mut sample_rng);
            let best = random.paths(SOURCES, &mut sample_rng);
            row.set("random_path_mean", best.mean);
            row.set("random_path_longest", f64::from(best.longest));
            row.set("path_over_random", paths.mean / best.mean.max(1e-9));
            // A random graph has (d-1)^3 / 6 triangles on average, whatever its size; one sample of it
            // would be a poor ruler.
            let expected = f64::from(degree - 1).powi(2) / (f64::from(degree) * nodes);
            row.set("random_clustering", expected);
            row.set("clustering_over_random", clustering / expected);
        }
    }

    fn measure_traffic(&self, nodes: usize, row: &mut Row) {
        let (totals, since) = (self.world.totals(), &self.since);
        let span = (self.world.now() - since.at).as_secs_f64() * nodes as f64;
        // No time may have passed since the reset.
        let rate = |now: u64, then: u64| (now - then) as f64 / span.max(1e-9);
        row.set("messages_per_node_s", rate(totals.messages, since.messages));
        row.set("bytes_per_node_s", rate(totals.bytes, since.bytes));
        row.set("dials_per_node_s", rate(totals.dials, since.dials));
        let came = self.world.observer.came - since.came;
        row.set("links_made_per_node", came as f64 / nodes.max(1) as f64);
        let before = |why| since.went.get(why).copied().unwrap_or(0);
        for why in M::ENDINGS {
            let count = self.world.observer.went.get(why).copied().unwrap_or(0);
            row.set(&format!("gone_{why}"), (count - before(why)) as f64);
        }
        let silent = row.values.get("gone_silent").copied().unwrap_or(0.0);
        row.set("silent_per_node", silent / nodes.max(1) as f64);
        row.set("came_peak_s", f64::from(self.world.observer.came_peak));
        let ids = || self.world.alive().map(|(id, _)| id);
        let peak = ids().map(|id| self.world.load(id).peak).max();
        row.set("peak_messages_s", f64::from(peak.unwrap_or(0)));
        let entries = self.world.alive().map(|(_, node)| node.below().entries());
        row.set("entries_most", entries.max().unwrap_or(0) as f64);
        let mut backups = Vec::new();
        for (_, node) in self.world.alive() {
            node.backups(&mut backups);
        }
        let gone = backups
            .iter()
            .filter(|id| self.world.machine(**id).is_none());
        let gone = gone.count() as f64 / backups.len().max(1) as f64;
        row.set("backups_mean", backups.len() as f64 / nodes.max(1) as f64);
        row.set("backups_gone_percent", 100.0 * gone);
        let most = ids().map(|id| self.world.connections(id)).max();
        row.set("connections_most", most.unwrap_or(0) as f64);
    }

    pub(super) fn rows_judged(&self) -> Vec<Verdict> {
        let judge = |bound: &crate::scenario::Bound| {
            let row = self.rows.iter().find(|row| row.label == bound.at);
            let value = row.and_then(|row| row.values.get(&bound.what)).copied();
            Verdict::of(bound, value)
        };
        self.case.bounds.iter().map(judge).collect()
    }
}
