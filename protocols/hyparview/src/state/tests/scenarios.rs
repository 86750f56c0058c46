//! What a network of machines must come to, whatever happens to it.

use std::{collections::BTreeSet, time::Duration};

use super::network::{Faults, Network};
use crate::{Command, DownReason};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Nodes that join one after the other, each through two that are there already.
fn sequential(seed: u64, nodes: u64) -> Network {
    let mut network = Network::new(seed);
    network.start(0, &[]);
    for id in 1..nodes {
        network.run(Duration::from_millis(200));
        network.start(id, &[0, id / 2]);
    }
    network
}

fn settled(seed: u64, nodes: u64) -> Network {
    let mut network = sequential(seed, nodes);
    network.run(seconds(60));
    network
}

#[test]
fn nodes_that_join_one_by_one_end_in_a_full_overlay() {
    for seed in 0..3 {
        let mut network = sequential(seed, 100);
        network.run_until(seconds(30), Network::perfect);
        network.run(seconds(30));
        assert!(network.perfect(), "{}", network.report());
        assert!(network.clustering() < 0.08, "{}", network.report());
    }
}

#[test]
fn a_burst_through_one_contact_ends_in_a_full_overlay() {
    for seed in 0..2 {
        let mut network = Network::new(seed);
        network.start(0, &[]);
        for id in 1..100 {
            network.run(Duration::from_millis(10));
            network.start(id, &[0]);
        }
        network.run_until(seconds(10), Network::whole);
        network.run_until(seconds(60), Network::perfect);
        // A random graph of this size and degree has 0.04.
        assert!(network.clustering() < 0.08, "{}", network.report());
    }
}

#[test]
fn a_crowd_in_which_everybody_asks_does_not_refuse_itself() {
    let mut network = Network::new(9);
    network.start(0, &[]);
    for id in 1..400 {
        network.run(Duration::from_millis(2));
        network.start(id, &[0]);
    }
    network.run(seconds(10));
    let full = network.degrees().get(&5).copied().unwrap_or(0);
    assert!(full >= 390, "{}", network.report());
}

#[test]
fn small_networks_are_complete_graphs() {
    for nodes in 2..=6 {
        let mut network = Network::new(nodes);
        for id in 0..nodes {
            network.start(id, if id == 0 { &[] } else { &[0] });
        }
        network.run_until(seconds(60), Network::complete);
    }
}

#[test]
fn half_of_the_nodes_crash() {
    for seed in 0..2 {
        let mut network = settled(seed, 100);
        for id in 0..50 {
            network.crash(id * 2);
        }
        network.run_until(seconds(10), Network::whole);
        network.run_until(seconds(60), Network::perfect);
    }
}

#[test]
fn nine_of_ten_nodes_crash_and_nobody_is_left_alone() {
    for seed in 0..2 {
        let mut network = settled(seed, 100);
        for id in 0..90 {
            network.crash(id);
        }
        network.run_until(seconds(120), Network::whole);
        network.run_until(seconds(120), Network::perfect);
    }
}

#[test]
fn restarted_nodes_find_their_place_again() {
    let mut network = settled(7, 60);
    for id in 0..20 {
        network.crash(id);
        // Some are back before anybody has noticed.
        if id % 2 == 0 {
            network.run(Duration::from_millis(30));
        }
        network.start(id, &[59, 58]);
        network.run(Duration::from_millis(500));
    }
    network.run_until(seconds(60), Network::perfect);
}

#[test]
fn nodes_that_leave_are_not_missed() {
    let mut network = settled(3, 60);
    let before = network.counters.down.clone();
    for id in 0..20 {
        network.command(id, Command::Leave);
        network.run(Duration::from_millis(200));
        network.crash(id);
    }
    network.run_until(seconds(60), Network::perfect);
    let reasons = |reason| {
        let count = |down: &std::collections::BTreeMap<_, u64>| down.get(&reason).copied();
        count(&network.counters.down).unwrap_or(0) - count(&before).unwrap_or(0)
    };
    assert_eq!(reasons(DownReason::Closed), 0, "{}", network.report());
    assert!(reasons(DownReason::Left) >= 150, "{}", network.report());
}

#[test]
fn frozen_nodes_are_dropped_and_taken_in_again() {
    let mut network = settled(5, 50);
    let frozen: BTreeSet<u64> = (0..10).collect();
    network.freeze(&frozen);
    network.run(seconds(8));
    let held = |network: &Network| {
        let awake = network.alive().filter(|(id, _)| !frozen.contains(id));
        awake
            .flat_map(|(_, machine)| machine.active())
            .filter(|id| frozen.contains(id))
            .count()
    };
    assert_eq!(held(&network), 0, "{}", network.report());
    network.run(seconds(60));
    // They wake up to a pile of old messages.
    network.freeze(&BTreeSet::new());
    network.run_until(seconds(120), Network::perfect);
}

/// Cuts a network into halves for `time`, and watches how it heals.
fn heals_after(time: Duration, seed: u64, nodes: u64) {
    let side = |id: u64| u8::from(id % 2 == 1);
    let mut network = settled(seed, nodes);
    network.cut(side);
    network.run(time);
    assert_eq!((network.across(side), network.asymmetric()), (0, 0));
    network.heal();
    // R7: the first link across within a shuffle period, 80 % of what a random graph has within
    // ten.
    let first = network.run_until(seconds(10), |network| network.across(side) > 0);
    let random = 5 * nodes * nodes / (8 * (nodes - 1));
    network.run_until(seconds(100) - first, |network| {
        network.across(side) as u64 * 5 >= random * 4
    });
    network.run_until(seconds(60), Network::perfect);
    let before = network.counters.down.get(&DownReason::Evicted).copied();
    network.run(seconds(60));
    let after = network.counters.down.get(&DownReason::Evicted).copied();
    assert_eq!(before, after, "endless eviction: {}", network.report());
    assert!(network.perfect(), "{}", network.report());
}

#[test]
fn halves_that_were_cut_for_a_minute_grow_together_again() {
    for (seed, nodes) in [(0, 20), (1, 50), (2, 100)] {
        heals_after(seconds(60), seed, nodes);
    }
}

#[test]
fn halves_that_were_cut_for_half_an_hour_grow_together_again() {
    for (seed, nodes) in [(0, 20), (1, 40)] {
        heals_after(seconds(1800), seed, nodes);
    }
}

#[test]
fn small_islands_find_each_other_again() {
    let mut network = settled(0, 8);
    network.cut(|id| u8::try_from(id / 2).unwrap());
    network.run(seconds(600));
    assert_eq!(network.components(), 4);
    network.heal();
    network.run_until(seconds(60), Network::whole);
    network.run_until(seconds(120), Network::perfect);
}

#[test]
fn lost_repeated_and_late_messages_leave_no_asymmetry() {
    for seed in 0..3 {
        let mut network = sequential(seed, 60);
        network.faults = Faults {
            lost: 5,
            repeated: 5,
            late: 5,
        };
        for round in 0..60 {
            network.run(seconds(2));
            network.sever(round % 60, (round * 7 + 1) % 60);
        }
        assert!(
            network
                .counters
                .down
                .get(&DownReason::Silent)
                .copied()
                .unwrap_or(0)
                < 20
        );
        network.faults = Faults::default();
        network.run_until(seconds(30), Network::whole);
        network.run_until(seconds(60), Network::perfect);
    }
}
