//! Finding the cluster, and finding it again.

use std::{
    collections::BTreeSet,
    net::{IpAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use starling::network::{Counter, Multiaddr, NeighborChange, Overlay};
use tempfile::tempdir;
use tokio::sync::Notify;

use super::{Node, PATIENCE, address, joining, names, settings, unhurried};

fn port(address: &Multiaddr) -> u16 {
    let text = address.to_string();
    text.split('/').nth(4).unwrap().parse().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test]
async fn two_nodes_join_in_every_way_an_address_can_be_written() {
    let dir = tempdir().unwrap();
    for (number, (listen, bootstrap)) in [
        ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/{port}"),
        (
            "/ip4/127.0.0.1/tcp/0",
            "/ip4/127.0.0.1/tcp/{port}/p2p/{peer}",
        ),
        (
            "/ip4/127.0.0.1/tcp/0",
            "/dns4/localhost/tcp/{port}/p2p/{peer}",
        ),
        (
            "/ip4/127.0.0.1/udp/0/quic-v1",
            "/ip4/127.0.0.1/udp/{port}/quic-v1",
        ),
        ("/ip6/::1/tcp/0", "/ip6/::1/tcp/{port}"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut first = settings(&dir.path().join(format!("{number}a")));
        first.listen = vec![address(listen)];
        let first = Node::start(first).await;
        let bootstrap = bootstrap
            .replace("{port}", &port(&first.address()).to_string())
            .replace("{peer}", first.name().as_str());
        let mut second = joining(
            &dir.path().join(format!("{number}b")),
            &[address(&bootstrap)],
        );
        second.listen = vec![address(listen)];
        second.dial_timeout = PATIENCE;
        let second = Node::start(second).await;
        // What came of the first attempt. While joining takes its time there is another one, so how many there
        // were says nothing.
        let tried = |it: &Overlay| {
            let mut contacts = it.contacts.iter();
            contacts.any(|contact| contact.reached.is_some() || contact.failure.is_some())
        };
        let contact = second.overlay("tried", tried).await.contacts.remove(0);
        assert_eq!(contact.failure, None, "{bootstrap}");
        assert_eq!(contact.reached, Some(first.name()), "{bootstrap}");
        first.has_neighbors(1).await;
        let overlay = second.overlay("joined", |it| it.active.len() == 1).await;
        assert_eq!(overlay.active[0].peer, first.name(), "{bootstrap}");
        first.stop().await;
        second.stop().await;
    }
}

#[tokio::test]
async fn a_neighbour_comes_with_its_host_and_gets_a_round_trip_time() {
    let dir = tempdir().unwrap();
    let mut first = settings(&dir.path().join("a"));
    first.ping_interval = Duration::from_millis(100);
    let mut first = Node::start(first).await;
    let second = joining(&dir.path().join("b"), &[first.address()]);
    let second = Node::start(second).await;
    let NeighborChange::Up(neighbor) = first.next_change().await else {
        panic!("no neighbour");
    };
    assert_eq!(neighbor.peer, second.name());
    assert_eq!(neighbor.hosts, [IpAddr::from([127, 0, 0, 1])]);
    let addresses = neighbor.addresses;
    assert!(addresses.contains(&second.address()), "{addresses:?}");
    first
        .overlay("measured", |it| it.active.iter().all(|it| it.rtt.is_some()))
        .await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn three_nodes_join_through_one() {
    let dir = tempdir().unwrap();
    let first = Node::start(settings(&dir.path().join("a"))).await;
    let bootstrap = [first.address()];
    let second = Node::start(joining(&dir.path().join("b"), &bootstrap)).await;
    let third = Node::start(joining(&dir.path().join("c"), &bootstrap)).await;
    let all: BTreeSet<_> = [&first, &second, &third].map(Node::name).into();
    for node in [&first, &second, &third] {
        node.has_neighbors(2).await;
        let mut seen = names(&node.handle.overlay().borrow());
        seen.insert(node.name());
        assert_eq!(seen, all);
    }
    for node in [first, second, third] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_bootstrap_node_that_is_down_at_first_is_joined_when_it_comes_up() {
    let dir = tempdir().unwrap();
    let listen = address(&format!("/ip4/127.0.0.1/tcp/{}", free_port()));
    let early = Node::start(joining(
        &dir.path().join("b"),
        std::slice::from_ref(&listen),
    ))
    .await;
    early.counts(Counter::DialsFailed, 2).await;
    assert!(early.handle.overlay().borrow().active.is_empty());
    let mut late = settings(&dir.path().join("a"));
    late.listen = vec![listen];
    let late = Node::start(late).await;
    early.has_neighbors(1).await;
    late.has_neighbors(1).await;
    early.stop().await;
    late.stop().await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_counted_and_does_not_hinder_others() {
    let dir = tempdir().unwrap();
    let first = Node::start(settings(&dir.path().join("a"))).await;
    let bootstrap = [address("/dns4/nobody.invalid/tcp/7400"), first.address()];
    let second = Node::start(joining(&dir.path().join("b"), &bootstrap)).await;
    second.has_neighbors(1).await;
    second.counts(Counter::NamesUnresolved, 1).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn our_own_address_as_bootstrap_is_no_failure() {
    let dir = tempdir().unwrap();
    let listen = address(&format!("/ip4/127.0.0.1/tcp/{}", free_port()));
    let mut alone = joining(&dir.path().join("a"), std::slice::from_ref(&listen));
    alone.listen = vec![listen.clone()];
    let alone = Node::start(alone).await;
    alone.counts(Counter::BootstrapAttempts, 1).await;
    let second = Node::start(joining(&dir.path().join("b"), &[listen])).await;
    alone.has_neighbors(1).await;
    assert_eq!(alone.count(Counter::DialsFailed), 0);
    assert_eq!(alone.count(Counter::BootstrapAttempts), 1);
    alone.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_stopped_neighbour_is_noticed_at_once_and_welcome_back() {
    let dir = tempdir().unwrap();
    let mut first = Node::start(unhurried(settings(&dir.path().join("a")))).await;
    let second_dir = dir.path().join("b");
    let second = joining(&second_dir, &[first.address()]);
    let second = Node::start(unhurried(second)).await;
    let name = second.name();
    assert_eq!(first.next().await, ("up", name.clone()));
    second.stop().await;
    assert_eq!(first.next().await, ("down", name.clone()));

    let second = joining(&second_dir, &[first.address()]);
    let second = Node::start(unhurried(second)).await;
    assert_eq!(second.name(), name, "the identity lasts");
    assert_eq!(first.next().await, ("up", name));
    first.stop().await;
    second.stop().await;
}

/// Passes one connection on to `target` until it is frozen; then it stays open and silent.
async fn freezing_proxy(target: &Multiaddr) -> (Multiaddr, Arc<Notify>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let frozen = Arc::new(Notify::new());
    let here = format!(
        "/ip4/127.0.0.1/tcp/{}",
        listener.local_addr().unwrap().port()
    );
    let (port, freeze) = (port(target), Arc::clone(&frozen));
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            () = freeze.notified() => std::future::pending().await,
        }
    });
    (address(&here), frozen)
}

#[tokio::test]
async fn a_connection_that_froze_is_closed_by_its_pings_and_made_anew() {
    let dir = tempdir().unwrap();
    // The overlay's own heartbeats are slower here, to see the pings at work.
    let mut quick_pings = unhurried(settings(&dir.path().join("a")));
    quick_pings.ping_interval = Duration::from_millis(100);
    quick_pings.ping_timeout = Duration::from_millis(300);
    let mut second = quick_pings.clone();
    let mut first = Node::start(quick_pings).await;
    let (proxy, freeze) = freezing_proxy(&first.address()).await;
    second.data_dir = dir.path().join("b");
    std::fs::create_dir(&second.data_dir).unwrap();
    second.bootstrap = vec![proxy];
    let second = Node::start(second).await;
    assert_eq!(first.next().await, ("up", second.name()));
    let measured = |overlay: &Overlay| overlay.active.iter().any(|it| it.rtt.is_some());
    first.overlay("measured", measured).await;
    second.overlay("measured", measured).await;
    freeze.notify_one();
    assert_eq!(first.next().await, ("down", second.name()));
    assert_eq!(first.next().await, ("up", second.name()));
    assert!(first.count(Counter::PingsFailed) + second.count(Counter::PingsFailed) > 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn all_restarted_they_find_each_other_without_any_bootstrap_address() {
    let dir = tempdir().unwrap();
    let dirs = ["a", "b", "c"].map(|name| dir.path().join(name));
    let first = Node::start(settings(&dirs[0])).await;
    let bootstrap = [first.address()];
    let mut nodes = vec![first];
    for dir in &dirs[1..] {
        nodes.push(Node::start(joining(dir, &bootstrap)).await);
    }
    let mut listen = Vec::new();
    for node in &nodes {
        node.has_neighbors(2).await;
        listen.push(node.address());
    }
    for node in nodes {
        node.stop().await;
    }
    let mut nodes = Vec::new();
    for (dir, listen) in dirs.iter().zip(listen) {
        let mut settings = settings(dir);
        settings.listen = vec![listen];
        nodes.push(Node::start(settings).await);
    }
    for node in &nodes {
        node.has_neighbors(2).await;
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_lost_all_its_neighbours_gets_back_in_by_itself() {
    let dir = tempdir().unwrap();
    let first_dir = dir.path().join("a");
    let first = Node::start(settings(&first_dir)).await;
    let listen = first.address();
    let second = Node::start(joining(
        &dir.path().join("b"),
        std::slice::from_ref(&listen),
    ))
    .await;
    second.has_neighbors(1).await;
    first.stop().await;
    second.has_neighbors(0).await;
    second.counts(Counter::DialsFailed, 1).await;
    let mut back = settings(&first_dir);
    back.listen = vec![listen];
    let first = Node::start(back).await;
    second.has_neighbors(1).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn who_leaves_says_so_and_is_not_looked_for() {
    let dir = tempdir().unwrap();
    let mut first = Node::start(settings(&dir.path().join("a"))).await;
    let second = Node::start(joining(&dir.path().join("b"), &[first.address()])).await;
    let name = second.name();
    assert_eq!(first.next().await, ("up", name.clone()));
    second.has_neighbors(1).await;
    second.handle.leave().await;
    let down = NeighborChange::Down {
        peer: name.clone(),
        reason: hyparview::DownReason::Left,
    };
    assert_eq!(first.next_change().await, down);
    second.stop().await;
    first.stop().await;
    let book = std::fs::read_to_string(dir.path().join("a/peers.json")).unwrap_or_default();
    assert!(!book.contains(name.as_str()), "{book}");
}

#[tokio::test]
async fn a_corrupt_address_book_is_moved_aside_and_the_node_starts() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("peers.json"), "{ broken").unwrap();
    let node = Node::start(settings(dir.path())).await;
    assert_eq!(
        std::fs::read_to_string(dir.path().join("peers.json.unusable")).unwrap(),
        "{ broken"
    );
    node.stop().await;
}
