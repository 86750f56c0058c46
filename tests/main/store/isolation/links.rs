//! Writers and links on the same elements: a transaction of the one and one of the other may each hold
//! what the other wants. One of them is told to try again, and nothing is lost.

use std::{env, time::Duration};

use rand::seq::SliceRandom as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{Client, Error};

use super::{
    LEVELS,
    crowd::{Course, Writer},
    judge::judge,
};
use crate::{
    harness::data_plane::{Cluster, Node, PATIENCE, until},
    store::operation::{Operation, is_retryable, present, until_blocked},
};

const DEADLOCKS: &str = "select deadlocks from pg_stat_database where datname = current_database()";
const APPLY_ERRORS: &str = "select sum(apply_error_count) from pg_stat_subscription_stats";

async fn count(node: &Node, sql: &str) -> u64 {
    node.text(sql).await.parse().unwrap()
}

/// What a store has, but for what the links themselves write.
async fn content(node: &Node) -> Vec<Operation> {
    let mut rows = present(&node.client().await).await;
    rows.retain(|row| !matches!(row.kind, 'v' | 'k'));
    rows
}

async fn until_equal(cluster: &Cluster) {
    until("the stores are equal", || async {
        let first = content(&cluster.nodes[0]).await;
        for node in &cluster.nodes[1..] {
            if content(node).await != first {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crowds_on_a_ring_of_stores_lose_nothing() {
    let cluster = Cluster::start(3).await;
    let ring = [(0, 1), (1, 2), (2, 0)];
    for (a, b) in ring {
        cluster.link(a, b);
    }
    for (a, b) in ring {
        cluster.await_linked(a, b).await;
    }
    for level in LEVELS {
        let course = Course {
            is_alone: false,
            ..Course::new(level)
        };
        println!("{level:?}: STARLING_TEST_SEED={}", course.seed);
        let before = counts(&cluster).await;
        let (began, mut crowd) = (Instant::now(), JoinSet::new());
        for (store, node) in cluster.nodes.iter().enumerate() {
            for number in 0..2 {
                let client = node.client().await;
                crowd.spawn(Writer::new(client, course.clone(), store, number).run());
            }
        }
        let written = crowd.join_all().await;
        let wrote = began.elapsed();
        until_equal(&cluster).await;
        let settled = began.elapsed() - wrote;
        let mut clients = Vec::new();
        for node in &cluster.nodes {
            clients.push(node.client().await);
        }
        let clients: Vec<_> = clients.iter().collect();
        let complaints = judge(&clients, &written).await;
        assert!(complaints.is_empty(), "{level:?}: {complaints:#?}");
        let commits: usize = written.iter().map(|one| one.transactions.len()).sum();
        let longest = written.iter().map(|one| one.longest).max().unwrap();
        let repeated: Vec<_> = written.iter().map(|one| &one.repeated).collect();
        let after = counts(&cluster).await;
        let [deadlocks, applying] = [0, 1].map(|n| after[n] - before[n]);
        println!(
            "{level:?}: {commits} commits in {wrote:?}, equal {settled:?} later; {deadlocks} deadlocks, links \
             that failed {applying}; repeated {repeated:?}; longest attempt {longest:?}"
        );
        for node in &cluster.nodes {
            node.run("delete from crdv.element_unguarded where type <> 'v'")
                .await;
        }
    }
    cluster.stop().await;
}

/// Deadlocks, and those of which a link was the victim.
async fn counts(cluster: &Cluster) -> [u64; 2] {
    let mut counts = [0; 2];
    for node in &cluster.nodes {
        counts[0] += count(node, DEADLOCKS).await;
        counts[1] += count(node, APPLY_ERRORS).await;
    }
    counts
}

/// Writes some of a few entries of a map again and again, in any order, in transactions that take their
/// time. Returns how long each attempt took that failed.
async fn contend(client: Client, rounds: usize) -> Vec<Duration> {
    let mut failed = Vec::new();
    for round in 0..rounds {
        let mut keys: Vec<_> = (0..6).collect();
        keys.shuffle(&mut rand::rng());
        loop {
            let began = Instant::now();
            match attempt(&client, &keys[..4], round).await {
                Ok(()) => break,
                Err(error) => assert!(is_retryable(&error), "{error:?}"),
            }
            failed.push(began.elapsed());
            client.batch_execute("rollback").await.unwrap();
        }
    }
    failed
}

async fn attempt(client: &Client, keys: &[i32], round: usize) -> Result<(), Error> {
    client.batch_execute("begin").await?;
    for key in keys {
        let add = format!("select mapAdd('hot', '{key}', '{round}')");
        client.batch_execute(&add).await?;
        sleep(Duration::from_millis(rand::random_range(0..4))).await;
    }
    client.batch_execute("commit").await
}

/// One writer at each store: whatever deadlock there is, a link is part of it.
#[tokio::test(flavor = "multi_thread")]
async fn links_and_writers_that_contend_go_on() {
    let rounds = env::var("STARLING_TEST_ROUNDS").map_or(60, |rounds| rounds.parse().unwrap());
    let cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let before = counts(&cluster).await;
    let (began, mut writers) = (Instant::now(), JoinSet::new());
    for node in &cluster.nodes {
        writers.spawn(contend(node.client().await, rounds));
    }
    let failed = writers.join_all().await.concat();
    let wrote = began.elapsed();
    until_equal(&cluster).await;
    let settled = began.elapsed() - wrote;
    let after = counts(&cluster).await;
    let deadlocks = after[0] - before[0];
    println!(
        "{} commits in {wrote:?}, equal {settled:?} later; {deadlocks} deadlocks, in {} of them a writer \
         gave way, after {failed:?}",
        2 * rounds,
        failed.len()
    );
    for node in &cluster.nodes {
        let present = "select count(distinct key) from crdv.element where id = 'hot'";
        assert_eq!(node.text(present).await, "6");
    }
    cluster.stop().await;
}

/// Lets a writer at one store and the link from the other wait for each other. Returns whether the
/// writer was the victim, and how long the writer and the link were held up.
async fn collide(
    cluster: &Cluster,
    round: u64,
    writer_timeout: &str,
) -> (bool, Duration, Duration) {
    let [publisher, subscriber] = &cluster.nodes[..] else {
        unreachable!()
    };
    let add = |key: &str, value: &str| format!("select mapAdd('m', '{key}', '{value} {round}')");
    let both = format!("begin; {}; {}; commit", add("p", "old"), add("q", "old"));
    publisher.run(&both).await;
    until_equal(cluster).await;

    let (observer, local) = (subscriber.client().await, subscriber.client().await);
    let begin = format!(
        "set deadlock_timeout = '{writer_timeout}'; begin; {}",
        add("q", "local")
    );
    local.batch_execute(&begin).await.unwrap();
    let both = format!(
        "begin; {}; {}; commit",
        add("p", "remote"),
        add("q", "remote")
    );
    publisher.run(&both).await;
    let worker = "select pid from pg_stat_subscription where pid is not null";
    let worker = subscriber.text(worker).await.parse().unwrap();
    until_blocked(&observer, worker).await;
    let began = Instant::now();
    let wrote = local.batch_execute(&add("p", "local")).await;
    let held_up = began.elapsed();
    match &wrote {
        Ok(()) => local.batch_execute("commit").await.unwrap(),
        Err(error) => {
            assert!(is_retryable(error), "{error:?}");
            local.batch_execute("rollback").await.unwrap();
        }
    }
    // Nobody does anything about it.
    let equal = timeout(PATIENCE, until_equal(cluster)).await;
    let link_held_up = began.elapsed();
    let read = "select mapAwMvrGet('m')";
    println!("round {round}: {}", publisher.text(read).await);
    assert!(equal.is_ok());
    for (key, local) in [("p", wrote.is_ok()), ("q", wrote.is_ok())] {
        let expected = if local { 2 } else { 1 };
        let values = format!("select cardinality(mapAwMvrValue('m', '{key}'))");
        assert_eq!(count(publisher, &values).await, expected, "{key}");
        let remote = format!("select 'remote {round}' = any (mapAwMvrValue('m', '{key}'))");
        assert_eq!(subscriber.text(&remote).await, "true", "{key}");
    }
    (wrote.is_err(), held_up, link_held_up)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_with_a_link_ends_by_itself_whoever_is_the_victim() {
    let cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let errors = async || count(&cluster.nodes[1], APPLY_ERRORS).await;
    let before = errors().await;

    // The link has waited for longer, and yet the writer gives way.
    let (is_writer, writer, link) = collide(&cluster, 1, "1s").await;
    println!("the writer is told after {writer:?}, the link goes on after {link:?}");
    assert!(is_writer);
    assert_eq!(errors().await, before);

    // A writer that never looks for deadlocks: the link fails, and comes back.
    let (is_writer, writer, link) = collide(&cluster, 2, "1h").await;
    println!("the writer goes on after {writer:?}, the link comes back after {link:?}");
    assert!(!is_writer);
    until("the link's failure is counted", || async {
        (errors().await == before + 1).then_some(())
    })
    .await;
    cluster.stop().await;
}
