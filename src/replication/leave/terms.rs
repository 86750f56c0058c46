//! What leaving is asked for with, what it tells meanwhile, and what comes of it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    identity::{NodeId, Site},
    replication::error::Error,
    store::{self, Pending},
    vector::{Seq, Vector},
};

/// What leaving may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long a transaction that writes may go on, and how long the handover may be without progress.
    pub patience: Duration,
    /// Leave even if nobody has what is written here.
    pub abandon: bool,
    /// The node has never had a neighbour and was told of none: nobody else was ever to have anything.
    pub is_alone: bool,
}

impl Terms {
    /// Transactions of applications take seconds at most, and so does what peers have not confirmed yet.
    pub const PATIENCE: Duration = store::PATIENCE;
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            patience: Self::PATIENCE,
            abandon: false,
            is_alone: false,
        }
    }
}

/// Another member, as far as leaving is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its checkpoint vector, as it told it last.
    pub vector: Vector,
    /// What it has stays in the cluster: it is here and does not leave, or was stopped and comes back.
    pub keeps: bool,
}

/// How far leaving has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaveStage {
    /// Nobody is there who could take anything. The store still takes writes.
    AwaitingPeer,
    /// The store takes no new writes; these have not ended.
    Closing(Vec<Pending>),
    /// How many bytes of WAL each of these peers has yet to confirm.
    HandingOver(BTreeMap<NodeId, u64>),
    /// Others have everything; links go.
    TakingDown,
}

impl LeaveStage {
    /// In words; `name` gives a peer the name that people know it by.
    pub fn describe(&self, name: impl Fn(&NodeId) -> String) -> String {
        match self {
            Self::AwaitingPeer => "a peer that takes over what only this node has".to_owned(),
            Self::Closing(writers) => {
                format!("transactions that write to end: {}", store::list(writers))
            }
            Self::HandingOver(left) if left.is_empty() => {
                "a member that stays to have all that is written here".to_owned()
            }
            Self::HandingOver(left) => format!("peers to confirm: {}", unconfirmed(left, name)),
            Self::TakingDown => "links to be taken down".to_owned(),
        }
    }
}

/// Who has not confirmed how much.
pub(crate) fn unconfirmed(
    left: &BTreeMap<NodeId, u64>,
    name: impl Fn(&NodeId) -> String,
) -> String {
    let parts: Vec<String> = left
        .iter()
        .map(|(peer, bytes)| format!("{} {} KiB", name(peer), bytes.div_ceil(1024)))
        .collect();
    parts.join(", ")
}

/// Operations of one site that no member that stays is known to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Whose.
    pub site: Site,
    /// How many.
    pub operations: i64,
    /// The lowest of their numbers.
    pub from: Seq,
    /// The highest.
    pub upto: Seq,
}

/// All of it in one line.
pub(crate) fn list(lost: &[Lost]) -> String {
    let parts: Vec<String> = lost
        .iter()
        .map(|lost| {
            let Lost {
                site,
                operations,
                from,
                upto,
            } = lost;
            format!("{operations} operations of site {site}, numbers {from} to {upto}")
        })
        .collect();
    parts.join("; ")
}

/// The node has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// How many sessions were ended because they held a transaction that wrote open for too long.
    pub ended: usize,
    /// Transactions that go on. What they commit stays here.
    pub open: Vec<Pending>,
    /// What no member that stays is known to have.
    pub lost: Vec<Lost>,
    /// Nothing of its links is left here.
    pub is_clear: bool,
    /// Neighbours that could not be told. They have all that is written here; for them this node is silent.
    pub untold: Vec<NodeId>,
}

/// Why a node has not left. It goes on, and its store takes writes.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    /// Transactions that cannot be ended by us.
    #[error(
        "transactions that write have not ended: {}. End them ({}) and leave again",
        store::list(.0), cures(.0)
    )]
    Writers(Vec<Pending>),
    /// There is nobody to hand over to.
    #[error(
        "no other member is known to have all that is written here, and none listens: start one and \
         leave again"
    )]
    NobodyListens,
    /// Peers make no progress.
    #[error("{}", stalled(.0))]
    Stalled(BTreeMap<NodeId, u64>),
    /// The node stops, or its store goes on as another site.
    #[error("the node does something else by now; `starling status` tells")]
    Ended,
    /// Our store.
    #[error(transparent)]
    Store(#[from] Error),
    /// The same.
    #[error(transparent)]
    Schema(#[from] store::Error),
}

fn cures(writers: &[Pending]) -> String {
    let cures: Vec<String> = writers.iter().map(Pending::cure).collect();
    cures.join("; ")
}

fn stalled(left: &BTreeMap<NodeId, u64>) -> String {
    if left.is_empty() {
        return "no member that stays has all that is written here".to_owned();
    }
    let left = unconfirmed(left, |peer| format!("peer {peer}"));
    format!("peers make no progress with what is written here; they have yet to confirm: {left}")
}
