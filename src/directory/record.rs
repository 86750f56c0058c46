//! What one node says of itself.

use serde::{Deserialize, Serialize};

use crate::{
    api::NodeState,
    identity::{Incarnation, NodeId, Run, Site, Start},
    vector::Vector,
};

/// Greatest counter, beat and incarnation that is believed. As milliseconds it lies 142,000 years ahead; it keeps
/// all arithmetic on them far from overflow.
pub(super) const ORDER_MAX: u64 = 1 << 52;
/// [`ORDER_MAX`] as an incarnation.
pub(super) const INCARNATION_MAX: Incarnation = Incarnation::new(ORDER_MAX);

/// Host names end at 253.
const NAME_BYTES_MAX: usize = 255;
/// A host name, a colon and a port.
const STORE_BYTES_MAX: usize = 261;
const VERSION_BYTES_MAX: usize = 64;
/// Active views are five by default; nobody needs hundreds.
const NEIGHBORS_MAX: usize = 64;

/// How gladly a node is an inner node of the data's tree, one that passes on what others wrote.
// The root is chosen in this order.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Relay {
    /// It has more of line and machine than the others, and is always there.
    Preferred,
    /// As any other.
    #[default]
    Normal,
    /// It is to pass on as little as possible: a laptop, a line that is paid for by the byte.
    Avoid,
}

/// What the node announces about itself, as often as it likes.
// Its record has these parts one by one, as they travel: one that held an announcement would need names,
// order and defaults of the wire written down a second time (serde's `flatten` writes other bytes).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement {
    /// Human name.
    pub name: String,
    /// Site of its store; `None` while the store has never been up.
    pub site: Option<Site>,
    /// Which start of the site this is; 0 until the store may be written to.
    pub generation: u64,
    /// What it is doing.
    pub state: NodeState,
    /// `host:port` of its store, without credentials.
    pub store: String,
    /// Its checkpoint vector.
    pub vector: Vector,
    /// Its neighbours.
    pub neighbors: Vec<NodeId>,
    /// Version of the program.
    pub version: String,
    /// When this run of it began, in Unix milliseconds by its own clock.
    pub started: u64,
    /// How gladly it is an inner node of the data's tree.
    pub relay: Relay,
    /// The root of the tree that it follows; `None` where data follows no tree.
    pub follows: Option<NodeId>,
}

/// What is known of one node: its own words, and whether it was evicted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Who speaks.
    pub node: NodeId,
    /// Orders its starts.
    pub incarnation: Incarnation,
    /// Orders the records of one start.
    pub counter: u64,
    /// Human name.
    pub name: String,
    /// Site of its store; `None` while the store has never been up.
    pub site: Option<Site>,
    /// What it is doing.
    pub state: NodeState,
    /// `host:port` of its store, without credentials.
    pub store: String,
    /// Its checkpoint vector.
    pub vector: Vector,
    /// Its neighbours.
    pub neighbors: Vec<NodeId>,
    /// Version of the program.
    pub version: String,
    /// Which process speaks; `None` from a version that does not tell.
    #[serde(default)]
    pub run: Option<Run>,
    /// The last other process that it heard speak under its name: an earlier run, or one with a copy of
    /// its key.
    #[serde(default)]
    pub rival: Option<Run>,
    /// Which start of the site this is; 0 until the store may be written to.
    #[serde(default)]
    pub generation: u64,
    /// It left for good, by its own word.
    #[serde(default)]
    pub left: bool,
    /// It stops and comes back, by its own word.
    #[serde(default)]
    pub stopped: bool,
    /// An operator declared it gone. Belongs to the site: holds for every record with that site.
    #[serde(default)]
    pub evicted: bool,
    // A version that does not know what follows leaves it out when it passes a record on. Of such a record and
    // the whole one the greater wins: the whole one, as long as this stands first.
    /// When this run of it began, in Unix milliseconds by its own clock; 0 from a version that does not tell.
    #[serde(default)]
    pub started: u64,
    /// How gladly it is an inner node of the data's tree.
    #[serde(default)]
    pub relay: Relay,
    /// The root of the tree that it follows; `None` where data follows no tree.
    #[serde(default)]
    pub follows: Option<NodeId>,
}

