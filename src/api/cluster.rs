//! What a node knows of all nodes: who there is, and who is connected with whom.

use serde::{Deserialize, Serialize};

use super::{NodeState, Presence, digits};
use crate::vector::Vector;

/// One node of the cluster as another knows it: an element of `GET /v1/nodes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// PeerId.
    pub peer_id: String,
    /// Human name.
    pub name: String,
    /// What it said it was doing when last heard of; `None` after it left or was evicted.
    pub state: Option<NodeState>,
    /// Site of its store.
    #[serde(with = "digits")]
    pub site: i64,
    /// `host:port` of its store as it advertises it, without credentials.
    pub store: String,
    /// Its checkpoint vector when last heard of.
    #[serde(with = "digits::vector")]
    pub vector: Vector,
    /// Its neighbours' PeerIds when last heard of.
    pub neighbors: Vec<String>,
    /// When its newest word reached us, RFC 3339 UTC.
    pub last_seen: String,
    /// Heard of recently enough to be counted as present.
    pub alive: bool,
    /// Whether it is there, and if not, why.
    #[serde(default)]
    pub presence: Presence,
}

/// The overlay as this node knows it: `GET /v1/topology`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The nodes.
    pub nodes: Vec<TopologyNode>,
    /// Neighbour relations, each pair once.
    pub edges: Vec<TopologyEdge>,
}

/// A node of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyNode {
    /// PeerId.
    pub peer_id: String,
    /// Human name.
    pub name: String,
    /// It is present.
    pub alive: bool,
    /// Whether it is there, and if not, why.
    #[serde(default)]
    pub presence: Presence,
}

/// An edge of the topology.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopologyEdge {
    /// One end (PeerId).
    pub a: String,
    /// The other end (PeerId); `a < b`.
    pub b: String,
    /// Both ends name each other.
    pub symmetric: bool,
}
