//! Whom a node does not talk to, and what it cannot start with.

use std::{net::TcpListener, time::Duration};

use starling::network::{self, Counter, Error, SwarmKey};
use tempfile::tempdir;

use super::{Node, address, joining, settings};

/// A node of cluster `test` and one that differs, joining through it.
async fn pair(
    dir: &std::path::Path,
    key: Option<SwarmKey>,
    change: impl FnOnce(&mut network::Settings),
) -> (Node, Node) {
    let mut first = settings(&dir.join("a"));
    first.swarm_key = key;
    first.dial_timeout = Duration::from_millis(500);
    let first = Node::start(first).await;
    let mut second = joining(&dir.join("b"), &[first.address()]);
    second.swarm_key = key;
    second.dial_timeout = Duration::from_millis(500);
    change(&mut second);
    (first, Node::start(second).await)
}

async fn are_strangers(first: Node, second: Node) {
    for node in [&first, &second] {
        assert_eq!(node.count(Counter::NeighborsUp), 0);
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_peer_of_another_cluster_is_refused_and_counted_by_both() {
    let dir = tempdir().unwrap();
    let (first, second) = pair(dir.path(), None, |it| it.cluster = "other".to_owned()).await;
    first.counts(Counter::Strangers, 1).await;
    second.counts(Counter::Strangers, 1).await;
    second.counts(Counter::ConnectionsClosed, 1).await;
    are_strangers(first, second).await;
}

#[tokio::test]
async fn a_stranger_does_not_keep_others_out() {
    let dir = tempdir().unwrap();
    let (first, stranger) = pair(dir.path(), None, |it| it.cluster = "other".to_owned()).await;
    first.counts(Counter::Strangers, 1).await;
    let friend = Node::start(joining(&dir.path().join("c"), &[first.address()])).await;
    first.has_neighbors(1).await;
    friend.has_neighbors(1).await;
    for node in [first, stranger, friend] {
        node.stop().await;
    }
}

#[tokio::test]
async fn nodes_with_one_swarm_key_join() {
    let dir = tempdir().unwrap();
    let (first, second) = pair(dir.path(), Some(SwarmKey::generate()), |_| {}).await;
    first.has_neighbors(1).await;
    second.has_neighbors(1).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn another_swarm_key_or_none_keeps_out_and_is_counted_by_both() {
    let dir = tempdir().unwrap();
    let others = [Some(SwarmKey::generate()), None];
    for (number, other) in others.into_iter().enumerate() {
        let dir = dir.path().join(number.to_string());
        let key = Some(SwarmKey::generate());
        let (first, second) = pair(&dir, key, |it| it.swarm_key = other).await;
        first.counts(Counter::InboundFailed, 1).await;
        second.counts(Counter::HandshakesFailed, 1).await;
        are_strangers(first, second).await;
    }
}

#[tokio::test]
async fn a_wrong_peer_id_in_the_address_is_refused_and_counted() {
    let dir = tempdir().unwrap();
    let first = Node::start(settings(&dir.path().join("a"))).await;
    let other = network::identity(&{
        std::fs::create_dir(dir.path().join("c")).unwrap();
        dir.path().join("c")
    })
    .unwrap();
    let wrong = first
        .address()
        .with_p2p(other.public().to_peer_id())
        .unwrap();
    let second = Node::start(joining(&dir.path().join("b"), &[wrong])).await;
    second.counts(Counter::WrongPeers, 1).await;
    are_strangers(first, second).await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let dir = tempdir().unwrap();
    let first = Node::start(settings(&dir.path().join("a"))).await;
    let program = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = program.local_addr().unwrap().port();
    for (number, taken) in [
        first.address(),
        address(&format!("/ip4/0.0.0.0/tcp/{port}")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut settings = settings(&dir.path().join(number.to_string()));
        settings.listen = vec![taken.clone()];
        let key = network::identity(&settings.data_dir).unwrap();
        let error = network::start(settings, key).await.unwrap_err();
        let Error::PortInUse { port, .. } = &error else {
            panic!("{error}")
        };
        assert!(taken.to_string().contains(&port.to_string()));
        assert!(
            error
                .to_string()
                .contains(&format!("port {port} is in use")),
            "{error}"
        );
    }
    first.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_be_followed_are_clear_errors() {
    let dir = tempdir().unwrap();
    let key = network::identity(dir.path()).unwrap();

    let mut bad = settings(dir.path());
    bad.cluster = "a/b".to_owned();
    let error = network::start(bad, key.clone()).await.unwrap_err();
    assert!(matches!(error, Error::ClusterName(_)), "{error}");

    let mut bad = settings(dir.path());
    bad.listen = vec![address("/ip4/127.0.0.1/udp/0/quic-v1")];
    bad.swarm_key = Some(SwarmKey::generate());
    let error = network::start(bad, key.clone()).await.unwrap_err();
    assert!(matches!(error, Error::KeyWithoutTcp), "{error}");

    let mut bad = settings(dir.path());
    bad.listen = vec![address("/ip4/203.0.113.1/tcp/0")];
    let error = network::start(bad, key.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Listen { .. }), "{error}");

    let mut bad = settings(dir.path());
    bad.data_dir = dir.path().join("missing");
    let error = network::start(bad, key).await.unwrap_err();
    assert!(matches!(error, Error::DataDir { .. }), "{error}");
}
