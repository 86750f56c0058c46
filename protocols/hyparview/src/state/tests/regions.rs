//! What optimised links must come to in a world of regions (X-BOT), beside links left to chance.

use std::time::Duration;

use rand::{SeedableRng, rngs::SmallRng, seq::IteratorRandom};

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
        .with_settle_time(seconds(20))
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
    network.run_until(seconds(10), Network::perfect);
    let before = network.counters.clone();
    network.run(seconds(240));
    // Nobody lost a link but for another one.
    network.run_until(seconds(10), Network::perfect);
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

/// How many survivors the largest part has right after half of the nodes have crashed.
fn together_after_a_crash(network: &mut Network) -> usize {
    let mut rng = SmallRng::seed_from_u64(1);
    for id in (0..NODES).sample(&mut rng, usize::try_from(NODES / 2).unwrap()) {
        network.crash(id);
    }
    let survivors: Vec<u64> = network.alive().map(|(id, _)| id).collect();
    let reached = survivors
        .iter()
        .map(|id| network.flood(*id, |_, _| 1).len());
    reached.max().unwrap()
}

#[test]
fn near_nodes_come_together_and_all_stay_within_reach() {
    let chance = world(0, optimizing().with_optimize(false));
    let mut near = world(0, optimizing());
    let (random, (cost, _)) = (chance.costs().0, near.costs());
    assert!(cost < 0.6 * random, "{cost} ms instead of {random} ms");
    for id in 0..REGIONS {
        let ((slow, far), (fast, hops)) = (chance.farthest(id), near.farthest(id));
        assert!(hops <= far + 2, "{hops} steps instead of {far}");
        assert!(fast <= slow, "{fast:?} instead of {slow:?}");
    }
    // It comes to an end: each node's links were moved a few times, and in two minutes more not a tenth as
    // many are (seeds 0 to 5: 8 to 24, after 290 to 450).
    let moved = switched(&near);
    let most = switched(&chance) + 6 * NODES;
    assert!(moved < most, "{moved} of {most}: {}", near.report());
    let nearer = moved - switched(&chance);
    near.run(seconds(120));
    let still = switched(&near) - moved;
    assert!(
        still * 10 <= nearer,
        "{still} of {nearer}: {}",
        near.report()
    );
}

#[test]
fn links_left_to_chance_hold_the_survivors_of_a_crash_together() {
    let (mut random, mut near, mut alone) = (0, 0, 0);
    for seed in 2..4 {
        random += together_after_a_crash(&mut world(seed, optimizing().with_optimize(false)));
        let mut network = world(seed, optimizing());
        near += together_after_a_crash(&mut network);
        network.run_until(seconds(10), Network::whole);
        network.run_until(seconds(60), Network::perfect);
        // What they are for: without them whole regions are cut off.
        alone += together_after_a_crash(&mut world(seed, optimizing().with_unbiased_min(0)));
    }
    assert!(near * 10 >= random * 9, "{near} instead of {random}");
    assert!(alone * 10 < near * 8, "{alone} instead of {near}");
}
