//! Broadcast by flooding the neighbours, over any membership: what the paper measures reliability with.

use std::{collections::VecDeque, time::Duration};

use rand::rngs::SmallRng;

use crate::{
    Input, Membership, NodeId, Output, Protocol,
    protocol::{InputOf, OutputOf},
};

/// What a new neighbour is told of at most.
const RECENT_MAX: usize = 64;

/// A message of this layer or of the one below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried<M> {
    /// Of the membership.
    Below(M),
    /// A broadcast on its way.
    Payload {
        /// Which one.
        number: u32,
        /// Links it has crossed, this one included.
        hops: u16,
    },
    /// What a new neighbour may have missed, as the node's links begin with a catch-up.
    CatchUp(Vec<u32>),
}

/// A command to this layer or to the one below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order<C> {
    /// To the membership.
    Below(C),
    /// Broadcast this number.
    Broadcast(u32),
}

/// An event of this layer or of the one below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told<E> {
    /// Of the membership.
    Below(E),
    /// A broadcast has come for the first time.
    Delivered {
        /// Which one.
        number: u32,
        /// Links it has crossed; 0 at its origin.
        hops: u16,
    },
}

/// A membership, and flooding over its neighbours.
#[derive(Debug)]
pub struct Flood<M: Membership> {
    below: M,
    /// Whether new neighbours are told what they may have missed.
    catches_up: bool,
    seen: Vec<u64>,
    recent: VecDeque<u32>,
    outputs: VecDeque<OutputOf<Flood<M>>>,
    /// To avoid an allocation per message.
    peers: Vec<NodeId>,
}

impl<M: Membership> Flood<M> {
    /// Floods over `below`.
    pub fn new(below: M, catches_up: bool) -> Self {
        Self {
            below,
            catches_up,
            seen: Vec::new(),
            recent: VecDeque::new(),
            outputs: VecDeque::new(),
            peers: Vec::new(),
        }
    }

    /// The membership.
    pub fn below(&self) -> &M {
        &self.below
    }

    /// Whether broadcast `number` has come.
    pub fn has(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.seen.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn spread(&mut self, number: u32, hops: u16, from: Option<NodeId>, rng: &mut SmallRng) {
        if self.has(number) {
            return;
        }
        let (word, bit) = place(number);
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        self.seen[word] |= bit;
        if self.catches_up {
            self.recent.push_back(number);
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
        }
        self.outputs
            .push_back(Output::Event(Told::Delivered { number, hops }));
        self.peers.clear();
        self.below.targets(from, &mut self.peers, rng);
        for peer in self.peers.drain(..) {
            let message = Carried::Payload {
                number,
                hops: hops + 1,
            };
            // Where neighbours have no connections, nothing can be told over one.
            self.outputs.push_back(if M::CONNECTED {
                Output::Tell { peer, message }
            } else {
                Output::Post { to: peer, message }
            });
        }
    }
}

fn place(number: u32) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}

impl<M: Membership> Protocol for Flood<M> {
    type Message = Carried<M::Message>;
    type Timer = M::Timer;
    type Command = Order<M::Command>;
    type Event = Told<M::Event>;

    fn start(&mut self, now: Duration, rng: &mut SmallRng) {
        self.below.start(now, rng);
    }

    fn handle(&mut self, now: Duration, input: InputOf<Self>, rng: &mut SmallRng) {
        let below = match input {
            Input::Received {
                from,
                message: Carried::Below(message),
            } => Input::Received { from, message },
            Input::Received {
                from,
                message: Carried::Payload { number, hops },
            } => return self.spread(number, hops, Some(from), rng),
            Input::Received {
                from,
                message: Carried::CatchUp(numbers),
            } => {
                for number in numbers {
                    // A catch-up does not say how far a message came.
                    self.spread(number, 0, Some(from), rng);
                }
                return;
            }
            Input::Disconnected { peer, slow } => Input::Disconnected { peer, slow },
            Input::Unreachable { peer } => Input::Unreachable { peer },
            Input::Timer(timer) => Input::Timer(timer),
            Input::Command(Order::Below(command)) => Input::Command(command),
            Input::Command(Order::Broadcast(number)) => return self.spread(number, 0, None, rng),
        };
        self.below.handle(now, below, rng);
    }

    fn poll_output(&mut self) -> Option<OutputOf<Self>> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        Some(match self.below.poll_output()? {
            Output::Send { to, message } => Output::Send {
                to,
                message: Carried::Below(message),
            },
            Output::Tell { peer, message } => Output::Tell {
                peer,
                message: Carried::Below(message),
            },
            Output::Post { to, message } => Output::Post {
                to,
                message: Carried::Below(message),
            },
            Output::Release { peer } => Output::Release { peer },
            Output::Cut { peer } => Output::Cut { peer },
            Output::Schedule { after, timer } => Output::Schedule { after, timer },
            Output::Event(event) => {
                // Only now is there a connection to send it over.
                if let Some(peer) = M::came(&event).filter(|_| !self.recent.is_empty()) {
                    let message = Carried::CatchUp(self.recent.iter().copied().collect());
                    self.outputs.push_back(Output::Tell { peer, message });
                }
                Output::Event(Told::Below(event))
            }
        })
    }

    fn needs(&self, peer: NodeId) -> bool {
        self.below.needs(peer)
    }

    fn bytes(message: &Self::Message) -> usize {
        match message {
            Carried::Below(message) => M::bytes(message),
            // Like a status message of the node.
            Carried::Payload { .. } => 100,
            Carried::CatchUp(numbers) => 10 + 100 * numbers.len(),
        }
    }
}

impl<M: Membership> Membership for Flood<M> {
    fn neighbors(&self, into: &mut Vec<NodeId>) {
        self.below.neighbors(into);
    }

    fn backups(&self, into: &mut Vec<NodeId>) {
        self.below.backups(into);
    }

    fn came(event: &Self::Event) -> Option<NodeId> {
        match event {
            Told::Below(event) => M::came(event),
            Told::Delivered { .. } => None,
        }
    }
}
