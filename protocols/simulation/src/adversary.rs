//! Nodes that work against the others: the same machine, with an interceptor between it and the network
//! that changes what it says and adds to it. They know each other, and they know everybody's name.

use std::{collections::VecDeque, time::Duration};

use hyparview::{
    Command, Config, Contact, DisconnectReason, Input as Given, Message, Pulse, StateEvent, Timer,
    message,
};
use serde::Deserialize;

use crate::{
    NodeId, Output, Place,
    network::mix,
    place::{Heard, Machine, MemberOutput, Said},
};

/// What adversaries do. A scenario names it in kebab case, or by the number that older scenarios have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NameOrNumber")]
pub enum Attack {
    /// `nothing`, 0: what the others are compared with.
    Nothing,
    /// `lie`, 1: they name only each other: in samples, in shuffles, which they send each second to each
    /// neighbour to end there, and in place of the walk's end in answer to every shuffle that passes.
    Lie,
    /// `priority`, 2: each second they join through some random honest nodes, hold as many links as they
    /// get, and claim that each is their last.
    Priority,
    /// `withhold`, 3: they pass on no walk and no broadcast.
    Withhold,
    /// `vanish`, 4: they join, and vanish without a word after five seconds, again and again.
    Vanish,
    /// `flood`, 5: each second they send many walks of joins and shuffles to each neighbour, and probes to
    /// others.
    Flood,
    /// `all`, 6: all of this. Half of them vanish.
    All,
}

impl Attack {
    /// By name, each in the place of its number.
    const NAMED: [(&'static str, Self); 7] = [
        ("nothing", Self::Nothing),
        ("lie", Self::Lie),
        ("priority", Self::Priority),
        ("withhold", Self::Withhold),
        ("vanish", Self::Vanish),
        ("flood", Self::Flood),
        ("all", Self::All),
    ];
}

impl TryFrom<NameOrNumber> for Attack {
    type Error = String;

    fn try_from(given: NameOrNumber) -> Result<Self, String> {
        given.choose("attack", &Self::NAMED)
    }
}

/// Which defences honest nodes have. A scenario names it in kebab case, or by the number that older
/// scenarios have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NameOrNumber")]
pub enum Defences {
    /// `undefended`, 0: none.
    Undefended,
    /// `defended`, 1: all, as in production.
    Defended,
    /// `limits-only`, 2: limits of admission, quarantine, and links of one's own choice.
    LimitsOnly,
    /// `no-sample`, 3: all but the sample in passive views.
    NoSample,
}

impl Defences {
    /// By name, each in the place of its number.
    const NAMED: [(&'static str, Self); 4] = [
        ("undefended", Self::Undefended),
        ("defended", Self::Defended),
        ("limits-only", Self::LimitsOnly),
        ("no-sample", Self::NoSample),
    ];
}

impl TryFrom<NameOrNumber> for Defences {
    type Error = String;

    fn try_from(given: NameOrNumber) -> Result<Self, String> {
        given.choose("choice of defences", &Self::NAMED)
    }
}

/// How a scenario says which of several is meant.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum NameOrNumber {
    Name(String),
    Number(u8),
}

impl NameOrNumber {
    /// Finds it in `named`, where a number counts from 0.
    fn choose<T: Copy>(self, what: &str, named: &[(&str, T)]) -> Result<T, String> {
        let known = match &self {
            Self::Name(name) => named.iter().find(|(known, _)| known == name),
            Self::Number(number) => named.get(usize::from(*number)),
        };
        known.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
            format!("there is no such {what}, only {}", names.join(", "))
        })
    }
}

/// Who works against the others, how, and what they do against it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adversaries {
    /// How many of the nodes.
    pub percent: f64,
    /// What they do. Older scenarios say `deed`.
    #[serde(alias = "deed")]
    pub attack: Attack,
    /// When they join, in seconds of the world; the others have joined before.
    pub from_s: f64,
    /// In how many subnets they are; all others have one each. 0: nobody has one.
    #[serde(default)]
    pub subnets: u32,
    /// What all nodes have against it.
    pub defences: Defences,
    /// How many nodes there are.
    #[serde(skip)]
    pub nodes: u32,
}

