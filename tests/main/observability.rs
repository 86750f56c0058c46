//! Status, doctor and readiness tell what the node knows.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use starling::api::{Direction, LinkState, LinkStatus, NodeState, Side};

use crate::harness::process::{Node, eventually, folder};

fn start(root: &Path, name: &str, more: &[&str]) -> Node {
    let arguments = [&["--name", name], more].concat();
    Node::start(&root.join(name), &arguments)
}

fn start_joining(root: &Path, name: &str, contact: &Node, more: &[&str]) -> Node {
    let contact = contact.bootstrap();
    start(
        root,
        name,
        &[&["--bootstrap", contact.as_str()], more].concat(),
    )
}

fn link(node: &Node, direction: Direction) -> Option<LinkStatus> {
    let links = node.status()?.links;
    links.into_iter().find(|link| link.direction == direction)
}

/// Waits until a link of the only neighbour is as `fits` wants it.
async fn awaits(
    node: &Node,
    direction: Direction,
    what: &str,
    fits: impl Fn(&LinkStatus) -> bool,
) -> LinkStatus {
    let mut found = None;
    eventually(&format!("{what} at {}", node.data.display()), async || {
        found = link(node, direction).filter(&fits);
        found.is_some()
    })
    .await;
    found.unwrap()
}

async fn streams(node: &Node) {
    for direction in [Direction::In, Direction::Out] {
        awaits(node, direction, "it streams", |link| {
            link.state == LinkState::Streaming
        })
        .await;
    }
}

async fn pid(client: &tokio_postgres::Client) -> i32 {
    let row = client.query_one("select pg_backend_pid()", &[]).await;
    row.unwrap().get(0)
}

