//! What the simulator asks of a protocol: the sans-I/O shape of this project's machines.

use std::{fmt::Debug, time::Duration};

use rand::rngs::SmallRng;

/// A node, by its place in the world.
pub type NodeId = u32;

/// One thing that happened at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<M, T, C> {
    /// A message arrived.
    Received {
        /// The sender.
        from: NodeId,
        /// What it said.
        message: M,
    },
    /// The last connection to `peer` is gone.
    Disconnected {
        /// Who.
        peer: NodeId,
        /// The peer did not drain its queue, as opposed to: the connection closed or broke.
        slow: bool,
    },
    /// An [`Output::Send`] could not be carried out, for there is no way to `peer`.
    Unreachable {
        /// Who.
        peer: NodeId,
    },
    /// A timer is due.
    Timer(T),
    /// The application, here the scenario, wants something.
    Command(C),
}

/// One thing that a node does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<M, T, E> {
    /// Send over a connection, which is made if there is none. Order is kept.
    Send {
        /// The receiver.
        to: NodeId,
        /// What to say.
        message: M,
    },
    /// Send over the connection that there is, or that is being made; else forget it.
    Tell {
        /// The receiver.
        peer: NodeId,
        /// What to say.
        message: M,
    },
    /// Send without a connection, as UDP would: it arrives or it does not.
    Post {
        /// The receiver.
        to: NodeId,
        /// What to say.
        message: M,
    },
    /// This side has no further use for the connection to `peer`.
    Release {
        /// Who.
        peer: NodeId,
    },
    /// Break the connection to `peer` at once.
    Cut {
        /// Who.
        peer: NodeId,
    },
    /// Hand `timer` back after `after` of this node's own time.
    Schedule {
        /// Delay from now.
        after: Duration,
        /// The value to hand back.
        timer: T,
    },
    /// Tell the application.
    Event(E),
}

/// The input of a protocol.
pub type InputOf<P> =
    Input<<P as Protocol>::Message, <P as Protocol>::Timer, <P as Protocol>::Command>;
/// The output of a protocol.
pub type OutputOf<P> =
    Output<<P as Protocol>::Message, <P as Protocol>::Timer, <P as Protocol>::Event>;

/// A protocol of one node, without I/O, clock or randomness of its own.
pub trait Protocol {
    /// What nodes say to each other.
    type Message: Clone + Debug;
    /// What the node asks to be reminded of.
    type Timer: Copy + Debug;
    /// What the application asks for.
    type Command: Debug;
    /// What the application is told.
    type Event: Debug;

    /// Called once, before the first input. `now` is this node's clock.
    fn start(&mut self, now: Duration, rng: &mut SmallRng);

    /// Takes one input. [`Protocol::poll_output`] is drained afterwards.
    fn handle(&mut self, now: Duration, input: InputOf<Self>, rng: &mut SmallRng);

    /// There is a new connection with `peer`, and pings on it take this long.
    fn measured(&mut self, _peer: NodeId, _round_trip: Duration) {}

    /// The next thing to do.
    fn poll_output(&mut self) -> Option<OutputOf<Self>>;

    /// Whether this side still needs its connection to `peer`, although it has released it.
    fn needs(&self, peer: NodeId) -> bool;

    /// Bytes of a message on the wire, without those of TCP and encryption.
    fn bytes(message: &Self::Message) -> usize;
}

/// A protocol that gives each node a set of neighbours: what the graph is measured on, and what a
/// broadcast goes over.
pub trait Membership: Protocol {
    /// Whether neighbours have connections, as opposed to: are sent datagrams.
    const CONNECTED: bool = true;

    /// Appends the neighbours, in order of their ids.
    fn neighbors(&self, into: &mut Vec<NodeId>);

    /// Appends the known peers that are no neighbours.
    fn backups(&self, into: &mut Vec<NodeId>);

    /// Appends those to whom a broadcast that came from `from` is sent on.
    fn targets(&self, from: Option<NodeId>, into: &mut Vec<NodeId>, _rng: &mut SmallRng) {
        self.neighbors(into);
        into.retain(|peer| Some(*peer) != from);
    }

    /// The peer that has just become a neighbour, if this event says so.
    fn came(event: &Self::Event) -> Option<NodeId>;
}
