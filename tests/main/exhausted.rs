//! Limits of a server that others use up: the link that gets nothing names the limit and what mends it, and comes
//! up once there is room.

use starling::{
    api::{Direction, LinkState},
    replication::Departure,
};

use crate::harness::data_plane::{Cluster, Node, until};

/// A limit of the publisher's server (node 0) or the subscriber's (node 1).
struct Limit {
    node: usize,
    /// As low as that is. What a version does not know is left out.
    settings: &'static [(&'static str, &'static str)],
    /// What uses up the rest.
    fill: &'static str,
    /// What gives it back.
    clear: &'static str,
    state: LinkState,
    /// In the reason of the incoming link.
    reason: &'static str,
    /// In what mends it.
    fix: &'static str,
}

const LIMITS: [Limit; 4] = [
    Limit {
        node: 0,
        settings: &[("max_replication_slots", "1")],
        fill: "select pg_create_physical_replication_slot('others')",
        clear: "select pg_drop_replication_slot('others')",
        state: LinkState::Refused,
        reason: "all replication slots are in use",
        fix: "at the peer: raise that limit",
    },
    Limit {
        node: 0,
        settings: &[("max_wal_senders", "0")],
        fill: "",
        clear: "",
        state: LinkState::Refused,
        reason: "max_wal_senders",
        fix: "that the peer's admits one more (max_wal_senders",
    },
    Limit {
        node: 1,
        settings: &[("max_logical_replication_workers", "0")],
        fill: "",
        clear: "",
        state: LinkState::Down,
        reason: "no apply worker left",
        fix: "raise max_logical_replication_workers",
    },
    Limit {
        node: 1,
        settings: &[
            ("max_replication_slots", "1"),
            ("max_active_replication_origins", "1"),
        ],
        fill: "select pg_replication_origin_create('others');
               select pg_replication_origin_advance('others', '0/1')",
        clear: "select pg_replication_origin_drop('others')",
        state: LinkState::Refused,
        reason: "could not find free replication state slot",
        fix: "raise that limit",
    },
];

async fn set(node: &Node, settings: &[(&str, &str)], is_low: bool) {
    for (name, value) in settings {
        let known = format!("select count(*) from pg_settings where name = '{name}'");
        if node.text(&known).await == "1" {
            let to = if is_low { *value } else { "default" };
            node.run(&format!("alter system set {name} = {to}")).await;
        }
    }
    node.server.restart().await.unwrap();
    node.reopen().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_names_the_limit_that_keeps_it_down_and_comes_up_with_room() {
    let cluster = Cluster::start(2).await;
    for limit in &LIMITS {
        let node = &cluster.nodes[limit.node];
        set(node, limit.settings, true).await;
        node.run(limit.fill).await;
        cluster.link(0, 1);
        until(limit.reason, || async {
            let links = cluster.nodes[1].plane().links();
            let is_told = links.borrow().iter().any(|link| {
                let has =
                    |text: &Option<String>, words| text.as_ref().is_some_and(|t| t.contains(words));
                link.direction == Direction::In
                    && link.state == limit.state
                    && has(&link.reason, limit.reason)
                    && has(&link.fix, limit.fix)
            });
            is_told.then_some(())
        })
        .await;
        node.run(limit.clear).await;
        set(node, limit.settings, false).await;
        cluster.await_linked(0, 1).await;
        cluster.unlink(0, 1, Departure::Deliberate);
        cluster.await_clear().await;
    }
    cluster.stop().await;
}
