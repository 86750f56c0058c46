//! The world: nodes that run a protocol, the connections between them, and the order of what happens.
//!
//! Connections behave as those of libp2p: made on demand, shared by both sides, kept in order, and
//! closed when neither side needs them. Everything that is random comes from one seed.

mod connections;
mod trouble;

use std::{collections::VecDeque, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::{
    Input, Network, NodeId, Output, Protocol,
    network::{mix, nanos},
    protocol::InputOf,
    queue::Queue,
};
use connections::{Connections, Ends, Wire};
pub use trouble::Crash;

/// Hears what the protocols tell their applications.
pub trait Observer<P: Protocol> {
    /// `node` said `event`.
    fn on_event(&mut self, now: Duration, node: NodeId, event: &P::Event);
}

impl<P: Protocol> Observer<P> for () {
    fn on_event(&mut self, _: Duration, _: NodeId, _: &P::Event) {}
}

/// Something that is to happen.
#[derive(Debug)]
enum Event<M, T> {
    /// A message reaches the end of its wire.
    Deliver {
        wire: Wire,
        from: NodeId,
        to: NodeId,
        message: M,
    },
    /// A message without a connection arrives.
    Post {
        from: NodeId,
        to: NodeId,
        message: M,
    },
    /// A timer is due, if the node is still in the incarnation that asked for it.
    Ring {
        at: NodeId,
        incarnation: u32,
        timer: T,
    },
    /// A dial has failed.
    Unreachable {
        at: NodeId,
        incarnation: u32,
        peer: NodeId,
    },
    /// A connection has gone.
    Closed {
        at: NodeId,
        incarnation: u32,
        peer: NodeId,
        slow: bool,
    },
    /// A connection may be idle.
    Idle { wire: Wire },
    /// A slow or thawed node takes up its work.
    Resume { at: NodeId },
}

/// How a node fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    /// The process stands still; what reaches it waits.
    Frozen,
    /// It reads nothing that others send, but lives on otherwise.
    Wedged,
    /// Each thing it does takes this long.
    Slow(u64),
}

#[derive(Debug)]
struct Node<P: Protocol> {
    machine: Option<P>,
    /// Counts the starts, from 1; 0 before the first.
    incarnation: u32,
    health: Health,
    /// What waits for the node, oldest first.
    parked: VecDeque<Event<P::Message, P::Timer>>,
    /// A slow node is at work until then.
    busy_until: u64,
    drift_ppm: i64,
    ends: Ends,
    /// Peers that a dial is under way to, in vain.
    failing: Vec<NodeId>,
    load: Load,
}

/// Whom a node can reach. Looked at for both ends of every message, and so kept apart from all that a node is.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    side: u8,
    /// A host that has vanished says nothing to anybody, not even "no".
    vanished: bool,
}

/// What one node sends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Messages in all.
    pub messages: u64,
    /// Most messages within one second of the world.
    pub peak: u32,
    second: u64,
    this_second: u32,
}

impl Load {
    fn count(&mut self, now: u64) {
        let second = now / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.this_second = 0;
        }
        self.messages += 1;
        self.this_second += 1;
        self.peak = self.peak.max(self.this_second);
    }
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Inputs that were handled.
    pub inputs: u64,
    /// Messages that were sent.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Connections that were asked for.
    pub dials: u64,
    /// Of these, those that failed.
    pub failed_dials: u64,
    /// Peers that were dropped because they did not read.
    pub slow: u64,
    /// A fingerprint of every input in its order: equal for equal runs.
    pub fingerprint: u64,
}

/// The world.
#[derive(Debug)]
pub struct World<P: Protocol, O = ()> {
    /// What the network is like now.
    pub network: Network,
    /// Who hears of events.
    pub observer: O,
    seed: u64,
    now: u64,
    nodes: Vec<Node<P>>,
    /// One for each node.
    reach: Vec<Reach>,
    connections: Connections,
    queue: Queue<Event<P::Message, P::Timer>>,
    /// For losses, delays, refusals and the drift of clocks.
    network_rng: SmallRng,
    /// Handed to the machines with each input.
    machine_rng: SmallRng,
    totals: Totals,
}

impl<P: Protocol, O: Observer<P>> World<P, O> {
    /// A world without nodes.
    pub fn new(seed: u64, network: Network, observer: O) -> Self {
        Self {
            network,
            observer,
            seed,
            now: 0,
            nodes: Vec::new(),
            reach: Vec::new(),
            connections: Connections::default(),
            queue: Queue::new(),
            // Streams of their own: a loss on a wire does not change what a machine draws.
            network_rng: SmallRng::seed_from_u64(mix(seed)),
            machine_rng: SmallRng::seed_from_u64(mix(seed ^ 1)),
            totals: Totals::default(),
        }
    }

