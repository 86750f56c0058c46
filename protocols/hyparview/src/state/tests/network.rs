//! A deterministic network of real machines: virtual time, seeded randomness, latency, crashes,
//! cuts, and optionally lost, repeated and late messages.
//!
//! Connections behave as those of libp2p: made on demand, shared by both sides, kept in order,
//! and closed when neither side needs them. A cut makes messages vanish and tells both ends a
//! little later; dialling across it fails after a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::{Command, Config, Contact, DownReason, Input, Loss, Message, Output, State, Timer, io};

pub(super) type Machine = State<u64, ()>;

/// Time between the ends' learning of a broken connection and the break.
const BREAK_NOTICE: Duration = Duration::from_millis(50);
/// Time after which a dial into nowhere fails.
const DIAL_TIMEOUT: Duration = Duration::from_millis(1500);

#[derive(Debug)]
enum Event {
    Deliver {
        from: u64,
        to: u64,
        connection: u64,
        message: Message<u64, ()>,
    },
    Closed {
        at: u64,
        peer: u64,
        connection: u64,
    },
    Idle {
        ends: (u64, u64),
        connection: u64,
    },
    Unreachable {
        at: u64,
        peer: u64,
    },
    Ring {
        at: u64,
        incarnation: u64,
        timer: Timer<u64>,
    },
}

/// How unreliable the network is beyond cuts and crashes, in percent of messages.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Faults {
    pub(super) lost: u32,
    pub(super) repeated: u32,
    pub(super) late: u32,
}

#[derive(Debug, Default)]
struct Node {
    machine: Option<Machine>,
    incarnation: u64,
    side: u8,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Counters {
    pub(super) messages: u64,
    pub(super) dials: u64,
    pub(super) up: u64,
    pub(super) down: BTreeMap<DownReason, u64>,
    pub(super) isolated: u64,
}

/// The network.
pub(super) struct Network {
    pub(super) now: Duration,
    pub(super) rng: SmallRng,
    pub(super) config: Config,
    pub(super) faults: Faults,
    /// If not zero, the nodes live in this many regions on a ring, by their ids.
    pub(super) regions: u64,
    pub(super) counters: Counters,
    nodes: BTreeMap<u64, Node>,
    queue: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    /// Open connections with the ends that need them, and when the last message arrives.
    connections: BTreeMap<(u64, u64), Connection>,
    link_count: u64,
    neighbors: BTreeMap<u64, BTreeSet<u64>>,
    frozen: BTreeSet<u64>,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    used_by: BTreeSet<u64>,
    arrival: [Duration; 2],
}

fn pair(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

pub(super) fn contact(id: u64) -> Contact<u64, ()> {
    Contact { id, record: () }
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, Config::default())
    }

    pub(super) fn with(seed: u64, config: Config) -> Self {
        Self {
            now: Duration::ZERO,
            rng: SmallRng::seed_from_u64(seed),
            config,
            faults: Faults::default(),
            regions: 0,
            counters: Counters::default(),
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            connections: BTreeMap::new(),
            link_count: 0,
            neighbors: BTreeMap::new(),
            frozen: BTreeSet::new(),
        }
    }

    /// Starts `id`, which joins through `contacts`. An `id` that crashed starts anew.
    pub(super) fn start(&mut self, id: u64, contacts: &[u64]) {
        let node = self.nodes.entry(id).or_default();
        node.incarnation += 1;
        let mut machine = State::new(contact(id), self.config.clone(), node.incarnation);
        machine.start(self.now, &mut self.rng);
        node.machine = Some(machine);
        self.neighbors.insert(id, BTreeSet::new());
        self.drain(id);
        for one in contacts {
            let learn = Command::Learn {
                contact: contact(*one),
                permanent: true,
            };
            self.command(id, learn);
            self.command(id, Command::Join(contact(*one)));
        }
    }

    pub(super) fn command(&mut self, id: u64, command: Command<u64, ()>) {
        self.input(id, Input::Command(command));
    }

