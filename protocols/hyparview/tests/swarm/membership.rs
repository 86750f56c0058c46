//! Joining, leaving, failing.

use std::time::Duration;

use hyparview::{Behaviour, DownReason, Event, Settings};
use libp2p::Swarm;
use libp2p_swarm_test::{SwarmExt, drive};

use crate::cluster::{Cluster, PROTOCOL, patient, quick};

#[tokio::test]
async fn two_swarms_become_neighbors_of_each_other() {
    let new = || {
        Swarm::new_ephemeral_tokio(|key| {
            Behaviour::new(key, PROTOCOL, quick(), Settings::new(1)).unwrap()
        })
    };
    let (mut a, mut b) = (new(), new());
    let (_, address) = b.listen().await;
    let (a_id, b_id) = (*a.local_peer_id(), *b.local_peer_id());
    a.behaviour_mut().join(b_id, vec![address.clone()]);
    let ([at_a], [at_b]): ([Event; 1], [Event; 1]) = drive(&mut a, &mut b).await;
    assert!(matches!(
        &at_a,
        Event::NeighborUp { peer, addresses } if *peer == b_id && addresses[0] == address
    ));
    assert!(matches!(&at_b, Event::NeighborUp { peer, .. } if *peer == a_id));
}

#[tokio::test]
async fn chain_of_joins_ends_in_a_symmetric_connected_overlay() {
    let mut cluster = Cluster::of(8, quick().with_active_capacity(4)).await;
    for n in 1..8 {
        cluster.join(n, n - 1);
    }
    cluster
        .until("symmetric and connected", |cluster| {
            cluster.is_connected() && cluster.is_symmetric() && cluster.is_full()
        })
        .await;
    for node in cluster.alive() {
        assert_eq!(node.counters().frames_refused, 0);
        let neighbor = *node.active().first().unwrap();
        assert_eq!(node.ups(neighbor), node.downs(neighbor).len() + 1);
    }
}

#[tokio::test]
async fn everybody_knows_how_to_reach_whom_it_knows() {
    let mut cluster = Cluster::of(5, quick().with_active_capacity(2).with_outbound_min(1)).await;
    for n in 1..5 {
        cluster.join(n, 0);
    }
    cluster
        .until("full of passive peers", |cluster| {
            cluster.is_connected()
                && cluster
                    .alive()
                    .all(|node| node.swarm.behaviour().passive_len() >= 2)
        })
        .await;
    for node in cluster.alive() {
        for (peer, addresses) in node.swarm.behaviour().known() {
            let known = cluster.alive().find(|other| other.id() == peer).unwrap();
            assert_eq!(addresses, std::slice::from_ref(&known.address));
        }
    }
}

#[tokio::test]
async fn leaving_is_told_before_the_node_goes() {
    let mut cluster = Cluster::of(3, patient()).await;
    cluster.join(1, 0);
    cluster.join(2, 0);
    let triangle = |cluster: &Cluster| cluster.alive().all(|node| node.active().len() == 2);
    cluster.until("a triangle", triangle).await;
    let gone = cluster.id(0);
    cluster.node_mut(0).swarm.behaviour_mut().leave();
    cluster
        .until("said to everybody", |cluster| {
            let leaver = cluster.node(0);
            leaver.active().is_empty() && leaver.swarm.behaviour().pending_frames() == 0
        })
        .await;
    cluster.kill(0);
    cluster
        .until("heard", |cluster| {
            cluster.alive().all(|node| node.active().len() == 1)
        })
        .await;
    for node in cluster.alive() {
        assert_eq!(node.downs(gone), [DownReason::Left]);
    }
}

#[tokio::test]
async fn abrupt_loss_is_noticed_and_repaired_from_the_passive_view() {
    let config = patient().with_active_capacity(3).with_outbound_min(1);
    let mut cluster = Cluster::of(8, config).await;
    for n in 1..8 {
        cluster.join(n, 0);
    }
    cluster
        .until("full", |cluster| {
            cluster.is_connected()
                && cluster.is_symmetric()
                && cluster.is_full()
                && cluster
                    .alive()
                    .all(|node| node.swarm.behaviour().passive_len() >= 2)
        })
        .await;
    let dead = cluster.id(0);
    let bereaved: Vec<_> = cluster.node(0).active().into_iter().collect();
    cluster.kill(0);
    cluster
        .until("repaired", |cluster| {
            cluster.is_connected()
                && cluster.is_symmetric()
                && cluster.is_full()
                && cluster.alive().all(|node| !node.active().contains(&dead))
        })
        .await;
    cluster
        .until("told why", |cluster| {
            let mut bereaved = cluster.alive().filter(|node| bereaved.contains(&node.id()));
            bereaved.all(|node| node.downs(dead).last() == Some(&DownReason::Closed))
        })
        .await;
}

