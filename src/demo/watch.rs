//! Waits for things to become so, and looks at the whole cluster at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::bail;
use tokio::time::{Instant, sleep};

use crate::api::{Direction, LinkState, NodeState, Status};

/// How often a condition is looked at: well below any time that the demo prints.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` has something to show.
pub(super) async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        sleep(POLL).await;
    }
}

/// What is still missing until the nodes form one overlay with data flowing over each of its edges;
/// `None` when nothing is.
pub(super) fn missing(statuses: &[Status]) -> Option<String> {
    let present: BTreeSet<&str> = statuses
        .iter()
        .map(|status| status.node.peer_id.as_str())
        .collect();
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for status in statuses {
        let name = &status.node.name;
        if status.node.state != NodeState::Ready {
            return Some(format!("{name} is not ready"));
        }
        let neighbors: BTreeSet<&str> = status
            .overlay
            .active
            .iter()
            .map(|neighbor| neighbor.peer_id.as_str())
            .collect();
        if neighbors.iter().any(|neighbor| !present.contains(neighbor)) {
            return Some(format!("{name} has a neighbour that is gone"));
        }
        for neighbor in &neighbors {
            for direction in [Direction::In, Direction::Out] {
                if !streams(status, neighbor, direction) {
                    return Some(format!("{name} has a link that does not stream yet"));
                }
            }
        }
        graph.insert(&status.node.peer_id, neighbors);
    }
    let one_sided = graph.iter().any(|(id, neighbors)| {
        neighbors
            .iter()
            .any(|neighbor| graph.get(neighbor).is_some_and(|back| !back.contains(id)))
    });
    if one_sided {
        return Some("a neighbour relation is one-sided".to_owned());
    }
    (reached(&graph) < graph.len()).then(|| "the overlay is not connected".to_owned())
}

fn streams(status: &Status, peer: &str, direction: Direction) -> bool {
    // Any one: while a link takes the place of another there are two.
    status.links.iter().any(|link| {
        link.peer_id == peer && link.direction == direction && link.state == LinkState::Streaming
    })
}

/// How many nodes can be reached from the first.
fn reached(graph: &BTreeMap<&str, BTreeSet<&str>>) -> usize {
    let mut seen = BTreeSet::new();
    let mut queue: Vec<&str> = graph.keys().take(1).copied().collect();
    while let Some(id) = queue.pop() {
        if seen.insert(id) {
            queue.extend(graph.get(id).into_iter().flatten());
        }
    }
    seen.len()
}

/// The number of neighbour relations.
pub(super) fn edges(statuses: &[Status]) -> usize {
    // Each is told by both of its ends.
    statuses
        .iter()
        .map(|status| status.overlay.active.len())
        .sum::<usize>()
        / 2
}
