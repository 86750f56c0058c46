//! What optimised links must come to in a world of regions (X-BOT), beside links left to chance.

use std::time::Duration;

use super::network::Network;
use crate::{Config, DownReason};

const NODES: u64 = 120;
const REGIONS: u64 = 8;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Faster than the defaults, for the sake of the test's running time. No links are mixed on purpose, so
/// that what optimising comes to is seen.
fn optimizing() -> Config {
    Config::default()
        .with_optimize(true)
        .with_optimize_interval(seconds(10))
        .with_optimize_rest(seconds(20))
        .with_remix_interval(seconds(86_400))
}

/// A network that has lived for five minutes.
fn world(seed: u64, config: Config) -> Network {
    let mut network = Network::with(seed, config);
    network.regions = REGIONS;
    network.start(0, &[]);
    for id in 1..NODES {
        network.run(Duration::from_millis(100));
        // Not only through contacts of the same region.
        network.start(id, &[id / 3, id / 2]);
    }
    network.run(seconds(60));
    assert!(network.perfect(), "{}", network.report());
    let before = network.counters.clone();
    network.run(seconds(240));
    // Nobody lost a link but for another one.
    assert!(network.perfect(), "{}", network.report());
    for (reason, count) in &network.counters.down {
        let same = before.down.get(reason) == Some(count);
        assert!(
            same || *reason == DownReason::Switched,
            "{}",
            network.report()
        );
    }
    network
}

fn switched(network: &Network) -> u64 {
    let switched = network.counters.down.get(&DownReason::Switched);
    switched.copied().unwrap_or(0)
}

/// How many survivors the largest part has right after every other node has crashed.
fn together_after_a_crash(network: &mut Network) -> usize {
    for id in 0..NODES {
        if id / REGIONS % 2 == 0 {
            network.crash(id);
        }
    }
    let survivors: Vec<u64> = network.alive().map(|(id, _)| id).collect();
    assert_eq!(survivors.len() as u64, NODES / 2);
    let reached = survivors
        .iter()
        .map(|id| network.flood(*id, |_, _| 1).len());
    reached.max().unwrap()
}

#[test]
fn near_nodes_come_together_and_all_stay_within_reach() {
    for seed in 0..2 {
        let chance = world(seed, optimizing().with_optimize(false));
        let mut near = world(seed, optimizing());
        let (random, (cost, _)) = (chance.costs().0, near.costs());
        assert!(cost < 0.6 * random, "{cost} ms instead of {random} ms");
        for id in 0..REGIONS {
            let ((slow, far), (fast, hops)) = (chance.farthest(id), near.farthest(id));
            assert!(hops <= far + 2, "{hops} steps instead of {far}");
            assert!(fast <= slow, "{fast:?} instead of {slow:?}");
        }
        // It has come to an end: each end of a link was moved a few times, and now hardly any is.
        let moved = switched(&near);
        assert!(moved < 6 * NODES, "{}", near.report());
        near.run(seconds(120));
        assert!(switched(&near) - moved <= NODES / 10, "{}", near.report());
    }
}

#[test]
fn links_left_to_chance_hold_the_survivors_of_a_crash_together() {
    for seed in 2..4 {
        let mut network = world(seed, optimizing());
        let together = together_after_a_crash(&mut network) as u64;
        assert!(
            together * 10 >= NODES / 2 * 9,
            "{together} of {}",
            NODES / 2
        );
        network.run_until(seconds(10), Network::whole);
        network.run_until(seconds(60), Network::perfect);
        // What it is for: without them whole regions are cut off.
        let mut network = world(seed, optimizing().with_unbiased_min(0));
        let together = together_after_a_crash(&mut network) as u64;
        assert!(together * 10 < NODES / 2 * 9, "{together} of {}", NODES / 2);
    }
}