    /// `id` dies; its connections break.
    pub(super) fn crash(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.machine = None;
        }
        self.neighbors.remove(&id);
        let broken: Vec<_> = self
            .connections
            .keys()
            .copied()
            .filter(|ends| ends.0 == id || ends.1 == id)
            .collect();
        for ends in broken {
            self.break_link(ends);
        }
    }

    /// Puts nodes on sides that cannot reach each other.
    pub(super) fn cut(&mut self, side: impl Fn(u64) -> u8) {
        for (id, node) in &mut self.nodes {
            node.side = side(*id);
        }
        let broken: Vec<_> = self
            .connections
            .keys()
            .copied()
            .filter(|ends| !self.reaches(ends.0, ends.1))
            .collect();
        for ends in broken {
            self.break_link(ends);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut(|_| 0);
    }

    /// Stops these processes, and lets all others go on. What they miss they get when they wake up.
    pub(super) fn freeze(&mut self, nodes: &BTreeSet<u64>) {
        self.frozen.clone_from(nodes);
    }

    /// Breaks the connection between two nodes, if there is one.
    pub(super) fn sever(&mut self, a: u64, b: u64) {
        self.break_link(pair(a, b));
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.take(event);
        }
        self.now = until;
    }

    /// Lets time pass until `done`, in steps of a second; panics if it takes longer than `most`.
    pub(super) fn run_until(&mut self, most: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !done(self) {
            assert!(
                self.now - start < most,
                "not within {most:?}: {}",
                self.report()
            );
            self.run(Duration::from_secs(1));
        }
        self.now - start
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = (u64, &Machine)> {
        self.nodes
            .iter()
            .filter_map(|(id, node)| Some((*id, node.machine.as_ref()?)))
    }

    fn take(&mut self, event: Event) {
        let at = match event {
            Event::Deliver { to, .. } => Some(to),
            Event::Closed { at, .. } | Event::Unreachable { at, .. } | Event::Ring { at, .. } => {
                Some(at)
            }
            Event::Idle { .. } => None,
        };
        if at.is_some_and(|at| self.frozen.contains(&at)) {
            return self.at(Duration::from_secs(1), event);
        }
        match event {
            Event::Deliver {
                from,
                to,
                connection,
                message,
            } => {
                if self
                    .connections
                    .get(&pair(from, to))
                    .is_some_and(|known| known.number == connection)
                {
                    self.input(to, Input::Received { from, message });
                }
            }
            Event::Closed {
                at,
                peer,
                connection,
            } => {
                // Another connection may have been made meanwhile: then it was not the last one.
                if self
                    .connections
                    .get(&pair(at, peer))
                    .is_none_or(|known| known.number == connection)
                {
                    self.input(
                        at,
                        Input::Disconnected {
                            peer,
                            cause: Loss::Closed,
                        },
                    );
                }
            }
            Event::Idle { ends, connection } => self.close_idle(ends, connection),
            Event::Unreachable { at, peer } => self.input(at, Input::Unreachable { peer }),
            Event::Ring {
                at,
                incarnation,
                timer,
            } => {
                if self.nodes[&at].incarnation == incarnation {
                    self.input(at, Input::Timer(timer));
                }
            }
        }
    }

    fn input(&mut self, id: u64, input: Input<u64, ()>) {
        let Some(machine) = self
            .nodes
            .get_mut(&id)
            .and_then(|node| node.machine.as_mut())
        else {
            return;
        };
        machine.handle(self.now, input, &mut self.rng);
        self.drain(id);
    }

    fn drain(&mut self, id: u64) {
        while let Some(output) = self.output_of(id) {
            match output {
                Output::Send { to, message } => self.send(id, to.id, message),
                Output::Tell { peer, message } => {
                    if self.connections.contains_key(&pair(id, peer)) {
                        self.transmit(id, peer, message);
                    }
                }
                Output::Release { peer } => self.release(id, peer),
                Output::Cut { peer } => self.break_link(pair(id, peer)),
                Output::Schedule { after, timer } => {
                    let incarnation = self.nodes[&id].incarnation;
                    self.at(
                        after,
                        Event::Ring {
                            at: id,
                            incarnation,
                            timer,
                        },
                    );
                }
                Output::Event(event) => self.on_event(id, event),
            }
        }
    }

    fn output_of(&mut self, id: u64) -> Option<Output<u64, ()>> {
        self.nodes.get_mut(&id)?.machine.as_mut()?.poll_output()
    }

    fn on_event(&mut self, id: u64, event: io::Event<u64, ()>) {
        let neighbors = self.neighbors.get_mut(&id).expect("alive");
        match event {
            io::Event::NeighborUp(peer) => {
                assert!(neighbors.insert(peer.id), "{} came twice to {id}", peer.id);
                self.counters.up += 1;
            }
            io::Event::NeighborDown { peer, reason } => {
                assert!(
                    neighbors.remove(&peer),
                    "{peer} went from {id} without having come"
                );
                *self.counters.down.entry(reason).or_default() += 1;
            }
            io::Event::NeighborMoved(_) | io::Event::Wanting => {}
            io::Event::Isolated => self.counters.isolated += 1,
        }
    }

    fn reaches(&self, a: u64, b: u64) -> bool {
        self.nodes[&a].side == self.nodes[&b].side
    }

    fn send(&mut self, from: u64, to: u64, message: Message<u64, ()>) {
        let ends = pair(from, to);
        if !self.connections.contains_key(&ends) {
            self.counters.dials += 1;
            let alive = self
                .nodes
                .get(&to)
                .is_some_and(|node| node.machine.is_some());
            if !alive || !self.reaches(from, to) {
                // A dead process refuses at once, a dead network not at all.
                let wait = if alive { DIAL_TIMEOUT } else { BREAK_NOTICE };
                return self.at(wait, Event::Unreachable { at: from, peer: to });
            }
            self.link_count += 1;
            // The dial takes a round trip.
            let ready = self.now + 2 * self.latency(from, to);
            let connection = Connection {
                number: self.link_count,
                used_by: BTreeSet::new(),
                arrival: [ready, ready],
            };
            self.connections.insert(ends, connection);
        }
        if let Some(connection) = self.connections.get_mut(&ends) {
            connection.used_by.insert(from);
        }
        self.transmit(from, to, message);
    }

    fn transmit(&mut self, from: u64, to: u64, message: Message<u64, ()>) {
        self.counters.messages += 1;
        if self.rng.random_ratio(self.faults.lost, 100) {
            return;
        }
        let latency = self.latency(from, to);
        let late = self.rng.random_ratio(self.faults.late, 100);
        let repeated = self.rng.random_ratio(self.faults.repeated, 100);
        let Some(connection) = self.connections.get_mut(&pair(from, to)) else {
            return;
        };
        let number = connection.number;
        let arrival = &mut connection.arrival[usize::from(from > to)];
        let mut at = (*arrival).max(self.now + latency);
        *arrival = at;
        if late {
            at += Duration::from_millis(self.rng.random_range(0..3000));
        }
        let after = at - self.now;
        if repeated {
            let again = after + Duration::from_millis(self.rng.random_range(0..3000));
            let message = message.clone();
            self.at(
                again,
                Event::Deliver {
                    from,
                    to,
                    connection: number,
                    message,
                },
            );
        }
        self.at(
            after,
            Event::Deliver {
                from,
                to,
                connection: number,
                message,
            },
        );
    }

    fn release(&mut self, id: u64, peer: u64) {
        let ends = pair(id, peer);
        let Some(connection) = self.connections.get_mut(&ends) else {
            return;
        };
        connection.used_by.remove(&id);
        // What is queued is still delivered.
        let rest = connection.arrival[0]
            .max(connection.arrival[1])
            .saturating_sub(self.now);
        let connection = connection.number;
        self.at(
            rest + Duration::from_secs(1),
            Event::Idle { ends, connection },
        );
    }

    /// Closes a connection that neither end needs.
    fn close_idle(&mut self, ends: (u64, u64), number: u64) {
        let Some(connection) = self.connections.get(&ends) else {
            return;
        };
        let neighbors = |a, b| self.neighbors.get(&a).is_some_and(|all| all.contains(&b));
        let busy = connection.number != number
            || !connection.used_by.is_empty()
            || connection.arrival[0].max(connection.arrival[1]) > self.now
            || neighbors(ends.0, ends.1)
            || neighbors(ends.1, ends.0);
        if !busy {
            self.break_link(ends);
        }
    }

    fn break_link(&mut self, ends: (u64, u64)) {
        let Some(connection) = self.connections.remove(&ends) else {
            return;
        };
        for (at, peer) in [ends, (ends.1, ends.0)] {
            self.at(
                BREAK_NOTICE,
                Event::Closed {
                    at,
                    peer,
                    connection: connection.number,
                },
            );
        }
    }

    fn latency(&mut self, a: u64, b: u64) -> Duration {
        if self.regions == 0 {
            return Duration::from_millis(self.rng.random_range(10..50));
        }
        // Now and then a message waits behind others.
        let waits = if self.rng.random_ratio(1, 5) { 100 } else { 10 };
        let distance = self.distance(a, b);
        distance + distance * self.rng.random_range(0..waits) / 100
    }

    /// The shortest time from one node to another, in a world of regions.
    pub(super) fn distance(&self, a: u64, b: u64) -> Duration {
        let apart = (a % self.regions).abs_diff(b % self.regions);
        let around = apart.min(self.regions - apart);
        Duration::from_micros(500 + 12_000 * around)
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }
}

