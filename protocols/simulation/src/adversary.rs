//! Nodes that work against the others: the same machine, with a hand between it and the network that
//! changes what it says and adds to it. They know each other, and they know everybody's name.

use std::{collections::VecDeque, time::Duration};

use hyparview::{
    Address, Command, Config, Contact, DisconnectReason, Input as Given, Message, Pulse, State,
    StateEvent, Timer, message,
};
use serde::Deserialize;

use crate::{NodeId, Output, member::Member, network::mix, protocol::OutputOf};

type Machine = State<NodeId, Place>;
type Heard = Given<NodeId, Place>;
type Said = Message<NodeId, Place>;

/// Where in the network a node lives, as its signed record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Its subnet, if that counts.
    pub subnet: Option<u32>,
}

impl Address for Place {
    fn group(&self) -> Option<u64> {
        self.subnet.map(u64::from)
    }

    fn supersedes(&self, known: &Self) -> bool {
        self != known && self.subnet.is_some()
    }
}

/// What adversaries do. In a scenario: its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum Deed {
    /// 0: nothing. What the others are compared with.
    Nothing,
    /// 1: they name only each other: in samples, in shuffles, which they send each second to each neighbour
    /// to end there, and in place of the walk's end in answer to every shuffle that passes.
    Lie,
    /// 2: each second they join through some random honest nodes, hold as many links as they get, and claim
    /// that each is their last.
    Priority,
    /// 3: they pass on no walk and no broadcast.
    Withhold,
    /// 4: they join, and vanish without a word after five seconds, again and again.
    Vanish,
    /// 5: each second they send many walks of joins and shuffles to each neighbour, and probes to others.
    Flood,
    /// 6: all of this. Half of them vanish.
    All,
}

impl TryFrom<u8> for Deed {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        let all = [
            Self::Nothing,
            Self::Lie,
            Self::Priority,
            Self::Withhold,
            Self::Vanish,
            Self::Flood,
            Self::All,
        ];
        let known = all.get(usize::from(number)).copied();
        known.ok_or_else(|| format!("there is no deed {number}, only 0 to 6"))
    }
}

/// Who works against the others, how, and what they do against it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adversaries {
    /// How many of the nodes.
    pub percent: f64,
    /// What they do.
    pub deed: Deed,
    /// When they join; the others have joined before.
    pub from_s: f64,
    /// In how many subnets they are; all others have one each. 0: nobody has one.
    #[serde(default)]
    pub subnets: u32,
    /// 0: all nodes are without the defences; 1: with them; 2: with limits of admission, quarantine and
    /// links of one's own choice only; 3: all but the sample in passive views.
    pub defences: u8,
    /// How many nodes there are.
    #[serde(skip)]
    pub nodes: u32,
}

/// Links that one takes who takes all that it gets.
const GREED: usize = 60;
/// Joins per second of one who abuses priority.
const JOINS: u32 = 5;
/// How long one that vanishes stays, and then stays away, in seconds.
const STAY: u64 = 5;
/// Of a flood: shuffles and walks of joins per second and neighbour, and probes per second.
const FLOOD: u32 = 5;
/// Names in a list: as many as are believed.
const LIST: u32 = 8;
/// Through how many nodes one joins at first.
const ARRIVAL: u32 = 2;

impl Adversaries {
    /// Whether `node` is one of them. They are spread evenly; node 0 is none.
    #[must_use]
    pub fn contain(&self, node: NodeId) -> bool {
        let before = |count: u32| (f64::from(count) * self.percent / 100.0).floor();
        before(node.saturating_add(1)) > before(node)
    }

    pub(crate) fn place(&self, node: NodeId) -> Place {
        let subnet = match self.subnets {
            0 => None,
            few if self.contain(node) => Some(node % few),
            few => Some(few + node),
        };
        Place { subnet }
    }

    pub(crate) fn contact(&self, node: NodeId) -> Contact<NodeId, Place> {
        let record = self.place(node);
        Contact { id: node, record }
    }

    fn does(&self, deed: Deed) -> bool {
        self.deed == deed || self.deed == Deed::All
    }

