//! Nodes that leave, or stop, in clusters of real processes: what was acknowledged is with the others, or
//! the node stays and says why.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use starling::{
    api::{NodeState, Presence},
    identity::Site,
    node::runtime_file::RuntimeFile,
    vector::Seq,
};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_postgres::error::SqlState;

use crate::harness::process::{DEBUG_LOG, Node, PATIENCE, all_stream, eventually, folder};

/// For who leaves: peers are given this long to get on, and open transactions to end. What is open to the
/// end takes all of it; a peer on a busy machine takes a fraction.
const ENOUGH: &str = "20s";

fn start(root: &Path, name: &str, contact: Option<&Node>, more: &[&str]) -> Node {
    let contact = contact.map(Node::bootstrap);
    let join = contact
        .iter()
        .flat_map(|address| ["--bootstrap", address.as_str()]);
    let arguments: Vec<&str> = ["--name", name].into_iter().chain(join).collect();
    Node::start(&root.join(name), &[&arguments, DEBUG_LOG, more].concat())
}

/// Two nodes that are linked, both ways; the second one joined the first.
async fn pair(root: &Path) -> (Node, Node) {
    let a = start(root, "a", None, &[]);
    let b = start(root, "b", Some(&a), &[]);
    linked(&[&a, &b]).await;
    (a, b)
}

async fn linked(nodes: &[&Node]) {
    for node in nodes {
        eventually("the links stream", async || {
            let status = node.status();
            status.is_some_and(|status| all_stream(&status.links, nodes.len() - 1))
        })
        .await;
    }
}

async fn increment(node: &Node) -> Result<(), tokio_postgres::Error> {
    let client = node.client().await;
    client.batch_execute("select crdv.counterInc('c', 1)").await
}

async fn count(node: &Node, counter: &str) -> i64 {
    let client = node.client().await;
    let row = client
        .query_one("select coalesce(crdv.counterGet($1), 0)", &[&counter])
        .await;
    row.unwrap().get(0)
}

async fn counts(node: &Node, expected: i64) {
    eventually("the counter", async || count(node, "c").await == expected).await;
}

async fn takes_writes(node: &Node) {
    eventually("the store takes writes", async || {
        increment(node).await.is_ok()
    })
    .await;
}

/// The same command in a thread of its own.
fn leave(node: &Node, more: &[&'static str]) -> JoinHandle<(i32, String, String)> {
    let address = node.runtime().http.to_string();
    let arguments = [&["leave"], more].concat();
    spawn_blocking(move || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_starling"))
            .args(arguments)
            .args(["--http", &address])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    })
}

async fn waits_for(node: &Node, what: &str) {
    eventually(&format!("it waits for {what}"), async || {
        let status = node.status();
        status.is_some_and(|s| s.node.waits_for.is_some_and(|w| w.contains(what)))
    })
    .await;
}

