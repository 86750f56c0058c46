//! What the tasks of one data plane share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::Reading;
use super::confirm::{Confirmation, Members};
use super::counters::Counters;
use super::database::Database;
use super::failpoint::Failpoint;
use super::leave::{Member, Order, Stage};
use super::links::desired::{Desired, Phase};
use super::links::observed::Observed;
use super::reason::Reason;
use super::settings::Settings;
use super::subscriber::Progress;
use crate::api::LinkStatus;
use crate::identity::NodeId;
use crate::vector::Vector;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) counters: Counters,
    /// Ends all tasks at their next await, whatever they are doing.
    pub(crate) cancel: CancellationToken,
    /// Asks the reconciler to look at once.
    pub(crate) wake: Notify,
    pub(crate) desired: watch::Sender<Desired>,
    pub(crate) observed: watch::Sender<Arc<Observed>>,
    pub(crate) links: watch::Sender<Vec<LinkStatus>>,
    pub(crate) vector: watch::Sender<Vector>,
    pub(crate) level: watch::Sender<bool>,
    /// The store's clock, once it was read.
    pub(crate) clock: watch::Sender<Option<Reading>>,
    /// There has been a neighbour in this life.
    pub(crate) met: AtomicBool,
    pub(crate) progress: watch::Sender<BTreeMap<NodeId, Progress>>,
    /// A departure that nobody has begun yet.
    pub(crate) order: Mutex<Option<Order>>,
    /// How far the departure has got that is under way.
    pub(crate) leaving: watch::Sender<Option<Stage>>,
    /// The other members, as far as leaving is concerned.
    pub(crate) holders: watch::Sender<BTreeMap<NodeId, Member>>,
    /// Whether the store may be written to and linked with.
    pub(crate) confirmation: watch::Sender<Confirmation>,
    /// What peers say that they hold, and when we heard of it.
    pub(crate) heads: watch::Sender<BTreeMap<NodeId, (Duration, Arc<Vector>)>>,
    /// Why peers were last denied a link.
    denials: Mutex<BTreeMap<NodeId, Reason>>,
    /// Neighbours that know nothing of our site that we do not.
    pub(crate) confirmed_by: watch::Sender<BTreeSet<NodeId>>,
    /// Who else may know of our site.
    pub(crate) members: watch::Sender<Members>,
    started: Instant,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            confirmation: watch::Sender::new(match settings.confirm_within {
                Some(_) => Confirmation::Unconfirmed,
                None => Confirmation::Confirmed,
            }),
            confirmed_by: watch::Sender::default(),
            holders: watch::Sender::default(),
            heads: watch::Sender::default(),
            denials: Mutex::default(),
            database: Database::new(settings.store.clone()),
            settings,
            counters: Counters::default(),
            cancel: CancellationToken::new(),
            wake: Notify::new(),
            desired: watch::Sender::default(),
            observed: watch::Sender::new(Arc::new(Observed::Unknown)),
            links: watch::Sender::default(),
            vector: watch::Sender::default(),
            level: watch::Sender::new(true),
            clock: watch::Sender::default(),
            met: AtomicBool::new(false),
            progress: watch::Sender::default(),
            order: Mutex::default(),
            leaving: watch::Sender::default(),
            members: watch::Sender::default(),
            started: Instant::now(),
        })
    }

    /// Time since this life began: the only clock of the planner.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) async fn pass(&self, failpoint: Failpoint) {
        self.settings.failpoints.pass(failpoint).await;
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        *self.confirmation.borrow() == Confirmation::Confirmed
    }

    /// The store is what it was.
    pub(crate) fn mark_confirmed(&self) {
        self.confirmation.send_if_modified(|confirmation| {
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

    pub(crate) fn note_confirmed_by(&self, peer: &NodeId) {
        self.confirmed_by
            .send_if_modified(|confirmed_by| confirmed_by.insert(peer.clone()));
    }

    /// Why peers were last denied a link.
    pub(crate) fn denials(&self) -> MutexGuard<'_, BTreeMap<NodeId, Reason>> {
        // Each is replaced as a whole, so they are sound even after a panic elsewhere.
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Others may have links to us.
    pub(crate) fn is_serving(&self) -> bool {
        self.desired.borrow().phase != Phase::Gone
    }

    /// The departure that was asked for, for whoever carries it out.
    pub(crate) fn take_order(&self) -> Option<Order> {
        // Taken as a whole, so it is sound even after a panic elsewhere.
        self.order
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Returns once a look at the store showed what `fits` wants.
    pub(crate) async fn until(&self, mut fits: impl FnMut(&Observed) -> bool) {
        let mut observed = self.observed.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = observed.wait_for(|observed| fits(observed)).await;
    }
}
