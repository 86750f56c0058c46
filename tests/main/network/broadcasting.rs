//! What one node says to all.

use std::collections::BTreeMap;

use plumtree::EdgeRole;
use starling::{
    identity::NodeId,
    network::{BROADCAST_BYTES_MAX, Counter, Event, Overlay},
};
use tempfile::tempdir;
use tokio::time::timeout;

use super::{Node, PATIENCE, joining, settings};

const NODES: usize = 7;

/// Seven nodes of which none is a neighbour of all others.
async fn sparse(dir: &std::path::Path) -> Vec<Node> {
    let overlay = hyparview::Config::default().with_active_capacity(3);
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..NODES {
        let place = dir.join(number.to_string());
        let mut settings = match nodes.first() {
            Some(first) => joining(&place, &[first.address()]),
            None => settings(&place),
        };
        settings.overlay = overlay.clone();
        nodes.push(Node::start(settings).await);
    }
    for node in &nodes {
        node.overlay("in the overlay", |overlay| !overlay.active.is_empty())
            .await;
    }
    nodes
}

/// Waits until `node` has heard `content`, and returns who said that and how often.
async fn hears(node: &mut Node, content: &[u8]) -> BTreeMap<NodeId, usize> {
    let mut heard = BTreeMap::new();
    let wait = async {
        while heard.len() < NODES - 1 {
            if let Some(Event::Broadcast {
                from,
                content: said,
                ..
            }) = node.broadcasts.recv().await
                && said == content
            {
                *heard.entry(from).or_insert(0) += 1;
            }
        }
    };
    let all = timeout(PATIENCE, wait).await.is_ok();
    assert!(all, "{} heard only {heard:?}", node.name());
    heard
}

async fn pushed(nodes: &[Node]) -> u64 {
    let mut sum = 0;
    for node in nodes {
        sum += node
            .handle
            .broadcast_counters()
            .await
            .unwrap()
            .machine
            .pushed;
    }
    sum
}

#[tokio::test]
async fn every_node_hears_every_other_once_and_soon_nothing_is_sent_twice() {
    let dir = tempdir().unwrap();
    let mut nodes = sparse(dir.path()).await;
    let least = (NODES * (NODES - 1)) as u64;
    let mut cost = u64::MAX;
    // The overlay may still be moving, and prunes be under way: each round is complete, and one of them costs
    // the least. A node pushes a message when it hears it first: once all have heard all, the round is paid.
    let rounds = async {
        for round in 0_u32.. {
            let content = format!("{round:0100}").into_bytes();
            let before = pushed(&nodes).await;
            for node in &nodes {
                assert!(node.handle.broadcast(content.clone()));
            }
            for node in &mut nodes {
                let heard = hears(node, &content).await;
                assert!(heard.values().all(|times| *times == 1), "{heard:?}");
                assert!(!heard.contains_key(&node.name()));
            }
            cost = pushed(&nodes).await - before;
            if cost == least {
                return;
            }
        }
    };
    // Some rounds of milliseconds on an idle machine.
    let cheap = timeout(PATIENCE * 3, rounds).await.is_ok();
    assert!(
        cheap,
        "one payload each would be {least}, and it was {cost}"
    );
    for node in nodes {
        assert_eq!(node.count(Counter::BroadcastsShed), 0);
        node.stop().await;
    }
}

#[tokio::test]
async fn a_broadcast_that_is_too_long_is_counted_and_not_sent() {
    let dir = tempdir().unwrap();
    let node = Node::start(settings(dir.path())).await;
    assert!(node.handle.broadcast(vec![0; BROADCAST_BYTES_MAX]));
    node.counts(Counter::BroadcastsSent, 1).await;
    assert!(node.handle.broadcast(vec![0; BROADCAST_BYTES_MAX + 200]));
    node.counts(Counter::Oversized, 1).await;
    assert_eq!(node.count(Counter::BroadcastsSent), 1);
    node.stop().await;
}

/// How many neighbours the messages of the followed node come from.
fn parents(overlay: &Overlay) -> usize {
    let roles = overlay.active.iter().map(|neighbor| neighbor.role);
    roles.filter(|role| *role == Some(EdgeRole::Parent)).count()
}

#[tokio::test]
async fn each_node_but_the_one_that_is_followed_has_a_parent_as_long_as_it_follows() {
    let dir = tempdir().unwrap();
    let nodes = sparse(dir.path()).await;
    let root = nodes[0].name();
    for node in &nodes {
        assert!(node.handle.follow(Some(&root)));
    }
    assert!(nodes[0].handle.broadcast(b"here I am".to_vec()));
    for node in &nodes[1..] {
        node.overlay("with a parent", |overlay| parents(overlay) == 1)
            .await;
    }
    assert_eq!(parents(&nodes[0].handle.overlay().borrow()), 0);
    for node in &nodes {
        assert!(node.handle.follow(None));
        node.overlay("without a tree", |overlay| parents(overlay) == 0)
            .await;
    }
    for node in nodes {
        node.stop().await;
    }
}