    /// The configuration of one of the nodes.
    pub(crate) fn configure(&self, node: NodeId, config: Config) -> Config {
        if self.contain(node) && self.does(Deed::Priority) {
            return config.with_active_capacity(GREED);
        }
        match (self.defences, self.subnets) {
            (0, _) => undefended(config),
            (2, _) => plain(config),
            (3, _) => config.with_passive_sampled_percent(0),
            (_, 0) => config,
            _ => config
                .with_group_active_max(Some(1))
                .with_group_passive_max(Some(2)),
        }
    }
}

/// The configuration without what protects links that stand and bounds what neighbours send.
fn plain(config: Config) -> Config {
    config
        .with_tenure_min(Duration::MAX)
        .with_last_link_protection(Duration::MAX)
        .with_shuffle_excess(u32::MAX)
        .with_passive_sampled_percent(0)
}

/// The configuration without any defence of rule R11.
fn undefended(config: Config) -> Config {
    plain(config)
        .with_admission_rate(1_000_000_000)
        .with_admission_peer_interval(Duration::ZERO)
        .with_service_rate(1_000_000_000)
        .with_outbound_min(0)
        .with_flap_limit(u32::MAX)
        .with_quarantine(Duration::ZERO)
}

/// The hand of one adversary.
#[derive(Debug)]
pub(crate) struct Hand {
    me: NodeId,
    plan: Adversaries,
    /// For its choices.
    dice: u64,
    second: u64,
    away: bool,
    arrived: bool,
}

impl Hand {
    pub(crate) fn new(me: NodeId, plan: Adversaries) -> Self {
        Self {
            me,
            plan,
            dice: mix(u64::from(me)),
            second: 0,
            away: false,
            arrived: false,
        }
    }

    fn active(&self, now: Duration) -> bool {
        now.as_secs_f64() >= self.plan.from_s
    }

    /// Whether a broadcast of another is passed on.
    pub(crate) fn passes_on(&self) -> bool {
        !self.away && !self.plan.does(Deed::Withhold)
    }

    fn vanishes(&self) -> bool {
        match self.plan.deed {
            Deed::All => self.me.is_multiple_of(2),
            deed => deed == Deed::Vanish,
        }
    }

