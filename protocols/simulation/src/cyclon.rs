//! Cyclon, the baseline of the paper: one partial view of 35 peers, refreshed by exchanging the oldest.
//!
//! As described by Voulgaris, Gavidia and van Steen (2005), with the parameters of the HyParView paper 5.1:
//! shuffles of 14, joins by walks of 5 hops, one shuffle per cycle of 10 s. Messages are datagrams: a peer
//! that is gone is noticed by nobody and leaves the views as the oldest entry. Broadcasts go to 4 random
//! peers of the view.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rand::{Rng, RngExt, rngs::SmallRng, seq::IteratorRandom};

use crate::{
    Input, Membership, NodeId, Output, Protocol, Subject,
    protocol::{InputOf, OutputOf},
    subject::Setup,
};

const VIEW: usize = 35;
const SHUFFLE: usize = 14;
const WALK: u8 = 5;
const FANOUT: usize = 4;
const CYCLE: Duration = Duration::from_secs(10);

/// A message of Cyclon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A newcomer asks its contact to start walks.
    Enter,
    /// A walk that ends in a view.
    Walk {
        /// Who has come.
        newcomer: NodeId,
        /// Hops left.
        ttl: u8,
    },
    /// The end of a walk gives the newcomer what it had in its place.
    Welcome {
        /// A peer and the age of its entry.
        entry: (NodeId, u32),
    },
    /// Some entries, and a request for as many.
    Shuffle(Vec<(NodeId, u32)>),
    /// The answer.
    Reply(Vec<(NodeId, u32)>),
}

/// One node of Cyclon.
#[derive(Debug)]
pub struct Cyclon {
    me: NodeId,
    view: BTreeMap<NodeId, u32>,
    /// What was sent in the last shuffle: the first to go.
    sent: Vec<NodeId>,
    outputs: VecDeque<OutputOf<Cyclon>>,
}

impl Cyclon {
    fn post(&mut self, to: NodeId, message: Said) {
        self.outputs.push_back(Output::Post { to, message });
    }

    fn sample(&self, count: usize, not: NodeId, rng: &mut SmallRng) -> Vec<(NodeId, u32)> {
        let all = self.view.iter().filter(|(peer, _)| **peer != not);
        all.map(|(peer, age)| (*peer, *age)).sample(rng, count)
    }

    fn shuffle(&mut self, rng: &mut SmallRng) {
        for age in self.view.values_mut() {
            *age += 1;
        }
        let oldest = self.view.iter().max_by_key(|(_, age)| **age);
        let Some(oldest) = oldest.map(|(peer, _)| *peer) else {
            return;
        };
        // Before it answers: should it be gone, this is how it leaves the views.
        self.view.remove(&oldest);
        let mut list = self.sample(SHUFFLE - 1, oldest, rng);
        self.sent = list.iter().map(|(peer, _)| *peer).collect();
        // So that each node is named anew about once per cycle, as old ones are dropped.
        list.push((self.me, 0));
        self.post(oldest, Said::Shuffle(list));
    }

    /// Free places first, then those of the entries that went to the other side.
    fn merge(&mut self, list: Vec<(NodeId, u32)>, mut sent: Vec<NodeId>) {
        for (peer, age) in list {
            if peer == self.me || self.view.contains_key(&peer) {
                continue;
            }
            if self.view.len() >= VIEW {
                // What was sent is known to the other side now, so nothing is lost where it gives way.
                let given = std::iter::from_fn(|| sent.pop());
                let place = given.into_iter().find(|peer| self.view.contains_key(peer));
                match place {
                    Some(place) => drop(self.view.remove(&place)),
                    None => return,
                }
            }
            self.view.insert(peer, age);
        }
    }

    fn on_walk(&mut self, newcomer: NodeId, ttl: u8, rng: &mut SmallRng) {
        let next = self.sample(1, newcomer, rng).pop();
        match next {
            Some((next, _)) if ttl > 0 => {
                let ttl = ttl - 1;
                self.post(next, Said::Walk { newcomer, ttl });
            }
            _ if newcomer == self.me || self.view.contains_key(&newcomer) => {}
            given => {
                // Nobody else is known here.
                let entry = given.unwrap_or((self.me, 0));
                if self.view.len() >= VIEW {
                    self.view.remove(&entry.0);
                }
                self.view.insert(newcomer, 0);
                self.post(newcomer, Said::Welcome { entry });
            }
        }
    }

