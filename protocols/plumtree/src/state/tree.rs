//! What one tree is at one node: which links carry payloads, and from where they come.

use std::time::Duration;

use super::neighbors::{Slot, SlotSet};

/// The links of one tree. All other neighbours are lazy.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    /// Neighbours that messages are pushed to; the parent is one of them.
    pub(super) eager: SlotSet,
    /// The neighbour that the last message came from. None at the root, and on a shared tree
    /// without a root.
    pub(super) parent: Option<Slot>,
    /// How far each neighbour said to be from the root, by slot.
    hops: Vec<Option<u8>>,
    /// When the parent was last exchanged for a nearer one.
    pub(super) optimised: Option<Duration>,
}

impl Tree {
    /// Takes note of how far `slot` says to be from the root.
    pub(super) fn note(&mut self, slot: Slot, hops: u16) {
        if self.hops.len() <= slot.index() {
            self.hops.resize(slot.index() + 1, None);
        }
        // One byte will do, for there is a tree for each origin; beyond 255 all count as equally far.
        self.hops[slot.index()] = Some(u8::try_from(hops).unwrap_or(u8::MAX));
    }

    pub(super) fn hops(&self, slot: Slot) -> Option<u8> {
        self.hops.get(slot.index()).copied().flatten()
    }

    /// Forgets a neighbour. Returns whether it was the parent, and whether it was eager.
    pub(super) fn forget(&mut self, slot: Slot) -> (bool, bool) {
        if let Some(hops) = self.hops.get_mut(slot.index()) {
            *hops = None;
        }
        let was_eager = self.eager.contains(slot);
        self.eager = self.eager.without(SlotSet::single(slot));
        let was_parent = self.parent == Some(slot);
        if was_parent {
            self.parent = None;
        }
        (was_parent, was_eager)
    }

    /// The neighbour among `candidates` that is nearest to the root by its own word. Those that said
    /// nothing come last. A near one is no descendant of ours, so that no loop comes of it.
    pub(super) fn nearest(&self, candidates: SlotSet) -> Option<Slot> {
        candidates
            .iter()
            .min_by_key(|slot| (self.hops(*slot).is_none(), self.hops(*slot), *slot))
    }
}
