//! A deterministic network of real machines: virtual time, seeded randomness, latency per link, crashes,
//! and optionally lost, repeated and late messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};

use crate::{
    Command, Config, EdgeRole, Gossip, Input, Message, MessageId, Output, Sizes, State, Timer, io,
};

#[derive(Debug)]
enum Event {
    Deliver {
        from: u64,
        to: u64,
        link: u64,
        message: Message<u64>,
    },
    Ring {
        at: u64,
        incarnation: u64,
        timer: Timer,
    },
}

/// How unreliable the network is, in percent of messages.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Faults {
    pub(super) lost: u32,
    pub(super) repeated: u32,
    pub(super) late: u32,
}

/// What became of one message.
#[derive(Debug, Default, Clone)]
pub(super) struct Spread {
    /// Who got it, how often, over how many links and when.
    pub(super) got: BTreeMap<u64, (usize, u16, Duration)>,
    pub(super) payloads: usize,
}

impl Spread {
    pub(super) fn last_hop(&self) -> u16 {
        self.got
            .values()
            .map(|(_, hops, _)| *hops)
            .max()
            .unwrap_or(0)
    }
}

pub(super) fn ratio(a: usize, b: usize) -> f64 {
    f64::from(u32::try_from(a).unwrap()) / f64::from(u32::try_from(b.max(1)).unwrap())
}

pub(super) struct Network {
    pub(super) now: Duration,
    pub(super) rng: SmallRng,
    pub(super) config: Config,
    pub(super) faults: Faults,
    /// Link latency, drawn once per link.
    pub(super) latency_ms: (u64, u64),
    /// Inputs between two checks of all invariants.
    pub(super) check_every: u64,
    pub(super) nodes: BTreeMap<u64, State<u64>>,
    incarnations: BTreeMap<u64, u64>,
    /// Open links: number, latency, and when the last message of each direction arrives.
    links: BTreeMap<(u64, u64), (u64, Duration, [Duration; 2])>,
    link_count: u64,
    queue: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    inputs: u64,
    pub(super) spreads: BTreeMap<MessageId<u64>, Spread>,
    pub(super) missing: usize,
    pub(super) control: usize,
    pub(super) tree_links: BTreeMap<(u64, u64), EdgeRole>,
}

impl Network {
    pub(super) fn new(seed: u64, config: Config) -> Self {
        Self {
            now: Duration::ZERO,
            rng: SmallRng::seed_from_u64(seed),
            config: config.validate().unwrap(),
            faults: Faults::default(),
            latency_ms: (10, 50),
            check_every: 1,
            nodes: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            links: BTreeMap::new(),
            link_count: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            inputs: 0,
            spreads: BTreeMap::new(),
            missing: 0,
            control: 0,
            tree_links: BTreeMap::new(),
        }
    }

    /// `count` nodes in a random graph of `degree` (as HyParView makes it).
    pub(super) fn random(seed: u64, config: Config, count: u64, degree: usize) -> Self {
        let mut network = Self::new(seed, config);
        for id in 0..count {
            network.add(id);
        }
        network.wire(degree);
        network
    }

    /// Links nodes at random until nearly all have `degree` neighbours.
    pub(super) fn wire(&mut self, degree: usize) {
        let mut free: Vec<u64> = self.nodes.keys().copied().collect();
        let mut futile = 0;
        while free.len() > 1 && futile < 200 {
            free.retain(|id| self.degree(*id) < degree);
            free.shuffle(&mut self.rng);
            let pairs: Vec<(u64, u64)> = free
                .chunks_exact(2)
                .map(|pair| (pair[0], pair[1]))
                .collect();
            let before = self.links.len();
            for (a, b) in pairs {
                self.link(a, b);
            }
            futile = if self.links.len() == before {
                futile + 1
            } else {
                0
            };
        }
    }

    pub(super) fn degree(&self, id: u64) -> usize {
        self.nodes[&id].neighbors().count()
    }

    pub(super) fn add(&mut self, id: u64) {
        let incarnation = self.incarnations.entry(id).or_default();
        *incarnation += 1;
        let mut machine = State::new(id, self.config.clone(), *incarnation);
        machine.start(self.now, &mut self.rng);
        self.nodes.insert(id, machine);
        // A new incarnation has forgotten what the former one got.
        for spread in self.spreads.values_mut() {
            spread.got.remove(&id);
        }
        self.drain(id);
    }

    pub(super) fn link(&mut self, a: u64, b: u64) {
        let pair = (a.min(b), a.max(b));
        if a == b || self.links.contains_key(&pair) {
            return;
        }
        self.link_count += 1;
        let (low, high) = self.latency_ms;
        let latency = Duration::from_micros(self.rng.random_range(low * 1000..=high * 1000));
        self.links
            .insert(pair, (self.link_count, latency, [Duration::ZERO; 2]));
        self.feed(a, Input::NeighborUp { peer: b });
        self.feed(b, Input::NeighborUp { peer: a });
    }

    pub(super) fn unlink(&mut self, a: u64, b: u64) {
        if self.links.remove(&(a.min(b), a.max(b))).is_none() {
            return;
        }
        for (at, peer) in [(a, b), (b, a)] {
            self.tree_links.remove(&(at, peer));
            if self.nodes.contains_key(&at) {
                self.feed(at, Input::NeighborDown { peer });
            }
        }
    }

    pub(super) fn linked(&self) -> Vec<(u64, u64)> {
        self.links.keys().copied().collect()
    }

    pub(super) fn crash(&mut self, id: u64) {
        self.nodes.remove(&id);
        let links: Vec<_> = self.linked();
        for (a, b) in links.into_iter().filter(|(a, b)| *a == id || *b == id) {
            self.unlink(a, b);
        }
    }

