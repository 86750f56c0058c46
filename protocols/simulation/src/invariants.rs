//! What must hold, a file per property.
//!
//! | property | when it is looked at |
//! |---|---|
//! | `views` | after every input of a node |
//! | `requests` | after every input of a node |
//! | `disconnects` | after every input of a node |
//! | `links` | when the network is quiet |
//! | `whole` | when the network is quiet |
//!
//! In runs of more nodes than `WATCHED_MAX` only every `SAMPLE`th input is looked at.

mod disconnects;
mod links;
mod requests;
mod views;
mod whole;

use std::time::Duration;

use hyparview::Config;

use crate::{Graph, Member, Membership, NodeId, Observer, World};

/// Most nodes with which every input is looked at.
pub(crate) const WATCHED_MAX: usize = 2000;
/// With more, one input of this many is.
pub(crate) const SAMPLE: u64 = 256;

/// What must hold of one node, which should have been given this configuration.
pub(crate) fn alone(member: &Member, config: &Config, now: Duration) -> Result<(), String> {
    views::check(member, config)?;
    requests::check(member, now)
}

/// What must hold of a node and the peer that it has just heard of.
pub(crate) fn together<'a>(
    member: &Member,
    me: NodeId,
    other: impl Fn(NodeId) -> Option<&'a Member>,
) -> Result<(), String> {
    disconnects::check(member, me, other)
}

/// What must hold of a network that has come to rest.
pub(crate) fn at_rest<P: Membership, O: Observer<P>>(
    world: &World<P, O>,
    graph: &Graph,
) -> Vec<String> {
    let all = [links::check(world, graph), whole::check(graph)];
    all.into_iter().filter_map(Result::err).collect()
}
