//! Broadcast by the production machine of `plumtree`, over any membership.

mod cause;
mod defect;
mod subject;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use plumtree::{Digest, Gossip, Graft, IHave, Message, MessageId, Prune, State, StateEvent, Timer};
use rand::rngs::SmallRng;

use crate::{
    Input, Membership, NodeId, Output, Protocol,
    protocol::{InputOf, OutputOf},
};
pub use cause::Cause;
use cause::Causes;
use defect::Spoiler;
pub use defect::TreeDefect;

/// Bytes of a peer's name, and of a message's name, as the node's codec writes them.
const NAME: usize = 40;
const MESSAGE_NAME: usize = NAME + 40;
const POSITION: usize = NAME + 45;

/// A message of this layer or of the one below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branch<M> {
    /// Of the membership.
    Below(M),
    /// Of the broadcast.
    Broadcast(Message<NodeId>),
}

/// A timer of this layer or of the one below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted<T> {
    /// Of the membership.
    Below(T),
    /// Of the broadcast.
    Broadcast(Timer),
}

/// A command to this layer or to the one below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish<C> {
    /// To the membership.
    Below(C),
    /// Broadcast a payload of this many bytes.
    Broadcast(usize),
    /// This is the best-connected node.
    SetRoot(NodeId),
    /// The broadcast's neighbours stay as they are, whatever the membership does.
    Hold,
}

/// An event of this layer or of the one below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported<E> {
    /// Of the membership.
    Below(E),
    /// Of the broadcast.
    Tree(News),
}

/// What happened to a broadcast at one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It was delivered.
    Delivered {
        /// Which one.
        id: MessageId<NodeId>,
        /// Links it has crossed; 1 from the origin itself.
        hops: u16,
    },
    /// Its payload was sent.
    Sent(MessageId<NodeId>),
    /// Its payload came again, and why.
    Again(MessageId<NodeId>, Cause),
    /// No announcer sent it.
    Missing,
    /// Something other than a payload was sent, of this many bytes.
    Control(usize),
}

/// A membership, and the broadcast over its neighbours.
#[derive(Debug)]
pub struct Tree<M: Membership> {
    below: M,
    state: State<NodeId>,
    /// Whom the broadcast takes for neighbours, in order.
    neighbors: Vec<NodeId>,
    /// Of those that are connected.
    round_trips: BTreeMap<NodeId, Duration>,
    /// They stay as they are.
    held: bool,
    causes: Causes,
    spoiler: Spoiler,
    outputs: VecDeque<OutputOf<Tree<M>>>,
}

