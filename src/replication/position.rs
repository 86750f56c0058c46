//! What nodes tell their neighbours for the sake of the links: what they hold, and whom they want to be linked
//! with.

use serde::{Deserialize, Serialize};

use crate::{identity::NodeId, vector::Vector};

/// What a node tells a neighbour of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// What it holds.
    pub vector: Vector,
    /// Whether it wants links with that neighbour, in both directions.
    pub insists: bool,
}

/// Where this node is in the tree of the root that it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreePlace {
    /// It is the root.
    pub is_root: bool,
    /// The neighbour from which the root's messages come; `None` at the root, and while none has come.
    pub parent: Option<NodeId>,
}