impl NodeRecord {
    /// The process that writes as its site, if it does.
    #[must_use]
    pub fn start(&self) -> Option<Start> {
        let generation = self.generation;
        let run = self.run.filter(|_| generation > 0)?;
        Some(Start { generation, run })
    }

    pub(super) fn blank(node: NodeId, incarnation: Incarnation, run: Run) -> Self {
        Self {
            node,
            incarnation,
            counter: 1,
            name: String::new(),
            site: None,
            state: NodeState::Starting,
            store: String::new(),
            vector: Vector::default(),
            neighbors: Vec::new(),
            version: String::new(),
            run: Some(run),
            rival: None,
            generation: 0,
            left: false,
            stopped: false,
            evicted: false,
            started: 0,
            relay: Relay::default(),
            follows: None,
        }
    }

    /// What this node has said so far, but for what it says now.
    pub(super) fn saying(&self, announcement: Announcement) -> Self {
        // Each part by its name: one that is added later does not compile before it is said.
        let Announcement {
            name,
            site,
            generation,
            state,
            store,
            vector,
            neighbors,
            version,
            started,
            relay,
            follows,
        } = announcement;
        Self {
            name,
            site,
            generation,
            state,
            store,
            vector,
            neighbors,
            version,
            started,
            relay,
            follows,
            ..self.clone()
        }
    }

    /// Takes from `whole`, the same node's record, what a version leaves out that does not know it.
    pub(super) fn complete(&mut self, whole: &Self) {
        if self.started == 0 {
            self.started = whole.started;
            self.relay = whole.relay;
            self.follows.clone_from(&whole.follows);
        }
    }

    /// Whether every part keeps its bound. Checked on what peers send; what we announce is cut
    /// by nobody, because it comes from our own store and overlay.
    pub(super) fn is_bounded(&self) -> bool {
        self.node.is_sound()
            && self.incarnation <= INCARNATION_MAX
            && self.counter <= ORDER_MAX
            && self.generation <= ORDER_MAX
            && self.name.len() <= NAME_BYTES_MAX
            && self.store.len() <= STORE_BYTES_MAX
            && self.version.len() <= VERSION_BYTES_MAX
            && self.neighbors.len() <= NEIGHBORS_MAX
            && self.neighbors.iter().all(NodeId::is_sound)
            && self.vector.is_bounded()
            && self.site.is_none_or(|site| site.get() > 0)
            && self.started <= ORDER_MAX
            && self.follows.as_ref().is_none_or(NodeId::is_sound)
    }

    /// The one of two records of one node that holds everywhere. Commutative, associative and
    /// idempotent as long as a node does not return to a site that it gave up.
    ///
    /// Equal ranks with different words only come from a liar; comparing the words keeps even
    /// then all directories equal.
    pub(super) fn join(mut self, mut other: Self) -> Self {
        debug_assert_eq!(self.node, other.node);
        let (mine, theirs) = (self.evicted, other.evicted);
        (self.evicted, other.evicted) = (false, false);
        let same_site = self.site == other.site;
        let (mut winner, won, lost) = if (self.rank(), &self) >= (other.rank(), &other) {
            (self, mine, theirs)
        } else {
            (other, theirs, mine)
        };
        // An eviction is of a site: it holds for whichever record of that site wins.
        winner.evicted = won || (same_site && lost);
        winner
    }

    pub(super) fn rank(&self) -> (Incarnation, u64) {
        (self.incarnation, self.counter)
    }

    /// Roughly the bytes that it takes on the wire.
    pub(super) fn weight(&self) -> usize {
        // 190 for what the first versions said, 42 for names and numbers of what came later.
        232 + self.node.as_str().len()
            + self
                .follows
                .as_ref()
                .map_or(0, |node| node.as_str().len() + 1)
            + self.name.len()
            + self.store.len()
            + self.version.len()
            + self.vector.len() * 18
            + self
                .neighbors
                .iter()
                .map(|node| node.as_str().len() + 3)
                .sum::<usize>()
    }
}
