//! Five stores under chaos: links made and broken at random, stores crashed, controllers killed,
//! commits stalled, while transactions go on everywhere. In the end every acknowledged increment is
//! present exactly once on every store, nobody saw a torn or reordered transaction, and all stores
//! are equal.
//!
//! `STARLING_CHAOS_SEED` repeats a run's choices (not its timing), `STARLING_CHAOS_SECONDS` lengthens
//! it. The harness is proved by breaking the rules one by one: each time it has to notice.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(
    clippy::print_stdout,
    reason = "a run tells its seed and what befell it"
)]

#[path = "chaos/trouble.rs"]
mod trouble;
#[path = "chaos/verdict.rs"]
mod verdict;
#[path = "chaos/workload.rs"]
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use starling::replication::Departure;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::engines::{Cluster, until};
use trouble::Trouble;
use verdict::{complaints, differences, losses};
use workload::{Crowd, Verdict, Violations};

const NODES: usize = 5;

/// How long a broken rule may go unnoticed. A round notices with some luck only, and a loaded machine
/// plays few rounds; on an idle one it takes some ten seconds.
const NOTICE_MAX: Duration = Duration::from_secs(300);

/// A rule, and how it is broken in every store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    Nothing,
    OwnEcho,
    CatchUp,
    CheckpointWait,
}

impl Sabotage {
    /// Takes the rule out of the function that holds it; fails when it is not there.
    async fn commit(self, client: &Client) {
        let (function, rule, replacement) = match self {
            Self::Nothing => return,
            Self::OwnEcho => ("crdv.apply()", "new.site = crdv.siteid()", "false"),
            Self::CatchUp => (
                "crdv.missing(bigint[], bigint[])",
                "COALESCE(v.upto, ",
                "COALESCE(9223372036854775807, ",
            ),
            Self::CheckpointWait => {
                let wait = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint < horizon_";
                ("crdv.checkpoint_finish(bigint, bigint)", wait, "false")
            }
        };
        let sql = "select pg_get_functiondef($1::text::regprocedure)";
        let whole: String = client.query_one(sql, &[&function]).await.unwrap().get(0);
        let broken = whole.replace(rule, replacement);
        assert_ne!(whole, broken, "{function} has no such rule: {whole}");
        client.batch_execute(&broken).await.unwrap();
    }
}

/// What a run does.
#[derive(Debug, Clone, Copy)]
struct Course {
    /// Rounds on the same stores use other elements.
    round: u64,
    seed: u64,
    duration: Duration,
    sabotage: Sabotage,
    /// Of events, how many in a hundred crash a store, kill a controller, stall commits.
    crashes: u32,
    kills: u32,
    stalls: u32,
    /// The longest that a transaction dawdles.
    dawdle_ms: u64,
    /// The longest that commits are stalled.
    stall_ms: u64,
    /// Everybody writes the same few elements as well. Then a stalled commit holds up what comes from
    /// elsewhere, and an echo behind it.
    is_hot: bool,
    /// Links that the cluster tends to; few of them leave no other way round.
    links: usize,
}

impl Course {
    fn new(seed: u64) -> Self {
        Self {
            round: 0,
            seed,
            duration: Duration::from_secs(20),
            sabotage: Sabotage::Nothing,
            crashes: 6,
            kills: 6,
            stalls: 6,
            dawdle_ms: 150,
            stall_ms: 300,
            is_hot: true,
            links: 6,
        }
    }
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
        .extend(differences(cluster, course).await);
    println!("{events:?}, settled after {:?}", since.elapsed());
    verdict
        .violations
        .extend(losses(cluster, course.round, &written).await);
    verdict.violations.extend(complaints(cluster));
    if course.sabotage == Sabotage::Nothing {
        for (a, b) in links {
            cluster.await_linked(a, b).await;
        }
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
    let mut course = Course::new(seed());
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

/// Runs a broken cluster until the harness notices.
async fn notices(sabotage: Sabotage, course: Course) {
    let mut cluster = Cluster::start(NODES).await;
    for node in &cluster.nodes {
        sabotage.commit(&node.client().await).await;
    }
    let deadline = Instant::now() + NOTICE_MAX;
    for round in 0.. {
        let course = Course {
            sabotage,
            round,
            seed: course.seed + round,
            duration: Duration::from_secs(4),
            ..course
        };
        let verdict = run(&mut cluster, course).await;
        if let Some(first) = verdict.violations.first() {
            println!("{sabotage:?} noticed in round {round}: {first}");
            break;
        }
        assert!(Instant::now() < deadline, "{sabotage:?} was not noticed");
        // The next round starts from nothing but its stores.
        for a in 0..NODES {
            cluster.unlink(a, (a + 1) % NODES, Departure::Deliberate);
        }
        until("nothing is left", || async {
            for node in &cluster.nodes {
                node.try_text("1").await?;
                if !node.links().await.is_empty() {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_notices_that_echoes_are_applied() {
    // The ring stays closed: an echo needs a way back.
    let calm = Course {
        crashes: 0,
        kills: 0,
        stalls: 100,
        stall_ms: 600,
        is_hot: false,
        ..Course::new(seed())
    };
    notices(Sabotage::OwnEcho, calm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_notices_that_links_begin_without_catch_up() {
    let calm = Course {
        crashes: 0,
        kills: 0,
        stalls: 0,
        ..Course::new(seed())
    };
    notices(Sabotage::CatchUp, calm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_notices_that_checkpoints_do_not_wait() {
    let slow = Course {
        crashes: 0,
        kills: 0,
        stalls: 0,
        dawdle_ms: 1_500,
        links: 3,
        ..Course::new(seed())
    };
    notices(Sabotage::CheckpointWait, slow).await;
}
