//! Whether the store is confirmed, and who has confirmed it.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::identity::NodeId;

/// Whether this store may be written to and linked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    /// Nobody has said so far.
    Unconfirmed,
    /// It is what it was.
    Confirmed,
    /// It is an older copy, or may be one: it must go on as another site. Why.
    Behind(String),
    /// Another process has written as its site, or may: the same. Why.
    Shared(String),
}

impl Confirmation {
    /// It must go on as another site.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Behind(_) | Self::Shared(_))
    }
}

/// The confirmation of our store, as the tasks of a data plane find out about it. Once it is over it stays
/// so: what follows is another data plane, of another site.
#[derive(Debug)]
pub(crate) struct ConfirmationState {
    confirmation: watch::Sender<Confirmation>,
    /// Neighbours that know nothing of our site that we do not.
    confirmed_by: watch::Sender<BTreeSet<NodeId>>,
}

impl ConfirmationState {
    pub(crate) fn new(is_confirmed: bool) -> Arc<Self> {
        Arc::new(Self {
            confirmation: watch::Sender::new(if is_confirmed {
                Confirmation::Confirmed
            } else {
                Confirmation::Unconfirmed
            }),
            confirmed_by: watch::Sender::default(),
        })
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Confirmation> {
        self.confirmation.subscribe()
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        *self.confirmation.borrow() == Confirmation::Confirmed
    }

    /// The store must go on as another site.
    pub(crate) fn is_over(&self) -> bool {
        self.confirmation.borrow().is_over()
    }

    /// Returns once the store is confirmed; never if it must change.
    pub(crate) async fn confirmed(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self
            .subscribe()
            .wait_for(|confirmation| *confirmation == Confirmation::Confirmed)
            .await;
    }

    /// The store is what it was.
    pub(crate) fn mark_confirmed(&self) {
        self.confirmation.send_if_modified(|confirmation| {
            // A good answer that comes late does not undo a denial.
            let is_news = *confirmation == Confirmation::Unconfirmed;
            if is_news {
                *confirmation = Confirmation::Confirmed;
            }
            is_news
        });
    }

    /// The store must go on as another site, because it is an older copy; the first reason is kept.
    pub(crate) fn mark_behind(&self, why: String) {
        self.must_change(Confirmation::Behind(why));
    }

    /// The same, because another process has written as this one.
    pub(crate) fn mark_shared(&self, why: String) {
        self.must_change(Confirmation::Shared(why));
    }

    fn must_change(&self, to: Confirmation) {
        self.confirmation.send_if_modified(|confirmation| {
            let is_news = !confirmation.is_over();
            if is_news {
                *confirmation = to;
            }
            is_news
        });
    }

    /// A peer knows nothing of our site that we do not.
    pub(crate) fn note_confirmed_by(&self, peer: &NodeId) {
        self.confirmed_by
            .send_if_modified(|confirmed_by| confirmed_by.insert(peer.clone()));
    }

    /// A peer is no neighbour any more: it is asked again if it comes back.
    pub(crate) fn forget(&self, peer: &NodeId) {
        self.confirmed_by
            .send_if_modified(|confirmed_by| confirmed_by.remove(peer));
    }

    pub(crate) fn is_confirmed_by(&self, peer: &NodeId) -> bool {
        self.confirmed_by.borrow().contains(peer)
    }

    /// Returns once `peer` has confirmed our store.
    pub(crate) async fn confirmed_by(&self, peer: &NodeId) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self
            .confirmed_by
            .subscribe()
            .wait_for(|confirmed_by| confirmed_by.contains(peer))
            .await;
    }
}
