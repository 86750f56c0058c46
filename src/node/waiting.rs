//! What the node waits for while it cannot do anything else: for the log's readers and the status.

use tokio::sync::watch;

use crate::watched;

/// One sentence at most, for many to set and to see.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(watch::Sender<Option<String>>);

impl Waiting {
    /// The node waits for `what` from now on.
    pub(super) fn set(&self, what: String) {
        watched::set(&self.0, Some(what));
    }

    /// It waits for nothing any more.
    pub(super) fn over(&self) {
        watched::set(&self.0, None);
    }

    /// What it waits for.
    pub(super) fn look(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// The same, as it changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}
