//! Why a payload came twice: how the link that it came over had got into the tree.

use std::{collections::BTreeMap, time::Duration};

use plumtree::{Graft, Input, Message, Prune, Timer};

use crate::NodeId;

/// How long a link counts as new.
const NEW: Duration = Duration::from_secs(60);

/// What brought a payload that was there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The tree is not built: nobody has cut that link off yet.
    Flood,
    /// The link is new.
    NewLink,
    /// It was asked for, for it had not come in time after its announcement.
    Late,
    /// The receiver had lost its way to the root.
    Orphaned,
    /// The receiver had found a shorter way.
    Shorter,
    /// It came back up a link that the sender had asked into the tree.
    Upwards,
}

impl Cause {
    /// All, with their names in tables.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Flood, "flood"),
        (Self::NewLink, "new_link"),
        (Self::Late, "late"),
        (Self::Orphaned, "orphaned"),
        (Self::Shorter, "shorter"),
        (Self::Upwards, "upwards"),
    ];

    /// Why a node sends grafts that this input makes it send.
    pub(super) fn of_graft(input: &Input<NodeId>) -> Self {
        match input {
            Input::Timer(Timer::Graft) => Self::Late,
            Input::Received {
                // Such a message makes a machine ask only where the announcer is nearer.
                message: Message::IHave(_) | Message::Gossip(_),
                ..
            } => Self::Shorter,
            // What makes a machine look for a way that it has lost, for itself or for whoever asks.
            Input::NeighborUp { .. }
            | Input::NeighborDown { .. }
            | Input::Received {
                message: Message::Prune(_) | Message::Graft(_),
                ..
            } => Self::Orphaned,
            _ => Self::Flood,
        }
    }
}

/// How links got into trees at one node.
#[derive(Debug, Default)]
pub(super) struct Causes {
    since: BTreeMap<NodeId, Duration>,
    /// By neighbour and origin: links that were asked into a tree, and not cut off since.
    asked: BTreeMap<(NodeId, NodeId), Cause>,
}

impl Causes {
    pub(super) fn came(&mut self, peer: NodeId, now: Duration) {
        self.since.insert(peer, now);
    }

    pub(super) fn gone(&mut self, peer: NodeId) {
        self.since.remove(&peer);
        self.asked.retain(|(other, _), _| *other != peer);
    }

    /// `from` has asked for payloads.
    pub(super) fn asked_by(&mut self, from: NodeId, message: &Message<NodeId>) {
        if let Message::Graft(Graft { list }) = message {
            for position in list {
                self.asked.insert((from, position.origin), Cause::Upwards);
            }
        }
    }

    /// `message` goes to `to`; if it is a graft, `why`.
    pub(super) fn note(&mut self, to: NodeId, message: &Message<NodeId>, why: Cause) {
        match message {
            Message::Graft(Graft { list }) => {
                for position in list {
                    self.asked.insert((to, position.origin), why);
                }
            }
            Message::Prune(Prune { origins }) => {
                // Cut off: a payload that still comes is one that was on its way.
                for origin in origins {
                    self.asked.remove(&(to, *origin));
                }
            }
            _ => {}
        }
    }

    pub(super) fn of_duplicate(&self, from: NodeId, origin: NodeId, now: Duration) -> Cause {
        let new = self
            .since
            .get(&from)
            .is_some_and(|since| now < *since + NEW);
        match self.asked.get(&(from, origin)) {
            // What was asked for came for that reason, over a new link as well.
            Some(why) => *why,
            None if new => Cause::NewLink,
            None => Cause::Flood,
        }
    }
}