    /// Virtual time since the beginning, exact to the nanosecond. It moves only in [`World::step`], [`World::run`]
    /// and [`World::arrive`], and no node sees it: what a node sees is [`World::clock`].
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// What has happened so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How many things are to happen.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// How many nodes there have ever been; they are named from 0 on.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there has never been a node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The machine of a node that is alive.
    pub fn machine(&self, node: NodeId) -> Option<&P> {
        self.nodes.get(node as usize)?.machine.as_ref()
    }

    /// The nodes that are alive, in order.
    pub fn alive(&self) -> impl Iterator<Item = (NodeId, &P)> {
        let all = (0..).zip(&self.nodes);
        all.filter_map(|(id, node)| Some((id, node.machine.as_ref()?)))
    }

    /// What `node` sends.
    pub fn load(&self, node: NodeId) -> Load {
        self.node(node).load
    }

    /// Starts to look for the greatest number of messages per second anew.
    pub fn forget_peaks(&mut self) {
        for node in &mut self.nodes {
            node.load.peak = 0;
            node.load.this_second = 0;
        }
    }

    /// The incarnation of `node`: how often it has been started.
    pub fn incarnation(&self, node: NodeId) -> u32 {
        self.nodes
            .get(node as usize)
            .map_or(0, |node| node.incarnation)
    }

    /// Starts a node: the next one, or one that is not alive. Its connections from an earlier incarnation break.
    pub fn start(&mut self, node: NodeId, mut machine: P) {
        while self.nodes.len() <= node as usize {
            let drift = i64::from(self.network.drift_ppm);
            let drift_ppm = match drift {
                // Nothing is drawn for exact clocks, so that they leave all other choices as they are.
                0 => 0,
                most => self.network_rng.random_range(-most..=most),
            };
            self.nodes.push(Node {
                machine: None,
                incarnation: 0,
                health: Health::Well,
                parked: VecDeque::new(),
                busy_until: 0,
                drift_ppm,
                ends: Ends::default(),
                failing: Vec::new(),
                load: Load::default(),
            });
            self.reach.push(Reach::default());
        }
        // An earlier process may have run until now: its peers see its connections break.
        self.break_all(node);
        let clock = self.clock(node);
        machine.start(clock, &mut self.machine_rng);
        self.reach[node as usize].vanished = false;
        let state = self.node_mut(node);
        state.incarnation += 1;
        state.health = Health::Well;
        state.parked.clear();
        state.failing.clear();
        state.machine = Some(machine);
        self.drain(node);
    }

    /// Gives a node that is alive a command.
    pub fn command(&mut self, node: NodeId, command: P::Command) {
        self.input(node, Input::Command(command));
    }

    /// Lets one more thing happen, if it happens at `until` or before. Returns the node to which it
    /// happened.
    pub fn step(&mut self, until: Duration) -> Option<NodeId> {
        let (at, event) = self.queue.pop(nanos(until))?;
        self.now = at;
        Some(self.dispatch(event))
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now() + time;
        while self.step(until).is_some() {}
        self.now = nanos(until);
    }

    /// Ends a sequence of [`World::step`]s: the clock shows `until`.
    pub fn arrive(&mut self, until: Duration) {
        self.now = self.now.max(nanos(until));
    }

    fn node(&self, node: NodeId) -> &Node<P> {
        &self.nodes[node as usize]
    }

    fn node_mut(&mut self, node: NodeId) -> &mut Node<P> {
        &mut self.nodes[node as usize]
    }

    /// What the clock of `node` shows.
    pub fn clock(&self, node: NodeId) -> Duration {
        let drift = i128::from(self.node(node).drift_ppm);
        if drift == 0 {
            return Duration::from_nanos(self.now);
        }
        let now = i128::from(self.now);
        let local = now + now * drift / 1_000_000;
        Duration::from_nanos(u64::try_from(local).unwrap_or(0))
    }

    /// How long `after` of the node's own time takes, rounded up: a timer must not come early.
    fn span(&self, node: NodeId, after: Duration) -> u64 {
        let (after, drift) = (nanos(after), self.node(node).drift_ppm);
        if drift == 0 {
            return after;
        }
        let rate = u128::try_from(1_000_000 + i128::from(drift)).unwrap_or(1);
        // What `clock` cuts off below the nanosecond may be up to one at either end.
        let span = (u128::from(after) * 1_000_000).div_ceil(rate.max(1)) + 2;
        u64::try_from(span).unwrap_or(u64::MAX)
    }

    fn push(&mut self, after: u64, event: Event<P::Message, P::Timer>) {
        self.queue.push(self.now.saturating_add(after), event);
    }

