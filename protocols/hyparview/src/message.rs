//! The messages of the protocol, as the state machine sees them.
//!
//! ```text
//! joining      newcomer --Join--> contact --Accept--> newcomer      (or Refuse with a sample)
//!              contact --ForwardJoin--> . --ForwardJoin--> walk's end --Neighbor(Low)--> newcomer
//! refilling    p --Neighbor(Low, or High when alone)--> q --Accept or Refuse--> p
//! leaving      p --Disconnect(why, sample)--> q
//! shuffling    p --Shuffle--> . --Shuffle--> walk's end --ShuffleReply--> p
//! living       p --Heartbeat--> each neighbour, Moved when its record changed
//! healing      p --Probe--> suspect --ProbeReply--> p
//! re-mixing    i --SwitchProposal--> c --SwitchInvite--> d --SwitchConsent--> c --SwitchReady--> i
//!              i --Disconnect(Switched to d)--> o --Neighbor(Switch)--> d, i --Neighbor(Switch)--> c
//! optimising   i --Probe--> c, i --SwitchProposal(bid)--> c --SwitchInvite(bid)--> d --Probe--> o, and on as
//!              in re-mixing if it pays; heartbeats carry gauges
//! ```

use serde::{Deserialize, Serialize};

use crate::contact::Contact;

/// The name of one neighbour relation, chosen by the side that asked for it and echoed in every
/// message about it (R3). Two relations between the same peers never share a name, so a message
/// about an old one is recognised and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch<I> {
    /// The side that asked.
    pub by: I,
    /// The incarnation of that side.
    pub life: u64,
    /// Its counter of requests, growing within one incarnation.
    pub serial: u64,
}

/// A sign of life of the component's root: the smallest id that is heard of within it (R7). Nodes
/// that hear different roots, each of them still beating, live in different components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag<I> {
    /// The smallest id heard of.
    pub root: I,
    /// The incarnation of the root.
    pub life: u64,
    /// Counted up by the root alone, once per heartbeat.
    pub beat: u64,
}

/// What every node keeps its counterparts informed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse<I> {
    /// Size of the sender's active view (in a request: before the link that is asked for).
    pub degree: u8,
    /// The component as the sender sees it.
    pub tag: Tag<I>,
    /// The sender's root has not changed for a while: its tag may be compared with others.
    pub settled: bool,
}

/// What makes heartbeats measure the round trip of a link: each side sends its own clock, and gets
/// it back with the time for which the other side has kept it. No clocks are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauge {
    /// The sender's clock now, in microseconds since some moment of its own.
    pub sent: u64,
    /// The receiver's clock as last heard.
    pub echo: Option<Echo>,
    /// The sender leaves this link to chance: it is not to be optimised.
    pub kept: bool,
}

/// See [`Gauge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// What the receiver's clock showed, echoed.
    pub sent: u64,
    /// For how long it was kept before this echo, in microseconds.
    pub held: u64,
}

/// What an optimising switch is about: it comes about only if d finds that it pays. d measures the
/// link with o itself, and knows the one with c.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bid<A> {
    /// How o is reached.
    pub record: A,
    /// The round trip between i and c, in microseconds.
    pub gained: u64,
    /// The round trip between i and o, in microseconds.
    pub lost: u64,
}

/// How much a [`Message::Neighbor`] request is to be obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// Accepted only into a free slot.
    Low,
    /// The requester has no neighbour, or heals a partition: accepted even if another must go.
    High,
    /// The second half of a four-node switch that the receiver agreed to under this token.
    Switch(u64),
}

/// Why a neighbour says [`Message::Disconnect`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Farewell<I, A> {
    /// It made room for another peer.
    Evicted,
    /// It knows of no such relation, or has no room for it any more.
    Unwanted,
    /// It leaves the network for good.
    Leaving,
    /// The link was exchanged in a four-node switch.
    Switched {
        /// The peer to turn to instead, and the token it waits for.
        successor: Option<(u64, Contact<I, A>)>,
    },
}

