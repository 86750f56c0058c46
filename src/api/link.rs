//! What a node says of one of its links.

use serde::{Deserialize, Serialize};

use super::digits;

/// How data goes through the overlay.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Dissemination {
    /// Every neighbour is linked with, in both directions: each operation comes once from each of them.
    #[default]
    Flood,
    /// Each node is linked with its parent in the tree of one root, and with whoever has it for a parent.
    Tree,
}

/// Direction of a data link, seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// We subscribe.
    In,
    /// We publish.
    Out,
}

/// What a data link is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It is wanted, and being made or waited for.
    Opening,
    /// What the subscriber lacked when the link was made is on its way.
    CatchingUp,
    /// Changes flow.
    Streaming,
    /// One of the two ends said no: trying again will not help until somebody acts.
    Refused,
    /// Something that should be there does not answer; it is tried again.
    Down,
    /// It is being taken down.
    Closing,
    /// There is none, on purpose: the peer is a neighbour, and what it has comes by other ways.
    Lazy,
}

impl LinkState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Opening,
        Self::CatchingUp,
        Self::Streaming,
        Self::Refused,
        Self::Down,
        Self::Closing,
        Self::Lazy,
    ];

    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::CatchingUp => "catching_up",
            Self::Streaming => "streaming",
            Self::Refused => "refused",
            Self::Down => "down",
            Self::Closing => "closing",
            Self::Lazy => "lazy",
        }
    }
}

/// An end of a link, seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This node, its store or its machine.
    Here,
    /// The peer, its store or its machine.
    Peer,
}

/// One data link, or one that is wanted and does not exist yet. Each neighbour has one at least in
/// each direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The peer at the other end; empty if unknown (a link found on the server after a restart).
    pub peer_id: String,
    /// Its site; 0 while unknown.
    #[serde(with = "digits")]
    pub site: i64,
    /// In or out.
    pub direction: Direction,
    /// What it is doing.
    pub state: LinkState,
    /// Since when it has been doing that, RFC 3339 UTC.
    #[serde(default)]
    pub since: String,
    /// Why it does not stream, or does not get on, in a sentence; `None` when all is well.
    #[serde(default)]
    pub reason: Option<String>,
    /// What mends it, where that is known.
    #[serde(default)]
    pub fix: Option<String>,
    /// At which end the reason lies, where that is known.
    #[serde(default)]
    pub side: Option<Side>,
    /// Neither this nor another link of that peer in that direction has carried anything for longer
    /// than it takes to make one.
    #[serde(default)]
    pub overdue: bool,
    /// Of an outgoing link: bytes of WAL that its subscriber has not confirmed. Of an incoming one that
    /// streams: bytes that have come and were not processed.
    pub lag_bytes: Option<i64>,
    /// Of an incoming link: seconds for which the peer has known something that has not arrived here,
    /// or for which the link has been down; `None` while it is not known what the peer has. Of an outgoing
    /// one: seconds since the subscriber had confirmed nearly all.
    pub lag_seconds: Option<f64>,
    /// Name of the replication slot on the publisher; empty while there is none.
    pub slot: String,
}
