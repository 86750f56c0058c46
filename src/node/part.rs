//! The shape of the node's parts: each hears what happens to the node, and answers with what it wants done.
//!
//! A part decides, and waits for nobody. The [loop](super::core) waits, tells every part, and carries out what
//! they want: whom to ask, when to speak, whose links to take down. So what a new capability needs of the loop
//! is a place in the list of parts, and an effect where it wants what none wanted before.

use std::time::{Duration, Instant};

use super::peer_protocol::Seen;
use crate::{
    directory::{Gossip, Rumor, roles::RoleRecord},
    identity::NodeId,
    network::{Neighbors, Overlay},
    replication::{Departure, Position, Reading},
};

/// Something that has happened to the node.
#[derive(Debug)]
pub(super) enum Event {
    /// The peer is a neighbour from now on, or its addresses have changed.
    NeighborUp(NodeId),
    /// The peer is no neighbour any more.
    NeighborDown(NodeId, Departure),
    /// The peer is connected with us, neighbour or not.
    Met(NodeId),
    /// It was time to say to all that we live, see [`HEARTBEAT`](crate::directory::HEARTBEAT).
    Heartbeat {
        /// What is not broadcast is compared with the neighbours now.
        exchange: bool,
        /// Each neighbour is asked for gossip now, and for its time on the way.
        is_round: bool,
    },
    /// A peer has told what it knows of the nodes.
    Gossip(NodeId, Gossip),
    /// A node has told all of itself.
    Status(NodeId, Rumor),
    /// A neighbour was asked for its time.
    Clock {
        /// Who was asked.
        peer: NodeId,
        /// What it said.
        answer: ClockAnswer,
        /// It was asked on the way of a round, not because a part wanted to know.
        in_round: bool,
    },
    /// A peer has told which application roles it knows.
    Roles(NodeId, Vec<RoleRecord>),
    /// A peer has answered whether it sees another process with our key.
    Seen(NodeId, Option<Seen>),
    /// A peer has told its position.
    Position(NodeId, Position),
    /// A neighbour was told ours.
    PositionTold {
        /// Who was told.
        peer: NodeId,
        /// In which relation, see [`Effect::TellPosition`].
        relation: u64,
        /// What came of it.
        answer: PositionAnswer,
    },
}

/// What a neighbour said when it was asked for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClockAnswer {
    /// Its store's clock, against ours.
    Time(Reading),
    /// Nothing, or one of the two stores is not up yet: it is to be asked again.
    NotYet,
    /// It is of a version that does not tell, and is believed.
    Never,
}

/// What came of telling a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PositionAnswer {
    /// It has taken it in, and this is its own.
    Position(Position),
    /// It is of a version that knows no positions.
    Unknown,
    /// Nothing: whether it has taken it in is not known.
    Silence,
}

/// Something that a part wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// There is news of ourselves: it is said to all soon.
    SpeakSoon,
    /// There is news that cannot be broadcast, because it is not of ourselves, or somebody new who has heard
    /// nothing yet: a round with all neighbours soon.
    ExchangeSoon,
    /// The peer is asked for the time of its store.
    AskClock {
        /// Who.
        peer: NodeId,
        /// The pause before that.
        after: Duration,
    },
    /// The peer is asked whether it sees another process with our key.
    AskPresence(NodeId),
    /// All who are connected with us are asked that.
    AskAllPresence,
    /// The peer is told these roles, and asked for those that it knows.
    ShareRoles(NodeId, Vec<RoleRecord>),
    /// The peer is gone for good: what is left of its links is taken down.
    Forget(NodeId),
    /// The peer was gone for good and is a member again: if it is a neighbour, it gets its links back.
    Readmit(NodeId),
    /// The broadcast tree of this node is followed from now on, or none.
    Follow(Option<NodeId>),
    /// The neighbour is told our position.
    TellPosition {
        /// Who.
        peer: NodeId,
        /// The relation that this is in, by its number: the answer names it.
        relation: u64,
        /// Toward that neighbour.
        position: Position,
    },
    /// What is known of the neighbour's position has changed: the data plane is to know.
    PassPosition(NodeId),
}

/// What every part may look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// Time since the start of the process.
    pub(super) now: Duration,
    /// Who is a neighbour.
    pub(super) overlay: &'a Overlay,
}

impl<'a> Context<'a> {
    /// As it is now, for a process that was `born` then.
    pub(super) fn now(born: Instant, neighbors: &'a Neighbors) -> Self {
        Self {
            now: born.elapsed(),
            overlay: neighbors.seen(),
        }
    }
}

/// A part of the node.
pub(super) trait Part {
    /// Takes in what has happened. What is none of its business changes nothing.
    fn on(&mut self, event: &Event, context: &Context<'_>) -> Vec<Effect>;
}

#[cfg(test)]
pub(super) mod testing {
    //! What the tests of the parts begin with.

    use crate::{
        identity::NodeId,
        network::{Neighbor, Overlay},
    };

    /// An overlay with these neighbours.
    pub(in crate::node) fn overlay(peers: &[NodeId]) -> Overlay {
        let neighbor = |peer: &NodeId| Neighbor {
            peer: peer.clone(),
            addresses: Vec::new(),
            hosts: Vec::new(),
            since: std::time::UNIX_EPOCH,
            rtt: None,
            role: None,
            revision: 1,
        };
        Overlay {
            active: peers.iter().map(neighbor).collect(),
            ..Overlay::default()
        }
    }
}
