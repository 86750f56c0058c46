//! Which connections there are, and that it does not matter.

use std::time::Duration;

use hyparview::{Behaviour, DownReason, Event};
use libp2p::{
    Multiaddr, StreamProtocol,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use libp2p_swarm_test::SwarmExt;

use crate::cluster::{Cluster, patient, quick, settings, swarm};

/// Incarnation of a second start: milliseconds that the first cannot have reached.
const REBIRTH: u64 = 1_000_000;

/// Another connection from `n` to `to`, whatever there is already.
fn dial_again(cluster: &mut Cluster, n: usize, to: usize) -> ConnectionId {
    let (peer, address) = (cluster.id(to), cluster.node(to).address.clone());
    let opts = DialOpts::peer_id(peer)
        .condition(PeerCondition::Always)
        .addresses(vec![address])
        .allocate_new_port()
        .build();
    let connection = opts.connection_id();
    cluster.node_mut(n).swarm.dial(opts).unwrap();
    connection
}

fn connections(cluster: &Cluster, n: usize) -> u32 {
    cluster
        .node(n)
        .swarm
        .network_info()
        .connection_counters()
        .num_established()
}

#[tokio::test]
async fn simultaneous_joins_make_one_relation() {
    let mut cluster = Cluster::of(2, patient()).await;
    cluster.join(0, 1);
    cluster.join(1, 0);
    // No request is left that could time out, and what both confirm is the same: so nothing is to come that
    // only a deadline would show.
    cluster
        .until("settled", |cluster| cluster.are_settled(0, 1))
        .await;
    cluster
        .until("dialled from both sides", |cluster| {
            connections(cluster, 0) == 2
        })
        .await;
    cluster.until_more_is_heard().await;
    assert!(cluster.are_settled(0, 1));
    for (n, other) in [(0, 1), (1, 0)] {
        let other = cluster.id(other);
        assert_eq!(
            (cluster.node(n).ups(other), cluster.node(n).downs(other)),
            (1, vec![])
        );
    }
}

#[tokio::test]
async fn duplicate_connections_are_one_peer_until_the_last_is_gone() {
    let mut cluster = Cluster::of(2, patient()).await;
    cluster.join(1, 0);
    cluster
        .until("neighbours", |cluster| cluster.are_neighbors(0, 1))
        .await;
    let newest = [0, 1, 1].map(|n| dial_again(&mut cluster, n, 1 - n))[2];
    cluster
        .until("connected four times", |cluster| {
            connections(cluster, 0) == 4
        })
        .await;
    // The one that node 1 speaks over.
    assert!(cluster.node_mut(1).swarm.close_connection(newest));
    cluster
        .until("connected three times", |cluster| {
            connections(cluster, 0) == 3
        })
        .await;
    cluster.until_more_is_heard().await;
    assert!(cluster.are_neighbors(0, 1));
    let (zero, one) = (cluster.id(0), cluster.id(1));
    assert_eq!(cluster.node(0).downs(one), []);
    assert_eq!(cluster.node(1).downs(zero), []);

    cluster.node_mut(1).swarm.disconnect_peer_id(zero).unwrap();
    cluster
        .until("down", |cluster| !cluster.node(0).downs(one).is_empty())
        .await;
    assert_eq!(cluster.node(0).downs(one), [DownReason::Closed]);
}

/// A way to `to` on which everything takes longer than on the direct one.
async fn detour(to: &Multiaddr) -> Multiaddr {
    let port = |address: &Multiaddr| {
        address.iter().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        })
    };
    let to = port(to).unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let mut onward = tokio::net::TcpStream::connect(("127.0.0.1", to)).await?;
                tokio::io::copy_bidirectional(&mut from, &mut onward).await
            });
        }
    });
    format!("/ip4/127.0.0.1/tcp/{}", address.port())
        .parse()
        .unwrap()
}

