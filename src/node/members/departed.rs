//! Members that are gone for good, and members that came back, noticed once each.

use std::collections::BTreeSet;

use crate::{directory::Directory, identity::NodeId};

/// Who went and who came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct News {
    /// They left, or were evicted. A node that came back counts anew.
    pub(in crate::node) gone: Vec<NodeId>,
    /// They were gone, and are members again: after an eviction, as another site.
    pub(in crate::node) back: Vec<NodeId>,
}

/// Remembers whose departure was acted upon.
#[derive(Debug, Default)]
pub(in crate::node) struct Departed {
    known: BTreeSet<NodeId>,
}

impl Departed {
    /// What has changed since the last call.
    pub(in crate::node) fn news(&mut self, directory: &Directory) -> News {
        let departed = directory.departed();
        let news = News {
            gone: departed.difference(&self.known).cloned().collect(),
            back: self.known.difference(&departed).cloned().collect(),
        };
        self.known = departed;
        news
    }
}
