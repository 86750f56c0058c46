//! The broadcast state machine: the whole protocol, without I/O, clock or randomness of its own.
//!
//! One dispatcher, and one small function per input in the file that bears the rule's name. What a message may
//! change is named by groups; the last two are kept for each neighbour:
//!
//! | group | what |
//! |---|---|
//! | trees | of each tree: eager edges, parent, how far neighbours say to be from its root |
//! | shelf | payloads kept, and what was seen of each origin |
//! | missing | what was announced and has not come, and when it is asked for |
//! | batches | announcements, prunes and positions that wait to be sent |
//! | accounts | round trip, what it was asked for, what it has announced, what it may still ask for, distrust |
//!
//! | when this arrives | in | this may change |
//! |---|---|---|
//! | `Gossip` that is news | `gossip` | shelf (the payload; an origin that fell silent makes room, and leaves all groups); trees (its edge, the parent, a shorter way); missing (what has come); batches (it is announced on, the former parent is pruned); accounts (an answer) |
//! | `Gossip` once more | `gossip` | trees (its edge is cut); batches (a prune); accounts (an answer) |
//! | `IHave` | `announce` | missing and accounts (what is lacking here); of what is here: trees (the distance, a shorter way), with batches and accounts as that needs |
//! | `Graft` | `edges` | trees (its edge; another parent, if it was the parent); batches (a prune that waits is void); accounts (what is sent to it) |
//! | `Prune` | `edges` | trees (its edge; another parent, if it was the parent); batches and accounts (who is asked to be the parent) |
//! | `Digest` | `exchange` | missing and accounts (what is lacking here); batches (what is lacking there) |
//!
//! What comes from no neighbour, or breaks a bound, is counted and changes nothing else. No message of a neighbour
//! changes which neighbours there are, the root, or the number of our own messages.
//!
//! | file | what |
//! |---|---|
//! | `gossip` | payloads: first receipt, duplicates, passing on |
//! | `tree`, `edges` | which links carry the payloads of a tree, and how that changes |
//! | `announce` | what is only announced: collected, sent, heard, used for shorter ways |
//! | `missing` | what was announced and did not come is asked for, from all announcers in turn |
//! | `exchange` | positions compared with neighbours: nothing depends on the tree alone |
//! | `shelf`, `window` | payloads kept, origins known, numbers seen |
//! | `neighbors`, `alarms`, `invariants` | slots of neighbours, timers asked for, what must always hold |

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use rand::{Rng, RngExt};

use crate::{
    Command, Config, Counters, Id, Input, Message, Output, Timer, Trees,
    io::Event,
    message::{MessageId, Position},
};

mod alarms;
mod announce;
mod edges;
mod exchange;
mod gossip;
mod invariants;
mod missing;
mod neighbors;
mod shelf;
#[cfg(test)]
mod tests;
mod tree;
mod window;

pub use invariants::Violation;

use alarms::Alarms;
use missing::Missing;
use neighbors::{Neighbors, Slot};
use shelf::Shelf;
use tree::Tree;

/// The broadcast of one node.
#[derive(Debug, Clone)]
pub struct State<I> {
    me: I,
    /// Orders the starts of this node.
    incarnation: u64,
    config: Config,
    /// Time of the input being handled.
    now: Duration,
    /// Number of our last message.
    seq: u64,
    neighbors: Neighbors<I>,
    shelf: Shelf<I>,
    /// The tree of all origins, with `Trees::Shared`.
    shared: Tree,
    root: Option<I>,
    /// What was announced and has not come, by origin.
    missing: BTreeMap<I, Missing>,
    /// When each of them is looked at next.
    due: BTreeSet<(Duration, I)>,
    /// With whom positions were last exchanged.
    exchanged: Option<I>,
    alarms: Alarms,
    counters: Counters,
    outputs: VecDeque<Output<I>>,
}

