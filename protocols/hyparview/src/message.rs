//! The messages of the protocol, as the state machine sees them.
//!
//! ```text
//! joining      newcomer --Join--> contact --Accept--> newcomer      (or Refuse with a sample)
//!              contact --ForwardJoin--> . --ForwardJoin--> walk's end --Neighbor(Low)--> newcomer
//! refilling    p --Neighbor(Low, or High when alone)--> q --Accept or Refuse--> p
//! leaving      p --Disconnect(why, sample)--> q
//! shuffling    p --Shuffle--> . --Shuffle--> walk's end --ShuffleReply--> p
//! living       p --Heartbeat--> each neighbour, Moved when its record changed
//! healing      p --Probe--> suspect, contact or backup --ProbeReply--> p
//! re-mixing    i --SwitchProposal--> c --SwitchInvite--> d --SwitchConsent--> c --SwitchReady--> i
//!              i --Disconnect(Switched to d)--> o --Neighbor(Switch)--> d, i --Neighbor(Switch)--> c
//! optimising   i --Probe--> c, i --SwitchProposal(bid)--> c --SwitchInvite(bid)--> d --Probe--> o, and on as
//!              in re-mixing if it pays; heartbeats carry gauges
//! ```
//!
//! The names of variants and fields are the format on the wire. Where a field has another name here, it is called by
//! the old one in the messages of earlier versions, and so it stays on the wire.

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
    #[serde(rename = "life")]
    pub incarnation: u64,
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
    #[serde(rename = "life")]
    pub incarnation: u64,
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
    #[serde(rename = "kept")]
    pub unbiased: bool,
}

/// What one side has heard of the other's clock, sent back to it with a [`Gauge`]. The other side takes both numbers from its
/// own clock: what is left is the round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// What the receiver's clock showed, echoed.
    pub sent: u64,
    /// For how long it was kept before this echo, in microseconds.
    pub held: u64,
}

/// What an optimising switch is about. In it i gives up its neighbour o for c, and c its neighbour d for i, so that d and o
/// become neighbours (the letters are those of X-BOT). It comes about only if d finds that the two new links together are
/// shorter than the two old ones: d measures the way to o itself, knows the one to c, and is told of the other two here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bid<A> {
    /// How o is reached, as its own record says.
    pub record: A,
    /// The round trip between i and c, which become neighbours, in microseconds.
    #[serde(rename = "gained")]
    pub gained_micros: u64,
    /// The round trip between i and o, which part, in microseconds.
    #[serde(rename = "lost")]
    pub lost_micros: u64,
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

/// Why a relation ends, as the one who ends it says with [`Message::Disconnect`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DisconnectReason<I, A> {
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

/// A message between two peers. Each is documented at its struct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message<I, A> {
    /// A newcomer asks to be let in.
    Join(Join<I, A>),
    /// A newcomer is introduced.
    ForwardJoin(ForwardJoin<I, A>),
    /// A request to become neighbours.
    Neighbor(Neighbor<I, A>),
    /// A request was accepted.
    Accept(Accept<I, A>),
    /// A request was refused.
    Refuse(Refuse<I, A>),
    /// A relation ends.
    Disconnect(Disconnect<I, A>),
    /// Parts of two passive views are exchanged.
    Shuffle(Shuffle<I, A>),
    /// The other half of the exchange.
    ShuffleReply(ShuffleReply<I, A>),
    /// A relation is alive.
    Heartbeat(Heartbeat<I>),
    /// A neighbour is reached in another way.
    Moved(Moved<A>),
    /// Are you there, and in which component?
    Probe(Probe<A>),
    /// I am.
    ProbeReply(ProbeReply<I, A>),
    /// i to c: the first step of a switch.
    SwitchProposal(SwitchProposal<I, A>),
    /// c to d: the second step.
    SwitchInvite(SwitchInvite<I, A>),
    /// Nothing comes of a switch.
    SwitchDecline(SwitchDecline),
    /// d to c: the third step.
    SwitchConsent(SwitchConsent),
    /// c to i: the fourth step.
    SwitchReady(SwitchReady<I, A>),
}

/// A newcomer asks to be let in, even if a neighbour of the receiver must go for it (paper 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join<I, A> {
    /// The relation asked for.
    pub epoch: Epoch<I>,
    /// The newcomer's own record.
    pub record: A,
    /// The newcomer's state.
    pub pulse: Pulse<I>,
}

