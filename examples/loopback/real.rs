//! The network of the program, many times: TCP on loopback, Noise, Yamux, and every behaviour of a node.
//!
//! Each node has a thread and a runtime of its own, so that it can be killed and stopped alone, as a
//! process can. To kill it is to let its runtime go: no task of it runs again, and the system closes its
//! sockets, as it does for a process that gets SIGKILL. To freeze it is to have its only thread wait: the
//! system goes on taking what others send until its buffers are full, as with SIGSTOP. In one process, all
//! nodes have the same clock, and who hears what when needs no other network to be told.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use simulation::{Graph, NodeId};
use starling::{
    identity,
    network::{self, Counter, Event, Handle, Multiaddr, NeighborChange, Overlay, Settings},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Counts, Heard, Net, Plan, Tag};

/// What one broadcast weighs.
const BYTES: usize = 200;
/// Orders that a node has not taken yet; a frozen one takes none, and gets few.
const ORDERS_MAX: usize = 64;

/// The network on sockets.
pub(crate) struct Real {
    dir: PathBuf,
    overlay: hyparview::Config,
    start: Instant,
    nodes: BTreeMap<NodeId, Node>,
    names: BTreeMap<identity::NodeId, NodeId>,
    log: Arc<Mutex<Log>>,
    said: Tag,
}

/// What the nodes were told.
#[derive(Debug, Default)]
struct Log {
    heard: BTreeMap<Tag, Vec<Heard>>,
    downs: BTreeMap<NodeId, BTreeMap<&'static str, u64>>,
}

/// A node's thread, from outside.
struct Node {
    orders: mpsc::Sender<Order>,
    overlay: watch::Receiver<Overlay>,
    address: Multiaddr,
    thread: JoinHandle<()>,
    /// Dropped when it is to go on.
    frozen: Option<std::sync::mpsc::SyncSender<()>>,
}

enum Order {
    Say(Tag),
    Count(oneshot::Sender<Counts>),
    Freeze(std::sync::mpsc::Receiver<()>),
    Die,
}

/// What a node says of itself once it listens.
struct Started {
    name: identity::NodeId,
    address: Multiaddr,
    overlay: watch::Receiver<Overlay>,
}

impl Real {
    /// No node yet.
    ///
    /// # Panics
    ///
    /// If there is no place for the nodes' folders.
    pub(crate) fn new(plan: &Plan) -> Self {
        let name = format!("starling-loopback-{:x}", rand::random::<u64>());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).expect("a folder for temporary files");
        Self {
            dir,
            overlay: plan.overlay.clone(),
            start: Instant::now(),
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            log: Arc::default(),
            said: 0,
        }
    }

    fn settings(&self, dir: &Path, node: NodeId, contacts: &[NodeId]) -> Settings {
        let mut settings = Settings::new("loopback", dir);
        settings.overlay = self.overlay.clone();
        settings.mdns = false;
        // One who comes back is where it was: its port is free, for nobody else asks for this one.
        let port = match self.nodes.get(&node) {
            Some(former) => former.address.clone(),
            None => "/ip4/127.0.0.1/tcp/0".parse().expect("an address"),
        };
        settings.listen = vec![port];
        let contacts = contacts.iter().map(|id| self.nodes[id].address.clone());
        settings.bootstrap = contacts.collect();
        settings
    }

    fn is_alive(&self, node: NodeId) -> bool {
        let node = self.nodes.get(&node);
        node.is_some_and(|node| !node.orders.is_closed())
    }

    fn alive(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        let all = self.nodes.iter().map(|(id, node)| (*id, node));
        all.filter(|(id, _)| self.is_alive(*id))
    }
}

