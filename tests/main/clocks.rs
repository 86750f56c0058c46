//! A store whose clock runs ahead, and is set again: with libfaketime, which moves the clock of one
//! PostgreSQL server while it runs. `deployment/setup.sh faketime` installs it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use starling::api::{ClockStanding, Direction};

use crate::harness::process::{Node, eventually, folder};

const HOUR: &str = "+3600";
const RIGHT: &str = "+0";

/// PostgreSQL's programs with a clock that can be set.
struct Clockwork {
    folder: PathBuf,
    programs: PathBuf,
}

impl Clockwork {
    /// Around the programs of `node`'s server.
    fn new(root: &Path, node: &Node) -> Self {
        let pid = fs::read_to_string(node.data.join("postgres/data/postmaster.pid")).unwrap();
        let server = format!("/proc/{}/exe", pid.lines().next().unwrap());
        let server = fs::read_link(server).unwrap();
        let (folder, programs) = (root.join("clock"), root.join("programs"));
        for folder in [&folder, &programs] {
            fs::create_dir(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(server.with_file_name("initdb"), programs.join("initdb")).unwrap();
        let clockwork = Self { folder, programs };
        clockwork.set(HOUR);
        let wrapper = clockwork.programs.join("postgres");
        let text = format!(
            "#!/bin/sh\n\
             export LD_PRELOAD='{}' FAKETIME_TIMESTAMP_FILE='{}'\n\
             export FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1\n\
             exec '{}' \"$@\"\n",
            library().display(),
            clockwork.folder.join("now").display(),
            server.display(),
        );
        fs::write(&wrapper, text).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        clockwork
    }

    /// Sets the clock to so many seconds from the right time.
    fn set(&self, seconds: &str) {
        let (new, now) = (self.folder.join("new"), self.folder.join("now"));
        fs::write(&new, seconds).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(new, now).unwrap();
    }
}

fn library() -> PathBuf {
    let mut folders = vec![PathBuf::from("/usr/lib64"), PathBuf::from("/usr/lib")];
    let machines = fs::read_dir("/usr/lib").unwrap().flatten();
    folders.extend(machines.map(|machine| machine.path()));
    folders
        .iter()
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.exists())
        .expect("libfaketime is not installed: run deployment/setup.sh faketime")
}

async fn run(node: &Node, sql: &str) {
    node.client().await.batch_execute(sql).await.unwrap();
}

async fn register(node: &Node, id: &str) -> Option<String> {
    let (client, sql) = (node.client().await, "select crdv.registerlwwget($1)");
    client.query_one(sql, &[&id]).await.ok()?.get(0)
}

async fn has(node: &Node, id: &str, value: &str) {
    let what = format!("{id} = {value} on {}", node.data.display());
    eventually(&what, async || {
        register(node, id).await.as_deref() == Some(value)
    })
    .await;
}

/// The state of the link by which `node` takes data from `peer`.
fn takes_from(node: &Node, peer: &Node) -> Option<String> {
    let peer = &peer.runtime().peer_id;
    let links = node.status()?.links.into_iter();
    let mut states = links
        .filter(|link| link.direction == Direction::In && link.peer_id == *peer)
        .map(|link| link.state.name().to_owned());
    states.next()
}

async fn await_state(nodes: &[&Node], peer: &Node, state: &str) {
    for node in nodes {
        let what = format!("{} has a link that is {state}", node.data.display());
        eventually(&what, async || {
            takes_from(node, peer).as_deref() == Some(state)
        })
        .await;
    }
}

async fn await_standing(node: &Node, standing: ClockStanding) {
    eventually(&format!("the clock is {standing:?}"), async || {
        node.status().is_some_and(|s| s.clock.standing == standing)
    })
    .await;
}

/// How far the clock of `peer` is ahead of that of `node`, in milliseconds, as `node` says.
fn offset(node: &Node, peer: &Node) -> f64 {
    let peer = &peer.runtime().peer_id;
    let mut all = node.status().unwrap().overlay.active.into_iter();
    let of = all.find(|neighbor| neighbor.peer_id == *peer).unwrap();
    of.clock_offset_ms.unwrap()
}

/// The one that is wrong knows, and says what mends it; the other has counted it.
fn is_told(right: &Node, wrong: &Node) {
    let (code, text, _) = wrong.run(&["status"]);
    assert!(code == 2 && text.contains("chronyc"), "{code}: {text}");
    let (code, text) = wrong.http("/readyz");
    assert!(code == 503 && text.contains("chronyc"), "{text}");
    assert_eq!(right.http("/readyz").0, 200);
    let (_, metrics) = right.http("/metrics");
    let is_counted =
        |line: &str| line.starts_with("starling_clock_refusals_total{") && line.ends_with("} 1");
    assert!(metrics.lines().any(is_counted), "{metrics}");
}

/// What the protocols between nodes count is read every ten seconds.
fn has_counted(node: &Node, name: &str) -> bool {
    let start = format!("starling_{name}_total{{");
    let (_, metrics) = node.http("/metrics");
    metrics
        .lines()
        .any(|line| line.starts_with(&start) && !line.ends_with("} 0"))
}

#[tokio::test]
async fn nothing_is_taken_from_a_clock_that_is_ahead_until_it_is_set() {
    let root = folder();
    let a = Node::start(&root.path().join("a"), &[]);
    let contact = a.bootstrap();
    let join = ["--bootstrap", contact.as_str()];
    let b = Node::start(&root.path().join("b"), &join);
    let clockwork = Clockwork::new(root.path(), &a);
    let programs = clockwork.programs.to_str().unwrap().to_owned();
    let c = Node::start(
        &root.path().join("c"),
        &[&join[..], &["--pg-bin", &programs]].concat(),
    );

    // It joins an hour ahead: it gets everything, and nobody takes anything from it, ever so little.
    await_state(&[&a, &b], &c, "refused").await;
    await_standing(&c, ClockStanding::Ahead).await;
    run(&c, "select crdv.registerset('from c', 'an hour ahead')").await;
    run(&c, "select crdv.registerset('contested', 'c, first')").await;
    run(&a, "select crdv.registerset('from a', 'in time')").await;
    run(
        &b,
        "select crdv.registerset('contested', 'b, an instant later')",
    )
    .await;
    has(&c, "from a", "in time").await;
    has(&b, "from a", "in time").await;
    has(&a, "contested", "b, an instant later").await;
    for node in [&a, &b] {
        assert_eq!(register(node, "from c").await, None);
        assert_eq!(takes_from(node, &c).as_deref(), Some("refused"));
        await_standing(node, ClockStanding::Fair).await;
    }
    assert!((offset(&a, &c) - 3_600_000.0).abs() < 5_000.0);
    assert!(offset(&a, &b).abs() < 500.0);
    is_told(&a, &c);
    for name in ["overlay_frames_in", "broadcast_delivered"] {
        eventually(name, async || has_counted(&a, name)).await;
    }

    // Its clock is set: what it had to give arrives, nothing is lost, and what was stamped in the
    // future wins against what did not see it, but not against what did.
    clockwork.set(RIGHT);
    await_state(&[&a, &b], &c, "streaming").await;
    await_standing(&c, ClockStanding::Fair).await;
    assert_eq!(c.http("/readyz").0, 200);
    for node in [&a, &b, &c] {
        has(node, "from c", "an hour ahead").await;
        has(node, "contested", "c, first").await;
    }
    run(
        &b,
        "select crdv.registerset('contested', 'b, having seen it')",
    )
    .await;
    for node in [&a, &b, &c] {
        has(node, "contested", "b, having seen it").await;
    }

    // A link that streams ends when the clock jumps, and comes back.
    clockwork.set(HOUR);
    await_state(&[&a, &b], &c, "refused").await;
    run(
        &c,
        "select crdv.registerset('from c', 'an hour ahead again')",
    )
    .await;
    clockwork.set(RIGHT);
    for node in [&a, &b] {
        has(node, "from c", "an hour ahead again").await;
    }
}