/// Increments a counter of its own until the store takes no more; how often that was acknowledged.
async fn client(node: &Node, counter: String, stop: Arc<AtomicBool>) -> i64 {
    let client = node.client().await;
    let statement = format!("select crdv.counterInc('{counter}', 1)");
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        match client.batch_execute(&statement).await {
            Ok(()) => acknowledged += 1,
            Err(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {}
            // The store's server stops at the end.
            Err(error) => {
                let is_stopped = error.code().is_none_or(|c| *c == SqlState::ADMIN_SHUTDOWN);
                assert!(is_stopped, "{error:?}");
                break;
            }
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_was_acknowledged_while_a_node_left_is_with_the_others() {
    const CLIENTS: usize = 4;
    let root = folder();
    let a = start(root.path(), "a", None, &[]);
    let mut b = start(root.path(), "b", Some(&a), &[]);
    let mut c = start(root.path(), "c", Some(&a), &[]);
    linked(&[&a, &b, &c]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let work = async |node: &Node, name: &str| {
        let clients = (0..CLIENTS).map(|n| client(node, format!("{name}{n}"), Arc::clone(&stop)));
        futures::future::join_all(clients).await
    };
    // Two leave at once: the third has what either acknowledged.
    let departures = async {
        eventually("the clients are at work", async || {
            count(&a, "b0").await > 20 && count(&a, "c0").await > 20
        })
        .await;
        let departures = [leave(&b, &[]), leave(&c, &[])];
        for departure in departures {
            let (code, _, stderr) = departure.await.unwrap();
            assert_eq!(code, 0, "{stderr}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (of_b, of_c, ()) = tokio::join!(work(&b, "b"), work(&c, "c"), departures);
    assert_eq!((b.wait(), c.wait()), (Some(0), Some(0)));
    for (name, acknowledged) in [("b", of_b), ("c", of_c)] {
        for (n, acknowledged) in acknowledged.into_iter().enumerate() {
            let here = count(&a, &format!("{name}{n}")).await;
            // The last one may have been done without an answer.
            assert!(
                (acknowledged..=acknowledged + 1).contains(&here),
                "client {name}{n}: {acknowledged} acknowledged, {here} here"
            );
            assert!(acknowledged > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_writes_nobody_has_leaves_only_if_it_is_told_to() {
    let root = folder();
    let (mut a, mut b) = pair(root.path()).await;
    increment(&a).await.unwrap();
    counts(&b, 1).await;
    assert_eq!(b.terminate(), Some(0));
    increment(&a).await.unwrap();

    let (code, _, stderr) = a.run(&["leave", "--timeout", "1s"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("--abandon"), "{stderr}");
    increment(&a).await.unwrap();
    assert_eq!(a.status().unwrap().node.state, NodeState::Ready);

    let site = a.status().unwrap().node.site;
    let (code, stdout, stderr) = a.run(&["leave", "--abandon"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(&format!("of site {site}")), "{stdout}");
    assert_eq!(a.wait(), Some(0), "{}", a.log());

    // Nothing is lost from the disk: it joins again with all it has.
    a.resume_with(&["--confirm-within", "1s"]);
    // Both listen on other ports than before.
    b.resume_with(&["--bootstrap", &a.bootstrap()]);
    counts(&b, 3).await;
    takes_writes(&a).await;
    counts(&b, 4).await;
}

/// Waits until `node` has said that it has all that `other` wrote.
async fn vouches(node: &Node, other: &Node) {
    let site = Site::new(other.status().unwrap().node.site).unwrap();
    eventually("it vouches for what the other wrote", async || {
        let [theirs, ours] = [other, node].map(|n| n.status().unwrap().vector.get(site));
        theirs > Seq::new(1) && theirs == ours
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_leave_at_once_neither_relies_on_the_other() {
    let root = folder();
    let (mut a, mut b) = pair(root.path()).await;
    increment(&a).await.unwrap();
    counts(&b, 1).await;
    vouches(&b, &a).await;
    let lost = format!("of site {}", a.status().unwrap().node.site);
    let open = b.client().await;
    open.batch_execute("begin; select crdv.counterInc('c', 1)")
        .await
        .unwrap();
    let departure = leave(&b, &["--abandon", "--timeout", "50s"]);
    eventually("a knows that b leaves", async || {
        let nodes = a.nodes();
        nodes
            .iter()
            .any(|n| n.name == "b" && n.state == Some(NodeState::Leaving))
    })
    .await;
    let (code, stdout, stderr) = a.run(&["leave", "--abandon"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(&lost), "{stdout}");
    open.batch_execute("rollback").await.unwrap();
    let (code, stdout, stderr) = departure.await.unwrap();
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(&lost), "{stdout}");
    assert_eq!((a.wait(), b.wait()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_written_nothing_that_others_lack_leaves_at_once() {
    let root = folder();
    let (mut a, mut b) = pair(root.path()).await;
    increment(&a).await.unwrap();
    counts(&b, 1).await;
    vouches(&b, &a).await;
    // It was stopped and comes back, with all of it. Who waited for it would do so in vain.
    assert_eq!(b.terminate(), Some(0));
    let (code, stdout, stderr) = a.run(&["leave", "--timeout", "20s"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains("operations"), "{stdout}");
    assert_eq!(a.wait(), Some(0));

    let mut alone = start(root.path(), "alone", None, &[]);
    increment(&alone).await.unwrap();
    let (code, _, stderr) = alone.run(&["leave"]);
    assert_eq!(code, 0, "it never met anybody: {stderr}");
    assert_eq!(alone.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_is_ended_and_what_is_prepared_keeps_the_node_here() {
    let root = folder();
    let (a, mut b) = pair(root.path()).await;
    let admin = b.client().await;
    admin
        .batch_execute("alter system set max_prepared_transactions = 4")
        .await
        .unwrap();
    assert_eq!(b.terminate(), Some(0));
    b.resume();
    takes_writes(&b).await;
    counts(&a, 1).await;
    let client = b.client().await;
    client
        .batch_execute("begin; select crdv.counterInc('c', 10); prepare transaction 'p'")
        .await
        .unwrap();

    let (code, _, stderr) = b.run(&["leave", "--timeout", ENOUGH]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("prepared transaction 'p'") && stderr.contains("rollback prepared 'p'"),
        "{stderr}"
    );
    client.batch_execute("commit prepared 'p'").await.unwrap();
    takes_writes(&b).await;
    counts(&a, 12).await;

    client
        .batch_execute("begin; select crdv.counterInc('c', 100)")
        .await
        .unwrap();
    let (code, stdout, stderr) = b.run(&["leave", "--timeout", ENOUGH]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("sessions ended"), "{stdout}");
    assert!(client.batch_execute("commit").await.is_err());
    assert_eq!(count(&a, "c").await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_does_not_make_who_leaves_wait_for_ever() {
    let root = folder();
    let (_a, b) = pair(root.path()).await;
    let open = b.client().await;
    open.batch_execute("begin; select crdv.counterInc('c', 1)")
        .await
        .unwrap();
    let departure = leave(&b, &["--timeout", "10s"]);
    waits_for(&b, "transactions that write").await;
    b.signal_server(Signal::SIGSTOP);
    refused_for_its_store(departure).await;
    // And once more, with a store that hangs from the beginning.
    refused_for_its_store(leave(&b, &["--timeout", "1s"])).await;
    b.signal_server(Signal::SIGCONT);
    drop(open);
    takes_writes(&b).await;
}

async fn refused_for_its_store(departure: JoinHandle<(i32, String, String)>) {
    let answer = tokio::time::timeout(PATIENCE, departure).await;
    let (code, _, stderr) = answer.expect("an answer in time").unwrap();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("store not ready"), "{stderr}");
}

/// The process that applies what `from` sends to this node; `from` has patience with it.
async fn apply_worker(node: &Node, from: &Node) -> Pid {
    let publisher = from.client().await;
    for statement in [
        "alter system set wal_sender_timeout = 0",
        "select pg_reload_conf()",
    ] {
        publisher.batch_execute(statement).await.unwrap();
    }
    let client = node.client().await;
    let statement = "select pid from pg_stat_subscription where pid is not null";
    Pid::from_raw(client.query_one(statement, &[]).await.unwrap().get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_peer_is_waited_for_and_one_that_stands_still_is_no_reason_to_lose_anything() {
    let root = folder();
    let (a, mut b) = pair(root.path()).await;
    let worker = apply_worker(&a, &b).await;
    kill(worker, Signal::SIGSTOP).unwrap();
    increment(&b).await.unwrap();
    let (code, _, stderr) = b.run(&["leave", "--timeout", "1s"]);
    assert_eq!(code, 1, "{stderr}");
    takes_writes(&b).await;

    let departure = leave(&b, &["--timeout", "50s"]);
    waits_for(&b, "peers to confirm: a ").await;
    let refused = increment(&b).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Some(&SqlState::READ_ONLY_SQL_TRANSACTION),
        "{refused:?}"
    );
    kill(worker, Signal::SIGCONT).unwrap();
    let (code, _, stderr) = departure.await.unwrap();
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("waiting for peers to confirm"), "{stderr}");
    assert_eq!(b.wait(), Some(0));
    assert_eq!(count(&a, "c").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_that_is_killed_leaves_a_store_that_is_opened_again() {
    let root = folder();
    let (a, mut b) = pair(root.path()).await;
    let site = b.status().unwrap().node.site;
    // While it waits for a transaction: the controller alone.
    let open = b.client().await;
    open.batch_execute("begin; select crdv.counterInc('c', 1)")
        .await
        .unwrap();
    let departure = leave(&b, &["--timeout", "50s"]);
    waits_for(&b, "transactions that write").await;
    b.kill_controller();
    assert_ne!(departure.await.unwrap().0, 0);
    assert!(increment(&b).await.is_err());
    b.resume();
    open.batch_execute("commit").await.unwrap();
    takes_writes(&b).await;
    counts(&a, 2).await;

    // While it hands over: controller and server.
    let worker = apply_worker(&a, &b).await;
    kill(worker, Signal::SIGSTOP).unwrap();
    increment(&b).await.unwrap();
    let departure = leave(&b, &["--timeout", "50s"]);
    waits_for(&b, "peers to confirm").await;
    b.kill();
    assert_ne!(departure.await.unwrap().0, 0);
    kill(worker, Signal::SIGCONT).unwrap();
    b.resume();
    takes_writes(&b).await;
    counts(&a, 4).await;

    // When it had left: it joins again.
    linked(&[&a, &b]).await;
    let (code, _, stderr) = b.run(&["leave"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(b.wait(), Some(0));
    b.resume();
    takes_writes(&b).await;
    counts(&a, 5).await;
    assert_eq!(b.status().unwrap().node.site, site);
}

fn presence(node: &Node, of: &str) -> Option<Presence> {
    let nodes = node.nodes();
    nodes
        .iter()
        .find(|n| n.name == of)
        .map(|node| node.presence)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_is_stopped_for_all_and_can_be_evicted_at_once() {
    let root = folder();
    let (a, b) = pair(root.path()).await;
    let mut c = start(root.path(), "c", Some(&b), &[]);
    linked(&[&a, &b, &c]).await;
    assert!(c.runtime().pid.is_some());
    assert_eq!(c.terminate(), Some(0));
    // Its number may be another process's by now.
    let file = RuntimeFile::read(&c.data).unwrap().unwrap();
    assert_eq!((file.pid, &file.store_url), (None, &c.runtime().store_url));
    for node in [&a, &b] {
        eventually("c is stopped", async || {
            presence(node, "c") == Some(Presence::Stopped)
        })
        .await;
        let (code, stdout, _) = node.run(&["status"]);
        assert_eq!(code, 1, "{stdout}");
        assert!(
            stdout.contains("1 of 3 members stopped since 2") && stdout.contains(": c"),
            "{stdout}"
        );
        let (_, stdout, _) = node.run(&["nodes"]);
        assert!(stdout.contains(" stopped "), "{stdout}");
    }
    c.resume();
    eventually("c is back", async || {
        presence(&a, "c") == Some(Presence::Here)
    })
    .await;
    assert_eq!(c.terminate(), Some(0));
    eventually("c is stopped again", async || {
        presence(&a, "c") == Some(Presence::Stopped)
            && a.status().is_some_and(|s| s.overlay.active.len() == 1)
    })
    .await;
    let (code, _, stderr) = a.run(&["evict", "c"]);
    assert_eq!(code, 0, "{stderr}");
    eventually("all know", async || {
        presence(&b, "c") == Some(Presence::Evicted)
    })
    .await;
}