impl Net for Real {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn run(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn start(&mut self, node: NodeId, contacts: &[NodeId]) {
        let dir = self.dir.join(node.to_string());
        std::fs::create_dir_all(&dir).expect("a folder");
        let settings = self.settings(&dir, node, contacts);
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (sender, started) = oneshot::channel();
        let (log, epoch) = (Arc::clone(&self.log), self.start);
        lock(&log).downs.remove(&node);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let run = Run { node, log, epoch };
            runtime.block_on(run.live(settings, ordered, sender));
            // Whatever it had begun is dropped where it stands, and its sockets with it.
            runtime.shutdown_background();
        });
        let started = started.blocking_recv().expect("a node that starts");
        self.names.insert(started.name, node);
        let node_thread = Node {
            orders,
            overlay: started.overlay,
            address: started.address,
            thread,
            frozen: None,
        };
        self.nodes.insert(node, node_thread);
    }

    fn kill(&mut self, nodes: &BTreeSet<NodeId>) {
        for id in nodes {
            // Nobody to tell if it has ended.
            let _ = self.nodes[id].orders.blocking_send(Order::Die);
        }
        for id in nodes {
            while !self.nodes[id].thread.is_finished() {
                std::thread::yield_now();
            }
        }
    }

    fn freeze(&mut self, nodes: &BTreeSet<NodeId>, frozen: bool) {
        for (_, node) in self.nodes.iter_mut().filter(|(id, _)| nodes.contains(id)) {
            node.frozen = frozen.then(|| {
                let (thaw, thawed) = std::sync::mpsc::sync_channel(0);
                let _ = node.orders.blocking_send(Order::Freeze(thawed));
                thaw
            });
        }
    }

    fn graph(&self) -> Graph {
        let (ids, nodes): (Vec<_>, Vec<_>) = self.alive().unzip();
        Graph::from_views(ids, nodes.into_iter(), |node, peers| {
            let overlay = node.overlay.borrow();
            let neighbors = overlay.active.iter().map(|one| self.names[&one.peer]);
            peers.extend(neighbors);
            peers.sort_unstable();
        })
    }

    fn say(&mut self, from: NodeId) -> Tag {
        let tag = self.said;
        self.said += 1;
        let _ = self.nodes[&from].orders.blocking_send(Order::Say(tag));
        tag
    }

    fn heard(&self, tag: Tag) -> Vec<Heard> {
        lock(&self.log).heard.get(&tag).cloned().unwrap_or_default()
    }

    fn counts(&mut self) -> BTreeMap<NodeId, Counts> {
        let ask = |(id, node): (NodeId, &Node)| {
            let (answer, counts) = oneshot::channel();
            let _ = node.orders.blocking_send(Order::Count(answer));
            (id, counts)
        };
        let asked: Vec<_> = self.alive().map(ask).collect();
        let log = Arc::clone(&self.log);
        asked
            .into_iter()
            .filter_map(|(id, counts)| {
                let mut counts = counts.blocking_recv().ok()?;
                counts.downs = lock(&log).downs.get(&id).cloned().unwrap_or_default();
                Some((id, counts))
            })
            .collect()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for (_, node) in std::mem::take(&mut self.nodes) {
            drop(node.frozen);
            let _ = node.orders.blocking_send(Order::Die);
            let _ = node.thread.join();
        }
        // What is left behind is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What the thread of a node knows.
struct Run {
    node: NodeId,
    log: Arc<Mutex<Log>>,
    epoch: Instant,
}

impl Run {
    async fn live(
        self,
        settings: Settings,
        mut orders: mpsc::Receiver<Order>,
        started: oneshot::Sender<Started>,
    ) {
        let keypair = network::identity(&settings.data_dir).expect("an identity");
        let (handle, mut events) = network::start(settings, keypair).await.expect("a network");
        let word = Started {
            name: handle.node_id().clone(),
            address: handle.listen_addresses()[0].clone(),
            overlay: handle.overlay(),
        };
        let _ = started.send(word);
        let mut neighbors = handle.neighbors();
        loop {
            tokio::select! {
                () = neighbors.changed() => self.note_downs(neighbors.look()),
                Some(event) = events.recv() => self.hear(event),
                order = orders.recv() => match order {
                    Some(Order::Say(tag)) => {
                        let mut content = vec![0; BYTES];
                        content[..8].copy_from_slice(&tag.to_be_bytes());
                        assert!(handle.broadcast(content), "the network has too much to do");
                    }
                    Some(Order::Count(answer)) => {
                        let _ = answer.send(counts(&handle).await);
                    }
                    // The thread waits, and with it all of the node. An error is the word to go on.
                    Some(Order::Freeze(thawed)) => drop(thawed.recv()),
                    Some(Order::Die) | None => return,
                },
            }
        }
    }

    fn hear(&self, event: Event) {
        let mut log = lock(&self.log);
        match event {
            Event::Broadcast { content, hops, .. } => {
                let Some(tag) = content.first_chunk().copied().map(Tag::from_be_bytes) else {
                    return;
                };
                log.heard.entry(tag).or_default().push(Heard {
                    hops,
                    at: self.epoch.elapsed(),
                });
            }
            Event::Met { .. } | Event::Request { .. } => {}
        }
    }

    fn note_downs(&self, changes: Vec<NeighborChange>) {
        let mut log = lock(&self.log);
        let downs = log.downs.entry(self.node).or_default();
        for change in changes {
            if let NeighborChange::Down { reason, .. } = change {
                *downs.entry(reason.name()).or_default() += 1;
            }
        }
    }
}

async fn counts(handle: &Handle) -> Counts {
    let (Some(overlay), Some(broadcast)) = (
        handle.overlay_counters().await,
        handle.broadcast_counters().await,
    ) else {
        return Counts::default();
    };
    let get = |counter| handle.counters().get(counter);
    let payloads = broadcast.machine.pushed + broadcast.machine.served;
    Counts {
        ups: get(Counter::NeighborsUp),
        downs: BTreeMap::new(),
        messages: overlay.frames_out + broadcast.frames_out,
        payloads,
        control: broadcast.frames_out.saturating_sub(payloads),
        connections: get(Counter::ConnectionsOpened)
            .saturating_sub(get(Counter::ConnectionsClosed)),
    }
}

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
