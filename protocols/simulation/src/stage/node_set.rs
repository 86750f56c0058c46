//! Sets of nodes, small enough for one per message.

use crate::NodeId;

/// A set of nodes, one bit each.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeSet(Vec<u64>);

impl NodeSet {
    fn word_and_bit(node: NodeId) -> (usize, u64) {
        (node as usize / 64, 1 << (node % 64))
    }

    pub(super) fn insert(&mut self, node: NodeId) {
        let (word, bit) = Self::word_and_bit(node);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        let (word, bit) = Self::word_and_bit(node);
        if let Some(bits) = self.0.get_mut(word) {
            *bits &= !bit;
        }
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        let (word, bit) = Self::word_and_bit(node);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|bits| bits.count_ones()).sum()
    }
}