/// Measures of the graph.
impl Network {
    /// Links that only one end holds, or that the ends name differently.
    pub(super) fn asymmetric(&self) -> usize {
        self.alive()
            .flat_map(|(id, machine)| machine.active().map(move |peer| (id, peer, machine)))
            .filter(|(id, peer, machine)| {
                let back = self.nodes[peer]
                    .machine
                    .as_ref()
                    .and_then(|state| state.epoch(*id));
                back != machine.epoch(*peer)
            })
            .count()
    }

    pub(super) fn components(&self) -> usize {
        let mut unseen: BTreeSet<u64> = self.alive().map(|(id, _)| id).collect();
        let mut components = 0;
        while let Some(first) = unseen.pop_first() {
            components += 1;
            let mut open = vec![first];
            while let Some(id) = open.pop() {
                let Some(machine) = self.nodes[&id].machine.as_ref() else {
                    continue;
                };
                open.extend(machine.active().filter(|peer| unseen.remove(peer)));
            }
        }
        components
    }

    pub(super) fn degrees(&self) -> BTreeMap<usize, usize> {
        let mut degrees = BTreeMap::new();
        for (_, machine) in self.alive() {
            *degrees.entry(machine.active().count()).or_default() += 1;
        }
        degrees
    }

    /// Links between the two sides.
    pub(super) fn across(&self, side: impl Fn(u64) -> u8) -> usize {
        self.alive()
            .flat_map(|(id, machine)| machine.active().map(move |peer| (id, peer)))
            .filter(|(id, peer)| id < peer && side(*id) != side(*peer))
            .count()
    }

