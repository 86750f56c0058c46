//! How data goes through the overlay, and what neighbours tell each other for it.
//!
//! Only declared so far: the data plane links with every neighbour, whatever it is told here, and takes a
//! neighbour's vector for what it is without a position.

use std::{collections::BTreeSet, sync::LazyLock};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Handle;
use crate::{identity::NodeId, vector::Vector};

/// How data goes through the overlay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dissemination {
    /// Over the links with all neighbours.
    #[default]
    Flood,
    /// Over the links with a parent, and with those whose parent this node is.
    Tree,
}

/// What a node tells a neighbour of itself: what it holds, and whether it wants to be linked with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Its checkpoint vector.
    pub vector: Vector,
    /// It wants a link with the neighbour, in both directions.
    pub insists: bool,
}

/// Where this node is in the tree of the root that it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreePlace {
    /// It is the root itself.
    pub is_root: bool,
    /// The neighbour from which the tree's messages come; `None` while none is known.
    pub parent: Option<NodeId>,
}

/// Nobody is insisted on so far. Kept for good: who watches must not take it for the end of the data plane.
static INSISTED: LazyLock<watch::Sender<BTreeSet<NodeId>>> = LazyLock::new(watch::Sender::default);

impl Handle {
    /// A neighbour told its position.
    pub fn position(&self, peer: &NodeId, position: Position) {
        let Position { vector, insists: _ } = position;
        self.heard(peer, &vector);
    }

    /// A neighbour of an earlier version, which cannot tell: it wants links with all its neighbours.
    pub fn floods(&self, _peer: &NodeId) {}

    /// Our place in the tree, level-triggered; cheap when nothing changed.
    pub fn follow(&self, place: TreePlace) {
        drop(place);
    }

    /// Whom this node insists on being linked with.
    #[must_use]
    pub fn insisted(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        INSISTED.subscribe()
    }
}
