//! The network over real sockets of this machine.
#![expect(
    clippy::unwrap_used,
    reason = "these are tests, though not every function is one"
)]

#[path = "network/broadcasting.rs"]
mod broadcasting;
#[path = "network/joining.rs"]
mod joining;
#[path = "network/local_network.rs"]
mod local_network;
#[path = "network/refusing.rs"]
mod refusing;
#[path = "network/requests.rs"]
mod requests;

use std::{
    collections::{BTreeSet, VecDeque},
    path::Path,
    time::Duration,
};

use starling::{
    identity::NodeId,
    network::{
        self, Counter, Event, Handle, Multiaddr, NeighborChange, Neighbors, Overlay, Settings,
    },
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// Far above what anything here takes on a busy machine, and short enough to end a run.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node's network, with a node behind it that answers each request with the request.
struct Node {
    handle: Handle,
    neighbors: Neighbors,
    /// What was looked at and not asked for yet.
    changes: VecDeque<NeighborChange>,
    /// What others have said to all.
    broadcasts: mpsc::Receiver<Event>,
    node: JoinHandle<()>,
}

impl Node {
    async fn start(settings: Settings) -> Self {
        drop(
            tracing_subscriber::fmt()
                .with_test_writer()
                .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
                .try_init(),
        );
        let keypair = network::identity(&settings.data_dir).unwrap();
        let (handle, events) = network::start(settings, keypair).await.unwrap();
        let (sender, broadcasts) = mpsc::channel(1000);
        Self {
            neighbors: handle.neighbors(),
            changes: VecDeque::new(),
            broadcasts,
            handle,
            node: tokio::spawn(serve(events, sender)),
        }
    }

    fn name(&self) -> NodeId {
        self.handle.node_id().clone()
    }

    fn address(&self) -> Multiaddr {
        self.handle.listen_addresses()[0].clone()
    }

    fn count(&self, counter: Counter) -> u64 {
        self.handle.counters().get(counter)
    }

    async fn overlay(&self, what: &str, holds: impl FnMut(&Overlay) -> bool) -> Overlay {
        let mut overlay = self.handle.overlay();
        let reached = timeout(PATIENCE, overlay.wait_for(holds)).await;
        let Ok(reached) = reached else {
            panic!(
                "{}: not {what}: {:?}",
                self.name(),
                *self.handle.overlay().borrow()
            );
        };
        reached.unwrap().clone()
    }

    async fn has_neighbors(&self, count: usize) {
        let what = format!("neighbour of {count}");
        self.overlay(&what, |overlay| overlay.active.len() == count)
            .await;
    }

    async fn counts(&self, counter: Counter, least: u64) {
        eventually(&format!("{} of {least}", counter.name()), || {
            self.count(counter) >= least
        })
        .await;
    }

    /// The next change of a relation.
    async fn next_change(&mut self) -> NeighborChange {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return change;
            }
            let changed = timeout(PATIENCE, self.neighbors.changed()).await;
            changed.unwrap();
            self.changes.extend(self.neighbors.look());
        }
    }

    /// The same, as a word and a name.
    async fn next(&mut self) -> (&'static str, NodeId) {
        match self.next_change().await {
            NeighborChange::Up(neighbor) => ("up", neighbor.peer),
            NeighborChange::Down { peer, .. } => ("down", peer),
        }
    }

    async fn stop(self) {
        self.handle.shutdown().await;
        self.node.await.unwrap();
    }
}

async fn serve(mut events: mpsc::Receiver<Event>, broadcasts: mpsc::Sender<Event>) {
    let mut kept = Vec::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Request { body, reply, .. } if body == b"refuse" => drop((body, reply)),
            Event::Request { body, reply, .. } if body == b"never answer" => kept.push(reply),
            Event::Request { body, reply, .. } => drop(reply.send(body)),
            Event::Met { .. } => {}
            event @ Event::Broadcast { .. } => broadcasts.try_send(event).unwrap(),
        }
    }
}

/// Waits for a condition that has no event of its own.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, poll).await.is_ok(), "never: {what}");
}

/// Settings for a node on loopback that finds nobody by itself.
fn settings(data_dir: &Path) -> Settings {
    std::fs::create_dir_all(data_dir).unwrap();
    let mut settings = Settings::new("test", data_dir);
    settings.listen = vec![address("/ip4/127.0.0.1/tcp/0")];
    settings.mdns = false;
    settings
}

fn joining(data_dir: &Path, bootstrap: &[Multiaddr]) -> Settings {
    let mut settings = settings(data_dir);
    settings.bootstrap = bootstrap.to_vec();
    settings
}

/// Who is silent is found out later than anything is waited for here.
fn unhurried(mut settings: Settings) -> Settings {
    settings.overlay = settings
        .overlay
        .with_heartbeat_interval(PATIENCE)
        .with_silence_deadline(PATIENCE * 2)
        .with_tag_timeout(PATIENCE * 4);
    settings.ping_interval = PATIENCE * 2;
    settings
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn names(overlay: &Overlay) -> BTreeSet<NodeId> {
    overlay
        .active
        .iter()
        .map(|neighbor| neighbor.peer.clone())
        .collect()
}