    /// The mean distance between neighbours, and between any two nodes, in milliseconds.
    pub(super) fn costs(&self) -> (f64, f64) {
        let nodes: Vec<_> = self.alive().collect();
        let mean = |all: Vec<Duration>| {
            let sum: Duration = all.iter().sum();
            sum.as_secs_f64() * 1000.0 / all.len().max(1) as f64
        };
        let (mut links, mut any) = (Vec::new(), Vec::new());
        for (a, machine) in &nodes {
            links.extend(machine.active().map(|b| self.distance(*a, b)));
            let others = nodes.iter().filter(|(b, _)| a != b);
            any.extend(others.map(|(b, _)| self.distance(*a, *b)));
        }
        (mean(links), mean(any))
    }

    /// How long what `from` says takes to reach each node when everybody passes it on, and how many
    /// steps it takes by the shortest way, for the last one.
    pub(super) fn farthest(&self, from: u64) -> (Duration, u32) {
        let time = self.flood(from, |a, b| self.distance(a, b));
        let hops = self.flood(from, |_, _| 1);
        (
            time.into_values().max().unwrap(),
            hops.into_values().max().unwrap(),
        )
    }

    /// Shortest paths over the links.
    pub(super) fn flood<T: Copy + Ord + Default + std::ops::Add<Output = T>>(
        &self,
        from: u64,
        cost: impl Fn(u64, u64) -> T,
    ) -> BTreeMap<u64, T> {
        let mut open = BTreeSet::from([(T::default(), from)]);
        let mut reached = BTreeMap::new();
        while let Some((so_far, id)) = open.pop_first() {
            if reached.contains_key(&id) {
                continue;
            }
            reached.insert(id, so_far);
            if let Some(machine) = self.nodes[&id].machine.as_ref() {
                let next = machine.active().filter(|peer| !reached.contains_key(peer));
                open.extend(next.map(|peer| (so_far + cost(id, peer), peer)));
            }
        }
        reached.retain(|id, _| self.nodes[id].machine.is_some());
        reached
    }

    /// Average clustering coefficient.
    pub(super) fn clustering(&self) -> f64 {
        let sum: f64 = self
            .alive()
            .map(|(_, machine)| {
                let peers: Vec<u64> = machine.active().collect();
                let linked = peers
                    .iter()
                    .flat_map(|a| peers.iter().map(move |b| (a, b)))
                    .filter(|(a, b)| a < b)
                    .filter(|(a, b)| {
                        let machine = self.nodes[a].machine.as_ref();
                        machine.is_some_and(|state| state.epoch(**b).is_some())
                    })
                    .count();
                let pairs = peers.len() * peers.len().saturating_sub(1) / 2;
                linked as f64 / pairs.max(1) as f64
            })
            .sum();
        sum / self.alive().count() as f64
    }

    /// Symmetric, connected.
    pub(super) fn whole(&self) -> bool {
        self.asymmetric() == 0 && self.components() == 1
    }

    /// Everybody is everybody's neighbour.
    pub(super) fn complete(&self) -> bool {
        let others = self.alive().count() - 1;
        self.whole() && self.degrees().keys().all(|degree| *degree == others)
    }

    /// Nothing left to do: also, at most one node has a free slot that nobody could fill.
    pub(super) fn perfect(&self) -> bool {
        let slots = self.config.active_capacity().min(self.alive().count() - 1);
        let lacking: usize = self
            .alive()
            .map(|(_, machine)| slots - machine.active().count())
            .sum();
        self.whole() && lacking <= 2
    }

    pub(super) fn report(&self) -> String {
        format!(
            "at {:?}: degrees {:?}, asymmetric {}, components {}, clustering {:.3}, {:?}",
            self.now,
            self.degrees(),
            self.asymmetric(),
            self.components(),
            self.clustering(),
            self.counters
        )
    }
}
