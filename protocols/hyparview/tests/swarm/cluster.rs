//! Some nodes in one task, driven until something holds.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use futures::{
    StreamExt,
    future::{Either, select},
};
use hyparview::{Behaviour, Config, CountersSnapshot, DownReason, Event, Settings};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    identity::Keypair,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};

pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/test/hyparview/1.0.0");

/// Long enough for a busy machine; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Later than anything is waited for.
pub(crate) const NEVER: Duration = PATIENCE.saturating_mul(10);

/// Everything happens ten times faster than by default.
pub(crate) fn quick() -> Config {
    let ms = Duration::from_millis;
    Config::default()
        .with_heartbeat_interval(ms(100))
        .with_silence_deadline(ms(1000))
        .with_tag_timeout(ms(3000))
        .with_shuffle_interval(ms(300))
        .with_slot_hold(ms(200))
        .with_request_timeout(ms(1000))
        .with_refill_interval(ms(100))
        .with_refill_interval_max(ms(400))
        .with_walk_grace(ms(100))
        .with_drop_backoff(ms(1000))
        .with_suspect_backoff(ms(200))
        .with_suspect_backoff_max(ms(1000))
        .with_probe_interval_min(ms(200))
        .with_probe_interval_max(ms(400))
        .with_quarantine(ms(1000))
        .with_admission_peer_interval(ms(100))
}

/// The same, but nobody is given up for being slow: on a machine that is busy with something else everybody
/// is, and a test that is about something else would be told of that.
pub(crate) fn patient() -> Config {
    quick()
        .with_silence_deadline(NEVER)
        .with_tag_timeout(NEVER)
        .with_request_timeout(PATIENCE)
}

pub(crate) fn settings(incarnation: u64) -> Settings {
    Settings::new(incarnation)
        .with_linger(Duration::from_millis(200))
        .with_frame_timeout(Duration::from_secs(5))
}

/// A swarm over TCP, noise and yamux with any behaviour.
pub(crate) fn swarm<B: NetworkBehaviour>(key: &Keypair, behaviour: B) -> Swarm<B> {
    SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_millis(500)))
        .build()
}

pub(crate) struct Node {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) key: Keypair,
    pub(crate) address: Multiaddr,
    pub(crate) events: Vec<Event>,
}

