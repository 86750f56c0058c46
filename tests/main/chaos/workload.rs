//! What goes on in the stores meanwhile, and what must never be seen there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use starling::{
    identity::Site,
    postgres::{self, PrivateServer},
};
use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::Course;
use crate::harness::data_plane::Cluster;

const WRITERS_PER_NODE: usize = 2;

/// The longest that a transaction dawdles.
const DAWDLE_MS: u64 = 150;

/// All who write and read.
#[derive(Debug)]
pub(super) struct Crowd {
    stop: CancellationToken,
    writers: JoinSet<Written>,
    readers: JoinSet<(Violations, u64)>,
    observers: JoinSet<()>,
    answerers: JoinSet<()>,
}

/// What was written where: the node, what is known, what is in doubt.
pub(super) type Written = (usize, Tally, Vec<Doubt>);

/// What a run found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) violations: Violations,
    pub(super) commits: u64,
    pub(super) reads: u64,
}

impl Crowd {
    pub(super) fn gather(cluster: &Cluster, course: Course) -> Self {
        let mut crowd = Self {
            stop: CancellationToken::new(),
            writers: JoinSet::new(),
            readers: JoinSet::new(),
            observers: JoinSet::new(),
            answerers: JoinSet::new(),
        };
        for (node, member) in cluster.nodes.iter().enumerate() {
            let server = || Arc::clone(&member.server);
            let stop = || crowd.stop.clone();
            for number in 0..WRITERS_PER_NODE {
                let seed = course.seed + (node * 100 + number) as u64;
                let writer = Writer {
                    node,
                    number,
                    server: server(),
                    rng: StdRng::seed_from_u64(seed),
                    client: None,
                    tally: Tally::default(),
                    doubts: Vec::new(),
                };
                crowd.writers.spawn(writer.run(stop()));
            }
            crowd.observers.spawn(observer(node, server(), stop()));
            let other = &cluster.nodes[(node + 1) % cluster.nodes.len()];
            crowd
                .answerers
                .spawn(answerer(other.site, server(), stop()));
            crowd.readers.spawn(reader(node, server(), stop()));
        }
        crowd
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until all have ended, and collects what they have to say.
    pub(super) async fn disperse(self) -> (Vec<Written>, Verdict) {
        let mut verdict = Verdict::default();
        for (violations, reads) in self.readers.join_all().await {
            verdict.violations.extend(violations);
            verdict.reads += reads;
        }
        self.observers.join_all().await;
        self.answerers.join_all().await;
        let written = self.writers.join_all().await;
        verdict.commits = written.iter().map(|(_, tally, _)| tally.commits).sum();
        (written, verdict)
    }
}

/// What one writer knows of its increments.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) acknowledged: i64,
    pub(super) commits: u64,
}

/// A commit whose answer never came. Its receipt tells what became of it; its transaction id would
/// not, because a crash gives ids that never reached the disk to others.
#[derive(Debug, Clone)]
pub(super) struct Doubt {
    pub(super) receipt: String,
    pub(super) delta: i64,
}

/// What readers saw that must not be.
pub(super) type Violations = Vec<String>;

pub(super) struct Writer {
    pub(super) node: usize,
    pub(super) number: usize,
    pub(super) server: Arc<PrivateServer>,
    pub(super) rng: StdRng,
    pub(super) client: Option<Client>,
    pub(super) tally: Tally,
    pub(super) doubts: Vec<Doubt>,
}

impl Writer {
    pub(super) async fn run(mut self, stop: CancellationToken) -> (usize, Tally, Vec<Doubt>) {
        let mut round = 0;
        while !stop.is_cancelled() {
            round += 1;
            if self.transaction(round).await.is_err() {
                self.client = None;
                sleep(Duration::from_millis(50)).await;
            }
            sleep(Duration::from_millis(self.rng.random_range(0..20))).await;
        }
        (self.node, self.tally, self.doubts)
    }

    async fn transaction(&mut self, round: u64) -> Result<(), tokio_postgres::Error> {
        if self.client.is_none() {
            self.client = Some(postgres::connect(&self.server.connection()).await?);
        }
        let delta = self.rng.random_range(1..=5_i64);
        let dawdles = self.rng.random_ratio(1, 10);
        let gives_up = self.rng.random_ratio(1, 10);
        let hot = self.rng.random_range(1..=5);
        let dawdle = Duration::from_millis(self.rng.random_range(0..=DAWDLE_MS));
        let Some(client) = &self.client else {
            return Ok(());
        };
        let (node, number) = (self.node, self.number);
        client.batch_execute("begin").await?;
        let write = |id: &str, key: &str, data: &str| {
            format!("select crdv.write('m', '{id}', '{key}', 'a', '{data}');")
        };
        let pair = format!("pair.{node}.{number}");
        let receipt = format!("{number}.{round}");
        // The member of the set is a new element, the others are written again and again.
        let first = format!(
            "insert into public.receipt values ('{receipt}');
             select crdv.write('s', 'receipts', '{node}.{receipt}', 'a', null);
             select crdv.counterinc('total.{number}', {delta}); {}",
            write(&pair, "x", &round.to_string())
        );
        client.batch_execute(&first).await?;
        if dawdles {
            sleep(dawdle).await;
        }
        let mut second = write(&pair, "y", &round.to_string());
        let data = format!("{node}.{number}.{round}");
        second += &write("hot", &format!("h{hot}"), &data);
        client.batch_execute(&second).await?;
        if gives_up {
            return client.batch_execute("rollback").await;
        }
        let committed = client.batch_execute("commit").await;
        if committed.is_ok() {
            self.tally.acknowledged += delta;
            self.tally.commits += 1;
        } else {
            self.doubts.push(Doubt { receipt, delta });
        }
        committed
    }
}

