//! Schedules in which a rule is sure to be needed, to prove the judges.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use starling::replication::Departure;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::{
    verdict::{complaints, differences, losses},
    workload::{Tally, Written},
};
use crate::harness::{
    data_plane::{Cluster, Node, PATIENCE, until},
    server::set_standby,
};

/// How long stores that have all that they will get may take to become equal all the same.
const BROKEN_PATIENCE: Duration = Duration::from_secs(2);

/// A rule, and how it is broken in every store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    Nothing,
    OwnEcho,
    CatchUp,
    CheckpointWait,
    EarlyAnswer,
}

impl Sabotage {
    /// Takes the rule out of the function that holds it; fails when it is not there.
    async fn commit(self, client: &Client) {
        let (function, rule, replacement) = match self {
            Self::Nothing => return,
            Self::OwnEcho => ("crdv.apply()", "new.site = crdv.own_site()", "false"),
            Self::CatchUp => (
                "crdv.missing(bigint[], bigint[])",
                "COALESCE(v.upto, ",
                "COALESCE(9223372036854775807, ",
            ),
            Self::CheckpointWait => {
                let wait = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint < horizon_";
                ("crdv.checkpoint_finish(bigint, bigint)", wait, "false")
            }
            Self::EarlyAnswer => (
                "crdv.apply()",
                "own_seq is not null and is_met is not true",
                "false",
            ),
        };
        let sql = "select pg_get_functiondef($1::text::regprocedure)";
        let whole: String = client.query_one(sql, &[&function]).await.unwrap().get(0);
        let broken = whole.replace(rule, replacement);
        assert_ne!(whole, broken, "{function} has no such rule: {whole}");
        client.batch_execute(&broken).await.unwrap();
    }
}

/// An increment of a counter that nobody increments again, so that no later one makes up for it.
fn increment(round: usize) -> String {
    format!("select counterInc('total.{round}', 1)")
}

/// Waits until all that was written before is everywhere that it will ever be: links keep the order.
async fn settle(cluster: &Cluster, round: usize) {
    for (number, node) in cluster.nodes.iter().enumerate() {
        node.run(&format!("select mapAdd('end {round}', '{number}', '')"))
            .await;
    }
    let all = format!("select count(*) from crdv.element where id = 'end {round}'");
    for number in 0..cluster.nodes.len() {
        cluster
            .await_text(number, &all, &cluster.nodes.len().to_string())
            .await;
    }
}

/// What node 0 was told is done: one increment in each round so far.
fn written(round: usize) -> Vec<Written> {
    let acknowledged = i64::try_from(round).unwrap() + 1;
    let tally = Tally {
        acknowledged,
        commits: acknowledged.unsigned_abs(),
    };
    vec![(0, tally, Vec::new())]
}

async fn unlinked(cluster: &Cluster) {
    cluster.unlink(0, 1, Departure::Deliberate);
    cluster.await_clear().await;
}

async fn linked(cluster: &Cluster) {
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
}

