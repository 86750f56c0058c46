//! A program of an earlier version and this one: what the earlier one left on disk goes on, and nodes of both
//! form one cluster. `tests/upgrade.sh` builds the earlier one and runs these.

use std::fs;

use starling::api::NodeState;

use crate::harness::process::{
    DEBUG_LOG, Node, SHORT_GRACE, all_stream, earlier_build, eventually, folder,
};

const COUNT: &str = "select crdv.counterGet('visits')::text";

async fn value(node: &Node) -> String {
    node.client()
        .await
        .query_one(COUNT, &[])
        .await
        .unwrap()
        .get(0)
}

async fn increment(node: &Node) {
    let client = node.client().await;
    // A store that was started again takes writes once it is confirmed.
    eventually("it takes a write", async || {
        let written = client
            .batch_execute("select crdv.counterInc('visits', 1)")
            .await;
        written.is_ok()
    })
    .await;
}

fn arguments<'a>(name: &'a str, contact: Option<&'a str>) -> Vec<&'a str> {
    let join = contact
        .into_iter()
        .flat_map(|address| ["--bootstrap", address]);
    let own = [&["--name", name], SHORT_GRACE, DEBUG_LOG].concat();
    own.into_iter().chain(join).collect()
}

/// All of them have links to and from each other, and the same value.
async fn agree(nodes: &[&Node], expected: &str) {
    for node in nodes {
        eventually("its links stream", async || {
            node.status().is_some_and(|status| {
                status.node.state == NodeState::Ready && all_stream(&status.links, nodes.len() - 1)
            })
        })
        .await;
        eventually("its value is that of all", async || {
            value(node).await == expected
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_upgraded_one_by_one_and_keep_their_stores_and_sites() {
    let earlier = earlier_build().expect("STARLING_EARLIER names the earlier program");
    let root = folder();
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let contact = nodes.last().map(Node::bootstrap);
        let data = root.path().join(name);
        let start = arguments(name, contact.as_deref());
        nodes.push(Node::start_program(earlier.clone(), &data, &start));
    }
    for node in &nodes {
        increment(node).await;
    }
    agree(&nodes.iter().collect::<Vec<_>>(), "3").await;
    let identity = |node: &Node| {
        let status = node.status().unwrap();
        (status.node.peer_id, status.node.site)
    };
    let before: Vec<_> = nodes.iter().map(identity).collect();

    let mut expected = 3;
    for turn in 0..nodes.len() {
        assert_eq!(nodes[turn].terminate(), Some(0));
        // Somebody writes meanwhile, and the one that is upgraded gets it.
        increment(&nodes[(turn + 1) % 3]).await;
        nodes[turn].upgrade();
        nodes[turn].resume();
        increment(&nodes[turn]).await;
        expected += 2;
        agree(&nodes.iter().collect::<Vec<_>>(), &expected.to_string()).await;
    }
    let after: Vec<_> = nodes.iter().map(identity).collect();
    assert_eq!(before, after);
    for node in &nodes {
        let complaints: Vec<_> = node
            .log()
            .lines()
            .filter(|line| line.contains("ERROR"))
            .map(str::to_owned)
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_in_the_earlier_words_is_still_read() {
    let earlier = earlier_build().expect("STARLING_EARLIER names the earlier program");
    let root = folder();
    let print = |program: &std::path::Path, file: &std::path::Path| {
        let output = std::process::Command::new(program)
            .args(["config", "show", "--config"])
            .arg(file)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Behind each value is where it is from.
        let text = String::from_utf8(output.stdout).unwrap();
        let values = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        values
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let (empty, whole) = (
        root.path().join("empty.toml"),
        root.path().join("whole.toml"),
    );
    fs::write(&empty, "").unwrap();
    // All keys that the earlier program knows, as it writes them itself.
    fs::write(&whole, print(&earlier, &empty)).unwrap();
    let this = std::path::Path::new(env!("CARGO_BIN_EXE_starling"));
    assert_eq!(
        print(this, &whole),
        print(this, &empty),
        "all are the defaults"
    );
    // What the earlier one prints of values of its own is what this one reads.
    fs::write(
        &whole,
        "[replication]\nlink_grace = \"17s\"\n[overlay]\nactive_view = 7\n",
    )
    .unwrap();
    let (before, now) = (print(&earlier, &whole), print(this, &whole));
    for line in ["link_grace = \"17s\"", "active_view = 7"] {
        assert!(
            before.contains(line) && now.contains(line),
            "{line}:\n{now}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_this_version_leaves_a_cluster_of_both() {
    let earlier = earlier_build().expect("STARLING_EARLIER names the earlier program");
    let root = folder();
    let path = |name: &str| root.path().join(name);
    let old = Node::start_program(earlier, &path("old"), &arguments("old", None));
    let contact = old.bootstrap();
    let mut new = Node::start(&path("new"), &arguments("new", Some(&contact)));
    increment(&new).await;
    agree(&[&old, &new], "1").await;
    let (code, _, err) = new.run(&["leave"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(new.wait(), Some(0));
    eventually("nothing of it is left", async || {
        old.status().is_some_and(|status| status.links.is_empty())
    })
    .await;
    assert_eq!(value(&old).await, "1");
}
