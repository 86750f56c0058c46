//! Clusters whose data goes by a tree: as few links as hold the cluster together, and no operation lost where
//! they change.

use std::{collections::BTreeSet, path::Path};

use starling::api::{Direction, LinkState};

use crate::harness::process::{Node, eventually, folder, start};

const TREE: &[&str] = &["--dissemination", "tree"];

fn joining(root: &Path, name: &str, contact: &Node, more: &[&str]) -> Node {
    let contact = contact.bootstrap();
    start(
        root,
        name,
        &[&["--bootstrap", contact.as_str()], more].concat(),
    )
}

/// A cluster of `count` nodes that follow a tree, all known to one another.
async fn cluster(root: &Path, count: usize) -> Vec<Node> {
    let mut nodes = vec![start(root, "n0", TREE)];
    for number in 1..count {
        let node = joining(root, &format!("n{number}"), &nodes[0], TREE);
        nodes.push(node);
    }
    for node in &nodes {
        eventually("every node is known to every other", async || {
            node.nodes().iter().filter(|it| it.alive).count() == count
        })
        .await;
    }
    nodes
}

/// Links that stream into the nodes, as (publisher, subscriber); `None` where some node does not answer or some
/// link is neither streaming nor lazy.
fn streaming(nodes: &[&Node]) -> Option<BTreeSet<(String, String)>> {
    let mut found = BTreeSet::new();
    for node in nodes {
        let status = node.status()?;
        for link in &status.links {
            match (link.state, link.direction) {
                (LinkState::Streaming, Direction::In) => {
                    found.insert((link.peer_id.clone(), status.node.peer_id.clone()));
                }
                (LinkState::Streaming, Direction::Out) | (LinkState::Lazy, _) => {}
                _ => return None,
            }
        }
    }
    Some(found)
}

/// Waits until the links are those of a tree: one pair less than there are nodes, each in both directions.
async fn await_tree(nodes: &[&Node]) {
    eventually("a tree carries the data", async || {
        streaming(nodes).is_some_and(|links| {
            links.len() == 2 * (nodes.len() - 1)
                && links
                    .iter()
                    .all(|(from, to)| links.contains(&(to.clone(), from.clone())))
        })
    })
    .await;
}

/// As soon as the store takes writes: one that was started again is looked into first.
async fn increment(node: &Node, times: i64) {
    eventually("the store takes a write", async || {
        let client = node.client().await;
        let written = client
            .execute("select crdv.counterInc('c', $1)", &[&times])
            .await;
        match written {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.code().unwrap().code(), "25006", "{error:?}");
                false
            }
        }
    })
    .await;
}

/// Waits until the counter stands at `sum` on every node; it may never be above.
async fn await_sum(nodes: &[&Node], sum: i64) {
    for node in nodes {
        eventually(&format!("{sum} on {}", node.data.display()), async || {
            let client = node.client().await;
            let row = client.query_one("select crdv.counterGet('c')", &[]).await;
            let value = row.map_or(0, |row| row.get::<_, i64>(0));
            assert!(value <= sum, "{value} of {sum}");
            value == sum
        })
        .await;
    }
}

#[tokio::test]
async fn data_goes_by_a_tree_and_reaches_every_node_once() {
    let root = folder();
    let nodes = cluster(root.path(), 4).await;
    let all: Vec<_> = nodes.iter().collect();
    for node in &all {
        increment(node, 1).await;
    }
    await_sum(&all, 4).await;
    await_tree(&all).await;
    for node in &all {
        increment(node, 10).await;
    }
    await_sum(&all, 44).await;
}

#[tokio::test]
async fn the_loss_of_the_root_costs_no_operation() {
    let root = folder();
    let mut nodes = cluster(root.path(), 4).await;
    await_tree(&nodes.iter().collect::<Vec<_>>()).await;
    // The first is the oldest, so it is the root.
    let status = nodes[1].status().unwrap();
    let first = nodes[0].status().unwrap().node.peer_id;
    assert_eq!(status.tree.unwrap().root.as_deref(), Some(first.as_str()));
    nodes[0].kill();
    let survivors: Vec<_> = nodes[1..].iter().collect();
    for (node, times) in survivors.iter().zip([1, 10, 100]) {
        increment(node, times).await;
    }
    await_sum(&survivors, 111).await;
    // It comes back, and finds a place like anybody else.
    nodes[0].resume();
    increment(&nodes[0], 1_000).await;
    let all: Vec<_> = nodes.iter().collect();
    await_sum(&all, 1_111).await;
    await_tree(&all).await;
}

#[tokio::test]
async fn nodes_of_both_modes_work_together() {
    let root = folder();
    let tree = start(root.path(), "tree", TREE);
    let flood = joining(root.path(), "flood", &tree, &["--dissemination", "flood"]);
    let leaf = joining(root.path(), "leaf", &flood, TREE);
    let all = [&tree, &flood, &leaf];
    for (node, times) in all.iter().zip([1, 10, 100]) {
        increment(node, times).await;
    }
    await_sum(&all, 111).await;
    // Who floods insists on every neighbour, and is obliged.
    eventually("the one that floods is linked with both", async || {
        let status = flood.status();
        status.is_some_and(|status| {
            let incoming = status.links.iter().filter(|link| {
                link.direction == Direction::In && link.state == LinkState::Streaming
            });
            incoming.count() == 2
        })
    })
    .await;
}
