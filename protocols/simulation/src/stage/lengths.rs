//! How far apart neighbours are, beside what chance would come to.

use super::Stage;
use crate::{Graph, Subject, report::Row};

/// Nodes whose distances to all others are looked at.
const SOURCES: usize = 200;

impl<M: Subject> Stage<'_, M> {
    /// Mean one-way latencies in milliseconds, without jitter.
    pub(super) fn measure_lengths(&self, graph: &Graph, row: &mut Row) {
        let length = |a: u32, b: u32| {
            let (a, b) = (graph.name(a), graph.name(b));
            self.world.network.distance(self.seed, a, b) as f64 / 1e6
        };
        let nodes = || (0u32..).take(graph.len());
        let links = nodes().flat_map(|a| graph.peers(a).iter().map(move |b| (a, *b)));
        let links = mean(links.map(|(a, b)| length(a, b)));
        // All pairs of ten thousand nodes would be a hundred million.
        let stride = graph.len().div_ceil(SOURCES).max(1);
        let pairs = nodes()
            .step_by(stride)
            .flat_map(|a| nodes().filter(move |b| *b != a).map(move |b| (a, b)));
        let pairs = mean(pairs.map(|(a, b)| length(a, b)));
        row.set("link_ms", links);
        row.set("any_pair_ms", pairs);
        row.set("link_over_random", links / pairs.max(1e-9));
    }
}

fn mean(all: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = all.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / f64::max(count, 1.0)
}
