//! What a node tells that has nobody to talk to.

use std::{
    fs::{self, File},
    net::TcpListener,
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use starling::api::Presence;

use crate::harness::process::{Node, all_stream, eventually, folder, up};

#[tokio::test]
async fn a_node_that_lost_its_only_neighbour_warns_until_it_is_gone_for_good() {
    let root = folder();
    let kept = Node::start(&root.path().join("kept"), &[]);
    let (code, text, _) = kept.run(&["status"]);
    assert_eq!(code, 0, "alone by choice: {text}");

    let contact = kept.bootstrap();
    let join = ["--bootstrap", contact.as_str()];
    let mut lost = Node::start(&root.path().join("lost"), &join);
    let peer = lost.runtime().peer_id.clone();
    eventually("the two are linked", async || {
        let streams = |node: &Node| node.status().is_some_and(|s| all_stream(&s.links, 1));
        streams(&kept) && streams(&lost)
    })
    .await;
    lost.kill();
    eventually("the loss is a warning", async || {
        let (_, text, _) = kept.run(&["status"]);
        text.contains("remembered from earlier and being tried: 1")
    })
    .await;

    eventually("it can be evicted", async || {
        kept.run(&["evict", &peer]).0 == 0
    })
    .await;
    eventually("nobody is missed any more", async || {
        kept.run(&["status"]).0 == 0
    })
    .await;
}

/// It was to join others, and they were to have what it wrote.
#[tokio::test]
async fn a_node_that_never_reached_its_contact_does_not_leave_with_what_only_it_has() {
    let root = folder();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let contact = format!("/ip4/127.0.0.1/tcp/{port}");
    let join = ["--bootstrap", contact.as_str()];
    let node = Node::start(&root.path().join("node"), &join);
    let written = node
        .client()
        .await
        .batch_execute("select crdv.registerSet('only', 'here')")
        .await;
    written.unwrap();
    let (code, _, error) = node.run(&["leave", "--timeout", "1s"]);
    assert_eq!(code, 1, "{error}");
    let (code, text, error) = node.run(&["leave", "--timeout", "1s", "--abandon"]);
    assert_eq!(code, 0, "{text}{error}");
}

/// What has never had a store knows nothing of anybody's: nobody waits for its answer, and nobody misses it.
#[tokio::test]
async fn a_node_that_never_had_a_store_is_in_nobodys_way() {
    let root = folder();
    let first = Node::start(&root.path().join("first"), &[]);
    let contact = first.bootstrap();
    let join = ["--bootstrap", contact.as_str()];
    let mut second = Node::start(&root.path().join("second"), &join);
    eventually("the two are linked", async || {
        let status = second.status();
        status.is_some_and(|status| all_stream(&status.links, 1))
    })
    .await;
    let site = second.status().unwrap().node.site;

    // Nothing listens at its server's address, so it waits.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "postgresql://nobody@{}/nothing",
        nowhere.local_addr().unwrap()
    );
    drop(nowhere);
    let data = root.path().join("storeless");
    let log = root.path().join("storeless.log");
    let mut storeless = up(&data, &["--bootstrap", &contact, "--postgres", &url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let shows = |presence: Presence| {
        let nodes = first.nodes();
        nodes
            .iter()
            .any(|node| node.site == 0 && node.presence == presence)
    };
    eventually("it is a member, and a neighbour of both", async || {
        let has_two = |node: &Node| {
            node.status()
                .is_some_and(|status| status.overlay.active.len() == 2)
        };
        shows(Presence::Here) && has_two(&first) && has_two(&second)
    })
    .await;
    second.terminate();
    second.resume();
    eventually("the store takes writes", async || {
        let status = second.status();
        status.is_some_and(|status| status.store.ready && !status.store.unconfirmed)
    })
    .await;
    assert_eq!(second.status().unwrap().node.site, site, "{}", second.log());

    let pid = Pid::from_raw(storeless.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(storeless.wait().unwrap().success());
    eventually("it has left", async || shows(Presence::Left)).await;
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains("the store has never been up: the node leaves"),
        "{log}"
    );
    let (_, text, _) = first.run(&["doctor"]);
    assert!(text.contains("all 2 members are there"), "{text}");
}
