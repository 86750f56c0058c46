//! The points between which a link's life is one indivisible action.
//!
//! Every test of crash safety is a loop over [`Milestone::ALL`]: stop at the point, kill, start
//! again, look. So a new action on a store or a peer needs a milestone after it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// Something was just done that a crash now would leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Milestone {
    /// Publisher: role and publication exist, the slot does not.
    Published,
    /// Publisher: the slot exists, nobody knows its name yet.
    SlotCreated,
    /// Subscriber: the offer has arrived, nothing local exists.
    OfferReceived,
    /// Subscriber: missing rows are copied, not committed.
    RowsCopied,
    /// Subscriber: the catch-up is committed, there is no subscription.
    CaughtUp,
    /// Subscriber: the subscription exists and is disabled.
    Subscribed,
    /// Subscriber: its origin stands where the slot starts.
    Positioned,
    /// Subscriber: the subscription runs, the one it replaces does too.
    Enabled,
    /// Subscriber: the subscription is dropped, the publisher does not know.
    Unsubscribed,
    /// Publisher: the slot is dropped, the publication and the role are not.
    SlotDropped,
    /// Publisher: nothing is left.
    Unpublished,
}

impl Milestone {
    /// All of them, in the order of a link's life.
    pub const ALL: [Self; 11] = [
        Self::Published,
        Self::SlotCreated,
        Self::OfferReceived,
        Self::RowsCopied,
        Self::CaughtUp,
        Self::Subscribed,
        Self::Positioned,
        Self::Enabled,
        Self::Unsubscribed,
        Self::SlotDropped,
        Self::Unpublished,
    ];
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Called at every milestone; the action goes on when the returned future is done.
#[derive(Clone, Default)]
pub struct Probe(Option<Arc<dyn Fn(Milestone) -> Waiting + Send + Sync>>);

impl Probe {
    /// A probe that calls `watcher`.
    pub fn new(watcher: impl Fn(Milestone) -> Waiting + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(watcher)))
    }

    pub(crate) async fn pass(&self, milestone: Milestone) {
        tracing::trace!(?milestone, "milestone");
        if let Some(watcher) = &self.0 {
            watcher(milestone).await;
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Probe(set)"
        } else {
            "Probe(unset)"
        })
    }
}