    fn on_message(&mut self, from: NodeId, message: Said, rng: &mut SmallRng) {
        match message {
            Said::Enter => {
                // One walk for each place of the newcomer's view.
                for _ in 0..VIEW {
                    self.on_walk(from, WALK, rng);
                }
            }
            Said::Walk { newcomer, ttl } => self.on_walk(newcomer, ttl, rng),
            Said::Welcome { entry } => self.merge(vec![entry], Vec::new()),
            Said::Shuffle(list) => {
                let reply = self.sample(SHUFFLE, from, rng);
                let sent = reply.iter().map(|(peer, _)| *peer).collect();
                self.post(from, Said::Reply(reply));
                self.merge(list, sent);
            }
            Said::Reply(list) => {
                let sent = std::mem::take(&mut self.sent);
                self.merge(list, sent);
            }
        }
    }

    fn again<R: Rng>(&mut self, rng: &mut R) {
        // At random, or nodes started together would shuffle together.
        let after = CYCLE / 4 * 3 + rng.random_range(Duration::ZERO..=CYCLE / 2);
        self.outputs
            .push_back(Output::Schedule { after, timer: () });
    }
}

impl Protocol for Cyclon {
    type Message = Said;
    type Timer = ();
    type Command = Vec<NodeId>;
    type Event = ();

    fn start(&mut self, _: Duration, rng: &mut SmallRng) {
        self.again(rng);
    }

    fn handle(&mut self, _: Duration, input: InputOf<Self>, rng: &mut SmallRng) {
        match input {
            Input::Received { from, message } => self.on_message(from, message, rng),
            Input::Timer(()) => {
                self.again(rng);
                self.shuffle(rng);
            }
            Input::Command(contacts) => {
                for contact in contacts {
                    self.merge(vec![(contact, 0)], Vec::new());
                    self.post(contact, Said::Enter);
                }
            }
            // It has no connections: who is gone leaves the views by age.
            Input::Disconnected { .. } | Input::Unreachable { .. } => {}
        }
    }

    fn poll_output(&mut self) -> Option<OutputOf<Self>> {
        self.outputs.pop_front()
    }

    fn needs(&self, _: NodeId) -> bool {
        false
    }

    fn bytes(message: &Said) -> usize {
        match message {
            Said::Enter => 220,
            Said::Walk { .. } | Said::Welcome { .. } => 270,
            Said::Shuffle(list) | Said::Reply(list) => 20 + 250 * list.len(),
        }
    }
}

impl Membership for Cyclon {
    const CONNECTED: bool = false;

    fn neighbors(&self, into: &mut Vec<NodeId>) {
        into.extend(self.view.keys());
    }

    fn backups(&self, _: &mut Vec<NodeId>) {}

    fn targets(&self, from: Option<NodeId>, into: &mut Vec<NodeId>, rng: &mut SmallRng) {
        let others = self.view.keys().filter(|peer| Some(**peer) != from);
        into.extend(others.copied().sample(rng, FANOUT));
    }

    fn came((): &()) -> Option<NodeId> {
        None
    }
}

impl Subject for Cyclon {
    const ENDINGS: &'static [&'static str] = &[];

    fn create(id: NodeId, _: &Setup, _: u32) -> Self {
        Self {
            me: id,
            view: BTreeMap::new(),
            sent: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    fn enter(contacts: &[NodeId]) -> Vec<Self::Command> {
        vec![contacts.to_vec()]
    }

    fn leave() -> Option<Self::Command> {
        None
    }

    fn recall(_: &[NodeId]) -> Vec<Self::Command> {
        Vec::new()
    }

    fn went((): &()) -> Option<&'static str> {
        None
    }

    fn waits(&self) -> bool {
        false
    }

    fn capacity(_: &Setup) -> usize {
        VIEW
    }

    fn entries(&self) -> usize {
        self.view.len()
    }

    fn examine(&self, _: &Setup, _: Duration) -> Result<(), String> {
        if self.view.contains_key(&self.me) || self.view.len() > VIEW {
            return Err(format!("views: that of {} is wrong", self.me));
        }
        Ok(())
    }

    fn examine_pair<'a>(
        &self,
        _: NodeId,
        _: impl Fn(NodeId) -> Option<&'a Self>,
    ) -> Result<(), String> {
        Ok(())
    }
}
