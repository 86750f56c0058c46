//! Who a node is, in words that neither libp2p nor PostgreSQL own.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A node's PeerId in its text form. The data plane names peers by it and never sees libp2p.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A store's identity in the data: a positive 63-bit integer derived from PeerId and incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Site(i64);

impl Site {
    /// The site of `node` in its `incarnation`.
    ///
    /// Two stores share a site only if the first 63 bits of two SHA-256 digests agree; zero, which
    /// in `via` means "written here", is never returned.
    #[must_use]
    pub fn derive(node: &NodeName, incarnation: i64) -> Self {
        let mut hash = Sha256::new();
        hash.update(node.0.as_bytes());
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

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{NodeName, Site};

    #[test]
    fn a_site_depends_on_both_parts_and_is_stable() {
        let a = NodeName("a".to_owned());
        let b = NodeName("b".to_owned());
        assert_eq!(Site::derive(&a, 1), Site::derive(&a, 1));
        assert_ne!(Site::derive(&a, 1), Site::derive(&a, 2));
        assert_ne!(Site::derive(&a, 1), Site::derive(&b, 1));
        assert!(Site::derive(&a, 1).get() > 0);
    }

    #[test]
    fn only_positive_numbers_are_sites() {
        assert!(Site::new(0).is_none());
        assert!(Site::new(-1).is_none());
        assert_eq!(Site::new(7).map(Site::get), Some(7));
    }
}
