//! The pieces of work that the planner asks for, and what each of them works on.

use std::fmt;

use super::bounds::Excess;
use crate::{identity::NodeId, replication::names::LinkName};

/// One indivisible piece of work on links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look at the store again: nothing is known of it.
    Inspect,
    /// Make a new link from `peer`. Those it replaces go once it streams.
    Open { peer: NodeId },
    /// Ask `peer` whether the link is whole.
    Resume { peer: NodeId, link: LinkName },
    /// Drop a subscription, and tell the publisher.
    Unsubscribe {
        peer: Option<NodeId>,
        link: LinkName,
        why: TeardownReason,
    },
    /// Drop a slot, its publication and its role.
    Unpublish { link: LinkName, why: TeardownReason },
}

/// Why a link goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TeardownReason {
    /// The peer is no neighbour any more.
    Departed,
    /// The peer is lost and its grace is over.
    GraceOver,
    /// Found on the server, and nobody claimed it.
    Debris,
    /// The peer is lost, and the link could not be resumed if it came back.
    Dead,
    /// Another link to the same peer took its place.
    Superseded,
    /// It was never finished.
    HalfMade,
    /// The publisher's clock is ahead.
    Clock,
    /// The peer is a neighbour, and data comes by other ways.
    Lazy,
    /// Its slot cost too much.
    Bounds(Excess),
    /// We leave.
    Leaving,
}

impl fmt::Display for TeardownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Departed => "the peer is no neighbour any more",
            Self::GraceOver => "the peer was lost and did not come back",
            Self::Debris => "nobody claimed it",
            Self::Dead => "the peer is lost and the link broken",
            Self::Superseded => "another link took its place",
            Self::HalfMade => "it was never finished",
            Self::Clock => "the publisher's clock is ahead",
            Self::Lazy => "the tree has another way",
            Self::Bounds(Excess::Lost) => "the server let its WAL go",
            Self::Bounds(Excess::Bytes) => "it held back too much WAL",
            Self::Bounds(Excess::Taken) => "another role used its slot",
            Self::Bounds(Excess::Inactive) => "nobody streamed from it for too long",
            Self::Leaving => "this node leaves",
        })
    }
}

/// Things that are worked on one step at a time; different ones go on side by side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// The store as a whole.
    Store,
    /// Our subscriptions to a peer.
    In(NodeId),
    /// A subscription to nobody we know.
    Stray(LinkName),
    /// A publisher's end.
    Out(LinkName),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the store"),
            Self::In(peer) => write!(f, "from {peer}"),
            Self::Stray(link) => write!(f, "subscription {link}"),
            Self::Out(link) => write!(f, "publication {link}"),
        }
    }
}

impl Step {
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::Inspect => Key::Store,
            Self::Open { peer }
            | Self::Resume { peer, .. }
            | Self::Unsubscribe {
                peer: Some(peer), ..
            } => Key::In(peer.clone()),
            Self::Unsubscribe {
                peer: None, link, ..
            } => Key::Stray(*link),
            Self::Unpublish { link, .. } => Key::Out(*link),
        }
    }

    /// A stable name, for logs and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Open { .. } => "open",
            Self::Resume { .. } => "resume",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Unpublish { .. } => "unpublish",
        }
    }
}