#[tokio::test]
async fn an_address_at_which_somebody_else_listens_does_not_spoil_the_others() {
    let patient = quick().with_request_timeout(Duration::from_secs(5));
    let mut cluster = Cluster::of(3, patient).await;
    let [one, two] = [1, 2].map(|n| cluster.id(n));
    let foreign = cluster.node(2).address.clone();
    let good = detour(&cluster.node(1).address.clone()).await;
    let behaviour = cluster.node_mut(0).swarm.behaviour_mut();
    behaviour.join(one, vec![foreign, good]);
    cluster
        .until("neighbours", |cluster| cluster.are_neighbors(0, 1))
        .await;
    assert_eq!(cluster.node(0).counters().dial_failures, 0);
    assert_eq!(cluster.node(0).ups(two), 0, "nobody asked for it");
}

#[tokio::test]
async fn peer_restarted_under_the_same_identity_is_a_neighbor_again() {
    let mut cluster = Cluster::of(2, patient()).await;
    cluster.join(1, 0);
    cluster
        .until("neighbours", |cluster| cluster.are_neighbors(0, 1))
        .await;
    let key = cluster.kill(1);
    let again = cluster.add(key, patient(), settings(REBIRTH)).await;
    cluster.join(again, 0);
    cluster
        .until("neighbours again", |cluster| {
            cluster.are_neighbors(0, again)
        })
        .await;
    let reborn = cluster.id(again);
    assert_eq!(cluster.node(0).ups(reborn), 2);
    assert_eq!(cluster.node(0).downs(reborn), [DownReason::Closed]);
    assert_eq!(cluster.node(again).downs(cluster.id(0)), []);
    // Its new address, not the one of its former incarnation.
    let known = cluster.node(0).swarm.behaviour().known();
    assert_eq!(known, [(reborn, vec![cluster.node(again).address.clone()])]);
}

#[tokio::test]
async fn peer_restarted_while_its_old_connection_hangs_is_a_neighbor_again() {
    let mut cluster = Cluster::of(2, patient()).await;
    cluster.join(1, 0);
    cluster
        .until("neighbours", |cluster| cluster.are_neighbors(0, 1))
        .await;
    let frozen = cluster.freeze(1);
    let again = cluster
        .add(frozen.key.clone(), patient(), settings(REBIRTH))
        .await;
    cluster.join(again, 0);
    cluster
        .until("neighbours again", |cluster| {
            cluster.are_neighbors(0, again)
        })
        .await;
    // Nothing is said over the connection that hangs.
    cluster.until_more_is_heard().await;
    assert!(cluster.are_settled(0, again));
    drop(frozen);
}

#[tokio::test]
async fn peer_that_does_not_speak_the_protocol_is_unreachable_not_hostile() {
    let mut cluster = Cluster::of(1, quick()).await;
    let key = Keypair::generate_ed25519();
    let protocol = StreamProtocol::new("/another/hyparview/1.0.0");
    let behaviour = Behaviour::new(key.clone(), protocol, quick(), settings(1)).unwrap();
    let mut stranger = swarm(&key, behaviour);
    let id = *stranger.local_peer_id();
    stranger
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
        .unwrap();
    let address = stranger
        .wait(|event| match event {
            SwarmEvent::NewListenAddr { address, .. } => Some(address),
            _ => None,
        })
        .await;
    let stranger = tokio::spawn(stranger.loop_on_next());
    cluster
        .node_mut(0)
        .swarm
        .behaviour_mut()
        .join(id, vec![address]);
    cluster
        .until("isolated", |cluster| {
            cluster
                .node(0)
                .events
                .iter()
                .any(|event| matches!(event, Event::Isolated))
        })
        .await;
    let counters = cluster.node(0).counters();
    assert!(cluster.node(0).active().is_empty());
    assert_eq!(
        (
            counters.frames_out,
            counters.misbehaved_peers,
            counters.slow_peers
        ),
        (0, 0, 0)
    );
    stranger.abort();
}
