//! What goes into the state machine and what comes out of it.
//!
//! The machine never does I/O. Whoever runs it (the libp2p `Behaviour`, the
//! simulator, a test) feeds it [`Input`]s with the time since start and a random generator, and
//! drains [`Output`]s after every input.

use std::time::Duration;

use crate::{contact::Contact, message::Message};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<I, A> {
    /// A message arrived from `from`. A connection to `from` exists at this moment.
    Received {
        /// The authenticated sender.
        from: I,
        /// What it said.
        message: Message<I, A>,
    },
    /// Nothing can be exchanged with `peer` any more: its last connection closed, or its outbound
    /// queue stayed full (`Slow`). Reported for every peer, neighbour or not.
    Disconnected {
        /// Who.
        peer: I,
        /// Why, as far as the runtime knows.
        cause: Loss,
    },
    /// A [`Output::Send`] to a peer that was not connected could not be carried out: no address
    /// answered, or the peer does not speak our protocol. All messages queued for it are dropped.
    Unreachable {
        /// Who.
        peer: I,
    },
    /// A timer that was asked for with [`Output::Schedule`] has expired.
    Timer(Timer<I>),
    /// The application wants something.
    Command(Command<I, A>),
}

/// Why a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The connection closed or broke.
    Closed,
    /// The peer did not drain its queue (paper 5.5: treat it as failed).
    Slow,
    /// The peer broke the protocol: oversized, malformed or unexpected frames.
    Misbehaved,
}

/// A wish of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<I, A> {
    /// Join through this contact now. May be repeated with several contacts (R9: two or more).
    Join(Contact<I, A>),
    /// Learn of a peer without joining through it: goes to the passive view or, when `permanent`
    /// (bootstrap contacts, R6), is never forgotten.
    Learn {
        /// The peer.
        contact: Contact<I, A>,
        /// Never to be forgotten.
        permanent: bool,
    },
    /// Our own record changed (a new listen address).
    SetRecord(A),
    /// Leave for good: tell all neighbours, empty the views.
    Leave,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<I, A> {
    /// Send `message` to `to`, connecting first if need be. Order per peer is kept. If it cannot
    /// be delivered the runtime answers with [`Input::Unreachable`] or [`Input::Disconnected`].
    Send {
        /// The receiver and how to reach it.
        to: Contact<I, A>,
        /// What to say.
        message: Message<I, A>,
    },
    /// Send `message` to `peer` over the connection that exists, or that is being dialled for an
    /// earlier `Send`. Never dials: when there is none the message is dropped without a report.
    /// Order is kept with `Send` to the same peer.
    Tell {
        /// The receiver.
        peer: I,
        /// What to say.
        message: Message<I, A>,
    },
    /// The machine has no further use for the connection to `peer` (it stays open while others
    /// use it). Queued messages are still to be sent.
    Release {
        /// Who.
        peer: I,
    },
    /// The machine wants the connection to `peer` cut at once (frozen or misbehaving peer).
    Cut {
        /// Who.
        peer: I,
    },
    /// Hand `timer` back after `after`.
    Schedule {
        /// Delay from now.
        after: Duration,
        /// The value to hand back.
        timer: Timer<I>,
    },
    /// Tell the application.
    Event(Event<I, A>),
}

/// What the application is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<I, A> {
    /// `peer` is now in the active view, after a two-way handshake.
    NeighborUp(Contact<I, A>),
    /// `peer` has left the active view.
    NeighborDown {
        /// Who.
        peer: I,
        /// Why (R15).
        reason: DownReason,
    },
    /// A known neighbour's record changed.
    NeighborMoved(Contact<I, A>),
    /// The active view is empty and no candidate is left to try: the application should supply
    /// contacts (bootstrap, address book, mDNS). Repeated with back-off while it lasts.
    Isolated,
    /// Some slots stay free: everybody known was asked in vain, more than once. As in a small network, or on an
    /// island of nodes that know nobody else who lives. The application should name others that it remembers.
    /// Repeated with back-off while it lasts.
    Wanting,
}

/// Why a neighbour relation ended (R15). Only `Closed`, `Silent`, `Slow` and `Left` free a slot
/// that must be repaired by dialling; an eviction is followed by passive refill only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DownReason {
    /// We made room for another peer.
    Evicted,
    /// The peer sent Disconnect: it made room for another.
    Dropped,
    /// The connection closed or broke.
    Closed,
    /// Connected, but it did not answer heartbeats before the deadline.
    Silent,
    /// It did not drain its queue.
    Slow,
    /// It said that it leaves for good, or we do.
    Left,
    /// It broke the protocol.
    Misbehaved,
    /// The link was exchanged for another in a four-node switch (R8).
    Switched,
}

impl DownReason {
    /// The reason in a word, for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Dropped => "dropped",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Left => "left",
            Self::Misbehaved => "misbehaved",
            Self::Switched => "switched",
        }
    }
}

/// An opaque value that the runtime hands back when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer<I> {
    /// A round of the periodic shuffle.
    Shuffle,
    /// Heartbeats to neighbours, symmetry check and silence deadline (R4).
    Heartbeat,
    /// One suspect or bootstrap peer is probed (R6, R7).
    Probe,
    /// One random four-node switch is tried (R8).
    Remix,
    /// A nearer neighbour is looked for.
    Optimize,
    /// The refill of the active view is looked at again.
    Refill,
    /// The pending request `serial` to `peer` is overdue (R2: every request has a timer).
    Request {
        /// To whom.
        peer: I,
        /// Which request.
        serial: u64,
    },
}
