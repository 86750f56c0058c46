//! Whole networks.

use std::time::Duration;

use proptest::prelude::*;
use rand::{RngExt, seq::IteratorRandom};

use super::network::{Faults, Network, ratio};
use crate::{Config, EdgeRole, Keep, MessageId, Trees};

const SECOND: Duration = Duration::from_secs(1);

/// Redundancy over all of `ids`, and hops to the last delivery: mean and most.
fn figures(network: &Network, ids: &[MessageId<u64>]) -> (f64, f64, u16) {
    let spreads = || ids.iter().map(|id| &network.spreads[id]);
    let payloads: usize = spreads().map(|spread| spread.payloads).sum();
    let got: usize = spreads().map(|spread| spread.got.len()).sum();
    let hops: usize = spreads().map(|spread| usize::from(spread.last_hop())).sum();
    (
        ratio(payloads, got) - 1.0,
        ratio(hops, ids.len()),
        spreads().map(|spread| spread.last_hop()).max().unwrap_or(0),
    )
}

/// Each of `senders` says something, `pause` apart; then all is quiet.
fn round(network: &mut Network, senders: &[u64], pause: Duration) -> Vec<MessageId<u64>> {
    let mut ids = Vec::new();
    for sender in senders {
        ids.push(network.broadcast(*sender));
        network.run(pause);
    }
    network.run(SECOND);
    ids
}

fn config(trees: Trees) -> Config {
    Config::default().with_trees(trees).with_keep(Keep::All)
}

fn settled(seed: u64, config: Config, nodes: u64) -> Network {
    let mut network = Network::random(seed, config, nodes, 5);
    network.check_every = 101;
    network.run(SECOND);
    network
}

#[test]
fn with_a_tree_per_origin_nothing_is_sent_twice_and_no_way_is_longer_than_by_flooding() {
    let nodes = 200;
    for senders in [
        vec![7],
        (0..10).map(|n| n * 19).collect(),
        (0..nodes).collect::<Vec<_>>(),
    ] {
        let measure = |trees, rounds| {
            let mut network = settled(1, config(trees), nodes);
            let mut ids = Vec::new();
            for _ in 0..rounds {
                ids = round(&mut network, &senders, SECOND / 50);
            }
            for id in &ids {
                network.assert_complete(id);
            }
            network.assert_at_most_once();
            figures(&network, &ids)
        };
        let (flooded, flood_hops, _) = measure(Trees::Flood, 1);
        let (redundant, hops, most) = measure(Trees::PerOrigin, 3);
        assert!(flooded > 2.9, "{flooded}");
        assert!(
            redundant <= 0.01,
            "{redundant} with {} senders",
            senders.len()
        );
        assert!(
            hops <= flood_hops && most <= 9,
            "{hops} {most} {flood_hops}"
        );
    }
}

#[test]
fn a_shared_tree_with_a_root_sends_nothing_twice_and_stays_shallow_for_all_senders() {
    let mut network = settled(2, config(Trees::Shared), 200);
    network.set_root(0);
    let mut ids = Vec::new();
    for _ in 0..6 {
        // The root speaks now and then, as a node's status does.
        network.broadcast(0);
        network.run(SECOND);
        let senders: Vec<u64> = (1..10).map(|n| n * 19).collect();
        ids = round(&mut network, &senders, SECOND / 2);
    }
    network.run(SECOND * 5);
    for id in &ids {
        network.assert_complete(id);
    }
    let (redundant, hops, most) = figures(&network, &ids);
    assert!(redundant <= 0.01, "{redundant}");
    // Up to the root and down again: twice its distance at most.
    assert!(hops <= 13.0 && most <= 14, "{hops} {most}");
}

#[test]
fn the_reported_links_of_the_shared_tree_are_a_tree() {
    let mut network = settled(3, config(Trees::Shared), 60);
    network.set_root(0);
    for _ in 0..6 {
        round(&mut network, &[0], SECOND);
    }
    let of = |role| {
        let roles = network.tree_links.iter();
        roles
            .filter(move |(_, reported)| **reported == role)
            .map(|(ends, _)| *ends)
    };
    let parents: Vec<_> = of(EdgeRole::Parent).collect();
    assert_eq!(parents.len(), 59, "all but the root have one");
    for (child, parent) in parents {
        let mirror = network.tree_links[&(parent, child)];
        assert_eq!(mirror, EdgeRole::Eager, "{child} below {parent}");
    }
    assert_eq!(of(EdgeRole::Eager).count(), 59);
}

#[test]
fn churn_loses_nothing_and_costs_little() {
    let nodes = 200_u64;
    let mut network = settled(4, config(Trees::PerOrigin), nodes);
    let source = 0;
    round(&mut network, &[source], SECOND);
    let (mut payloads, mut got) = (0, 0);
    for next in nodes..nodes + 60 {
        // One node in 200 is replaced between two messages, as 50 of 10,000.
        let victim = *network
            .nodes
            .keys()
            .filter(|id| **id != source)
            .choose(&mut network.rng)
            .unwrap();
        network.crash(victim);
        network.add(next);
        network.wire(5);
        network.run(SECOND);
        let id = network.broadcast(source);
        network.run(SECOND);
        network.assert_complete(&id);
        payloads += network.spreads[&id].payloads;
        got += network.spreads[&id].got.len();
    }
    network.assert_at_most_once();
    let redundant = ratio(payloads, got) - 1.0;
    // The paper has 0.06 to 0.07, with its optimisation 0.02 to 0.03.
    assert!(redundant <= 0.02, "{redundant}");
}