/// A walk that introduces a newcomer to a random place of the overlay. Whoever it ends at asks the newcomer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardJoin<I, A> {
    /// Who joins.
    pub newcomer: Contact<I, A>,
    /// Hops left; the walk ends where it is 0.
    pub ttl: u8,
}

/// A request to become neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor<I, A> {
    /// The relation asked for.
    pub epoch: Epoch<I>,
    /// How pressing it is.
    pub priority: Priority,
    /// The requester's own record.
    pub record: A,
    /// The requester's state.
    pub pulse: Pulse<I>,
}

/// Join or Neighbor was accepted: the sender holds the relation from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept<I, A> {
    /// The relation, echoed.
    pub epoch: Epoch<I>,
    /// The incarnation of the accepting side.
    #[serde(rename = "life")]
    pub incarnation: u64,
    /// The sender's own record.
    pub record: A,
    /// The sender's state.
    pub pulse: Pulse<I>,
    /// Some passive peers of the sender.
    pub sample: Vec<Contact<I, A>>,
}

/// Join or Neighbor was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse<I, A> {
    /// The relation, echoed.
    pub epoch: Epoch<I>,
    /// Some peers to try instead (R5, R9).
    pub sample: Vec<Contact<I, A>>,
}

/// The relation ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect<I, A> {
    /// The relation; another than the current one is stale (R3).
    pub epoch: Epoch<I>,
    /// Why.
    #[serde(rename = "farewell")]
    pub reason: DisconnectReason<I, A>,
    /// Some peers to replace the sender with.
    pub sample: Vec<Contact<I, A>>,
}

/// A walk that exchanges parts of two passive views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shuffle<I, A> {
    /// Echoed in the reply.
    pub serial: u64,
    /// Who started the walk, and where the reply goes.
    pub origin: Contact<I, A>,
    /// The origin itself, and some of its neighbours and passive peers.
    pub list: Vec<Contact<I, A>>,
    /// Hops left; the walk ends at the receiver of 1.
    pub ttl: u8,
}

/// The answer of the walk's end, straight to its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuffleReply<I, A> {
    /// Echoed from the request.
    pub serial: u64,
    /// As many passive peers as were received, if there are.
    pub list: Vec<Contact<I, A>>,
}

/// The relation is alive (R4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat<I> {
    /// The relation.
    pub epoch: Epoch<I>,
    /// The sender's state.
    pub pulse: Pulse<I>,
    /// Present if the sender measures how far its neighbours are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gauge: Option<Gauge>,
}

/// The sender, a neighbour, is reached in another way from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved<A> {
    /// Its new record.
    pub record: A,
}

/// Are you there, and in which component (R7)? Also asked only to measure a round trip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe<A> {
    /// Echoed in the reply.
    pub serial: u64,
    /// The sender's own record.
    pub record: A,
}

/// The answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReply<I, A> {
    /// Echoed from the probe.
    pub serial: u64,
    /// The sender's own record.
    pub record: A,
    /// The sender's state.
    pub pulse: Pulse<I>,
    /// Some peers that it knows.
    pub sample: Vec<Contact<I, A>>,
}

/// i to c: let me give up my neighbour `old` for you, you give up one of yours. If
/// `old` is i itself it has two free slots, and wants to stand between you and your neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchProposal<I, A> {
    /// Names this switch, among those of i.
    pub token: u64,
    /// The initiator's own record.
    pub record: A,
    /// The neighbour that i would give up (o), or i itself.
    pub old: I,
    /// Present if the switch is for the sake of shorter round trips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid: Option<Bid<A>>,
}

/// c to its neighbour d: let us part, for `partner` becomes your neighbour instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchInvite<I, A> {
    /// Names this switch.
    pub token: u64,
    /// The neighbour to come (o).
    pub partner: I,
    /// The bid of i.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid: Option<Bid<A>>,
}

/// Any participant to the one before or after it: nothing comes of this switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchDecline {
    /// Names this switch.
    pub token: u64,
}

/// d to c: agreed, I wait for o.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchConsent {
    /// Names this switch.
    pub token: u64,
}

/// c to i: agreed, I wait for you; send o to `partner`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchReady<I, A> {
    /// Names this switch.
    pub token: u64,
    /// The neighbour that c gives up (d).
    pub partner: Contact<I, A>,
}
