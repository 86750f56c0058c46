//! The link protocol: requests and replies.

use std::{
    io,
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder, noise,
    request_response::{self, OutboundFailure, ProtocolSupport},
    swarm::SwarmEvent,
    tcp, yamux,
};
use starling::{
    identity::NodeId,
    network::{self, Counter, REQUEST_BYTES_MAX, RequestError},
};
use tempfile::tempdir;
use tokio::time::timeout;

use super::{Node, PATIENCE, joining, settings, unhurried};

async fn pair(dir: &std::path::Path) -> (Node, Node) {
    let first = Node::start(settings(&dir.join("a"))).await;
    let second = Node::start(joining(&dir.join("b"), &[first.address()])).await;
    first.has_neighbors(1).await;
    second.has_neighbors(1).await;
    (first, second)
}

#[tokio::test]
async fn a_request_is_answered_and_many_at_once_are() {
    let dir = tempdir().unwrap();
    let (first, second) = pair(dir.path()).await;
    let peer = second.name();
    for body in [Vec::new(), b"hello".to_vec(), vec![7; REQUEST_BYTES_MAX]] {
        assert_eq!(
            first.handle.request(peer.clone(), body.clone()).await,
            Ok(body)
        );
    }
    let many = (0..12_u8).map(|number| first.handle.request(peer.clone(), vec![number]));
    for (number, reply) in futures::future::join_all(many)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(reply.unwrap(), [u8::try_from(number).unwrap()]);
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_fails_at_once_and_says_why() {
    let dir = tempdir().unwrap();
    let (first, second) = pair(dir.path()).await;
    let peer = second.name();
    let nobody = "nobody".parse::<NodeId>().unwrap();
    let handle = &first.handle;
    assert_eq!(
        handle.request(nobody.clone(), Vec::new()).await,
        Err(RequestError::NotANode(nobody))
    );
    let size = REQUEST_BYTES_MAX + 1;
    assert_eq!(
        handle.request(peer.clone(), vec![0; size]).await,
        Err(RequestError::TooLarge {
            size,
            most: REQUEST_BYTES_MAX
        })
    );
    assert_eq!(
        handle.request(peer, b"refuse".to_vec()).await,
        Err(RequestError::Refused)
    );
    std::fs::create_dir(dir.path().join("c")).unwrap();
    let unknown = network::node_id(&network::identity(&dir.path().join("c")).unwrap());
    assert_eq!(
        handle.request(unknown, Vec::new()).await,
        Err(RequestError::Unreachable)
    );
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_request_to_a_peer_that_dies_fails_quickly() {
    let dir = tempdir().unwrap();
    let second = Node::start(unhurried(settings(&dir.path().join("b")))).await;
    let mut first = unhurried(joining(&dir.path().join("a"), &[second.address()]));
    first.request_timeout = PATIENCE * 2;
    let first = Node::start(first).await;
    first.has_neighbors(1).await;
    let peer = second.name();
    let handle = first.handle.clone();
    let waiting = {
        let peer = peer.clone();
        tokio::spawn(async move { handle.request(peer, b"never answer".to_vec()).await })
    };
    second.counts(Counter::RequestsServed, 1).await;
    second.stop().await;
    let failed = timeout(PATIENCE, waiting).await.unwrap();
    assert_eq!(failed.unwrap(), Err(RequestError::Closed));
    let again = timeout(PATIENCE, first.handle.request(peer, Vec::new()));
    assert_eq!(again.await.unwrap(), Err(RequestError::Unreachable));
    first.stop().await;
}

#[tokio::test]
async fn a_request_that_is_never_answered_ends_in_time() {
    let dir = tempdir().unwrap();
    let second = Node::start(settings(&dir.path().join("b"))).await;
    let mut first = joining(&dir.path().join("a"), &[second.address()]);
    first.request_timeout = Duration::from_millis(500);
    let first = Node::start(first).await;
    first.has_neighbors(1).await;
    let reply = first
        .handle
        .request(second.name(), b"never answer".to_vec())
        .await;
    assert_eq!(reply, Err(RequestError::Timeout));
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn requests_after_the_end_are_told_so() {
    let dir = tempdir().unwrap();
    let (first, second) = pair(dir.path()).await;
    let (handle, peer) = (first.handle.clone(), second.name());
    first.stop().await;
    assert_eq!(
        handle.request(peer, Vec::new()).await,
        Err(RequestError::Stopped)
    );
    second.stop().await;
}

#[tokio::test]
async fn a_node_that_takes_no_events_stays_in_the_overlay_and_refuses_requests() {
    let dir = tempdir().unwrap();
    let busy = settings(&dir.path().join("a"));
    let key = network::identity(&busy.data_dir).unwrap();
    let (handle, events) = network::start(busy, key).await.unwrap();
    let bootstrap = handle.listen_addresses();
    let second = Node::start(joining(&dir.path().join("b"), &bootstrap)).await;
    second.has_neighbors(1).await;
    let begun = Instant::now();
    let mut refused = 0;
    while refused == 0 {
        assert!(begun.elapsed() < PATIENCE, "nothing was refused");
        let many = (0..24).map(|_| {
            timeout(
                Duration::from_millis(500),
                second.handle.request(handle.node_id().clone(), Vec::new()),
            )
        });
        let replies = futures::future::join_all(many).await;
        refused += replies
            .iter()
            .filter(|it| **it == Ok(Err(RequestError::Refused)))
            .count();
    }
    assert!(handle.counters().get(Counter::RequestsRefused) > 0);
    second.has_neighbors(1).await;
    second.stop().await;
    handle.shutdown().await;
    drop(events);
}

/// Sends whatever it is told to, with a length in front that may be a lie.
#[derive(Clone)]
struct Liar {
    claims: u32,
}

impl request_response::Codec for Liar {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, _: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut reply = vec![0; 4];
        io.read_exact(&mut reply).await?;
        Ok(reply)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        body: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&self.claims.to_be_bytes()).await?;
        io.write_all(&body).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn liar(claims: u32) -> Swarm<request_response::Behaviour<Liar>> {
    let protocol = StreamProtocol::new("/starling/test/link/1.0.0");
    let config = request_response::Config::default().with_request_timeout(PATIENCE);
    let behaviour = request_response::Behaviour::with_codec(
        Liar { claims },
        [(protocol, ProtocolSupport::Full)],
        config,
    );
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE * 2))
        .build()
}

/// What comes of one request of a liar.
async fn lie(to: &Node, claims: u32, body: Vec<u8>) -> Result<(), OutboundFailure> {
    let mut swarm = liar(claims);
    let peer = to.name().as_str().parse().unwrap();
    let addresses: Vec<Multiaddr> = to.handle.listen_addresses();
    swarm
        .behaviour_mut()
        .send_request_with_addresses(&peer, body, addresses);
    loop {
        match timeout(PATIENCE, swarm.select_next_some()).await.unwrap() {
            SwarmEvent::Behaviour(request_response::Event::OutboundFailure { error, .. }) => {
                return Err(error);
            }
            SwarmEvent::Behaviour(request_response::Event::Message { .. }) => return Ok(()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn oversized_and_cut_requests_of_peers_are_refused_and_the_node_goes_on() {
    let dir = tempdir().unwrap();
    let (first, second) = pair(dir.path()).await;
    let above = u32::try_from(REQUEST_BYTES_MAX + 1).unwrap();
    for (claims, body, oversized) in [
        (above, vec![0; 100_000], 1),
        (u32::MAX, Vec::new(), 2),
        (100, vec![0; 3], 2),
    ] {
        let outcome = lie(&first, claims, body).await;
        assert!(outcome.is_err(), "{claims}");
        assert_eq!(first.count(Counter::Oversized), oversized);
    }
    assert_eq!(first.count(Counter::RequestsServed), 0);
    let reply = second
        .handle
        .request(first.name(), b"still there".to_vec())
        .await;
    assert_eq!(reply.unwrap(), b"still there");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let dir = tempdir().unwrap();
    let mut quick = settings(&dir.path().join("a"));
    quick.idle_timeout = Duration::from_millis(300);
    let first = Node::start(quick).await;
    let second = Node::start(joining(&dir.path().join("b"), &[first.address()])).await;
    first.has_neighbors(1).await;
    let closed = first.count(Counter::ConnectionsClosed);

    let mut swarm = liar(3);
    let peer = first.name().as_str().parse().unwrap();
    let addresses = first.handle.listen_addresses();
    swarm
        .behaviour_mut()
        .send_request_with_addresses(&peer, b"abc".to_vec(), addresses);
    let until_closed = async {
        loop {
            if let SwarmEvent::ConnectionClosed { .. } = swarm.select_next_some().await {
                return;
            }
        }
    };
    timeout(PATIENCE, until_closed).await.unwrap();
    first.counts(Counter::ConnectionsClosed, closed + 1).await;
    // A neighbour's connection is kept: it was idle for longer than that.
    assert_eq!(first.count(Counter::NeighborsDown), 0);
    first.has_neighbors(1).await;
    first.stop().await;
    second.stop().await;
}
