//! Messages reach everybody.

use std::time::Duration;

use plumtree::{BroadcastError, Config, Trees};

use crate::cluster::Cluster;

/// Eight nodes, each with three neighbours.
const CUBE: [(usize, usize); 12] = [
    (0, 1),
    (0, 2),
    (0, 4),
    (1, 3),
    (1, 5),
    (2, 3),
    (2, 6),
    (3, 7),
    (4, 5),
    (4, 6),
    (5, 7),
    (6, 7),
];

async fn say(cluster: &mut Cluster, from: usize, content: &'static [u8]) {
    let behaviour = cluster.nodes[from].swarm.behaviour_mut();
    behaviour.broadcast(content).unwrap();
    cluster
        .until("everybody else has the message", |nodes| {
            let others = nodes.iter().enumerate().filter(|(node, _)| *node != from);
            others
                .into_iter()
                .all(|(_, node)| node.received(content) == 1)
        })
        .await;
}

/// Until the prunes that follow a flood are through: what `root` says goes over as many links as are needed.
async fn until_a_tree(cluster: &mut Cluster, root: usize) {
    let root = cluster.nodes[root].id();
    cluster
        .until("no link is too many", |nodes| {
            let ends: usize = nodes
                .iter()
                .map(|node| node.behaviour().state().eager(root).count())
                .sum();
            ends == (nodes.len() - 1) * 2
        })
        .await;
}

#[tokio::test]
async fn everybody_gets_a_message_once_and_the_second_goes_over_a_tree() {
    let mut cluster = Cluster::linked(8, &CUBE, Config::default()).await;
    say(&mut cluster, 0, b"first").await;
    until_a_tree(&mut cluster, 0).await;
    let sum = |cluster: &Cluster| -> u64 {
        let nodes = cluster.nodes.iter();
        nodes
            .map(|node| node.behaviour().counters().machine.pushed)
            .sum()
    };
    let before = sum(&cluster);
    assert!(before > 7, "the first is flooded");
    say(&mut cluster, 0, b"second").await;
    // Time for what should not come.
    cluster.run(Duration::from_millis(500)).await;
    assert_eq!(
        sum(&cluster) - before,
        7,
        "one payload for each of the others"
    );
    for node in &cluster.nodes[1..] {
        assert_eq!((node.received(b"first"), node.received(b"second")), (1, 1));
        assert_eq!(node.behaviour().counters().frames_refused, 0);
    }
}

#[tokio::test]
async fn a_message_finds_its_way_around_a_node_that_is_gone() {
    let mut cluster = Cluster::linked(8, &CUBE, Config::default()).await;
    say(&mut cluster, 0, b"first").await;
    until_a_tree(&mut cluster, 0).await;
    let gone = cluster.nodes.remove(1).id();
    cluster
        .until("its neighbours have noticed", |nodes| {
            nodes.iter().all(|node| {
                node.behaviour()
                    .state()
                    .neighbors()
                    .all(|peer| peer != gone)
            })
        })
        .await;
    say(&mut cluster, 0, b"second").await;
}

#[tokio::test]
async fn who_comes_late_is_told_the_latest_message_only() {
    let links = [(0, 1), (1, 2)];
    let mut cluster = Cluster::linked(4, &links, Config::default()).await;
    for content in [&b"one"[..], b"two"] {
        let behaviour = cluster.nodes[0].swarm.behaviour_mut();
        behaviour.broadcast(content).unwrap();
    }
    cluster
        .until("the others have both", |nodes| {
            nodes[1..3].iter().all(|node| node.received(b"two") == 1)
        })
        .await;
    let address = cluster.nodes[2].address.clone();
    cluster.nodes[3].swarm.dial(address).unwrap();
    cluster
        .until("the newcomer has the latest", |nodes| {
            nodes[3].received(b"two") == 1
        })
        .await;
    assert_eq!(cluster.nodes[3].received(b"one"), 0);
}

#[tokio::test]
async fn a_longer_message_than_allowed_is_not_sent() {
    let config = Config::default().with_trees(Trees::Flood);
    let mut cluster = Cluster::linked(2, &[(0, 1)], config).await;
    let behaviour = cluster.nodes[0].swarm.behaviour_mut();
    let most = behaviour.content_bytes_max();
    let error = behaviour.broadcast(&vec![0; most + 1]).unwrap_err();
    assert!(
        matches!(error, BroadcastError::TooLong { bytes, most: named } if bytes == most + 1 && named == most)
    );
    behaviour.broadcast(&vec![7; most]).unwrap();
    cluster
        .until("the longest arrives", |nodes| {
            nodes[1].received(&vec![7; most]) == 1
        })
        .await;
}
