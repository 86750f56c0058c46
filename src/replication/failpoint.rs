//! The points between which each action on a link is indivisible.
//!
//! Every test of crash safety is a loop over [`Failpoint::ALL`]: stop at the point, kill, start
//! again, look. So a new action on a store or a peer needs a failpoint after it.

use std::{fmt, pin::Pin, sync::Arc};

use tracing::trace;

/// Something was just done that a crash now would leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failpoint {
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

impl Failpoint {
    /// All of them, in the order in which a link is made and taken down.
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

/// Called at every failpoint; the action goes on when the returned future is done.
#[derive(Clone, Default)]
pub struct Failpoints(Option<Arc<dyn Fn(Failpoint) -> Waiting + Send + Sync>>);

impl Failpoints {
    /// Failpoints that call `watcher`.
    pub fn new(watcher: impl Fn(Failpoint) -> Waiting + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(watcher)))
    }

    pub(crate) async fn pass(&self, failpoint: Failpoint) {
        trace!(?failpoint, "failpoint");
        if let Some(watcher) = &self.0 {
            watcher(failpoint).await;
        }
    }
}

impl fmt::Debug for Failpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Failpoints(set)"
        } else {
            "Failpoints(unset)"
        })
    }
}