    /// A random node of the others, or of its own kind.
    fn someone(&mut self, own_kind: bool) -> NodeId {
        for _ in 0..1000 {
            self.dice = mix(self.dice);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "less than the number of nodes"
            )]
            let node = (self.dice % u64::from(self.plan.nodes.max(1))) as NodeId;
            if self.plan.contain(node) == own_kind && node != self.me {
                return node;
            }
        }
        self.me
    }

    fn poison(&mut self) -> Vec<Contact<NodeId, Place>> {
        (0..LIST)
            .map(|_| {
                let node = self.someone(true);
                self.plan.contact(node)
            })
            .collect()
    }

    /// What the machine hears instead of `input`, which may be more, and what is said besides.
    pub(crate) fn hear(
        &mut self,
        now: Duration,
        input: Heard,
        state: &Machine,
        said: &mut VecDeque<OutputOf<Member>>,
    ) -> Vec<Heard> {
        if !self.active(now) {
            // It waits for its hour, and nobody knows of it.
            let waits = matches!(input, Given::Timer(_));
            return Some(input).filter(|_| waits).into_iter().collect();
        }
        let mut heard = Vec::new();
        if matches!(input, Given::Timer(Timer::Heartbeat)) && now.as_secs() > self.second {
            self.second = now.as_secs();
            self.act(state, &mut heard, said);
        }
        let lies = self.plan.does(Deed::Lie);
        match input {
            Given::Timer(_) | Given::Disconnected { .. } => heard.push(input),
            _ if self.away => {}
            Given::Received {
                message: Message::Shuffle(message::Shuffle { serial, origin, .. }),
                ..
            } if lies => {
                let list = self.poison();
                let (to, message) = (
                    origin.id,
                    Message::ShuffleReply(message::ShuffleReply { serial, list }),
                );
                said.push_back(Output::Send { to, message });
                said.push_back(Output::Release { peer: to });
            }
            Given::Received {
                message: Message::Shuffle(_) | Message::ForwardJoin(_),
                ..
            } if self.plan.does(Deed::Withhold) => {}
            input => heard.push(input),
        }
        heard
    }

    /// What is done each second.
    fn act(
        &mut self,
        state: &Machine,
        heard: &mut Vec<Heard>,
        said: &mut VecDeque<OutputOf<Member>>,
    ) {
        let mut joins = if self.arrived { 0 } else { ARRIVAL };
        self.arrived = true;
        if self.vanishes() && self.second.is_multiple_of(STAY) {
            self.away = !self.away;
            if self.away {
                let peers = state.active();
                said.extend(peers.map(|peer| Output::Cut { peer }));
            } else {
                joins = JOINS;
            }
        }
        if self.away {
            return;
        }
        if self.plan.does(Deed::Priority) {
            joins = JOINS;
        }
        for _ in 0..joins {
            let victim = self.someone(false);
            heard.push(Given::Command(Command::Join(self.plan.contact(victim))));
        }
        let peers: Vec<NodeId> = state
            .active()
            .filter(|peer| !self.plan.contain(*peer))
            .collect();
        if self.plan.does(Deed::Lie) {
            for peer in &peers {
                self.shuffle(*peer, 1, said);
            }
        }
        if self.plan.does(Deed::Flood) {
            self.flood(&peers, said);
        }
    }

    fn shuffle(&mut self, peer: NodeId, ttl: u8, said: &mut VecDeque<OutputOf<Member>>) {
        let lies = self.plan.does(Deed::Lie);
        let list = if lies { self.poison() } else { Vec::new() };
        let origin = self.plan.contact(self.me);
        self.dice = mix(self.dice);
        let serial = self.dice;
        let message = Message::Shuffle(message::Shuffle {
            serial,
            origin,
            list,
            ttl,
        });
        said.push_back(Output::Tell { peer, message });
    }

    fn flood(&mut self, peers: &[NodeId], said: &mut VecDeque<OutputOf<Member>>) {
        for peer in peers {
            for _ in 0..FLOOD {
                self.shuffle(*peer, u8::MAX, said);
                let newcomer = self.someone(true);
                let newcomer = self.plan.contact(newcomer);
                let message = Message::ForwardJoin(message::ForwardJoin {
                    newcomer,
                    ttl: u8::MAX,
                });
                said.push_back(Output::Tell {
                    peer: *peer,
                    message,
                });
            }
        }
        for _ in 0..FLOOD {
            let (to, record) = (self.someone(false), self.plan.place(self.me));
            self.dice = mix(self.dice);
            let serial = self.dice;
            let message = Message::Probe(message::Probe { serial, record });
            said.push_back(Output::Send { to, message });
            said.push_back(Output::Release { peer: to });
        }
    }

    /// What is said instead of `output`.
    pub(crate) fn say(&mut self, output: OutputOf<Member>, said: &mut VecDeque<OutputOf<Member>>) {
        let output = match output {
            Output::Send { .. }
            | Output::Tell { .. }
            | Output::Event(StateEvent::Isolated | StateEvent::Wanting)
                if self.away =>
            {
                return;
            }
            Output::Send { to, message } => Output::Send {
                to,
                message: self.twist(message),
            },
            Output::Tell { peer, message } => Output::Tell {
                peer,
                message: self.twist(message),
            },
            output => output,
        };
        said.push_back(output);
    }

    fn twist(&mut self, mut message: Said) -> Said {
        let started = self.second > 0;
        if started && self.plan.does(Deed::Lie) {
            match &mut message {
                Message::Accept(message::Accept { sample, .. })
                | Message::Refuse(message::Refuse { sample, .. })
                | Message::ProbeReply(message::ProbeReply { sample, .. })
                | Message::Disconnect(message::Disconnect {
                    sample,
                    reason:
                        DisconnectReason::Evicted
                        | DisconnectReason::Unwanted
                        | DisconnectReason::Leaving,
                    ..
                })
                | Message::Shuffle(message::Shuffle { list: sample, .. })
                | Message::ShuffleReply(message::ShuffleReply { list: sample, .. }) => {
                    *sample = self.poison();
                }
                _ => {}
            }
        }
        if started && self.plan.does(Deed::Priority) {
            match &mut message {
                Message::Join(message::Join { pulse, .. })
                | Message::Neighbor(message::Neighbor { pulse, .. })
                | Message::Accept(message::Accept { pulse, .. })
                | Message::Heartbeat(message::Heartbeat { pulse, .. }) => beg(pulse),
                _ => {}
            }
        }
        message
    }
}

/// As one that would be left alone.
fn beg(pulse: &mut Pulse<NodeId>) {
    pulse.degree = pulse.degree.min(1);
}