async fn set(client: &tokio_postgres::Client, key: &str, value: &str) {
    client
        .execute("select crdv.mapAdd('m', $1, $2)", &[&key, &value])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_that_holds_a_row_shows_as_lag_with_its_name() {
    let root = folder();
    let a = start(root.path(), "a", &[]);
    let b = start_joining(root.path(), "b", &a, &[]);
    streams(&b).await;
    let writer = a.client().await;
    set(&writer, "hot", "1").await;
    let mut holder = b.client().await;
    eventually("b has it", async || {
        let row = holder
            .query_one("select crdv.mapLwwValue('m', 'hot')", &[])
            .await
            .unwrap();
        row.get::<_, Option<String>>(0).is_some()
    })
    .await;
    let holder_pid = pid(&holder).await;
    let transaction = holder.transaction().await.unwrap();
    transaction
        .execute("select crdv.mapAdd('m', 'hot', '2')", &[])
        .await
        .unwrap();
    set(&writer, "hot", "3").await;

    let held = awaits(&b, Direction::In, "the lag", |link| {
        link.lag_seconds.is_some_and(|lag| lag > 5.0)
    })
    .await;
    assert_eq!(
        (held.state, held.side),
        (LinkState::Streaming, Some(Side::Here))
    );
    let reason = held.reason.unwrap();
    assert!(reason.contains(&format!("pid {holder_pid} ")), "{reason}");
    assert!(reason.contains("idle in transaction"), "{reason}");
    assert!(
        held.fix
            .unwrap()
            .contains(&format!("pg_terminate_backend({holder_pid})"))
    );
    assert_eq!(b.http("/readyz?lag=5").0, 503);
    let (code, text, _) = b.run(&["doctor"]);
    assert_ne!(code, 0, "{text}");
    assert!(text.contains(&format!("pid {holder_pid} ")), "{text}");

    transaction.rollback().await.unwrap();
    awaits(&b, Direction::In, "no lag", |link| {
        link.lag_seconds == Some(0.0) && link.reason.is_none()
    })
    .await;
    assert_eq!(b.http("/readyz?lag=5").0, 200);
}

#[tokio::test]
async fn a_link_that_waits_for_a_transaction_in_another_database_names_it() {
    let root = folder();
    let a = start(root.path(), "a", &[]);
    let admin = a.client().await;
    admin
        .batch_execute("create database elsewhere")
        .await
        .unwrap();
    let url = a.runtime().store_url.replace("/starling?", "/elsewhere?");
    let (holder, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    holder
        .batch_execute("begin; create table t ()")
        .await
        .unwrap();
    let holder_pid = format!("pid {} ", pid(&holder).await);

    let b = start_joining(root.path(), "b", &a, &[]);
    let names = |link: &LinkStatus| {
        let reason = link.reason.as_deref().unwrap_or_default();
        link.state == LinkState::Opening
            && reason.contains("transactions that write")
            && reason.contains(&holder_pid)
            && reason.contains("database elsewhere")
    };
    let taken = awaits(&b, Direction::In, "what it waits for", names).await;
    assert_eq!(taken.side, Some(Side::Peer));
    awaits(&a, Direction::Out, "what it waits for", names).await;
    let (code, text) = b.http("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains(&holder_pid), "{text}");
    let (_, text, _) = b.run(&["doctor"]);
    assert!(!text.contains("up and level"), "{text}");

    holder.batch_execute("rollback").await.unwrap();
    streams(&b).await;
    let (_, text, _) = b.run(&["doctor"]);
    assert!(text.contains("2 data links are up and level"), "{text}");
}

#[tokio::test]
async fn an_unfit_node_that_joins_takes_nothing_from_the_readiness_of_others() {
    let root = folder();
    let a = start(root.path(), "a", &[]);
    let mut b = start(root.path(), "b", &[]);
    // No publication can be made there.
    let holder = b.client().await;
    holder
        .batch_execute("begin; lock table crdv.element in share update exclusive mode")
        .await
        .unwrap();
    b.kill_controller();
    let contact = a.bootstrap();
    b.resume_with(&["--bootstrap", &contact]);
    let refused = awaits(&a, Direction::In, "the refusal", |link| {
        link.state == LinkState::Refused
    })
    .await;
    assert_eq!(refused.side, Some(Side::Peer));
    assert!(refused.reason.unwrap().contains("lock timeout"));
    eventually("a serves", async || {
        a.status()
            .is_some_and(|status| status.node.state == NodeState::Ready)
    })
    .await;
    for path in ["/readyz", "/readyz?lag=1"] {
        let (code, text) = a.http(path);
        assert_eq!(code, 200, "{text}");
    }
    let denied = awaits(&b, Direction::Out, "the denial", |link| {
        link.state == LinkState::Refused
    })
    .await;
    assert_eq!(denied.side, Some(Side::Here));
    let (code, text, _) = b.run(&["status"]);
    assert_ne!(code, 0);
    assert!(text.contains("lock timeout"), "{text}");
    holder.batch_execute("rollback").await.unwrap();
    streams(&a).await;
}

#[tokio::test]
async fn a_node_that_cannot_join_says_why_where_one_looks() {
    let root = folder();
    let a = start(root.path(), "a", &[]);
    let key = root.path().join("swarm.key");
    let random = Command::new("od")
        .args(["-An", "-vtx1", "-N32", "/dev/urandom"])
        .output()
        .unwrap();
    let random: String = String::from_utf8(random.stdout)
        .unwrap()
        .split_whitespace()
        .collect();
    fs::write(&key, format!("/key/swarm/psk/1.0.0/\n/base16/\n{random}\n")).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = format!("/ip4/127.0.0.1/tcp/{}", nobody.local_addr().unwrap().port());
    drop(nobody);

    let lonely = ["--bootstrap", &free, "--log-level", "off"];
    let lonely = start(root.path(), "lonely", &lonely);
    let stranger = start_joining(root.path(), "stranger", &a, &["--cluster", "other"]);
    let locked_out = start_joining(
        root.path(),
        "key",
        &a,
        &["--swarm-key", key.to_str().unwrap()],
    );
    for (node, cause, fix, exit) in [
        (&lonely, "nobody answers", "see that a node runs there", 1),
        (&stranger, "not of our cluster", "--cluster", 2),
        (&locked_out, "the handshake fails", "--swarm-key", 2),
    ] {
        eventually(cause, async || node.run(&["status"]).1.contains(cause)).await;
        for verb in ["status", "doctor"] {
            let (code, text, _) = node.run(&[verb]);
            assert!(text.contains(cause) && text.contains(fix), "{text}");
            assert!(!text.contains("knows nobody"), "{text}");
            assert!(code >= exit, "{code}: {text}");
        }
        let (code, text) = node.http("/readyz");
        assert_eq!(code, 503);
        assert!(text.contains(cause), "{text}");
        let contacts = node.status().unwrap().overlay.bootstrap;
        assert_eq!(contacts[0].needs_operator, exit == 2);
        assert!(contacts[0].attempts > 0 && contacts[0].since.is_some());
    }
    // Each was also said in the log; a log that shows nothing takes nothing from the status.
    assert_eq!(lonely.log(), "");
    let warnings = lonely.status().unwrap().warnings;
    let warning = warnings.iter().find(|warning| {
        warning
            .message
            .starts_with("cannot join through this address yet")
    });
    assert!(warning.unwrap().detail.contains(&free), "{warnings:?}");
    let (_, metrics) = lonely.http("/metrics");
    let counted = |line: &str| {
        let is_it = line.starts_with("starling_log_messages_total{") && line.contains("\"warn\"");
        is_it && !line.ends_with(" 0")
    };
    assert!(metrics.lines().any(counted), "{metrics}");
    assert_eq!(a.run(&["status"]).0, 0, "it was told to join nobody");
}

#[tokio::test]
async fn a_node_is_called_by_its_name_in_the_log() {
    let root = folder();
    let a = start(root.path(), "a", &[]);
    let mut b = start_joining(root.path(), "b", &a, &[]);
    let named = format!("{} (b)", b.runtime().peer_id);
    eventually("a knows its name", async || {
        a.nodes().iter().any(|node| node.name == "b")
    })
    .await;
    b.terminate();
    eventually("the end of the relation is told by name", async || {
        let log = a.log();
        let mut lines = log.lines();
        lines.any(|line| line.contains("neighbour down") && line.contains(&named))
    })
    .await;
}

#[tokio::test]
async fn the_doctor_asks_for_room_for_the_whole_active_view_of_a_node() {
    let root = folder();
    let mut node = start(root.path(), "a", &["--active-view", "20"]);
    let admin = node.client().await;
    // Enough for the five neighbours of a default, and for those that it has: none.
    let senders = "alter system set max_wal_senders = 60";
    admin.batch_execute(senders).await.unwrap();
    drop(admin);
    assert_eq!(node.terminate(), Some(0));
    node.resume();
    let (code, text, _) = node.run(&["doctor", "-o", "json"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("max_wal_senders is 60"), "{text}");
    assert!(text.contains("at least 20 for this node's"), "{text}");
}