/// Most links of one that holds as many as it gets.
const LINKS_WANTED: usize = 60;
/// Joins per second of one who abuses priority, and of one that comes back.
const JOINS_PER_SECOND: u32 = 5;
/// How long one that vanishes stays, and then stays away.
const STAY_SECONDS: u64 = 5;
/// Of a flood: shuffles and walks of joins per neighbour, and probes, each second.
const FLOOD_PER_SECOND: u32 = 5;
/// Names in a list of lies: as many as are believed.
const LIST_NAMES: u32 = 8;
/// Through how many nodes one joins at first.
const FIRST_JOINS: u32 = 2;

impl Adversaries {
    /// Whether `node` is one of them. They are spread evenly; node 0 is none.
    #[must_use]
    pub fn contain(&self, node: NodeId) -> bool {
        // Counted along the ids, so that those who join early have the same share as those who join late.
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

    fn does(&self, attack: Attack) -> bool {
        self.attack == attack || self.attack == Attack::All
    }

    /// The configuration of one of the nodes.
    pub(crate) fn configure(&self, node: NodeId, config: Config) -> Config {
        if self.contain(node) && self.does(Attack::Priority) {
            return config.with_active_capacity(LINKS_WANTED);
        }
        match (self.defences, self.subnets) {
            (Defences::Undefended, _) => undefended(config),
            (Defences::LimitsOnly, _) => plain(config),
            (Defences::NoSample, _) => config.with_passive_sampled_percent(0),
            (Defences::Defended, 0) => config,
            (Defences::Defended, _) => config
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

/// What stands between the machine of one adversary and the network.
#[derive(Debug)]
pub(crate) struct Interceptor {
    me: NodeId,
    plan: Adversaries,
    /// What its choices are made from: a chain of its own, so that no adversary changes what others draw.
    rng_state: u64,
    /// The last second of its clock in which it acted.
    second: u64,
    /// It has vanished for now.
    away: bool,
    /// It has joined once.
    arrived: bool,
}

impl Interceptor {
    pub(crate) fn new(me: NodeId, plan: Adversaries) -> Self {
        Self {
            me,
            plan,
            rng_state: mix(u64::from(me)),
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
        !self.away && !self.plan.does(Attack::Withhold)
    }

    fn vanishes(&self) -> bool {
        match self.plan.attack {
            Attack::All => self.me.is_multiple_of(2),
            attack => attack == Attack::Vanish,
        }
    }

    /// A random node of the others, or of its own kind.
    fn someone(&mut self, own_kind: bool) -> NodeId {
        // Bounded, for there may be nobody of that kind.
        for _ in 0..1000 {
            self.rng_state = mix(self.rng_state);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "less than the number of nodes"
            )]
            let node = (self.rng_state % u64::from(self.plan.nodes.max(1))) as NodeId;
            if self.plan.contain(node) == own_kind && node != self.me {
                return node;
            }
        }
        self.me
    }

    fn poison(&mut self) -> Vec<Contact<NodeId, Place>> {
        (0..LIST_NAMES)
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
        said: &mut VecDeque<MemberOutput>,
    ) -> Vec<Heard> {
        if !self.active(now) {
            // It waits for its hour, and nobody knows of it.
            // Timers go on: each asks for the next, and one that is dropped never comes again.
            let waits = matches!(input, Given::Timer(_));
            return Some(input).filter(|_| waits).into_iter().collect();
        }
        let mut heard = Vec::new();
        // It has no timer of its own; this one of its machine's rings often enough.
        if matches!(input, Given::Timer(Timer::Heartbeat)) && now.as_secs() > self.second {
            self.second = now.as_secs();
            self.act(state, &mut heard, said);
        }
        let lies = self.plan.does(Attack::Lie);
        match input {
            // Also while it is away: its machine must know that its links are gone when it comes back.
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
            } if self.plan.does(Attack::Withhold) => {}
            input => heard.push(input),
        }
        heard
    }

    /// What is done each second.
    fn act(&mut self, state: &Machine, heard: &mut Vec<Heard>, said: &mut VecDeque<MemberOutput>) {
        // At first it comes as any newcomer does.
        let mut joins = if self.arrived { 0 } else { FIRST_JOINS };
        self.arrived = true;
        if self.vanishes() && self.second.is_multiple_of(STAY_SECONDS) {
            self.away = !self.away;
            if self.away {
                let peers = state.active();
                // No farewell: the others see what they see of a process that has died.
                said.extend(peers.map(|peer| Output::Cut { peer }));
            } else {
                // Its links are gone, so it has to find others at once.
                joins = JOINS_PER_SECOND;
            }
        }
        if self.away {
            return;
        }
        if self.plan.does(Attack::Priority) {
            joins = JOINS_PER_SECOND;
        }
        for _ in 0..joins {
            let victim = self.someone(false);
            heard.push(Given::Command(Command::Join(self.plan.contact(victim))));
        }
        let peers: Vec<NodeId> = state
            .active()
            // They spare each other.
            .filter(|peer| !self.plan.contain(*peer))
            .collect();
        if self.plan.does(Attack::Lie) {
            for peer in &peers {
                self.shuffle(*peer, 1, said);
            }
        }
        if self.plan.does(Attack::Flood) {
            self.flood(&peers, said);
        }
    }

    fn shuffle(&mut self, peer: NodeId, ttl: u8, said: &mut VecDeque<MemberOutput>) {
        let lies = self.plan.does(Attack::Lie);
        let list = if lies { self.poison() } else { Vec::new() };
        let origin = self.plan.contact(self.me);
        self.rng_state = mix(self.rng_state);
        let serial = self.rng_state;
        let message = Message::Shuffle(message::Shuffle {
            serial,
            origin,
            list,
            ttl,
        });
        said.push_back(Output::Tell { peer, message });
    }

    fn flood(&mut self, peers: &[NodeId], said: &mut VecDeque<MemberOutput>) {
        for peer in peers {
            for _ in 0..FLOOD_PER_SECOND {
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
        for _ in 0..FLOOD_PER_SECOND {
            let (to, record) = (self.someone(false), self.plan.place(self.me));
            self.rng_state = mix(self.rng_state);
            let serial = self.rng_state;
            let message = Message::Probe(message::Probe { serial, record });
            said.push_back(Output::Send { to, message });
            said.push_back(Output::Release { peer: to });
        }
    }

    /// What is said instead of `output`.
    pub(crate) fn say(&mut self, output: MemberOutput, said: &mut VecDeque<MemberOutput>) {
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
        // Before its hour it passes for honest.
        let started = self.second > 0;
        if started && self.plan.does(Attack::Lie) {
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
        if started && self.plan.does(Attack::Priority) {
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

#[cfg(test)]
mod tests {
    use super::{Adversaries, Attack, Defences};

    fn plan(choices: &str) -> Result<Adversaries, toml::de::Error> {
        toml::from_str(&format!("percent = 20\nfrom-s = 80\n{choices}"))
    }

    #[test]
    fn attacks_and_defences_are_named_or_numbered_as_in_older_scenarios() {
        for (number, (name, attack)) in Attack::NAMED.into_iter().enumerate() {
            let named = plan(&format!("attack = '{name}'\ndefences = 'defended'"));
            let numbered = plan(&format!("deed = {number}\ndefences = 1"));
            assert_eq!(named.as_ref().map(|plan| plan.attack), Ok(attack));
            assert_eq!(named, numbered);
        }
        for (number, (name, defences)) in Defences::NAMED.into_iter().enumerate() {
            let named = plan(&format!("attack = 'all'\ndefences = '{name}'"));
            let numbered = plan(&format!("attack = 6\ndefences = {number}"));
            assert_eq!(named.as_ref().map(|plan| plan.defences), Ok(defences));
            assert_eq!(named, numbered);
        }
    }

    #[test]
    fn an_unknown_name_or_number_is_refused_with_the_names_that_there_are() {
        for unknown in ["attack = 7", "attack = 'bribe'"] {
            let refused = plan(&format!("{unknown}\ndefences = 1")).expect_err("it is unknown");
            let told = refused.to_string();
            assert!(told.contains("no such attack, only nothing, lie"), "{told}");
        }
    }
}