/// Plays a schedule that writes at node 0 what node 1 gets by a catch-up, with the rule and without.
async fn loses(sabotage: Sabotage, schedule: impl AsyncFn(&Cluster, usize, Sabotage)) {
    let cluster = Cluster::start(2).await;
    linked(&cluster).await;
    for (round, sabotage) in [Sabotage::Nothing, sabotage].into_iter().enumerate() {
        for node in &cluster.nodes {
            sabotage.commit(&node.client().await).await;
        }
        schedule(&cluster, round, sabotage).await;
        linked(&cluster).await;
        settle(&cluster, round).await;
        let is_whole = sabotage == Sabotage::Nothing;
        let patience = if is_whole { PATIENCE } else { BROKEN_PATIENCE };
        let different = differences(&cluster, patience).await;
        let lost = losses(&cluster, &written(round)).await;
        println!("{sabotage:?}: {lost:?} {different:?}");
        assert_eq!(
            (lost.is_empty(), different.is_empty()),
            (is_whole, is_whole)
        );
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_notices_that_links_begin_without_catch_up() {
    loses(Sabotage::CatchUp, async |cluster, round, _| {
        unlinked(cluster).await;
        cluster.nodes[0].run(&increment(round)).await;
    })
    .await;
}

/// A transaction takes its number, a checkpoint beyond it is made and travels, the link goes, and only
/// then does the transaction commit.
#[tokio::test(flavor = "multi_thread")]
async fn chaos_notices_that_checkpoints_do_not_wait() {
    loses(
        Sabotage::CheckpointWait,
        async |cluster, round, sabotage| {
            let [origin, other] = &cluster.nodes[..] else {
                unreachable!()
            };
            let slow = origin.client().await;
            slow.batch_execute(&format!("begin; {}", increment(round)))
                .await
                .unwrap();
            let number = origin.text("select last_value from crdv.seq").await;
            origin
                .run(&format!("select setAdd('later', '{round}')"))
                .await;
            let promised = format!(
                "select coalesce(max(upto), 0) >= {number} from crdv.vector where site = {}",
                origin.site
            );
            let promised = until("a promise", || async {
                (other.text(&promised).await == "true").then_some(())
            });
            if sabotage == Sabotage::Nothing {
                let waited = timeout(Duration::from_secs(1), promised).await;
                assert!(waited.is_err(), "a checkpoint did not wait");
            } else {
                promised.await;
            }
            unlinked(cluster).await;
            slow.batch_execute("commit").await.unwrap();
        },
    )
    .await;
}

/// A commit is shipped before it is visible at home, and comes back over a cycle meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn chaos_notices_that_echoes_are_applied() {
    let cluster = Cluster::start(4).await;
    let ring = [(0, 1), (1, 2), (2, 3), (3, 0)];
    for (a, b) in ring {
        cluster.link(a, b);
    }
    for (a, b) in ring {
        cluster.await_linked(a, b).await;
    }
    for (round, sabotage) in [Sabotage::Nothing, Sabotage::OwnEcho]
        .into_iter()
        .enumerate()
    {
        for node in &cluster.nodes {
            sabotage.commit(&node.client().await).await;
        }
        echo(&cluster, round, sabotage).await;
        settle(&cluster, round).await;
        let complaints = complaints(&cluster);
        println!("{sabotage:?}: {complaints:?}");
        assert_eq!(complaints.is_empty(), sabotage == Sabotage::Nothing);
    }
    cluster.stop().await;
}

async fn echo(cluster: &Cluster, round: usize, sabotage: Sabotage) {
    let [origin, back, ..] = &cluster.nodes[..] else {
        unreachable!()
    };
    let slot_to = |node: &Node| format!("slot_name ~ '^starling_{:016x}_'", node.site.get());
    // The way to one neighbour is frozen, so that it hears of the write from its other one.
    let sender = format!(
        "select active_pid from pg_replication_slots where {}",
        slot_to(back)
    );
    let sender = Pid::from_raw(origin.text(&sender).await.parse().unwrap());
    kill(sender, Signal::SIGSTOP).unwrap();
    let control = origin.client().await;
    set_standby(&control, "'nobody'").await;
    let client = origin.client().await;
    let write = tokio::spawn(async move { client.batch_execute(&increment(round)).await });
    let here = format!("select count(*) from crdv.element where id = 'total.{round}'");
    cluster.await_text(1, &here, "1").await;
    let end = back.text("select pg_current_wal_flush_lsn()").await;
    // It comes back: it is dropped, or waits for the commit that it is the echo of.
    let dropped = format!(
        "select confirmed_flush_lsn >= '{end}' from pg_replication_slots where {}",
        slot_to(origin)
    );
    let waits = "select count(*) > 0 from pg_locks l join pg_stat_subscription s on s.pid = l.pid
                 where l.locktype = 'transactionid' and not l.granted";
    if sabotage == Sabotage::Nothing {
        cluster.await_text(1, &dropped, "true").await;
    } else {
        cluster.await_text(0, waits, "true").await;
    }
    set_standby(&control, "default").await;
    sleep(Duration::from_millis(20)).await;
    kill(sender, Signal::SIGCONT).unwrap();
    write.await.unwrap().unwrap();
}

/// A commit hangs behind its flush, and what it wrote is answered meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn chaos_notices_that_early_answers_are_forgotten() {
    let cluster = Cluster::start(2).await;
    linked(&cluster).await;
    for (round, sabotage) in [Sabotage::Nothing, Sabotage::EarlyAnswer]
        .into_iter()
        .enumerate()
    {
        for node in &cluster.nodes {
            sabotage.commit(&node.client().await).await;
        }
        early_answer(&cluster, round).await;
        settle(&cluster, round).await;
        let is_whole = sabotage == Sabotage::Nothing;
        let patience = if is_whole { PATIENCE } else { BROKEN_PATIENCE };
        let different = differences(&cluster, patience).await;
        println!("{sabotage:?}: {different:?}");
        assert_eq!(different.is_empty(), is_whole);
    }
    cluster.stop().await;
}

async fn early_answer(cluster: &Cluster, round: usize) {
    let [origin, other] = &cluster.nodes[..] else {
        unreachable!()
    };
    // Of one element there is an earlier row, which the hanging commit holds.
    let (set, register) = (format!("set.{round}"), format!("register.{round}"));
    origin
        .run(&format!("select registerSet('{register}', 'first')"))
        .await;
    let control = origin.client().await;
    set_standby(&control, "'nobody'").await;
    let client = origin.client().await;
    let hangs = format!("select setAdd('{set}', 'x'), registerSet('{register}', 'second')");
    let write = tokio::spawn(async move { client.batch_execute(&hangs).await });
    let second = format!("select registerLwwGet('{register}')");
    cluster.await_text(1, &second, "second").await;
    assert_eq!(
        origin.text(&second).await,
        "first",
        "not visible at home yet"
    );
    other
        .run(&format!(
            "select setRmv('{set}', 'x'), registerSet('{register}', 'answer')"
        ))
        .await;
    // The link does not wait for the commit.
    let answers = format!(
        "select count(*) from crdv.element where id in ('{set}', '{register}') and site = {}",
        other.site
    );
    cluster.await_text(0, &answers, "2").await;
    set_standby(&control, "default").await;
    write.await.unwrap().unwrap();
}
