//! What the data plane takes: latency per hop, converged throughput and its CPU, link set-up and
//! catch-up. Real servers on this machine, real data planes, an in-process network between the
//! controllers (no data passes through those).
//!
//! `cargo bench --bench data_plane` prints a table; with `-- --json` one JSON object.
//! Compare ratios taken in one run: absolute times depend on the machine and on what else it does.

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a program to look at, made of the tests' parts"
)]

#[path = "../tests/main/harness/data_plane.rs"]
mod harness;

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use tokio_postgres::Client;

use harness::{Cluster, Node};

/// Writes per latency measurement, one every [`PACE`].
const SAMPLES: usize = 500;
const PACE: Duration = Duration::from_millis(10);

/// Clients per store and the time they write for, in the throughput measurement.
const CLIENTS: usize = 4;
const LOAD: Duration = Duration::from_secs(10);

/// Rows that the peer lacks in the catch-up measurement.
const MISSING: i64 = 100_000;

/// Link set-ups measured.
const SETUPS: usize = 10;

type Results = BTreeMap<&'static str, f64>;

#[tokio::main]
async fn main() {
    let mut results = Results::new();
    latency(&mut results).await;
    throughput(&mut results, "line", &[(0, 1), (1, 2), (2, 3)]).await;
    throughput(
        &mut results,
        "mesh",
        &[(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)],
    )
    .await;
    set_up(&mut results).await;
    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", serde_json::to_string(&results).unwrap());
    } else {
        for (name, value) in &results {
            println!("{name:48} {value:12.3}");
        }
    }
}

async fn line(count: usize) -> Cluster {
    let cluster = Cluster::start(count).await;
    for node in 1..count {
        cluster.link(node - 1, node);
    }
    for node in 1..count {
        cluster.await_linked(node - 1, node).await;
    }
    cluster
}

/// From the start of a write on the first store of a line until a reader sees it on another.
async fn latency(results: &mut Results) {
    let cluster = line(4).await;
    let hops = [
        ("latency_1_hop_p50_ms", "latency_1_hop_p99_ms", 1),
        ("latency_3_hops_p50_ms", "latency_3_hops_p99_ms", 3),
    ];
    for (p50, p99, node) in hops {
        let writer = cluster.nodes[0].client().await;
        let reader = cluster.nodes[node].client().await;
        let write = writer
            .prepare("select crdv.counterInc('latency', 1)")
            .await
            .unwrap();
        let read = reader
            .prepare("select coalesce(crdv.counterGet('latency'), 0)")
            .await
            .unwrap();
        let mut expected: i64 = writer
            .query_one("select coalesce(crdv.counterGet('latency'), 0)", &[])
            .await
            .unwrap()
            .get(0);
        let mut samples = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            expected += 1;
            let started = Instant::now();
            writer.query(&write, &[]).await.unwrap();
            while reader.query_one(&read, &[]).await.unwrap().get::<_, i64>(0) < expected {}
            samples.push(started.elapsed());
            tokio::time::sleep(PACE).await;
        }
        samples.sort_unstable();
        results.insert(p50, milliseconds(samples[SAMPLES / 2]));
        results.insert(p99, milliseconds(samples[SAMPLES * 99 / 100]));
    }
    cluster.stop().await;
}

