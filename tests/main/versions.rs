//! What differs between versions of PostgreSQL must make no difference.
//!
//! The tests whose names begin with `mixed_` need several versions at once, which `make test` has not:
//! it leaves them out (`.config/nextest.toml`), and `tests/matrix.sh` runs them. All others run on one
//! version, whichever it is.
#![allow(clippy::print_stdout, reason = "tells which versions were tried")]

use std::{collections::BTreeMap, env, path::PathBuf};

use starling::{
    postgres::{self, Error, attach},
    replication::Departure,
    store,
};

use crate::harness::{
    data_plane::{Cluster, Node, until},
    process,
};

/// What every store must have the same of. Checkpoints and marks of catch-ups come and go.
const DIGEST: &str = "select md5(string_agg(concat_ws('|', type, id, key, site, seq, op, data, ctx_sites,
    ctx_seqs, hlc), ',' order by type, id, key, site)) from crdv.element where type not in ('v', 'k')";

/// Rows of a transaction that is far larger than the memory that decoding may take.
const LARGE: u32 = 20_000;

/// The least that a server takes.
const DECODING_MEMORY: &str = "alter system set logical_decoding_work_mem = '64kB'";

/// A write of `LARGE` rows, some 5 MB, to the map `id`.
fn large(id: &str) -> String {
    format!(
        "select count(crdv.write('m', '{id}', 'key ' || i, 'a', repeat('word ', 40)))
           from generate_series(1, {LARGE}) i"
    )
}

fn rows(id: &str) -> String {
    format!("select count(*) from crdv.element where type = 'm' and id = '{id}'")
}

fn counter(id: &str) -> String {
    format!("select crdv.counterget('{id}')")
}

fn increment(id: &str) -> String {
    format!("select crdv.counterinc('{id}', 1)")
}

/// Lets decoding spill early, and would let appliers work in parallel as other servers do.
async fn provoke(node: &Node) {
    node.run(DECODING_MEMORY).await;
    if node.server.version().major >= 16 {
        node.run("alter system set max_parallel_apply_workers_per_subscription = 2")
            .await;
    }
    node.run("select pg_reload_conf()").await;
}

/// Waits until all have the same, and returns it.
async fn equal(cluster: &Cluster) -> String {
    until("all stores are equal", || async {
        let mut digests = Vec::new();
        for node in &cluster.nodes {
            digests.push(node.try_text(DIGEST).await?);
        }
        let first = digests.first()?.clone();
        digests
            .iter()
            .all(|digest| *digest == first)
            .then_some(first)
    })
    .await
}

/// Writes large transactions on `writer` among small ones everywhere, and watches that each is there as
/// a whole or not at all; what was taken back never is.
async fn write_large_among_small(cluster: &Cluster, writer: usize, id: &str) {
    let undone = format!("{id} undone");
    let mut client = cluster.nodes[writer].client().await;
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute(&large(&undone)).await.unwrap();
    transaction.rollback().await.unwrap();

    let transaction = client.transaction().await.unwrap();
    let work = format!(
        "savepoint s; {}; rollback to s; {}",
        large(&undone),
        large(id)
    );
    transaction.batch_execute(&work).await.unwrap();
    // What others commit is not held up by it, on the same link either.
    for node in &cluster.nodes {
        node.run(&increment(id)).await;
    }
    let small = cluster.nodes.len().to_string();
    for node in 0..cluster.nodes.len() {
        cluster.await_text(node, &counter(id), &small).await;
    }
    transaction.commit().await.unwrap();
    for node in &cluster.nodes {
        until("the large transaction is there", || async {
            cluster.nodes[writer].run(&increment(id)).await;
            let seen = node.text(&rows(id)).await;
            let is_whole = seen == LARGE.to_string();
            assert!(is_whole || seen == "0", "{seen} of {LARGE} rows");
            is_whole.then_some(())
        })
        .await;
        assert_eq!(node.text(&rows(&undone)).await, "0");
    }
}

