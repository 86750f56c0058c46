//! Who a node is, in words that neither libp2p nor PostgreSQL own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::unix_time;

/// Who a node is: its PeerId in base58. The data plane names peers by it and never sees libp2p.
///
/// Letters and digits, and a bounded number of them, so that it needs no quoting in SQL, JSON or a file's
/// name. It is checked where somebody gives it; what members say of others is checked where it is taken in,
/// so that a bad id spoils its record and not the message that brings it.
/// Whether anybody bears it is for the network to find out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(String);

/// The longest id, in bytes. A PeerId of an Ed25519 key has 52.
const NODE_ID_BYTES_MAX: usize = 64;

/// A text that is no [`NodeId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the id of a node: 1 to {NODE_ID_BYTES_MAX} letters and digits, such as 12D3KooW..."
)]
pub struct InvalidNodeId(String);

impl NodeId {
    /// The id whose digits libp2p has written.
    pub(crate) fn from_base58(peer_id: String) -> Self {
        debug_assert!(Self::is_id(&peer_id), "{peer_id}");
        Self(peer_id)
    }

    /// Whether it is one: a member may say anything.
    pub(crate) fn is_sound(&self) -> bool {
        Self::is_id(&self.0)
    }

    fn is_id(text: &str) -> bool {
        // Wider than base58 by four characters: what must hold is that no quoting is needed.
        (1..=NODE_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }

    /// The id as people and messages write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_owned();
        if Self::is_id(&text) {
            Ok(Self(text))
        } else {
            Err(InvalidNodeId(text))
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest name of a cluster, in bytes: it is part of libp2p's protocol ids, which are bounded at 140.
pub const CLUSTER_NAME_BYTES_MAX: usize = 63;

/// Whether a cluster can be called so: the name can be part of a protocol's id and be told apart in logs.
#[must_use]
pub fn is_cluster_name(name: &str) -> bool {
    name.len() <= CLUSTER_NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-'))
}

/// A store's identity in the data: a positive 63-bit integer derived from PeerId and incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Site(i64);

impl Site {
    /// The site of `node` in its store's `incarnation`, a random number (not the node's [`Incarnation`]).
    ///
    /// Two stores share a site only if the first 63 bits of two SHA-256 digests agree; zero, which
    /// in `via` means "written here", is never returned.
    #[must_use]
    pub fn derive(node: &NodeId, incarnation: i64) -> Self {
        let mut hash = Sha256::new();
        hash.update(node.as_str().as_bytes());
        hash.update(incarnation.to_be_bytes());
        let digest = hash.finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[..8]);
        Self((i64::from_be_bytes(bytes) & i64::MAX).max(1))
    }

    /// A site read from a store or a peer; `None` unless it is positive.
    #[must_use]
    pub fn new(value: i64) -> Option<Self> {
        (value > 0).then_some(Self(value))
    }

    /// The number as the store holds it.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

/// Orders the starts of one node for its peers: the wall clock at its start, in Unix milliseconds. Drawn once
/// in each process; the overlay, the broadcasts and the directory all say the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(u64);

impl Incarnation {
    /// That of a process that starts now.
    #[must_use]
    pub fn now() -> Self {
        Self(unix_time::now_milliseconds())
    }

    /// One that a peer names.
    #[must_use]
    pub const fn new(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Unix milliseconds, by the node's own clock.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// One start of a controller: a number that each process draws for itself. It tells apart two processes
/// that have one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Run(u64);

impl Run {
    /// A new one.
    #[must_use]
    pub fn draw() -> Self {
        Self(rand::random::<u64>().max(1))
    }

    /// One that a peer or a file names; zero is none.
    #[must_use]
    pub fn new(value: u64) -> Option<Self> {
        (value > 0).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A start, and its place among the starts of its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Start {
    /// Counts from one.
    pub generation: u64,
    /// Which process.
    pub run: Run,
}

/// Of the starts of a site, its store's record keeps this many.
const RUNS_MAX: usize = 32;

/// The starts of the controller of one site, as the record beside its store has them. A copy of the record
/// has those until it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// How many there were.
    generation: u64,
    /// The last of them, oldest first.
    runs: Vec<Run>,
}

impl Lineage {
    /// The first start of a site.
    #[must_use]
    pub fn begin(run: Run) -> Self {
        let mut lineage = Self::default();
        lineage.started(run);
        lineage
    }

    /// One more start.
    pub fn started(&mut self, run: Run) {
        self.generation = self.generation.saturating_add(1);
        self.runs.push(run);
        let excess = self.runs.len().saturating_sub(RUNS_MAX);
        self.runs.drain(..excess);
    }

    /// The last start.
    #[must_use]
    pub fn last(&self) -> Option<Start> {
        let run = *self.runs.last()?;
        Some(Start {
            generation: self.generation,
            run,
        })
    }

    /// Whether `start` may be one of these: it is, or it is too long ago to tell.
    #[must_use]
    pub fn may_hold(&self, start: Start) -> bool {
        let kept = u64::try_from(self.runs.len()).unwrap_or(u64::MAX);
        self.runs.contains(&start.run) || start.generation <= self.generation.saturating_sub(kept)
    }

    /// Whether `run` is one of these.
    #[must_use]
    pub fn holds(&self, run: Run) -> bool {
        self.runs.contains(&run)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CLUSTER_NAME_BYTES_MAX, Lineage, NodeId, RUNS_MAX, Run, Site, Start, is_cluster_name,
    };

    #[test]
    fn names_of_clusters_are_checked() {
        let longest = "x".repeat(CLUSTER_NAME_BYTES_MAX);
        for name in ["starling", "a.b_c-9", "9", &longest] {
            assert!(is_cluster_name(name), "{name:?}");
        }
        let longer = format!("{longest}x");
        for name in ["", "a/b", "a b", "ä", ".", "-a", &longer] {
            assert!(!is_cluster_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_copy_of_a_lineage_lacks_the_starts_after_it() {
        let run = |n| Run::new(n).unwrap();
        let mut lineage = Lineage::begin(run(1));
        lineage.started(run(2));
        let mut copy = lineage.clone();
        lineage.started(run(3));
        copy.started(run(4));
        let last = lineage.last().unwrap();
        assert_eq!(
            last,
            Start {
                generation: 3,
                run: run(3)
            }
        );
        assert!(!copy.may_hold(last));
        assert!(copy.may_hold(Start {
            generation: 2,
            run: run(2)
        }));
        assert!(lineage.may_hold(last));
    }

    #[test]
    fn what_is_too_long_ago_is_not_denied() {
        let run = |n| Run::new(n).unwrap();
        let mut lineage = Lineage::default();
        for n in 1..=100 {
            lineage.started(run(n));
        }
        assert_eq!(lineage.runs.len(), RUNS_MAX);
        let at = |generation| Start {
            generation,
            run: run(1_000),
        };
        assert!(lineage.may_hold(at(68)));
        assert!(!lineage.may_hold(at(69)));
        assert!(!lineage.may_hold(at(101)));
    }

    #[test]
    fn a_site_depends_on_both_parts_and_is_stable() {
        let a = "a".parse::<NodeId>().unwrap();
        let b = "b".parse::<NodeId>().unwrap();
        assert_eq!(Site::derive(&a, 1), Site::derive(&a, 1));
        assert_ne!(Site::derive(&a, 1), Site::derive(&a, 2));
        assert_ne!(Site::derive(&a, 1), Site::derive(&b, 1));
        assert!(Site::derive(&a, 1).get() > 0);
    }

    #[test]
    fn an_id_is_checked_where_it_comes_in() {
        for id in ["a", "12D3KooWQ1zY9UCbwmRW9CMVLBLvDVPPX3Csj7HVvpKhVG9yQqYV"] {
            assert_eq!(id.parse::<NodeId>().unwrap().as_str(), id);
            let json = serde_json::to_string(id).unwrap();
            assert_eq!(serde_json::from_str::<NodeId>(&json).unwrap().as_str(), id);
        }
        let long = "a".repeat(65);
        for bad in ["", "node-1", "o'peer", "node 1", &long] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
            let json = serde_json::to_string(bad).unwrap();
            let told: NodeId = serde_json::from_str(&json).unwrap();
            assert!(!told.is_sound(), "{bad}");
        }
    }

    #[test]
    fn only_positive_numbers_are_sites() {
        assert!(Site::new(0).is_none());
        assert!(Site::new(-1).is_none());
        assert_eq!(Site::new(7).map(Site::get), Some(7));
    }
}
