//! What is measured, and how.

use std::collections::BTreeMap;

use rand::{SeedableRng, rngs::SmallRng};
use simulation::{Graph, NodeId};

use super::{Counts, Heard};

/// Measures by name, in the order in which they were taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measures(Vec<(String, f64)>);

impl Measures {
    pub(super) fn set(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    pub(super) fn get(&self, name: &str) -> Option<f64> {
        let mut all = self.0.iter();
        all.find(|(one, _)| one == name).map(|(_, value)| *value)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The shape of the overlay.
    pub(super) fn shape(&mut self, when: &str, graph: &Graph, capacity: usize) {
        let links: usize = graph.degrees().iter().enumerate().map(|(d, n)| d * n).sum();
        let mut rng = SmallRng::seed_from_u64(1);
        let paths = graph.paths(graph.len(), &mut rng);
        self.set(
            format!("{when}: neighbours per node"),
            links as f64 / graph.len().max(1) as f64,
        );
        self.set(
            format!("{when}: full views, %"),
            100.0 * full(graph, capacity),
        );
        self.set(
            format!("{when}: one-sided links"),
            graph.asymmetric() as f64,
        );
        self.set(
            format!("{when}: components"),
            graph.components().len() as f64,
        );
        self.set(format!("{when}: clustering"), graph.clustering());
        self.set(format!("{when}: mean path"), paths.mean);
    }

    /// What the links of a node went through.
    pub(super) fn links(&mut self, when: &str, spent: &Spent) {
        self.set(
            format!("{when}: links made per node"),
            spent.per_node(|c| c.ups),
        );
        for reason in ["evicted", "dropped", "closed", "switched"] {
            self.set(
                format!("{when}: links {reason} per node"),
                spent.per_node(|c| c.downs.get(reason).copied().unwrap_or(0)),
            );
        }
    }

    /// What became of broadcasts of which each was meant for `audience` others, and what they cost.
    pub(super) fn broadcasts(
        &mut self,
        when: &str,
        heard: &[Vec<Heard>],
        audience: usize,
        spent: &Spent,
    ) {
        let count = heard.len().max(1) as f64;
        let reached: usize = heard.iter().map(Vec::len).sum();
        let last: u32 = heard
            .iter()
            .map(|all| u32::from(all.iter().map(|one| one.hops).max().unwrap_or(0)))
            .sum();
        self.set(
            format!("{when}: reached, %"),
            100.0 * reached as f64 / (count * audience.max(1) as f64),
        );
        let payloads = spent.sum(|c| c.payloads) as f64;
        self.set(
            format!("{when}: redundancy (RMR)"),
            payloads / reached.max(1) as f64 - 1.0,
        );
        self.set(format!("{when}: hops to the last"), f64::from(last) / count);
    }
}

/// The share of nodes with all neighbours that they may have.
pub(super) fn full(graph: &Graph, capacity: usize) -> f64 {
    let most = capacity.min(graph.len().saturating_sub(1));
    let full = graph.degrees().get(most..).map_or(0, |d| d.iter().sum());
    f64::from(u32::try_from(full).unwrap_or(u32::MAX)) / graph.len().max(1) as f64
}

/// What happened between two readings, at the nodes that lived all the while.
pub(super) struct Spent {
    before: BTreeMap<NodeId, Counts>,
    after: BTreeMap<NodeId, Counts>,
}

impl Spent {
    pub(super) fn new(before: BTreeMap<NodeId, Counts>, after: BTreeMap<NodeId, Counts>) -> Self {
        Self { before, after }
    }

    pub(super) fn sum(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        let one = |(id, after): (&NodeId, &Counts)| {
            let before = self.before.get(id).map_or(0, &of);
            of(after).saturating_sub(before)
        };
        self.after.iter().map(one).sum()
    }

    pub(super) fn per_node(&self, of: impl Fn(&Counts) -> u64) -> f64 {
        self.sum(of) as f64 / self.after.len().max(1) as f64
    }
}