impl<M: Membership> Tree<M> {
    /// Broadcasts over `below`.
    pub fn new(id: NodeId, below: M, config: plumtree::Config, incarnation: u32) -> Self {
        Self {
            below,
            state: State::new(id, config, u64::from(incarnation)),
            neighbors: Vec::new(),
            round_trips: BTreeMap::new(),
            held: false,
            causes: Causes::default(),
            spoiler: Spoiler::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Plants a defect.
    #[must_use]
    pub fn with_defect(mut self, defect: Option<TreeDefect>) -> Self {
        self.spoiler = Spoiler::new(defect);
        self
    }

    /// The membership.
    pub fn below(&self) -> &M {
        &self.below
    }

    /// The machine.
    pub fn state(&self) -> &State<NodeId> {
        &self.state
    }

    /// Tells the broadcast which neighbours have come and gone.
    fn follow(&mut self, now: Duration) {
        if self.held {
            return;
        }
        let mut current = Vec::with_capacity(self.neighbors.len());
        self.below.neighbors(&mut current);
        // Looked at after every input of the membership, and seldom different.
        if current == self.neighbors {
            return;
        }
        let former = std::mem::replace(&mut self.neighbors, current.clone());
        for peer in former
            .iter()
            .copied()
            .filter(|peer| !current.contains(peer))
        {
            self.causes.gone(peer);
            self.feed(now, plumtree::Input::NeighborDown { peer });
        }
        for peer in current.into_iter().filter(|peer| !former.contains(peer)) {
            self.causes.came(peer, now);
            self.feed(now, plumtree::Input::NeighborUp { peer });
            if let Some(round_trip) = self.round_trips.get(&peer).copied() {
                // Known by now, for a connection is measured when it is made; without it 200 ms are assumed.
                self.feed(now, plumtree::Input::Measured { peer, round_trip });
            }
            if let Some(input) = self.spoiler.on_neighbor_up(peer, &self.state) {
                self.feed(now, input);
            }
        }
    }

    fn feed(&mut self, now: Duration, input: plumtree::Input<NodeId>) {
        if let plumtree::Input::Received { from, message } = &input {
            // Before the machine handles it, to which it is no news any more then.
            self.causes.asked_by(*from, message);
            if let Message::Gossip(Gossip { id, .. }) = message
                && !self.state.is_news(id)
            {
                let why = self.causes.of_duplicate(*from, id.origin, now);
                let news = Reported::Tree(News::Again(*id, why));
                self.outputs.push_back(Output::Event(news));
                // The machine does not hear of it, so it cuts nothing off.
                if self.spoiler.overlooks_duplicates() {
                    return;
                }
            }
        }
        let why = Cause::of_graft(&input);
        self.state.handle(now, input);
        self.drain(why);
    }

    /// `why` is the cause of grafts among what there is to do.
    fn drain(&mut self, why: Cause) {
        while let Some(output) = self.state.poll_output() {
            let output = match output {
                plumtree::Output::Send { to, message } => {
                    if self.spoiler.swallows(&message, why) {
                        continue;
                    }
                    self.causes.note(to, &message, why);
                    let news = match &message {
                        Message::Gossip(Gossip { id, .. }) => News::Sent(*id),
                        _ => News::Control(bytes(&message)),
                    };
                    self.outputs.push_back(Output::Event(Reported::Tree(news)));
                    let message = Branch::Broadcast(message);
                    Output::Tell { peer: to, message }
                }
                plumtree::Output::Schedule { after, timer } => Output::Schedule {
                    after,
                    timer: Planted::Broadcast(timer),
                },
                plumtree::Output::Event(event) => match event {
                    StateEvent::Deliver { id, hops, .. } => {
                        Output::Event(Reported::Tree(News::Delivered { id, hops }))
                    }
                    StateEvent::Missing { .. } => Output::Event(Reported::Tree(News::Missing)),
                    // No measure is made of roles.
                    StateEvent::EdgeChanged { .. } => continue,
                },
            };
            self.outputs.push_back(output);
        }
    }
}

/// Bytes on the wire.
fn bytes(message: &Message<NodeId>) -> usize {
    let content = match message {
        Message::Gossip(Gossip { payload, .. }) => MESSAGE_NAME + 30 + payload.len(),
        Message::IHave(IHave { list }) => list.len() * (MESSAGE_NAME + 10),
        Message::Graft(Graft { list }) => list.len() * POSITION,
        Message::Prune(Prune { origins }) => origins.len() * NAME,
        Message::Digest(Digest { list, .. }) => 2 * NAME + list.len() * POSITION,
    };
    // The name of the variant, and the frame's length.
    content + 20
}

impl<M: Membership> Protocol for Tree<M> {
    type Message = Branch<M::Message>;
    type Timer = Planted<M::Timer>;
    type Command = Wish<M::Command>;
    type Event = Reported<M::Event>;

    fn start(&mut self, now: Duration, rng: &mut SmallRng) {
        self.below.start(now, rng);
        self.state.start(now, rng);
        // Nobody is asked at the start, so the cause does not matter.
        self.drain(Cause::Flood);
    }

    fn handle(&mut self, now: Duration, input: InputOf<Self>, rng: &mut SmallRng) {
        if let Input::Disconnected { peer, .. } = &input {
            // It was that of this connection.
            self.round_trips.remove(peer);
        }
        let below = match input {
            Input::Received {
                from,
                message: Branch::Broadcast(message),
            } => return self.feed(now, plumtree::Input::Received { from, message }),
            Input::Timer(Planted::Broadcast(timer)) => {
                return self.feed(now, plumtree::Input::Timer(timer));
            }
            Input::Command(Wish::Broadcast(bytes)) => {
                // Nobody looks into it: only its length is counted.
                let payload = Arc::from(vec![0; bytes]);
                let command = plumtree::Command::Broadcast(payload);
                return self.feed(now, plumtree::Input::Command(command));
            }
            Input::Command(Wish::SetRoot(root)) => {
                let command = plumtree::Command::SetRoot(Some(root));
                return self.feed(now, plumtree::Input::Command(command));
            }
            Input::Command(Wish::Hold) => {
                self.held = true;
                return;
            }
            Input::Received {
                from,
                message: Branch::Below(message),
            } => Input::Received { from, message },
            Input::Timer(Planted::Below(timer)) => Input::Timer(timer),
            Input::Command(Wish::Below(command)) => Input::Command(command),
            Input::Disconnected { peer, slow } => Input::Disconnected { peer, slow },
            Input::Unreachable { peer } => Input::Unreachable { peer },
        };
        self.below.handle(now, below, rng);
        self.follow(now);
    }

    fn measured(&mut self, peer: NodeId, round_trip: Duration) {
        self.round_trips.insert(peer, round_trip);
    }

    /// The membership first: it makes the connections that the broadcast uses.
    fn poll_output(&mut self) -> Option<OutputOf<Self>> {
        let Some(output) = self.below.poll_output() else {
            return self.outputs.pop_front();
        };
        Some(match output {
            Output::Send { to, message } => Output::Send {
                to,
                message: Branch::Below(message),
            },
            Output::Tell { peer, message } => Output::Tell {
                peer,
                message: Branch::Below(message),
            },
            Output::Post { to, message } => Output::Post {
                to,
                message: Branch::Below(message),
            },
            Output::Release { peer } => Output::Release { peer },
            Output::Cut { peer } => Output::Cut { peer },
            Output::Schedule { after, timer } => Output::Schedule {
                after,
                timer: Planted::Below(timer),
            },
            Output::Event(event) => Output::Event(Reported::Below(event)),
        })
    }

    fn needs(&self, peer: NodeId) -> bool {
        // A neighbour that is held on to needs its connection, though the membership has another now.
        self.below.needs(peer) || (self.held && self.neighbors.contains(&peer))
    }

    fn bytes(message: &Self::Message) -> usize {
        match message {
            Branch::Below(message) => M::bytes(message),
            Branch::Broadcast(message) => bytes(message),
        }
    }
}

impl<M: Membership> Membership for Tree<M> {
    fn neighbors(&self, into: &mut Vec<NodeId>) {
        self.below.neighbors(into);
    }

    fn backups(&self, into: &mut Vec<NodeId>) {
        self.below.backups(into);
    }

    fn came(event: &Self::Event) -> Option<NodeId> {
        match event {
            Reported::Below(event) => M::came(event),
            Reported::Tree(_) => None,
        }
    }
}