impl Node {
    pub(crate) async fn start(key: Keypair, config: Config, settings: Settings) -> Self {
        let behaviour = Behaviour::new(key.clone(), PROTOCOL, config, settings).unwrap();
        let mut swarm = swarm(&key, behaviour);
        swarm
            .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
            .unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        Self {
            swarm,
            key,
            address,
            events: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    pub(crate) fn active(&self) -> BTreeSet<PeerId> {
        self.swarm.behaviour().active().collect()
    }

    pub(crate) fn connected(&self) -> BTreeSet<PeerId> {
        self.swarm.connected_peers().copied().collect()
    }

    pub(crate) fn counters(&self) -> CountersSnapshot {
        self.swarm.behaviour().counters()
    }

    pub(crate) fn ups(&self, of: PeerId) -> usize {
        let up = |event: &&Event| matches!(event, Event::NeighborUp { peer, .. } if *peer == of);
        self.events.iter().filter(up).count()
    }

    pub(crate) fn downs(&self, of: PeerId) -> Vec<DownReason> {
        let reasons = self.events.iter().filter_map(|event| match event {
            Event::NeighborDown { peer, reason } if *peer == of => Some(*reason),
            _ => None,
        });
        reasons.collect()
    }

    fn note(&mut self, event: SwarmEvent<Event>) {
        if let SwarmEvent::Behaviour(event) = event {
            self.events.push(event);
        }
    }
}

/// Nodes by number; a number stays free after its node is gone.
#[derive(Default)]
pub(crate) struct Cluster {
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// `n` nodes that do not know each other.
    pub(crate) async fn of(n: usize, config: Config) -> Self {
        let mut cluster = Self::default();
        for _ in 0..n {
            cluster
                .add(Keypair::generate_ed25519(), config.clone(), settings(1))
                .await;
        }
        cluster
    }

    pub(crate) async fn add(&mut self, key: Keypair, config: Config, settings: Settings) -> usize {
        self.nodes
            .push(Some(Node::start(key, config, settings).await));
        self.nodes.len() - 1
    }

    pub(crate) fn node(&self, n: usize) -> &Node {
        self.nodes[n].as_ref().unwrap()
    }

    pub(crate) fn node_mut(&mut self, n: usize) -> &mut Node {
        self.nodes[n].as_mut().unwrap()
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    pub(crate) fn id(&self, n: usize) -> PeerId {
        self.node(n).id()
    }

    /// `n` joins through `contact`.
    pub(crate) fn join(&mut self, n: usize, contact: usize) {
        let (peer, address) = (self.id(contact), self.node(contact).address.clone());
        self.node_mut(n)
            .swarm
            .behaviour_mut()
            .join(peer, vec![address]);
    }

    /// All sockets of the node close, nothing is said.
    pub(crate) fn kill(&mut self, n: usize) -> Keypair {
        self.nodes[n].take().unwrap().key
    }

    /// The node stops, its sockets stay open.
    pub(crate) fn freeze(&mut self, n: usize) -> Node {
        self.nodes[n].take().unwrap()
    }

    /// Drives all nodes until `holds`. Panics with the state of all when it takes too long.
    pub(crate) async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        while !holds(self) {
            if tokio::time::Instant::now() > give_up {
                panic!("not {what} after {PATIENCE:?}:\n{}", self.describe());
            }
            // Not everything that may hold is announced by an event.
            self.drive(tokio::time::sleep(Duration::from_millis(20)), true)
                .await;
        }
    }

    /// Drives all nodes until `work` is done.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let work = tokio::time::timeout(PATIENCE, work);
        self.drive(work, false).await.unwrap().unwrap()
    }

    /// Drives all nodes until each has heard ten frames more: with a neighbour, about as many heartbeats.
    pub(crate) async fn until_more_is_heard(&mut self) {
        let heard = |cluster: &Self| -> Vec<u64> {
            let nodes = cluster.alive();
            nodes.map(|node| node.counters().frames_in).collect()
        };
        let before = heard(self);
        self.until("ten frames further", |cluster| {
            let mut nodes = heard(cluster).into_iter().zip(&before);
            nodes.all(|(now, before)| now >= before + 10)
        })
        .await;
    }

    /// Drives all nodes for a while, to see that nothing happens.
    pub(crate) async fn for_a_while(&mut self, time: Duration) {
        self.during(tokio::time::sleep(time)).await;
    }

    /// Returns `None` when a node said something first and that is enough.
    async fn drive<T>(&mut self, work: impl Future<Output = T>, or_event: bool) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let event = poll_fn(|cx| {
                for (n, node) in self.nodes.iter_mut().enumerate() {
                    if let Some(node) = node
                        && let Poll::Ready(Some(event)) = node.swarm.poll_next_unpin(cx)
                    {
                        return Poll::Ready((n, event));
                    }
                }
                Poll::Pending
            });
            match select(work.as_mut(), event).await {
                Either::Left((done, _)) => return Some(done),
                Either::Right(((n, event), _)) => self.node_mut(n).note(event),
            }
            if or_event {
                return None;
            }
        }
    }

    /// Whether everybody is a neighbour of exactly those who are its neighbours.
    pub(crate) fn is_symmetric(&self) -> bool {
        let knows = |a: PeerId, b: PeerId| {
            self.alive()
                .any(|node| node.id() == a && node.active().contains(&b))
        };
        self.alive()
            .all(|node| node.active().iter().all(|peer| knows(*peer, node.id())))
    }

    /// Whether everybody can reach everybody over neighbours.
    pub(crate) fn is_connected(&self) -> bool {
        let mut reached = BTreeSet::new();
        let mut next: Vec<_> = self.alive().map(Node::id).take(1).collect();
        while let Some(id) = next.pop() {
            if reached.insert(id) {
                next.extend(
                    self.alive()
                        .filter(|node| node.id() == id)
                        .flat_map(Node::active),
                );
            }
        }
        self.alive().all(|node| reached.contains(&node.id()))
    }

    /// Whether there are no two nodes with a free slot that are not neighbours. (A node can be left
    /// with a free slot: when all others are full, or neighbours of it.)
    pub(crate) fn is_full(&self) -> bool {
        let free = |node: &Node| {
            node.active().len() < node.swarm.behaviour().state().config().active_capacity()
        };
        let wanting: Vec<_> = self.alive().filter(|node| free(node)).collect();
        wanting.iter().all(|one| {
            wanting
                .iter()
                .all(|other| one.id() == other.id() || one.active().contains(&other.id()))
        })
    }

    pub(crate) fn are_neighbors(&self, a: usize, b: usize) -> bool {
        self.node(a).active().contains(&self.id(b)) && self.node(b).active().contains(&self.id(a))
    }

    /// Whether both have one relation, the same, and neither asks for another.
    pub(crate) fn are_settled(&self, a: usize, b: usize) -> bool {
        let state = |n: usize| self.node(n).swarm.behaviour().state();
        let epoch = state(a).epoch(self.id(b));
        epoch.is_some()
            && epoch == state(b).epoch(self.id(a))
            && [a, b].iter().all(|n| state(*n).requests().next().is_none())
    }

    fn describe(&self) -> String {
        let lines = self.alive().map(|node| {
            let active = node.active();
            let passive = node.swarm.behaviour().passive_len();
            format!(
                "{} active {active:?} passive {passive} connected {:?}\n  {:?}\n  {:?}\n",
                node.id(),
                node.connected(),
                node.counters(),
                node.events
            )
        });
        lines.collect()
    }
}
