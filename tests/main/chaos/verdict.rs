//! Whether all is as it must be in the end.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep};

use super::workload::{Violations, Written};
use crate::harness::data_plane::Cluster;

pub(super) const DIGEST: &str = "select md5(string_agg(concat_ws('|', type, id, key, site, seq, op, data,
    ctx_sites, ctx_seqs, hlc), ',' order by type, id, key, site)) from crdv.element where type <> 'v'";

/// Waits until all stores are equal.
pub(super) async fn differences(cluster: &Cluster, patience: Duration) -> Violations {
    let deadline = Instant::now() + patience;
    loop {
        let mut digests = Vec::new();
        for node in &cluster.nodes {
            digests.push(node.text(DIGEST).await);
        }
        if digests.windows(2).all(|pair| pair[0] == pair[1]) {
            return Vec::new();
        }
        if Instant::now() > deadline {
            return vec![format!("the stores differ: {digests:?}")];
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Compares each site's share of the counters, on every store, with what was acknowledged there.
pub(super) async fn losses(cluster: &Cluster, written: &[Written]) -> Violations {
    let mut expected = BTreeMap::<usize, i64>::new();
    for (node, tally, doubts) in written {
        *expected.entry(*node).or_default() += tally.acknowledged;
        for doubt in doubts {
            let found = format!(
                "select count(*) from public.receipt where id = '{}'",
                doubt.receipt
            );
            if cluster.nodes[*node].text(&found).await == "1" {
                *expected.entry(*node).or_default() += doubt.delta;
            }
        }
    }
    let mut violations = Vec::new();
    for (origin, expected) in expected {
        let share = format!(
            "select coalesce(sum(data::bigint), 0) from crdv.element
              where type = 'c' and id like 'total.%' and site = {}",
            cluster.nodes[origin].site
        );
        for (number, node) in cluster.nodes.iter().enumerate() {
            let found: i64 = node.text(&share).await.parse().unwrap();
            if found != expected {
                violations.push(format!(
                    "node {number} has {found} of the {expected} that node {origin} added"
                ));
            }
        }
    }
    violations
}

/// An apply worker that hits the primary key has applied something that it should have dropped.
pub(super) fn complaints(cluster: &Cluster) -> Violations {
    let mut violations = Vec::new();
    for (number, node) in cluster.nodes.iter().enumerate() {
        let log = node.log();
        let count = |text: &str| log.matches(text).count();
        let collisions = count("duplicate key value violates unique constraint");
        let deadlocks = count("deadlock detected");
        if collisions + deadlocks > 0 {
            violations.push(format!(
                "node {number} logged {collisions} collisions, {deadlocks} deadlocks"
            ));
        }
    }
    violations
}
