//! Answers that come before what they answer is visible at home, through real links.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::harness::data_plane::{Cluster, Node};

/// All that a store has, but for checkpoints and the markers of catch-ups.
const CONTENT: &str = "select string_agg(concat_ws('|', type, id, key, site, seq, op, data), ', '
    order by type, id, key, site) from crdv.element where type not in ('v', 'k')";

/// Two linked stores: the first one's writes of now hang in their commit, and the second has answered
/// them. The first makes no more checkpoints, so nothing is dropped there.
async fn answered(nodes: usize) -> (Cluster, JoinHandle<Result<(), tokio_postgres::Error>>) {
    let mut cluster = Cluster::stores(nodes).await;
    let mut settings = cluster.settings(0);
    settings.checkpoint_interval = Duration::from_secs(3_600);
    cluster.start_plane_with(0, settings);
    for node in 1..nodes {
        cluster.start_plane(node);
    }
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let origin = &cluster.nodes[0];
    origin
        .run("alter system set synchronous_standby_names = 'nobody'")
        .await;
    origin.run("select pg_reload_conf()").await;
    let client = origin.client().await;
    let hangs = "select mapAdd('m', 'k', 'v'), setAdd('s', 'x'), listAppend('l', 'e')";
    let write = tokio::spawn(async move { client.batch_execute(hangs).await });
    cluster.await_text(1, "select listGetAt('l', 0)", "e").await;
    cluster.nodes[1]
        .run("select mapAdd('m', 'k', 'answer'), setRmv('s', 'x'), listPopFirst('l')")
        .await;
    let answers = format!(
        "select count(*) from crdv.element where type in ('m', 's', 'l') and site = {}",
        cluster.nodes[1].site
    );
    cluster.await_text(0, &answers, "3").await;
    let visible = own_rows(&cluster.nodes[0]);
    assert_eq!(cluster.nodes[0].text(&visible).await, "0");
    (cluster, write)
}

fn own_rows(node: &Node) -> String {
    format!(
        "select count(*) from crdv.element where type in ('m', 's', 'l') and site = {}",
        node.site
    )
}

/// A controller that starts again finds what is to be dropped, although nothing new is written.
async fn await_dropped(cluster: &mut Cluster) {
    cluster.kill_plane(0).await;
    cluster.start_plane(0);
    cluster.link(0, 1);
    let expected = cluster.nodes[1].text(CONTENT).await;
    cluster.await_text(0, CONTENT, &expected).await;
    cluster
        .await_text(0, "select count(*) from crdv.early_cover", "0")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_link_does_not_bring_what_stands_beside_its_answer() {
    let (mut cluster, write) = answered(3).await;
    let origin = &cluster.nodes[0];
    origin
        .run("alter system reset synchronous_standby_names")
        .await;
    origin.run("select pg_reload_conf()").await;
    write.await.unwrap().unwrap();
    assert_eq!(origin.text(&own_rows(origin)).await, "3", "not dropped yet");
    cluster.link(0, 2);
    cluster.await_linked(0, 2).await;
    let expected = cluster.nodes[1].text(CONTENT).await;
    assert_eq!(cluster.nodes[2].text(CONTENT).await, expected);
    await_dropped(&mut cluster).await;
    cluster.stop().await;
}

/// A crash makes the hanging commit visible, and may undo what the link brought, which then comes again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_early_is_dropped_after_a_crash_too() {
    let (mut cluster, write) = answered(2).await;
    let origin = &cluster.nodes[0];
    origin
        .run("alter system reset synchronous_standby_names")
        .await;
    origin.crash().await;
    assert!(write.await.unwrap().is_err());
    origin.await_up().await;
    await_dropped(&mut cluster).await;
    cluster.stop().await;
}