impl<I: Id> State<I> {
    /// A node without neighbours. `incarnation` must be greater than at any earlier start of the same id.
    /// `config` should have been validated.
    pub fn new(me: I, config: Config, incarnation: u64) -> Self {
        Self {
            me,
            // 0 stands for nothing held in what nodes tell of their positions.
            incarnation: incarnation.max(1),
            config,
            now: Duration::ZERO,
            seq: 0,
            neighbors: Neighbors::new(),
            shelf: Shelf::new(),
            shared: Tree::default(),
            root: None,
            missing: BTreeMap::new(),
            due: BTreeSet::new(),
            exchanged: None,
            alarms: Alarms::default(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Schedules the periodic exchange, its first period cut at random, so that nodes started together do not
    /// work together. To be called once, before the first input. Drain [`State::poll_output`] afterwards.
    pub fn start<R: Rng>(&mut self, now: Duration, rng: &mut R) {
        self.now = now;
        let first = rng.random_range(Duration::ZERO..=self.config.exchange_interval());
        self.wake(Timer::Exchange, now.saturating_add(first));
    }

    /// Takes one input. Drain [`State::poll_output`] afterwards.
    pub fn handle(&mut self, now: Duration, input: Input<I>) {
        // A clock that went back would have what is due wait again.
        self.now = self.now.max(now);
        match input {
            Input::NeighborUp { peer } => self.on_neighbor_up(peer),
            Input::NeighborDown { peer } => self.on_neighbor_down(peer),
            Input::Received { from, message } => match self.neighbors.slot(from) {
                Some(slot) => self.on_message(slot, message),
                // Sent before the relation began or after it ended; the exchange of positions makes up for it.
                None => self.counters.refused += 1,
            },
            Input::Measured { peer, round_trip } => {
                let slot = self.neighbors.slot(peer);
                if let Some(neighbor) = slot.and_then(|slot| self.neighbors.get_mut(slot)) {
                    neighbor.measured(round_trip);
                }
            }
            Input::Timer(timer) => self.on_timer(timer),
            Input::Command(Command::Broadcast(payload)) => self.broadcast(payload),
            Input::Command(Command::SetRoot(root)) => self.set_root(root),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<I>> {
        self.outputs.pop_front()
    }

    /// This node.
    pub fn me(&self) -> I {
        self.me
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The name that the next message of this node will get.
    pub fn next_id(&self) -> MessageId<I> {
        MessageId {
            origin: self.me,
            incarnation: self.incarnation,
            seq: self.seq + 1,
        }
    }

    /// Whether a message with this name would be delivered. What is known need not be looked into.
    pub fn is_news(&self, id: &MessageId<I>) -> bool {
        self.lacks(id)
    }

    /// The neighbours, in order of their slots.
    pub fn neighbors(&self) -> impl Iterator<Item = I> {
        self.neighbors.iter().map(|neighbor| neighbor.id)
    }

    /// The neighbours that payloads of `origin` are pushed to.
    pub fn eager(&self, origin: I) -> impl Iterator<Item = I> {
        let eager = match self.config.trees() {
            Trees::Flood => self.neighbors.all(),
            _ => self
                .tree(self.key(origin))
                .map(|tree| tree.eager)
                .unwrap_or_default(),
        };
        eager
            .iter()
            .filter_map(|slot| self.neighbors.get(slot))
            .map(|neighbor| neighbor.id)
    }

    /// The neighbour that payloads of `origin` come from.
    pub fn parent(&self, origin: I) -> Option<I> {
        let slot = self.tree(self.key(origin))?.parent?;
        Some(self.neighbors.get(slot)?.id)
    }

    /// What has been seen of each origin.
    pub fn positions(&self) -> impl Iterator<Item = Position<I>> {
        self.shelf
            .origins
            .keys()
            .map(|origin| self.position(*origin))
    }

    /// How many origins are known, and how many payloads with how many bytes are kept.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            origins: self.shelf.origins.len(),
            payloads: self.shelf.by_age.len(),
            bytes: self.shelf.bytes,
            missing: self.missing.len(),
        }
    }

    /// What is counted, from the start of this machine on.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn on_message(&mut self, slot: Slot, message: Message<I>) {
        match message {
            Message::Gossip(gossip) => self.on_gossip(slot, gossip),
            Message::IHave(ihave) => self.on_ihave(slot, ihave),
            Message::Graft(graft) => self.on_graft(slot, graft),
            Message::Prune(prune) => self.on_prune(slot, prune),
            Message::Digest(digest) => self.on_digest(slot, digest),
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        if !self.alarms.ring(timer, self.now) {
            return;
        }
        match timer {
            Timer::Flush => self.on_flush_timer(),
            Timer::Graft => self.on_graft_timer(),
            Timer::Exchange => self.on_exchange_timer(),
            Timer::Age => self.on_age_timer(),
        }
    }

    fn send(&mut self, slot: Slot, message: Message<I>) {
        if let Some(neighbor) = self.neighbors.get(slot) {
            self.outputs.push_back(Output::Send {
                to: neighbor.id,
                message,
            });
        }
    }

    fn emit(&mut self, event: Event<I>) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// What a machine holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Origins known.
    pub origins: usize,
    /// Payloads kept.
    pub payloads: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Origins with announced messages that have not come.
    pub missing: usize,
}
