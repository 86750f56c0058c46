//! The network in the simulator, with wires as short as those of loopback.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hyparview::{Command, StateEvent};
use plumtree::MessageId;
use simulation::{
    Crash, Distances, Graph, Member, Membership, Network, News, NodeId, Observer, Protocol,
    Reported, Subject, Tree, Wish, World, contact,
};

use super::{Counts, Heard, Net, Plan, Tag};

type Node = Tree<Member>;

/// What one payload weighs.
const BYTES: usize = 200;
/// As the node at its start: so many peers of its address book are learnt, and so many joined through.
const LEARNT_AT_START: usize = 30;
const JOINED_AT_START: usize = 3;

/// The simulated network.
pub(crate) struct Simulated {
    world: World<Node, Watch>,
    overlay: hyparview::Config,
    /// What the nodes' broadcast is told, from their next start on.
    pub(crate) broadcast: plumtree::Config,
    /// Whom the dead knew.
    known: BTreeMap<NodeId, Vec<NodeId>>,
}

/// Notes what the nodes tell.
#[derive(Debug, Default)]
struct Watch {
    tags: BTreeMap<MessageId<NodeId>, Tag>,
    heard: BTreeMap<Tag, Vec<Heard>>,
    counts: BTreeMap<NodeId, Counts>,
}

impl Observer<Node> for Watch {
    fn on_event(&mut self, now: Duration, node: NodeId, event: &<Node as Protocol>::Event) {
        let counts = self.counts.entry(node).or_default();
        match event {
            Reported::Tree(News::Delivered { id, hops }) => {
                if let Some(tag) = self.tags.get(id) {
                    self.heard.entry(*tag).or_default().push(Heard {
                        hops: *hops,
                        at: now,
                    });
                }
            }
            Reported::Tree(News::Sent(_)) => counts.payloads += 1,
            Reported::Tree(News::Control(_)) => counts.control += 1,
            Reported::Below(StateEvent::NeighborUp(_)) => counts.ups += 1,
            Reported::Below(event) => {
                if let Some(reason) = Member::went(event) {
                    *counts.downs.entry(reason).or_default() += 1;
                }
            }
            Reported::Tree(_) => {}
        }
    }
}

impl Simulated {
    pub(crate) fn new(seed: u64, plan: &Plan) -> Self {
        let network = Network {
            distances: Distances::Range {
                least_ms: 0.1,
                most_ms: 0.3,
            },
            // What a busy machine takes to look at a message.
            jitter: Duration::from_millis(1),
            // As the node: five seconds by the overlay, then ten by the swarm.
            linger: Duration::from_secs(15),
            ..Network::default()
        };
        Self {
            world: World::new(seed, network, Watch::default()),
            overlay: plan.overlay.clone(),
            broadcast: plumtree::Config::default(),
            known: BTreeMap::new(),
        }
    }
}

impl Net for Simulated {
    fn now(&self) -> Duration {
        self.world.now()
    }

    fn run(&mut self, time: Duration) {
        self.world.run(time);
    }

    fn start(&mut self, node: NodeId, contacts: &[NodeId]) {
        let incarnation = self.world.incarnation(node) + 1;
        let below = Member::new(node, self.overlay.clone(), incarnation);
        let config = self.broadcast.clone();
        self.world
            .start(node, Tree::new(node, below, config, incarnation));
        self.world.observer.counts.insert(node, Counts::default());
        let known = self.known.remove(&node).unwrap_or_default();
        let learnt = &known[..known.len().min(LEARNT_AT_START)];
        let joined = &known[..known.len().min(JOINED_AT_START)];
        let recalled = Member::recall(learnt);
        let join = |id: &NodeId| Command::Join(contact(*id));
        let all = recalled
            .into_iter()
            .chain(joined.iter().map(join))
            .chain(Member::enter(contacts));
        for command in all {
            self.world.command(node, Wish::Below(command));
        }
    }

    fn kill(&mut self, nodes: &BTreeSet<NodeId>) {
        for node in nodes {
            let mut known = Vec::new();
            if let Some(machine) = self.world.machine(*node) {
                machine.neighbors(&mut known);
                machine.backups(&mut known);
            }
            self.known.insert(*node, known);
            self.world.crash(*node, Crash::Reset);
        }
    }

    fn freeze(&mut self, nodes: &BTreeSet<NodeId>, frozen: bool) {
        for node in nodes {
            self.world.freeze(*node, frozen);
        }
    }

    fn graph(&self) -> Graph {
        Graph::of(&self.world)
    }

    fn say(&mut self, from: NodeId) -> Tag {
        let watch = &mut self.world.observer;
        let tag = watch.tags.len() as Tag;
        if let Some(machine) = self.world.machine(from) {
            let id = machine.state().next_id();
            self.world.observer.tags.insert(id, tag);
        }
        self.world.command(from, Wish::Broadcast(BYTES));
        tag
    }

    fn heard(&self, tag: Tag) -> Vec<Heard> {
        let heard = self.world.observer.heard.get(&tag);
        heard.cloned().unwrap_or_default()
    }

    fn counts(&mut self) -> BTreeMap<NodeId, Counts> {
        let alive = self.world.alive().map(|(id, _)| id);
        let reading = |id: NodeId| {
            let counts = self.world.observer.counts.get(&id).cloned();
            let reading = Counts {
                messages: self.world.load(id).messages,
                connections: self.world.connections(id) as u64,
                ..counts.unwrap_or_default()
            };
            (id, reading)
        };
        alive.map(reading).collect()
    }
}
