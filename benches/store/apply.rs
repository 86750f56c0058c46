//! What the apply worker of a link takes.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;

use crate::{
    Scale, cpu,
    fill::{ENTRIES, STRUCTURES},
    report::{Report, median},
    server::{Server, Store},
};

/// The store that applies.
const SUBSCRIBER: i64 = 4711;

/// As the data plane names links; the trigger finds the publisher's site in it.
const LINK: &str = "starling_00000000000004d2_0000000000000001";

/// Kinds of backlogs: their name, the call, and how each of the calls ends.
const KINDS: [(&str, &str, &str); 3] = [
    (
        "mapAdd, a transaction each",
        "crdv.mapadd('m' || i / $entries, 'k' || i, 'value')",
        "commit;",
    ),
    (
        "counterInc, a transaction each",
        "crdv.counterinc('c' || i, 1)",
        "commit;",
    ),
    (
        "mapAdd, one transaction",
        "crdv.mapadd('m' || i / $entries, 'k' || i, 'value')",
        "",
    ),
];

/// Links a copy of the store to it, lets a backlog grow, and watches how it is worked off.
pub async fn measure(server: &Server, store: &Store, scale: Scale, report: &mut Report) {
    let elements = store.elements;
    let copy = server.copy(store).await;
    let (publisher, subscriber) = (store.client().await, copy.client().await);
    subscribe(&publisher, &subscriber, store).await;
    for (name, call, end) in KINDS {
        let mut rounds = Vec::new();
        for round in 0..scale.rounds.min(3) {
            let mark = format!("{name} {round}");
            let write = backlog(call, end, elements / STRUCTURES, scale.backlog);
            rounds.push(work_off(&publisher, &subscriber, &write, &mark, scale.backlog).await);
        }
        let figure = |of: fn(&Round) -> f64| median(rounds.iter().map(of).collect());
        let (worker, sender) = (figure(|r| r.worker_us), figure(|r| r.sender_us));
        report.add(
            "applying",
            format!("{name} / {elements}"),
            vec![
                ("per s", figure(|round| round.rate)),
                ("worker cpu us", worker),
                ("sender cpu us", sender),
                ("both us", worker + sender),
            ],
        );
    }
    subscriber
        .batch_execute(&format!("drop subscription {LINK}"))
        .await
        .unwrap();
}

async fn subscribe(publisher: &Client, subscriber: &Client, store: &Store) {
    let slot = format!("benchmark_{}", store.elements);
    publisher
        .batch_execute(&format!(
            "create publication benchmark for table crdv.element where (via <> {SUBSCRIBER})
               with (publish = 'insert')"
        ))
        .await
        .unwrap();
    // Made here: within one server, `create subscription` would wait for itself.
    publisher
        .batch_execute(&format!(
            "select pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ))
        .await
        .unwrap();
    subscriber
        .batch_execute(&format!(
            "select crdv.become({SUBSCRIBER}, 'subscriber', 1, 'benchmark')"
        ))
        .await
        .unwrap();
    subscriber
        .batch_execute(&format!(
            "create subscription {LINK} connection '{}' publication benchmark
               with (slot_name = '{slot}', create_slot = false, copy_data = false,
                     enabled = false, binary = true, streaming = false, synchronous_commit = 'off')",
            store.connection_string()
        ))
        .await
        .unwrap();
}

/// A program of the server that makes the calls, faster than a client could.
fn backlog(call: &str, end: &str, each: i64, count: i64) -> String {
    let call = call.replace("$entries", &ENTRIES.to_string());
    format!(
        "do $$ declare i bigint; begin
           for n in 1..{count} loop i := (n::bigint * 7919) % {each}; perform {call}; {end} end loop;
         end $$"
    )
}

#[derive(Debug)]
struct Round {
    rate: f64,
    worker_us: f64,
    sender_us: f64,
}

async fn work_off(
    publisher: &Client,
    subscriber: &Client,
    write: &str,
    mark: &str,
    count: i64,
) -> Round {
    const WORKERS: &str =
        "select pid from pg_stat_subscription where relid is null and pid is not null";
    const SENDERS: &str = "select active_pid from pg_replication_slots
                            where database = current_database() and active_pid is not null";
    for statement in [
        "set synchronous_commit = off",
        &set(mark, "begun"),
        write,
        &set(mark, "ended"),
    ] {
        publisher.batch_execute(statement).await.unwrap();
    }
    // Only what is on the disk is sent.
    let flush = "set synchronous_commit = on; select crdv.registerset('flush', '')";
    publisher.batch_execute(flush).await.unwrap();
    enable(subscriber, true).await;
    await_mark(subscriber, mark, "begun").await;
    let worker = pid(subscriber, WORKERS).await.unwrap();
    let sender = pid(publisher, SENDERS).await.unwrap();
    let before = [worker, sender].map(cpu::of_process);
    let started = Instant::now();
    await_mark(subscriber, mark, "ended").await;
    let took = started.elapsed();
    let after = [worker, sender].map(cpu::of_process);
    enable(subscriber, false).await;
    while pid(subscriber, WORKERS).await.is_some() || pid(publisher, SENDERS).await.is_some() {
        sleep(Duration::from_millis(10)).await;
    }
    let per_operation = |n: usize| (after[n] - before[n]).as_secs_f64() * 1e6 / count as f64;
    Round {
        rate: count as f64 / took.as_secs_f64(),
        worker_us: per_operation(0),
        sender_us: per_operation(1),
    }
}

fn set(mark: &str, value: &str) -> String {
    format!("select crdv.registerset('{mark}', '{value}')")
}

async fn enable(subscriber: &Client, on: bool) {
    let verb = if on { "enable" } else { "disable" };
    let alter = format!("alter subscription {LINK} {verb}");
    subscriber.batch_execute(&alter).await.unwrap();
}

async fn pid(client: &Client, sql: &str) -> Option<i32> {
    let row = client.query_opt(sql, &[]).await.unwrap();
    row.map(|row| row.get(0))
}

async fn await_mark(subscriber: &Client, mark: &str, value: &str) {
    let read = format!("select crdv.registerlwwget('{mark}')");
    loop {
        let row = subscriber.query_one(&read, &[]).await.unwrap();
        let found: Option<String> = row.get(0);
        // The end may be there already.
        if found.is_some_and(|found| found == value || found == "ended") {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
}
