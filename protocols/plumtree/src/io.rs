//! What goes into the state machine and what comes out of it.
//!
//! The machine never does I/O. Whoever runs it (the libp2p `Behaviour`, a simulator, a test) feeds it
//! [`Input`]s with the time since start, and drains [`Output`]s after every input.

use std::{fmt::Debug, time::Duration};

use crate::message::{Message, MessageId, Payload};

/// The name of a peer. Small, ordered and comparable; never a network type.
pub trait Id: Copy + Ord + Debug {}
impl<T: Copy + Ord + Debug> Id for T {}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<I> {
    /// The membership below has a new neighbour, which says the same of us.
    NeighborUp {
        /// Who.
        peer: I,
    },
    /// A neighbour relation ended, for whatever reason: what was sent may not have arrived.
    NeighborDown {
        /// Who.
        peer: I,
    },
    /// A message arrived. From a peer that is no neighbour it has no effect: it was sent before the
    /// relation ended, or before it began, and then the exchange of positions makes up for it.
    Received {
        /// The authenticated sender.
        from: I,
        /// What it said.
        message: Message<I>,
    },
    /// A round trip to a neighbour was measured (R12: time-outs follow the network).
    Measured {
        /// Which neighbour.
        peer: I,
        /// How long a message there and its answer took.
        round_trip: Duration,
    },
    /// A timer that was asked for with [`Output::Schedule`] has expired.
    Timer(Timer),
    /// The application wants something.
    Command(Command<I>),
}

/// A wish of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<I> {
    /// Send this to every node. It gets the number [`State::next_id`](crate::State::next_id).
    Broadcast(Payload),
    /// The best-connected node as far as is known (R16). Edges of its tree are reported with
    /// [`Event::EdgeChanged`]; with [`Trees::Shared`](crate::Trees) it is the tree's root.
    SetRoot(Option<I>),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<I> {
    /// Send `message` to the neighbour `to`. Order per peer is to be kept; a message that cannot be
    /// sent is dropped.
    Send {
        /// The receiver.
        to: I,
        /// What to say.
        message: Message<I>,
    },
    /// Hand `timer` back after `after`.
    Schedule {
        /// Delay from now.
        after: Duration,
        /// The value to hand back.
        timer: Timer,
    },
    /// Tell the application.
    Event(Event<I>),
}

/// What the application is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<I> {
    /// A message of another node, for the first and only time. Messages of one origin may come in any
    /// order (R13); with [`Keep::Latest`](crate::Keep) only in the order of their numbers.
    Deliver {
        /// Which.
        id: MessageId<I>,
        /// What it says.
        payload: Payload,
        /// How many links it went over; 1 from the origin itself.
        hops: u16,
    },
    /// All neighbours that announced this message were asked, and none sent it. It will be asked for
    /// again when an exchange of positions shows that somebody holds it (R14).
    Missing {
        /// Which.
        id: MessageId<I>,
    },
    /// An edge of the followed tree changed its role: the root's own tree, or the shared one (R16).
    EdgeChanged {
        /// The neighbour at its other end.
        peer: I,
        /// What it is now.
        role: EdgeRole,
    },
}

/// What the edge to a neighbour is in one tree, as seen from this end.
///
/// The two ends need not agree: what is [`Parent`](Self::Parent) here is [`Eager`](Self::Eager) there, and a
/// message that cuts or wants an edge takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeRole {
    /// Messages of the root come over it. There is at most one in a tree, and none at the root.
    Parent,
    /// Messages are pushed over it: the neighbour is below us, as far as we know.
    Eager,
    /// Messages are only announced over it. A new neighbour's edge begins so.
    Lazy,
}

/// An opaque value that the runtime hands back when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// What was collected for neighbours is sent.
    Flush,
    /// Some announced message did not come in time.
    Graft,
    /// Positions are exchanged with one neighbour (R14).
    Exchange,
    /// Old payloads and origins that fell silent are forgotten.
    Age,
}
