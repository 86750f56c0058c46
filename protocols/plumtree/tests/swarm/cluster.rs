//! Some nodes in one task, linked as the test says, driven until something holds.

use std::{
    future::{Future, poll_fn},
    task::Poll,
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    identity::Keypair,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use plumtree::{Behaviour, Config, Event, Settings};

pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/test/broadcast/1.0.0");

/// Long enough for a busy machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A swarm over TCP, noise and yamux with any behaviour, and where it listens.
pub(crate) async fn swarm<B: NetworkBehaviour>(
    key: &Keypair,
    behaviour: B,
) -> (Swarm<B>, Multiaddr) {
    let mut swarm = SwarmBuilder::with_existing_identity(key.clone())
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
        .build();
    swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
        .unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return (swarm, address);
        }
    }
}

pub(crate) fn settings() -> Settings {
    Settings::new(1).with_seed(1)
}

pub(crate) struct Node {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) address: Multiaddr,
    pub(crate) events: Vec<Event>,
}

impl Node {
    async fn start(config: Config, settings: &Settings) -> Self {
        let key = Keypair::generate_ed25519();
        let behaviour = Behaviour::new(key.clone(), PROTOCOL, config, settings).unwrap();
        let (swarm, address) = swarm(&key, behaviour).await;
        Self {
            swarm,
            address,
            events: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    pub(crate) fn received(&self, content: &[u8]) -> usize {
        let same = |event: &&Event| matches!(event, Event::Received { content: got, .. } if got == content);
        self.events.iter().filter(same).count()
    }

    pub(crate) fn behaviour(&self) -> &Behaviour {
        self.swarm.behaviour()
    }

    /// Neighbours are the peers that are connected: there is no membership here.
    fn on_event(&mut self, event: SwarmEvent<Event>) {
        match event {
            SwarmEvent::Behaviour(event) => self.events.push(event),
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                self.swarm.behaviour_mut().neighbor_up(peer_id);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => self.swarm.behaviour_mut().neighbor_down(peer_id),
            _ => {}
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
}

impl Cluster {
    /// Nodes with links between those of the given places.
    pub(crate) async fn linked(count: usize, links: &[(usize, usize)], config: Config) -> Self {
        Self::linked_with(count, links, config, &settings()).await
    }

    /// The same, with settings of their own.
    pub(crate) async fn linked_with(
        count: usize,
        links: &[(usize, usize)],
        config: Config,
        settings: &Settings,
    ) -> Self {
        let mut cluster = Self { nodes: Vec::new() };
        for _ in 0..count {
            cluster
                .nodes
                .push(Node::start(config.clone(), settings).await);
        }
        for (from, to) in links {
            let address = cluster.nodes[*to].address.clone();
            cluster.nodes[*from].swarm.dial(address).unwrap();
        }
        cluster
            .until("all links are up", |nodes| {
                let ends: usize = nodes
                    .iter()
                    .map(|node| node.behaviour().state().neighbors().count())
                    .sum();
                ends == links.len() * 2
            })
            .await;
        cluster
    }

    /// Drives all nodes until `holds`, or panics.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&[Node]) -> bool) {
        let done = poll_fn(|cx| {
            loop {
                let mut idle = true;
                for node in &mut self.nodes {
                    if let Poll::Ready(Some(event)) = node.swarm.poll_next_unpin(cx) {
                        idle = false;
                        node.on_event(event);
                    }
                }
                if holds(&self.nodes) {
                    return Poll::Ready(());
                }
                if idle {
                    return Poll::Pending;
                }
            }
        });
        let finished = finished_in(done, PATIENCE).await;
        assert!(finished, "not in time: {what}");
    }

    /// Drives all nodes for a while.
    pub(crate) async fn run(&mut self, time: Duration) {
        let start = std::time::Instant::now();
        while start.elapsed() < time {
            let never = poll_fn(|cx| {
                for node in &mut self.nodes {
                    while let Poll::Ready(Some(event)) = node.swarm.poll_next_unpin(cx) {
                        node.on_event(event);
                    }
                }
                Poll::Pending
            });
            finished_in(never, Duration::from_millis(20)).await;
        }
    }
}

async fn finished_in(future: impl Future<Output = ()>, time: Duration) -> bool {
    tokio::time::timeout(time, future).await.is_ok()
}