    fn dispatch(&mut self, event: Event<P::Message, P::Timer>) -> NodeId {
        match event {
            Event::Idle { wire } => self.close_idle(wire),
            Event::Resume { at } => {
                self.resume(at);
                at
            }
            Event::Deliver {
                wire,
                from,
                to,
                message,
            } => self.deliver(wire, from, to, message),
            Event::Post { to, .. } => self.hand_to(to, event),
            Event::Ring { at, .. } | Event::Unreachable { at, .. } | Event::Closed { at, .. } => {
                self.hand_to(at, event)
            }
        }
    }

    /// Something reaches a node, which may not be able to take it.
    fn hand_to(&mut self, at: NodeId, event: Event<P::Message, P::Timer>) -> NodeId {
        let now = self.now;
        let node = self.node_mut(at);
        match node.health {
            Health::Well | Health::Wedged => self.take(at, event),
            Health::Frozen => node.parked.push_back(event),
            Health::Slow(_) => {
                node.parked.push_back(event);
                // For the first only: `resume` sees to those behind it.
                if node.parked.len() == 1 {
                    // It may be at work on something earlier.
                    let wait = node.busy_until.saturating_sub(now);
                    self.push(wait, Event::Resume { at });
                }
            }
        }
        at
    }

    /// A node takes what reached it.
    fn take(&mut self, at: NodeId, event: Event<P::Message, P::Timer>) {
        let current = self.node(at).incarnation;
        match event {
            Event::Deliver { from, message, .. } => {
                self.input(at, Input::Received { from, message });
            }
            // There was no connection that a cut could have broken, so it is looked at on arrival.
            Event::Post { from, message, .. } if self.reaches(from, at) => {
                self.input(at, Input::Received { from, message });
            }
            Event::Ring {
                incarnation, timer, ..
            } if incarnation == current => {
                self.input(at, Input::Timer(timer));
            }
            Event::Unreachable {
                incarnation, peer, ..
            } if incarnation == current => {
                self.node_mut(at).failing.retain(|other| *other != peer);
                self.input(at, Input::Unreachable { peer });
            }
            // Another connection may have been made meanwhile: then it was not the last one.
            Event::Closed {
                incarnation,
                peer,
                slow,
                ..
            } if incarnation == current && self.find(at, peer).is_none() => {
                self.input(at, Input::Disconnected { peer, slow });
            }
            // Meant for an earlier incarnation, or on the wrong side of a cut.
            _ => {}
        }
    }

    fn input(&mut self, at: NodeId, input: InputOf<P>) {
        let clock = self.clock(at);
        // Contents are left out: a run that differs in them soon differs in who hears of whom, and when.
        let kind = match &input {
            Input::Received { from, .. } => u64::from(*from) << 3,
            Input::Disconnected { peer, .. } => (u64::from(*peer) << 3) | 1,
            Input::Unreachable { peer } => (u64::from(*peer) << 3) | 2,
            Input::Timer(_) => 3,
            Input::Command(_) => 4,
        };
        let Some(machine) = self.nodes[at as usize].machine.as_mut() else {
            return;
        };
        machine.handle(clock, input, &mut self.machine_rng);
        self.totals.inputs += 1;
        let print = self.totals.fingerprint ^ kind ^ (u64::from(at) << 35);
        // Mixed in one after the other, so that their order counts.
        self.totals.fingerprint = mix(print ^ self.now);
        self.drain(at);
    }

    fn drain(&mut self, at: NodeId) {
        while let Some(output) = self.nodes[at as usize]
            .machine
            .as_mut()
            .and_then(P::poll_output)
        {
            match output {
                Output::Send { to, message } => self.send(at, to, message),
                Output::Tell { peer, message } => {
                    // What is told goes over the connection that there is; none is made for it.
                    if let Some(slot) = self.find(at, peer) {
                        self.transmit(slot, at, peer, message);
                    }
                }
                Output::Post { to, message } => self.post(at, to, message),
                Output::Release { peer } => self.release(at, peer),
                Output::Cut { peer } => {
                    if let Some(slot) = self.find(at, peer) {
                        self.break_connection(slot);
                    }
                }
                Output::Schedule { after, timer } => {
                    // A timer does not outlive the process that asked for it.
                    let (after, incarnation) = (self.span(at, after), self.node(at).incarnation);
                    self.push(
                        after,
                        Event::Ring {
                            at,
                            incarnation,
                            timer,
                        },
                    );
                }
                Output::Event(event) => {
                    let now = Duration::from_nanos(self.now);
                    self.observer.on_event(now, at, &event);
                }
            }
        }
    }
}