    /// Nodes that `id` can reach.
    pub(super) fn component(&self, id: u64) -> BTreeSet<u64> {
        let mut around: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (a, b) in self.links.keys() {
            around.entry(*a).or_default().push(*b);
            around.entry(*b).or_default().push(*a);
        }
        let mut found = BTreeSet::from([id]);
        let mut open = vec![id];
        while let Some(at) = open.pop() {
            for next in around.get(&at).into_iter().flatten() {
                if found.insert(*next) {
                    open.push(*next);
                }
            }
        }
        found
    }

    pub(super) fn broadcast(&mut self, from: u64) -> MessageId<u64> {
        let id = self.nodes[&from].next_id();
        let payload: Arc<[u8]> = Arc::from(format!("{id:?}").into_bytes());
        self.spreads.insert(id, Spread::default());
        self.feed(from, Input::Command(Command::Broadcast(payload)));
        id
    }

    pub(super) fn set_root(&mut self, root: u64) {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            self.feed(id, Input::Command(Command::SetRoot(Some(root))));
        }
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            self.now = entry.key().0;
            let event = entry.remove();
            self.take(event);
        }
        self.now = end;
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Deliver {
                from,
                to,
                link,
                message,
            } => {
                let open = self.links.get(&(from.min(to), from.max(to)));
                if open.is_some_and(|(number, ..)| *number == link) {
                    self.feed(to, Input::Received { from, message });
                }
            }
            Event::Ring {
                at,
                incarnation,
                timer,
            } => {
                if self.nodes.contains_key(&at) && self.incarnations[&at] == incarnation {
                    self.feed(at, Input::Timer(timer));
                }
            }
        }
    }

    pub(super) fn feed(&mut self, id: u64, input: Input<u64>) {
        let now = self.now;
        let Some(machine) = self.nodes.get_mut(&id) else {
            return;
        };
        machine.handle(now, input);
        self.inputs += 1;
        if self.inputs.is_multiple_of(self.check_every) {
            assert_eq!(machine.check(), Ok(()), "node {id}");
        }
        self.drain(id);
    }

    fn drain(&mut self, id: u64) {
        while let Some(output) = self.nodes.get_mut(&id).and_then(State::poll_output) {
            match output {
                Output::Send { to, message } => self.send(id, to, message),
                Output::Schedule { after, timer } => {
                    let (at, incarnation) = (id, self.incarnations[&id]);
                    self.enqueue(
                        self.now + after,
                        Event::Ring {
                            at,
                            incarnation,
                            timer,
                        },
                    );
                }
                Output::Event(event) => self.on_event(id, event),
            }
        }
    }

    fn on_event(&mut self, at: u64, event: io::Event<u64>) {
        match event {
            io::Event::Deliver { id, payload, hops } => {
                assert_eq!(*payload, *format!("{id:?}").into_bytes());
                let spread = self.spreads.get_mut(&id).unwrap();
                let got = spread.got.entry(at).or_insert((0, hops, self.now));
                got.0 += 1;
            }
            io::Event::Missing { .. } => self.missing += 1,
            io::Event::EdgeChanged { peer, role } => {
                self.tree_links.insert((at, peer), role);
            }
        }
    }

    fn send(&mut self, from: u64, to: u64, message: Message<u64>) {
        match &message {
            Message::Gossip(Gossip { id, .. }) => {
                if let Some(spread) = self.spreads.get_mut(id) {
                    spread.payloads += 1;
                }
            }
            _ => self.control += 1,
        }
        let Faults {
            lost,
            repeated,
            late,
        } = self.faults;
        if self.rng.random_ratio(lost, 100) {
            return;
        }
        let direction = usize::from(from > to);
        let Some((link, latency, arrival)) = self.links.get_mut(&(from.min(to), from.max(to)))
        else {
            return;
        };
        let mut at = (self.now + *latency).max(arrival[direction]);
        if self.rng.random_ratio(late, 100) {
            at += *latency * 4;
        } else {
            arrival[direction] = at;
        }
        let (link, again) = (*link, at + *latency * 3);
        let deliver = |message| Event::Deliver {
            from,
            to,
            link,
            message,
        };
        if self.rng.random_ratio(repeated, 100) {
            self.enqueue(again, deliver(message.clone()));
        }
        self.enqueue(at, deliver(message));
    }

    fn enqueue(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    /// How many timers are set for nodes that live, per node at most.
    pub(super) fn timers_max(&self) -> usize {
        let mut timers: BTreeMap<u64, usize> = BTreeMap::new();
        for event in self.queue.values() {
            if let Event::Ring { at, .. } = event {
                *timers.entry(*at).or_default() += 1;
            }
        }
        timers.values().copied().max().unwrap_or(0)
    }

    pub(super) fn sizes(&self) -> impl Iterator<Item = Sizes> {
        self.nodes.values().map(State::sizes)
    }

    /// Nobody got any message twice.
    pub(super) fn assert_at_most_once(&self) {
        for (id, spread) in &self.spreads {
            for (node, (times, ..)) in &spread.got {
                assert_eq!(*times, 1, "{node} got {id:?}");
            }
        }
    }

    /// Everybody in the component of its origin got the message once.
    pub(super) fn assert_complete(&self, id: &MessageId<u64>) {
        let mut expected = self.component(id.origin);
        expected.remove(&id.origin);
        let lacking: Vec<u64> = expected
            .iter()
            .copied()
            .filter(|node| !self.spreads[id].got.contains_key(node))
            .collect();
        assert!(lacking.is_empty(), "{id:?} did not reach {lacking:?}");
    }
}
