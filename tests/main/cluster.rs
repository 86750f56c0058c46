//! Clusters of real processes: what a user starts, on one machine.

use std::path::Path;

use tokio_postgres::Client;

use crate::harness::process::{DEBUG_LOG, Node, SHORT_GRACE, all_stream, eventually, folder, up};

/// So long that a lost peer's links are not cleared while a test waits for it.
const LONG_GRACE: &[&str] = &["--link-grace", "60s"];

/// So long that nobody is given up for its silence while a test waits, however busy the machine is.
const PATIENT: &[&str] = &["--silence-deadline", "10m"];

fn start(root: &Path, name: &str, more: &[&str]) -> Node {
    let arguments = [&["--name", name], DEBUG_LOG, more].concat();
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

async fn map_value(client: &Client, id: &str, key: &str) -> Option<String> {
    client
        .query_one("select crdv.mapLwwValue($1, $2)", &[&id, &key])
        .await
        .ok()?
        .get(0)
}

async fn write(node: &Node, key: &str, value: &str) {
    let client = node.client().await;
    client
        .execute("select crdv.mapAdd('m', $1, $2)", &[&key, &value])
        .await
        .unwrap();
}

async fn sees(node: &Node, key: &str, value: &str) {
    let client = node.client().await;
    eventually(
        &format!("{key} = {value} on {}", node.data.display()),
        async || map_value(&client, "m", key).await.as_deref() == Some(value),
    )
    .await;
}

async fn all_linked(nodes: &[&Node], neighbors: usize) {
    for node in nodes {
        eventually(
            &format!("{} has its links", node.data.display()),
            async || {
                node.status().is_some_and(|s| {
                    s.overlay.active.len() == neighbors && all_stream(&s.links, neighbors)
                })
            },
        )
        .await;
    }
}

/// Everything on `node`'s server that belongs to links with a peer of one of `sites`, or to any
/// peer when `sites` is empty.
async fn debris(node: &Node, sites: &[i64]) -> Vec<String> {
    let client = node.client().await;
    let rows = client
        .query(
            "select 'slot ' || slot_name from pg_replication_slots
             union all select 'publication ' || pubname from pg_publication
             union all select 'subscription ' || subname from pg_subscription
             union all select 'origin ' || roname from pg_replication_origin o
               where not exists (select from pg_subscription s where 'pg_' || s.oid = o.roname)",
            &[],
        )
        .await
        .unwrap();
    let wanted: Vec<String> = sites.iter().map(|s| format!("{s:016x}")).collect();
    rows.iter()
        .map(|row| row.get::<_, String>(0))
        .filter(|name| {
            name.starts_with("origin")
                || wanted.is_empty()
                || wanted.iter().any(|w| name.contains(w))
        })
        .collect()
}

#[tokio::test]
async fn three_nodes_joined_by_one_bootstrap_address_hold_each_others_writes() {
    let root = folder();
    let a = start(root.path(), "a", &[]);
    let b = start_joining(root.path(), "b", &a, &[]);
    let c = start_joining(root.path(), "c", &a, &[]);
    for (node, key) in [(&a, "ka"), (&b, "kb"), (&c, "kc")] {
        write(node, key, "1").await;
    }
    for node in [&a, &b, &c] {
        for key in ["ka", "kb", "kc"] {
            sees(node, key, "1").await;
        }
    }
    all_linked(&[&a, &b, &c], 2).await;
    eventually("a knows all three nodes by name", async || {
        let mut names: Vec<_> = a
            .nodes()
            .into_iter()
            .filter(|n| n.alive)
            .map(|n| n.name)
            .collect();
        names.sort();
        names == ["a", "b", "c"]
    })
    .await;
}

#[tokio::test]
async fn a_node_that_leaves_takes_all_its_traces_with_it() {
    let root = folder();
    let a = start(root.path(), "a", &[]);
    let b = start_joining(root.path(), "b", &a, &[]);
    let mut c = start_joining(root.path(), "c", &a, &[]);
    all_linked(&[&a, &b, &c], 2).await;
    write(&c, "last", "word").await;
    let site = c.status().unwrap().node.site;

    let (code, _, stderr) = c.run(&["leave"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(c.wait(), Some(0), "{}", c.log());
    for node in [&a, &b] {
        sees(node, "last", "word").await;
        eventually("no trace of the leaver", async || {
            debris(node, &[site]).await.is_empty()
        })
        .await;
    }
    all_linked(&[&a, &b], 1).await;
}

#[tokio::test]
async fn a_node_killed_with_its_server_is_replaced_cleaned_up_and_taken_back() {
    let root = folder();
    let settings = [SHORT_GRACE, PATIENT].concat();
    let a = start(root.path(), "a", &settings);
    let b = start_joining(root.path(), "b", &a, &settings);
    let mut c = start_joining(root.path(), "c", &a, &settings);
    all_linked(&[&a, &b, &c], 2).await;
    write(&c, "before", "1").await;
    sees(&a, "before", "1").await;
    let site = c.status().unwrap().node.site;

    c.kill();
    // By the end of its connections: nobody waits for its silence.
    for node in [&a, &b] {
        eventually("the dead neighbour is out of the view", async || {
            node.status().is_some_and(|s| s.overlay.active.len() == 1)
        })
        .await;
    }
    write(&a, "meanwhile", "2").await;
    sees(&b, "meanwhile", "2").await;
    for node in [&a, &b] {
        eventually(
            "the dead peer's slots are gone after the grace period",
            async || debris(node, &[site]).await.is_empty(),
        )
        .await;
    }

    c.resume();
    sees(&c, "meanwhile", "2").await;
    write(&c, "after", "3").await;
    sees(&a, "after", "3").await;
    all_linked(&[&a, &b, &c], 2).await;
}

#[tokio::test]
async fn links_go_on_while_a_controller_is_down_and_are_resumed_when_it_is_back() {
    let root = folder();
    let a = start(root.path(), "a", LONG_GRACE);
    let mut b = start_joining(root.path(), "b", &a, LONG_GRACE);
    all_linked(&[&a, &b], 1).await;
    let slots = |s: starling::api::Status| {
        let mut names: Vec<_> = s.links.into_iter().map(|l| l.slot).collect();
        names.sort();
        names
    };
    let before = slots(a.status().unwrap());
    let client = b.client().await;
    b.kill_controller();
    client
        .execute("select crdv.mapAdd('m', 'orphan', 'b')", &[])
        .await
        .unwrap();
    write(&a, "meanwhile", "a").await;
    sees(&a, "orphan", "b").await;
    sees(&b, "meanwhile", "a").await;
    drop(client);

    b.resume();
    all_linked(&[&a, &b], 1).await;
    assert_eq!(
        slots(a.status().unwrap()),
        before,
        "the links were kept, not made anew"
    );
    write(&b, "again", "b").await;
    sees(&a, "again", "b").await;
}

#[tokio::test]
async fn a_stranger_is_kept_out_and_counted() {
    let root = folder();
    let a = start(root.path(), "a", &[]);
    let stranger = start_joining(root.path(), "s", &a, &["--cluster", "other"]);
    write(&stranger, "secret", "s").await;
    eventually("the refusal is in the log", async || {
        let refusal = "refused a peer that is not of our cluster";
        stranger.log().contains(refusal) && a.log().contains(refusal)
    })
    .await;
    assert!(a.status().unwrap().overlay.active.is_empty());
    let client = a.client().await;
    assert_eq!(map_value(&client, "m", "secret").await, None);
}

#[tokio::test]
async fn a_data_directory_of_another_cluster_is_refused_with_the_reason() {
    let root = folder();
    let mut a = start(root.path(), "a", &[]);
    assert_eq!(a.terminate(), Some(0), "{}", a.log());
    let output = up(&a.data, &["--cluster", "other"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        stderr.contains("cluster") && stderr.contains("starling"),
        "{stderr}"
    );
}
