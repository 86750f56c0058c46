//! Five stores under chaos: links made and broken at random, stores crashed, controllers killed,
//! commits stalled, while transactions go on everywhere. In the end every acknowledged increment is
//! present exactly once on every store, nobody saw a torn or reordered transaction, and all stores
//! are equal.
//!
//! `STARLING_CHAOS_SEED` repeats a run's choices (not its timing), `STARLING_CHAOS_SECONDS` lengthens
//! it. The judges are proved by schedules in which a rule is sure to be needed: each is played with the
//! rule, and without it, and then they have to notice.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(
    clippy::print_stdout,
    reason = "a run tells its seed and what befell it"
)]

#[path = "chaos/steered.rs"]
mod steered;
#[path = "chaos/trouble.rs"]
mod trouble;
#[path = "chaos/verdict.rs"]
mod verdict;
#[path = "chaos/workload.rs"]
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use crate::harness::data_plane::{Cluster, PATIENCE};
use trouble::Trouble;
use verdict::{complaints, differences, losses};
use workload::{Crowd, Verdict, Violations};

const NODES: usize = 5;

/// What a run does.
#[derive(Debug, Clone, Copy)]
struct Course {
    seed: u64,
    duration: Duration,
}

async fn run(cluster: &mut Cluster, course: Course) -> Verdict {
    for node in &cluster.nodes {
        node.run("create table if not exists public.receipt (id text)")
            .await;
    }
    let crowd = Crowd::gather(cluster, course);
    let rng = StdRng::seed_from_u64(course.seed);
    let events = BTreeMap::new();
    let mut trouble = Trouble {
        cluster,
        rng,
        course,
        links: BTreeSet::new(),
        events,
    };
    for a in 0..NODES {
        let b = (a + 1) % NODES;
        trouble.connect(a.min(b), a.max(b));
    }
    trouble.run().await;
    crowd.stop();
    trouble.end().await;
    let (events, links) = (trouble.events.clone(), trouble.links.clone());

    let (written, mut verdict) = crowd.disperse().await;
    let since = Instant::now();
    verdict
        .violations
        .extend(differences(cluster, PATIENCE).await);
    println!("{events:?}, settled after {:?}", since.elapsed());
    verdict.violations.extend(losses(cluster, &written).await);
    verdict.violations.extend(complaints(cluster));
    for (a, b) in links {
        cluster.await_linked(a, b).await;
    }
    verdict
}

fn seed() -> u64 {
    let given = std::env::var("STARLING_CHAOS_SEED").ok();
    given.map_or_else(
        || u64::from(rand::random::<u32>()),
        |seed| seed.parse().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn five_stores_survive_chaos() {
    let mut course = Course {
        seed: seed(),
        duration: Duration::from_secs(20),
    };
    if let Ok(seconds) = std::env::var("STARLING_CHAOS_SECONDS") {
        course.duration = Duration::from_secs(seconds.parse().unwrap());
    }
    println!("STARLING_CHAOS_SEED={}", course.seed);
    let mut cluster = Cluster::start(NODES).await;
    let verdict = run(&mut cluster, course).await;
    println!("{} commits, {} reads", verdict.commits, verdict.reads);
    assert_eq!(
        verdict.violations,
        Violations::new(),
        "seed {}",
        course.seed
    );
    assert!(verdict.commits > 0 && verdict.reads > 0);
    cluster.stop().await;
}
