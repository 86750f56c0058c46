//! A controller is killed at every failpoint of a link's life, and the next one finds its way.
#![allow(clippy::print_stdout, reason = "tells which failpoint it stopped at")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use starling::replication::{Departure, Failpoint, Failpoints};
use tokio::sync::Notify;

use crate::harness::data_plane::{Cluster, PATIENCE};

/// Stops whoever reaches the failpoint first, and tells.
fn trap(failpoint: Failpoint) -> (Failpoints, Arc<Notify>) {
    let reached = Arc::new(Notify::new());
    let (told, is_armed) = (Arc::clone(&reached), Arc::new(AtomicBool::new(true)));
    let failpoints = Failpoints::new(move |passed| {
        let is_caught = passed == failpoint && is_armed.swap(false, Ordering::Relaxed);
        let told = Arc::clone(&told);
        Box::pin(async move {
            if is_caught {
                told.notify_one();
                std::future::pending::<()>().await;
            }
        })
    });
    (failpoints, reached)
}

/// The failpoints that tearing down reaches; the rest is reached by setting up.
fn is_of_tear_down(failpoint: Failpoint) -> bool {
    matches!(
        failpoint,
        Failpoint::Unsubscribed | Failpoint::SlotDropped | Failpoint::Unpublished
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_may_be_killed_at_any_failpoint() {
    let mut cluster = Cluster::start(2).await;
    for (round, failpoint) in Failpoint::ALL.into_iter().enumerate() {
        println!("{failpoint:?}");
        let (failpoints, reached) = trap(failpoint);
        cluster.kill_plane(0).await;
        let mut settings = cluster.settings(0);
        settings.failpoints = failpoints;
        cluster.start_plane_with(0, settings);
        // Something to catch up with, both ways.
        for node in 0..2 {
            cluster.nodes[node]
                .run("select crdv.counterinc('x', 1)")
                .await;
        }
        cluster.link(0, 1);
        if is_of_tear_down(failpoint) {
            cluster.await_linked(0, 1).await;
            cluster.unlink(0, 1, Departure::Deliberate);
        }
        tokio::time::timeout(PATIENCE, reached.notified())
            .await
            .unwrap();
        cluster.kill_plane(0).await;

        cluster.start_plane(0);
        cluster.link(0, 1);
        let expected = ((round + 1) * 2).to_string();
        for node in 0..2 {
            cluster
                .await_text(node, "select crdv.counterget('x')", &expected)
                .await;
        }
        cluster.await_linked(0, 1).await;
        cluster.unlink(0, 1, Departure::Deliberate);
        cluster.await_clear().await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_and_its_store_may_be_killed_together() {
    let mut cluster = Cluster::start(2).await;
    let set_up = Failpoint::ALL
        .into_iter()
        .filter(|failpoint| !is_of_tear_down(*failpoint));
    for (round, failpoint) in set_up.enumerate() {
        println!("{failpoint:?}");
        let (failpoints, reached) = trap(failpoint);
        cluster.kill_plane(0).await;
        let mut settings = cluster.settings(0);
        settings.failpoints = failpoints;
        cluster.start_plane_with(0, settings);
        for node in 0..2 {
            cluster.nodes[node]
                .run("select crdv.counterinc('x', 1)")
                .await;
        }
        cluster.link(0, 1);
        tokio::time::timeout(PATIENCE, reached.notified())
            .await
            .unwrap();
        cluster.nodes[0].crash().await;
        cluster.kill_plane(0).await;

        // Nobody comes back for what was begun: it is debris, here and at the peer.
        cluster.start_plane(0);
        cluster.unlink(0, 1, Departure::Lost);
        cluster.nodes[0].await_up().await;
        cluster.await_clear().await;
        cluster.link(0, 1);
        let expected = ((round + 1) * 2).to_string();
        for node in 0..2 {
            cluster
                .await_text(node, "select crdv.counterget('x')", &expected)
                .await;
        }
        cluster.await_linked(0, 1).await;
        cluster.unlink(0, 1, Departure::Deliberate);
        cluster.await_clear().await;
    }
    cluster.stop().await;
}