#[tokio::test]
async fn neighbor_that_falls_silent_is_dropped() {
    let mut cluster = Cluster::of(2, quick()).await;
    cluster.join(1, 0);
    cluster
        .until("neighbours", |cluster| cluster.are_neighbors(0, 1))
        .await;
    let frozen = cluster.freeze(1);
    cluster
        .until("alone", |cluster| {
            !cluster.node(0).downs(frozen.id()).is_empty()
        })
        .await;
    assert_eq!(cluster.node(0).downs(frozen.id()), [DownReason::Silent]);
    // Although the frozen side does not answer the closing of the connection.
    cluster
        .until("isolated", |cluster| {
            let mut events = cluster.node(0).events.iter();
            events.any(|event| matches!(event, Event::Isolated))
        })
        .await;
}

#[tokio::test]
async fn new_address_is_told_to_neighbors() {
    let mut cluster = Cluster::of(2, quick()).await;
    cluster.join(1, 0);
    cluster
        .until("neighbours", |cluster| cluster.are_neighbors(0, 1))
        .await;
    let mover = cluster.id(1);
    cluster
        .node_mut(1)
        .swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
        .unwrap();
    cluster
        .until("told", |cluster| {
            let second = cluster
                .node(1)
                .swarm
                .listeners()
                .find(|a| **a != cluster.node(1).address);
            cluster.node(0).events.iter().any(|event| match event {
                Event::NeighborMoved { peer, addresses } if *peer == mover => {
                    second.is_some_and(|second| addresses.contains(second))
                }
                _ => false,
            })
        })
        .await;
}

#[tokio::test]
async fn address_that_comes_while_a_join_is_under_way_is_told() {
    // Not by a shuffle later on.
    let config = quick().with_shuffle_interval(Duration::from_secs(3600));
    let mut cluster = Cluster::of(2, config).await;
    // As an application does that joins without waiting for its listeners.
    cluster.join(1, 0);
    let any = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    cluster.node_mut(1).swarm.listen_on(any).unwrap();
    cluster
        .until("told", |cluster| {
            let known = cluster.node(0).swarm.behaviour().known();
            let first = known.first().map(|(_, addresses)| addresses.len());
            cluster.are_neighbors(0, 1) && first == Some(2)
        })
        .await;
}

#[tokio::test]
async fn temporary_connections_close_by_themselves() {
    let config = quick()
        .with_active_capacity(2)
        .with_outbound_min(1)
        // Nothing that makes new ones once the overlay is at rest.
        .with_shuffle_interval(Duration::from_secs(3600))
        .with_probe_interval_min(Duration::from_secs(3600))
        .with_probe_interval_max(Duration::from_secs(3600))
        .with_refill_interval_max(Duration::from_secs(3600))
        .with_remix_burst_interval(Duration::from_secs(3600));
    let mut cluster = Cluster::of(6, config).await;
    for n in 1..6 {
        cluster.join(n, 0);
    }
    cluster
        .until("connected to neighbours only", |cluster| {
            // Maybe two triangles: this small a view is not meant to be one overlay for sure.
            cluster
                .alive()
                .all(|node| !node.active().is_empty() && node.active() == node.connected())
        })
        .await;
}

#[tokio::test]
async fn connection_to_a_neighbor_is_held_while_nothing_is_said() {
    let quiet = Duration::from_secs(3600);
    let config = quick()
        .with_heartbeat_interval(quiet)
        .with_silence_deadline(quiet * 2)
        .with_tag_timeout(quiet * 2)
        .with_shuffle_interval(quiet);
    let mut cluster = Cluster::of(2, config).await;
    cluster.join(1, 0);
    cluster
        .until("neighbours", |cluster| cluster.are_neighbors(0, 1))
        .await;
    // Twice the time after which `node_that_joins_nobody_says_nothing_and_holds_nobody` loses its connection.
    cluster.for_a_while(Duration::from_millis(1500)).await;
    assert!(cluster.are_neighbors(0, 1));
    assert_eq!(cluster.node(0).downs(cluster.id(1)), []);
}

#[tokio::test]
async fn unreachable_contact_is_counted_and_reported() {
    let mut cluster = Cluster::of(2, quick()).await;
    cluster.join(1, 0);
    cluster.kill(0);
    cluster
        .until("isolated", |cluster| {
            cluster
                .node(1)
                .events
                .iter()
                .any(|event| matches!(event, Event::Isolated))
        })
        .await;
    let counters = cluster.node(1).counters();
    assert!(
        counters.dials >= 1 && counters.dial_failures >= 1,
        "{counters:?}"
    );
}

#[tokio::test]
async fn nobody_dials_itself() {
    let mut cluster = Cluster::of(1, quick()).await;
    cluster.join(0, 0);
    cluster.for_a_while(Duration::from_millis(300)).await;
    assert_eq!(cluster.node(0).counters().dials, 0);
    assert!(cluster.node(0).active().is_empty());
}

#[tokio::test]
async fn node_that_joins_nobody_says_nothing_and_holds_nobody() {
    let mut cluster = Cluster::of(2, quick()).await;
    let address = cluster.node(0).address.clone();
    cluster.node_mut(1).swarm.dial(address).unwrap();
    cluster
        .until("connected", |cluster| {
            !cluster.node(1).connected().is_empty()
        })
        .await;
    cluster
        .until("closed as idle", |cluster| {
            cluster.node(1).connected().is_empty()
        })
        .await;
    assert_eq!(cluster.node(1).counters().frames_out, 0);
}
