//! One story told to two networks: nodes with sockets, and nodes of the simulator.
//!
//! The story and all measuring are the same code for both; only what carries out an order differs.

mod measures;
mod real;
mod simulated;
mod story;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(crate) use measures::Measures;
pub(crate) use real::Real;
pub(crate) use simulated::Simulated;
use simulation::{Graph, NodeId};
pub(crate) use story::{Plan, play};
pub(crate) use table::Table;

/// Which broadcast, in the order in which they are sent.
pub(crate) type Tag = u64;

/// That a node heard a broadcast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    hops: u16,
    at: Duration,
}

/// What a node has done since it started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Peers that became neighbours.
    ups: u64,
    /// Neighbours that went, by reason.
    downs: BTreeMap<&'static str, u64>,
    /// Messages sent, of both protocols.
    messages: u64,
    /// Of these, payloads of broadcasts.
    pub(crate) payloads: u64,
    /// Of these, other messages of the broadcast.
    control: u64,
    /// Connections that are open now.
    connections: u64,
}

/// A network that can be told what to do.
pub(crate) trait Net {
    /// Time since the beginning.
    fn now(&self) -> Duration;
    /// Lets time pass.
    fn run(&mut self, time: Duration);
    /// Starts a node, for the first time or again, that joins through `contacts`.
    fn start(&mut self, node: NodeId, contacts: &[NodeId]);
    /// Kills the processes of nodes, all at once.
    fn kill(&mut self, nodes: &BTreeSet<NodeId>);
    /// Has the processes of nodes stand still, or go on.
    fn freeze(&mut self, nodes: &BTreeSet<NodeId>, frozen: bool);
    /// The neighbours of the nodes that are alive.
    fn graph(&self) -> Graph;
    /// How many broadcasts `from` and the others have sent, which names the next one.
    fn say(&mut self, from: NodeId) -> Tag;
    /// Who heard a broadcast.
    fn heard(&self, tag: Tag) -> Vec<Heard>;
    /// The counts of all nodes that are alive; none may be frozen.
    fn counts(&mut self) -> BTreeMap<NodeId, Counts>;
}
