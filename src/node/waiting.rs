//! What the node waits for while it cannot do anything else: for the log's readers and the status.

use tokio::sync::watch;

/// One sentence at most, for many to set and to see.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(watch::Sender<Option<String>>);

impl Waiting {
    /// The node waits for `what` from now on.
    pub(super) fn set(&self, what: String) {
        self.0.send_if_modified(|known| {
            let is_news = known.as_ref() != Some(&what);
            *known = Some(what);
            is_news
        });
    }

    /// It waits for nothing any more.
    pub(super) fn over(&self) {
        self.0.send_if_modified(|known| known.take().is_some());
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
