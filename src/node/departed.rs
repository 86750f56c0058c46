//! Members that are gone for good, noticed once each.

use std::collections::BTreeSet;

use crate::{directory::Directory, identity::NodeName};

/// Remembers whose departure was acted upon.
#[derive(Debug, Default)]
pub(super) struct Departed {
    known: BTreeSet<NodeName>,
}

impl Departed {
    /// Who has left or was evicted since the last call. A node that came back counts anew.
    pub(super) fn news(&mut self, directory: &Directory) -> Vec<NodeName> {
        let gone = directory.departed();
        let news = gone.difference(&self.known).cloned().collect();
        self.known = gone;
        news
    }
}