/// Whether the decoding of any link on `node` has spilled to disk, and none has sent what is not
/// committed.
async fn has_spilled(node: &Node) -> bool {
    let sums = "select coalesce(sum(spill_txns), 0) > 0 and coalesce(sum(stream_txns), 0) = 0
                  from pg_stat_replication_slots";
    node.text(sums).await == "true"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_the_decoding_memory_arrives_as_a_whole() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        provoke(node).await;
    }
    // A ring: what one link brings, the other brings as well, at the same time.
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        cluster.link(a, b);
    }
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        cluster.await_linked(a, b).await;
    }
    write_large_among_small(&cluster, 0, "large").await;
    equal(&cluster).await;
    for node in &cluster.nodes {
        assert_eq!(
            node.text("select sum(apply_error_count) from pg_stat_subscription_stats")
                .await,
            "0"
        );
    }
    // The servers count when a sender gets to it.
    until("the transaction was too large", || async {
        has_spilled(&cluster.nodes[0]).await.then_some(())
    })
    .await;
    cluster.stop().await;
}

/// Makes a database on each node's server that belongs to an ordinary role, with all that the doctor
/// says the role lacks, and puts the node's store there.
async fn move_to_an_ordinary_role(cluster: &mut Cluster) {
    for node in &mut cluster.nodes {
        node.run("create role app login password 'right'").await;
        node.run("create database owned owner app").await;
        let mut owned = node.server.connection();
        owned.dbname("owned");
        let url = format!("postgresql://app:right@{}/owned", node.server.address());
        let error = attach(&url).await.unwrap_err();
        println!("{error}");
        let Error::NotPermitted { fix, .. } = error else {
            panic!("{error}")
        };
        let superuser = postgres::connect(&owned).await.unwrap();
        superuser.batch_execute(&fix).await.unwrap();
        let attached = attach(&url).await.unwrap();
        let mut client = postgres::connect(&attached.connection).await.unwrap();
        store::install(&mut client).await.unwrap();
        node.site = store::identify(&mut client, &node.name, "test")
            .await
            .unwrap();
        node.login = Some(attached.connection);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_rights_that_the_doctor_names_carries_links() {
    let mut cluster = Cluster::stores(2).await;
    move_to_an_ordinary_role(&mut cluster).await;
    cluster.start_plane(0);
    cluster.start_plane(1);
    for node in &cluster.nodes {
        node.run(&increment("x")).await;
    }
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    cluster.await_text(0, &counter("x"), "2").await;
    cluster.await_text(1, &counter("x"), "2").await;
    let before = cluster.nodes[0].links().await;

    // New runs of the controllers take the links over.
    for node in 0..2 {
        cluster.kill_plane(node).await;
        cluster.start_plane(node);
    }
    cluster.link(0, 1);
    cluster.nodes[0].run(&increment("x")).await;
    cluster.await_text(1, &counter("x"), "3").await;
    cluster.await_linked(0, 1).await;
    assert_eq!(cluster.nodes[0].links().await, before);

    // One ends without a word, the other clears its own half of links that stream.
    cluster.kill_plane(1).await;
    cluster.unlink(0, 1, Departure::Lost);
    cluster.nodes[0].await_clear().await;
    cluster.start_plane(1);
    cluster.nodes[0].run(&increment("x")).await;
    cluster.link(0, 1);
    cluster.await_text(1, &counter("x"), "4").await;
    cluster.await_linked(0, 1).await;
    cluster.unlink(0, 1, Departure::Deliberate);
    cluster.await_clear().await;
    cluster.stop().await;
}

/// The folders of all versions that `tests/matrix.sh` has found, oldest and newest first, so that these
/// are neighbours in a line.
fn all_programs() -> Vec<PathBuf> {
    let text = env::var("MATRIX_PG_BINS")
        .expect("several versions in MATRIX_PG_BINS=15=FOLDER:18=FOLDER; tests/matrix.sh sets it");
    let by_version: BTreeMap<u32, PathBuf> = text
        .split(':')
        .map(|entry| {
            let (version, folder) = entry.split_once('=').unwrap();
            (version.parse().unwrap(), folder.into())
        })
        .collect();
    assert!(by_version.len() > 1, "one version only: {text}");
    let mut folders: Vec<_> = by_version.into_values().collect();
    let newest = folders.pop().unwrap();
    folders.insert(1, newest);
    folders
}

/// One write to each kind of structure, all on the same elements as everybody else's.
fn write_everything(who: usize) -> String {
    format!(
        "select crdv.registerset('r', 'by {who}');
         select crdv.setadd('s', 'shared'), crdv.setadd('s', 'by {who}');
         select crdv.mapadd('m', 'shared', 'by {who}'), crdv.mapadd('m', 'key {who}', 'ü \\ \t');
         select crdv.counterinc('c', {who} + 1);
         select crdv.listappend('l', 'by {who}');
         select crdv.setrmv('s', 'shared')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_versions_replicate_whatever_happens() {
    let programs = all_programs().into_iter().map(Some).collect();
    let mut cluster = Cluster::stores_of(programs).await;
    let count = cluster.nodes.len();
    for node in 0..count {
        let node_ref = &cluster.nodes[node];
        println!(
            "{}: PostgreSQL {}",
            node_ref.name,
            node_ref.server.version()
        );
        // Before there is any link, so that it is a catch-up that brings it.
        node_ref.run(&write_everything(node)).await;
        provoke(node_ref).await;
        cluster.start_plane(node);
    }
    for node in 1..count {
        cluster.link(node - 1, node);
    }
    for node in 1..count {
        cluster.await_linked(node - 1, node).await;
    }
    equal(&cluster).await;
    for node in 0..count {
        cluster.nodes[node].run(&write_everything(node)).await;
    }
    // The oldest and the newest are the first two.
    for writer in [0, 1] {
        write_large_among_small(&cluster, writer, &format!("large {writer}")).await;
    }
    equal(&cluster).await;

    // Apart for a while, each half writes; then the one lacks what the other has, and the reverse.
    cluster.unlink(0, 1, Departure::Deliberate);
    for node in [0, 1] {
        until("the two are apart", || async {
            let other = format!("{:016x}", cluster.nodes[1 - node].site.get());
            (!cluster.nodes[node].links().await.contains(&other)).then_some(())
        })
        .await;
        cluster.nodes[node].run(&write_everything(node)).await;
        cluster.nodes[node]
            .run(&large(&format!("apart {node}")))
            .await;
    }
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    equal(&cluster).await;

    // A crash of either loses nothing.
    for node in [0, 1] {
        cluster.nodes[1 - node].run(&write_everything(node)).await;
        cluster.nodes[node].crash().await;
        cluster.nodes[1 - node].run(&write_everything(node)).await;
        cluster.nodes[node].await_up().await;
        cluster.nodes[node].run(&write_everything(node)).await;
    }
    equal(&cluster).await;
    for node in &cluster.nodes {
        for id in ["large 0", "large 1", "apart 0", "apart 1"] {
            assert_eq!(node.text(&rows(id)).await, LARGE.to_string(), "{id}");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_nodes_form_one_cluster() {
    let root = process::folder();
    let mut nodes: Vec<process::Node> = Vec::new();
    for (number, programs) in all_programs().iter().enumerate() {
        let name = format!("node-{number}");
        let programs = programs.to_str().unwrap();
        let contact = nodes.first().map(process::Node::bootstrap);
        let mut arguments = vec!["--name", &name, "--pg-bin", programs];
        arguments.extend(contact.iter().flat_map(|contact| ["--bootstrap", contact]));
        nodes.push(process::Node::start(&root.path().join(&name), &arguments));
    }
    for (number, node) in nodes.iter().enumerate() {
        let client = node.client().await;
        client
            .batch_execute(&write_everything(number))
            .await
            .unwrap();
    }
    let expected = (1..=nodes.len()).sum::<usize>().to_string();
    for node in &nodes {
        let client = node.client().await;
        process::eventually("every node has every write", async || {
            let row = client
                .query_one("select crdv.counterget('c')::text", &[])
                .await;
            row.is_ok_and(|row| row.get::<_, Option<&str>>(0) == Some(&expected))
        })
        .await;
    }
    for node in &mut nodes {
        assert_eq!(node.terminate(), Some(0));
    }
}