/// A message between two peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message<I, A> {
    /// A newcomer asks to be let in (paper 4.2).
    Join {
        /// The relation asked for.
        epoch: Epoch<I>,
        /// The newcomer's own record.
        record: A,
        /// The newcomer's state.
        pulse: Pulse<I>,
    },
    /// A walk that introduces a newcomer to a random place of the overlay.
    ForwardJoin {
        /// Who joins.
        newcomer: Contact<I, A>,
        /// Hops left.
        ttl: u8,
    },
    /// A request to become neighbours.
    Neighbor {
        /// The relation asked for.
        epoch: Epoch<I>,
        /// How pressing it is.
        priority: Priority,
        /// The requester's own record.
        record: A,
        /// The requester's state.
        pulse: Pulse<I>,
    },
    /// Join or Neighbor was accepted: the sender holds the relation from now on.
    Accept {
        /// The relation, echoed.
        epoch: Epoch<I>,
        /// The incarnation of the accepting side.
        life: u64,
        /// Its own record.
        record: A,
        /// Its state.
        pulse: Pulse<I>,
        /// Some peers it knows.
        sample: Vec<Contact<I, A>>,
    },
    /// Join or Neighbor was refused.
    Refuse {
        /// The relation, echoed.
        epoch: Epoch<I>,
        /// Some peers to try instead (R5, R9).
        sample: Vec<Contact<I, A>>,
    },
    /// The relation ends.
    Disconnect {
        /// The relation; another than the current one is stale.
        epoch: Epoch<I>,
        /// Why.
        farewell: Farewell<I, A>,
        /// Some peers to replace the sender with.
        sample: Vec<Contact<I, A>>,
    },
    /// A walk that exchanges parts of two passive views.
    Shuffle {
        /// Echoed in the reply.
        serial: u64,
        /// Who started the walk, and where the reply goes.
        origin: Contact<I, A>,
        /// Some of the peers it knows.
        list: Vec<Contact<I, A>>,
        /// Hops left.
        ttl: u8,
    },
    /// The answer of the walk's end, straight to its origin.
    ShuffleReply {
        /// Echoed from the request.
        serial: u64,
        /// As many peers as were received, if known.
        list: Vec<Contact<I, A>>,
    },
    /// The relation is alive.
    Heartbeat {
        /// The relation.
        epoch: Epoch<I>,
        /// The sender's state.
        pulse: Pulse<I>,
        /// Present if the sender optimises its links.
        #[serde(skip_serializing_if = "Option::is_none")]
        gauge: Option<Gauge>,
    },
    /// The sender, a neighbour, is reached in another way from now on.
    Moved {
        /// Its new record.
        record: A,
    },
    /// Are you there, and in which component?
    Probe {
        /// Echoed in the reply.
        serial: u64,
        /// The sender's own record.
        record: A,
    },
    /// The answer to a probe.
    ProbeReply {
        /// Echoed from the probe.
        serial: u64,
        /// The sender's own record.
        record: A,
        /// The sender's state.
        pulse: Pulse<I>,
        /// Some peers it knows.
        sample: Vec<Contact<I, A>>,
    },
    /// i to c: let me give up my link to `old` for one with you, you give up one of yours. If
    /// `old` is i itself it has two free slots, and wants to stand between you and your neighbour.
    SwitchProposal {
        /// Names this switch.
        token: u64,
        /// The initiator's own record.
        record: A,
        /// The neighbour that i would give up (o), or i itself.
        old: I,
        /// Present if the switch is for the sake of shorter links.
        #[serde(skip_serializing_if = "Option::is_none")]
        bid: Option<Bid<A>>,
    },
    /// c to its neighbour d: let us part, for `partner` becomes your neighbour instead.
    SwitchInvite {
        /// Names this switch.
        token: u64,
        /// The neighbour to come (o).
        partner: I,
        /// The bid of i.
        #[serde(skip_serializing_if = "Option::is_none")]
        bid: Option<Bid<A>>,
    },
    /// Any participant to the one before or after it: nothing comes of this switch.
    SwitchDecline {
        /// Names this switch.
        token: u64,
    },
    /// d to c: agreed, I wait for o.
    SwitchConsent {
        /// Names this switch.
        token: u64,
    },
    /// c to i: agreed, I wait for you; send o to `partner`.
    SwitchReady {
        /// Names this switch.
        token: u64,
        /// The neighbour that c gives up (d).
        partner: Contact<I, A>,
    },
}