/// Writes, again and again, what it has seen of the others.
pub(super) async fn observer(node: usize, server: Arc<PrivateServer>, stop: CancellationToken) {
    let (mut client, mut round) = (None, 0);
    while !stop.is_cancelled() {
        round += 1;
        if note_seen(&mut client, (node, round), &server)
            .await
            .is_err()
        {
            client = None;
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

pub(super) async fn note_seen(
    client: &mut Option<Client>,
    (node, round): (usize, u64),
    server: &PrivateServer,
) -> Result<(), tokio_postgres::Error> {
    let client = match client {
        Some(client) => client,
        None => {
            // A stalled commit is answered elsewhere before it is visible at home; that is the one
            // known disorder (see `starling::replication`), and not what this looks for.
            let connected = postgres::connect(&server.connection()).await?;
            connected
                .batch_execute("set synchronous_commit = local")
                .await?;
            client.insert(connected)
        }
    };
    let seen = client
        .query("select key, data from crdv.element where id = 'clock'", &[])
        .await?;
    let seen: Vec<_> = seen
        .iter()
        .map(|row| (row.get(0), own_round(row.get(1))))
        .collect();
    let seen = seen
        .iter()
        .map(|(of, round): &(String, u64)| format!("{of}={round}"));
    let data = format!("{round}|{}", seen.collect::<Vec<_>>().join(","));
    let sql = "select crdv.write('m', 'clock', $1, 'a', $2)";
    client
        .query(sql, &[&node.to_string(), &data])
        .await
        .map(drop)
}

pub(super) fn own_round(clock: &str) -> u64 {
    clock.split('|').next().unwrap().parse().unwrap()
}

/// Removes what another store adds, as soon as it is here. While that store's commits are stalled, this
/// comes to it before what it answers is visible there, and nobody writes the element again.
pub(super) async fn answerer(of: Site, server: Arc<PrivateServer>, stop: CancellationToken) {
    let (mut client, mut last) = (None, 0);
    while !stop.is_cancelled() {
        match answer(&mut client, (of, last), &server).await {
            Ok(seen) => last = seen,
            Err(_) => {
                client = None;
                sleep(Duration::from_millis(50)).await;
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Answers the newest beyond `last`; one element at a time, so that nobody meets it in a deadlock.
async fn answer(
    client: &mut Option<Client>,
    (of, last): (Site, i64),
    server: &PrivateServer,
) -> Result<i64, tokio_postgres::Error> {
    let client = match client {
        Some(client) => client,
        None => client.insert(postgres::connect(&server.connection()).await?),
    };
    let sql = "select n.seq, crdv.write('s', 'receipts', n.key, 'r', null) from (
          select e.seq, e.key from crdv.element e
           where e.site = $1 and e.seq > $2 and e.type = 's' and e.id = 'receipts' and e.op = 'a'
           order by e.seq desc limit 1) n";
    let row = client.query_opt(sql, &[&of.get(), &last]).await?;
    Ok(row.map_or(last, |row| row.get(0)))
}

/// Reads all pairs and clocks in one snapshot, again and again.
pub(super) async fn reader(
    node: usize,
    server: Arc<PrivateServer>,
    stop: CancellationToken,
) -> (Violations, u64) {
    let (mut violations, mut reads) = (Vec::new(), 0);
    let mut client = None;
    while !stop.is_cancelled() {
        match read(&mut client, &server).await {
            Ok(rows) => {
                reads += 1;
                violations.extend(judge(node, &rows));
            }
            Err(_) => {
                client = None;
                sleep(Duration::from_millis(50)).await;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    violations.truncate(20);
    (violations, reads)
}

pub(super) async fn read(
    client: &mut Option<Client>,
    server: &PrivateServer,
) -> Result<Vec<[String; 3]>, tokio_postgres::Error> {
    let client = match client {
        Some(client) => client,
        None => client.insert(postgres::connect(&server.connection()).await?),
    };
    let sql = "select id, key, data from crdv.element where id like 'pair.%' or id = 'clock'";
    let rows = client.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| [row.get(0), row.get(1), row.get(2)])
        .collect())
}

/// Both halves of a pair are written by one transaction; a clock says what its writer had seen.
///
/// A store's own newest clock is not judged: another store's answer to it can be visible a moment
/// before it is (see the design's section on what is guaranteed).
pub(super) fn judge(node: usize, rows: &[[String; 3]]) -> Violations {
    let mut violations = Vec::new();
    let mut pairs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut clocks: BTreeMap<&str, &str> = BTreeMap::new();
    for [id, key, data] in rows {
        if id == "clock" {
            clocks.insert(key, data);
        } else {
            pairs.entry(id).or_default().insert(data);
        }
    }
    for (pair, values) in pairs {
        if values.len() != 1 {
            violations.push(format!("torn on node {node}: {pair} {values:?}"));
        }
    }
    for (of, clock) in &clocks {
        for cause in clock
            .split('|')
            .nth(1)
            .unwrap()
            .split(',')
            .filter(|c| !c.is_empty())
        {
            let (origin, round) = cause.split_once('=').unwrap();
            let here = clocks.get(origin).map_or(0, |clock| own_round(clock));
            if here < round.parse().unwrap() && origin != node.to_string() {
                violations.push(format!(
                    "reordered on node {node}: {of} had seen {cause}, here it is {here}"
                ));
            }
        }
    }
    violations
}