/// Counter increments by several clients on each of four stores, until all stores are equal.
async fn throughput(results: &mut Results, shape: &str, edges: &[(usize, usize)]) {
    let (rate, cpu) = match shape {
        "line" => ("line_converged_ops_per_s", "line_cpu_ms_per_op_and_store"),
        _ => ("mesh_converged_ops_per_s", "mesh_cpu_ms_per_op_and_store"),
    };
    let cluster = Cluster::start(4).await;
    for &(a, b) in edges {
        cluster.link(a, b);
    }
    for &(a, b) in edges {
        cluster.await_linked(a, b).await;
    }
    let before: Duration = cluster.nodes.iter().map(server_cpu).sum();
    let started = Instant::now();
    let mut writers = Vec::new();
    for (number, node) in cluster.nodes.iter().enumerate() {
        for client in 0..CLIENTS {
            let session = node.client().await;
            writers.push(tokio::spawn(increment(session, number * CLIENTS + client)));
        }
    }
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    for node in 0..cluster.nodes.len() {
        cluster
            .await_text(
                node,
                "select sum(data) from crdv.counter",
                &written.to_string(),
            )
            .await;
    }
    let took = started.elapsed();
    let spent = cluster.nodes.iter().map(server_cpu).sum::<Duration>() - before;
    results.insert(rate, written as f64 / took.as_secs_f64());
    results.insert(
        cpu,
        milliseconds(spent) / written as f64 / cluster.nodes.len() as f64,
    );
    cluster.stop().await;
}

async fn increment(session: Client, client: usize) -> i64 {
    let write = session
        .prepare("select crdv.counterInc($1, 1)")
        .await
        .unwrap();
    let (mut written, started) = (0, Instant::now());
    while started.elapsed() < LOAD {
        let id = format!("c{client}-{}", written % 100);
        session.query(&write, &[&id]).await.unwrap();
        written += 1;
    }
    written
}

/// From the news of a neighbour until both directions stream, for a peer that lacks nothing; and
/// the rate at which one that lacks much is brought level.
async fn set_up(results: &mut Results) {
    let cluster = line(2).await;
    cluster.nodes[0].run("select crdv.counterInc('x', 1)").await;
    cluster.await_text(1, "crdv.counterGet('x')", "1").await;
    // Checkpoints have to be level too, or there is something to catch up with.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut samples = Vec::with_capacity(SETUPS);
    for _ in 0..SETUPS {
        cluster.unlink(0, 1, starling::replication::Departure::Deliberate);
        for node in [0, 1] {
            harness::until("all links are gone", || async {
                (cluster.nodes[node].links().await).is_empty().then_some(())
            })
            .await;
        }
        let started = Instant::now();
        cluster.link(0, 1);
        cluster.await_linked(0, 1).await;
        samples.push(started.elapsed());
    }
    samples.sort_unstable();
    results.insert(
        "set_up_level_peer_p50_ms",
        milliseconds(samples[SETUPS / 2]),
    );
    results.insert(
        "set_up_level_peer_max_ms",
        milliseconds(samples[SETUPS - 1]),
    );
    cluster.stop().await;

    let cluster = Cluster::start(2).await;
    let fill = format!(
        "select count(crdv.mapAdd('m' || i % 100, 'k' || i, 'v' || i)) from generate_series(1, {MISSING}) i"
    );
    cluster.nodes[0].run(&fill).await;
    let started = Instant::now();
    cluster.link(0, 1);
    let count = "select count(*) from crdv.element where id like 'm%'";
    cluster.await_text(1, count, &MISSING.to_string()).await;
    results.insert(
        "catch_up_rows_per_s",
        MISSING as f64 / started.elapsed().as_secs_f64(),
    );
    cluster.stop().await;
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The CPU time of a server: its postmaster, the processes that it has, and those that it had.
fn server_cpu(node: &Node) -> Duration {
    let pid_file = fs::read_to_string(node.data_dir().join("postmaster.pid")).unwrap();
    let postmaster = pid_file.lines().next().unwrap().parse().unwrap();
    let children = format!("/proc/{postmaster}/task/{postmaster}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let alive = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    alive.map(|pid| ticks(pid, false)).sum::<Duration>() + ticks(postmaster, true)
}

/// User and system time of a process, and of its ended children if asked (proc(5), `stat`).
fn ticks(pid: i32, with_ended_children: bool) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let times = fields
        .split_whitespace()
        .skip(11)
        .take(if with_ended_children { 4 } else { 2 });
    TICK * times
        .filter_map(|time| time.parse::<u32>().ok())
        .sum::<u32>()
}