#[test]
fn after_a_mass_crash_the_first_message_reaches_all_that_are_connected() {
    let mut network = settled(5, config(Trees::PerOrigin), 200);
    round(&mut network, &[0, 1, 2], SECOND);
    for id in 100..200 {
        network.crash(id);
    }
    let ids = round(&mut network, &[0, 1, 2], SECOND);
    network.run(SECOND * 5);
    for id in &ids {
        network.assert_complete(id);
    }
    network.wire(5);
    network.run(SECOND);
    for _ in 0..2 {
        round(&mut network, &[0, 1, 2], SECOND);
    }
    let ids = round(&mut network, &[0, 1, 2], SECOND);
    let (redundant, ..) = figures(&network, &ids);
    assert!(redundant <= 0.01, "{redundant}");
    network.assert_at_most_once();
}

#[test]
fn halves_that_meet_again_learn_what_they_missed() {
    let mut network = Network::new(6, Config::default());
    for id in 0..20 {
        network.add(id);
        for peer in 0..id {
            if peer / 10 == id / 10 {
                network.link(id, peer);
            }
        }
    }
    let senders: Vec<u64> = (0..20).collect();
    let mut latest = Vec::new();
    for _ in 0..3 {
        latest = round(&mut network, &senders, SECOND);
    }
    assert!(latest.iter().all(|id| network.spreads[id].got.len() == 9));
    network.link(3, 13);
    network.run(SECOND * 5);
    for id in &latest {
        network.assert_complete(id);
    }
    // What was superseded is not brought up again.
    let superseded = network.spreads.iter().filter(|(id, _)| id.seq < 3);
    assert!(
        superseded
            .into_iter()
            .all(|(_, spread)| spread.got.len() == 9)
    );
}

#[test]
fn nothing_piles_up() {
    let config = Config::default();
    let mut network = settled(7, config, 30);
    let senders: Vec<u64> = (0..30).collect();
    for _ in 0..100 {
        round(&mut network, &senders, SECOND / 100);
    }
    network.run(SECOND * 60);
    // One of each kind, and at most a few that a sooner one has made void.
    assert!(network.timers_max() <= 8, "{}", network.timers_max());
    for sizes in network.sizes() {
        assert_eq!((sizes.origins, sizes.payloads, sizes.missing), (30, 30, 0));
    }
    network.run(SECOND * 1300);
    assert!(
        network
            .sizes()
            .all(|sizes| sizes.origins == 0 && sizes.bytes == 0)
    );
    assert!(network.timers_max() <= 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 20, ..ProptestConfig::default() })]

    /// Messages vanish, come twice and come late; links and nodes come and go. When that has an end,
    /// everybody that is connected has everything, and nobody got anything twice.
    #[test]
    fn every_message_reaches_everybody_exactly_once_over_an_unreliable_network(
        seed in any::<u64>(),
        keep in prop::sample::select(vec![Keep::All, Keep::Latest]),
        trees in prop::sample::select(vec![Trees::PerOrigin, Trees::Shared, Trees::Flood]),
        lost in 0_u32..30,
        repeated in 0_u32..20,
        late in 0_u32..30,
    ) {
        let config = Config::default().with_keep(keep).with_trees(trees);
        let mut network = Network::random(seed, config, 24, 4);
        network.faults = Faults { lost, repeated, late };
        let mut ids = Vec::new();
        for step in 0..40_u64 {
            if step % 2 == 0 {
                let sender = network.rng.random_range(0..8);
                ids.push(network.broadcast(sender));
            }
            if step % 5 == 0 {
                let link = network.linked().into_iter().choose(&mut network.rng).unwrap();
                network.unlink(link.0, link.1);
                network.wire(4);
            }
            if step % 8 == 0 {
                let victim = network.rng.random_range(8..24);
                if network.nodes.contains_key(&victim) {
                    network.crash(victim);
                } else {
                    network.add(victim);
                    network.wire(4);
                }
            }
            let pause = network.rng.random_range(0..400);
            network.run(Duration::from_millis(pause));
        }
        network.wire(4);
        network.run(SECOND * 200);
        network.assert_at_most_once();
        for id in &ids {
            let superseded = ids.iter().any(|later| later.origin == id.origin && later.seq > id.seq);
            if !superseded {
                network.assert_complete(id);
            } else if keep == Keep::All {
                // A node that was restarted has forgotten what it got.
                let got = network.spreads[id].got.len();
                let there = (0..8).filter(|node| network.component(id.origin).contains(node));
                let lacking = there.filter(|node| *node != id.origin && !network.spreads[id].got.contains_key(node));
                prop_assert_eq!(lacking.count(), 0, "{:?} reached {}", id, got);
            }
        }
        prop_assert!(network.sizes().all(|sizes| sizes.missing == 0));
    }
}
