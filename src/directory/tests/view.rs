//! What is shown of the cluster.

use super::{NOW, directory, exchange, name, words};
use crate::directory::Announcement;

#[test]
fn topology_names_each_pair_once_and_says_if_both_agree() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    a.announce(Announcement {
        neighbors: vec![name(1)],
        ..words(0)
    });
    b.announce(Announcement {
        neighbors: vec![name(0), name(2)],
        ..words(1)
    });
    c.announce(Announcement {
        neighbors: vec![name(7)],
        ..words(2)
    });
    exchange(&mut a, &mut b, NOW);
    exchange(&mut b, &mut c, NOW);
    let topology = c.topology(NOW);
    assert_eq!(topology.nodes.len(), 3);
    let edges: Vec<_> = topology
        .edges
        .iter()
        .map(|e| (e.a.as_str(), e.b.as_str(), e.symmetric))
        .collect();
    assert_eq!(edges, [("node0", "node1", true), ("node1", "node2", false)]);
}
