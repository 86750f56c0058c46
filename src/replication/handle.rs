//! The data plane as the node sees it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::Transport;
use super::checkpoint;
use super::clock::{self, Reading};
use super::confirm::{self, Confirmation, Members};
use super::counters::Totals;
use super::leave::{LeaveError, Left, Member, Order, Stage, Terms};
use super::links::desired::{Departure, Doubt, Neighbor, Phase, Wish};
use super::links::observed::Observed;
use super::links::reconciler::Reconciler;
use super::names::{Epoch, LinkName};
use super::protocol::{Reply, Request, code};
use super::publisher::Publisher;
use super::reason::Reason;
use super::settings::Settings;
use super::shared::Shared;
use super::subscriber::{Progress, Subscriber};
use crate::api::{LinkState, LinkStatus};
use crate::identity::{NodeId, Site};
use crate::postgres::Conninfo;
use crate::vector::{Seq, Vector};

/// Of two that become neighbours one hears of it first; its request waits so long for the other.
const ACQUAINTANCE_LIMIT: Duration = Duration::from_secs(1);

/// Each of two that become neighbours asks the other about itself first; a request to open a link
/// waits so long for that.
const CONFIRM_LIMIT: Duration = Duration::from_secs(2);

/// Taking down the links with one peer: a walsender to end, a worker to stop, a peer to tell.
const PARTING_LIMIT: Duration = Duration::from_secs(40);

/// Links could not be taken down in time: the store or a walsender does not answer. The work goes on
/// as long as the data plane runs, and the next life finds what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("links could not be taken down in time")]
pub struct Unfinished;

/// A running data plane.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    publisher: Arc<Publisher>,
    tasks: TaskTracker,
}

/// Starts the data plane. The store need not be up: work begins when it is.
#[must_use]
pub fn start<T: Transport>(settings: Settings, transport: T) -> Handle {
    let shared = Shared::new(settings);
    let publisher = Publisher::new(Arc::clone(&shared));
    let subscriber = Subscriber::new(Arc::clone(&shared), transport);
    let tasks = TaskTracker::new();
    let Settings { node, cluster, .. } = &shared.settings;
    let span = tracing::info_span!("replication", %node, cluster);
    if let Some(limit) = shared.settings.confirm_within {
        let confirming = confirm::run(Arc::clone(&shared), Arc::clone(&subscriber), limit);
        tasks.spawn(confirming.instrument(span.clone()));
    }
    let reconciler = Reconciler::new(
        Arc::clone(&shared),
        subscriber,
        Arc::clone(&publisher),
        tasks.clone(),
    );
    tasks.spawn(reconciler.run().instrument(span.clone()));
    tasks.spawn(clock::run(Arc::clone(&shared)).instrument(span.clone()));
    tasks.spawn(checkpoint::run(Arc::clone(&shared)).instrument(span));
    tasks.close();
    Handle {
        shared,
        publisher,
        tasks,
    }
}

impl Handle {
    /// A peer is a neighbour: link with it, both ways. To be called again when its addresses change.
    pub fn neighbor_up(&self, neighbor: Neighbor) {
        if !self.shared.met.swap(true, Ordering::Relaxed) {
            self.shared.level.send_replace(false);
        }
        self.shared
            .desired
            .send_modify(|desired| desired.up(neighbor));
    }

    /// A peer is no neighbour any more.
    pub fn neighbor_down(&self, peer: &NodeId, departure: Departure) {
        let now = self.shared.now();
        self.shared
            .desired
            .send_modify(|desired| desired.down(peer, departure, now));
        self.shared
            .confirmed_by
            .send_if_modified(|confirmed_by| confirmed_by.remove(peer));
        self.shared
            .heads
            .send_if_modified(|heads| heads.remove(peer).is_some());
        self.shared.denials().remove(peer);
    }

    /// A neighbour holds everything up to `vector`, by its own word.
    pub fn heard(&self, peer: &NodeId, vector: &Vector) {
        let now = self.shared.now();
        self.shared.heads.send_if_modified(|heads| {
            let is_news = heads.get(peer).is_none_or(|(_, known)| **known != *vector);
            if is_news {
                heads.insert(peer.clone(), (now, Arc::new(vector.clone())));
            }
            is_news
        });
    }

    /// Whose clocks are not believed from now on. What such a peer has to give is caught up with later.
    pub fn doubt(&self, doubts: &BTreeMap<NodeId, Doubt>) {
        self.shared.desired.send_if_modified(|desired| {
            let is_news = desired.doubts != *doubts;
            if is_news {
                let is_ahead = |of: &BTreeMap<_, _>, peer| of.get(peer) == Some(&Doubt::Ahead);
                let new = |peer| is_ahead(doubts, peer) && !is_ahead(&desired.doubts, peer);
                let count = doubts.keys().filter(|peer| new(peer)).count();
                self.shared.counters.mistrusted(count);
                desired.doubts.clone_from(doubts);
            }
            is_news
        });
    }

    /// Who else is there to confirm the store, besides the neighbours.
    pub fn know(&self, members: Members) {
        self.shared.members.send_if_modified(|known| {
            let is_news = *known != members;
            *known = members;
            is_news
        });
    }

    /// The store is to be found elsewhere from now on, for example on another port after a restart.
    pub fn store_moved(&self, store: impl Into<Conninfo>) {
        self.shared.database.relocate(store.into());
        self.shared.wake.notify_one();
    }

    /// Answers a request of `from`, who must have been authenticated.
    pub async fn serve(&self, from: &NodeId, request: Request) -> Reply {
        let is_about_link = matches!(request, Request::Open { .. } | Request::Resume { .. });
        let reply = tokio::select! {
            () = self.shared.cancel.cancelled() => {
                Reply::refused(code::STOPPING, "the node is stopping")
            }
            reply = self.answer(from, request) => reply,
        };
        if let Reply::Refused { code, message, .. } = &reply {
            self.shared.counters.refused(code);
            tracing::debug!(%from, code, message, "request refused");
        }
        if is_about_link {
            self.note_denial(from, &reply);
        }
        reply
    }

    /// A peer that gets no link from us would not say so where our operator looks.
    fn note_denial(&self, from: &NodeId, reply: &Reply) {
        let denial = match reply {
            Reply::Refused { code, message, fix } => {
                match Reason::of_denial(code, message, fix.as_deref()) {
                    Some(denial) => denial,
                    None => return,
                }
            }
            Reply::Opened(_)
            | Reply::Resumed { .. }
            | Reply::Closed
            | Reply::Known { .. }
            | Reply::Left => {
                self.shared.denials().remove(from);
                return;
            }
        };
        let text = denial.text.clone();
        let is_refusal = denial.state == LinkState::Refused;
        let before = self.shared.denials().insert(from.clone(), denial);
        if is_refusal && before.is_none_or(|before| before.text != text) {
            tracing::warn!(peer = %from, reason = text, "a neighbour gets no link from this store");
        }
    }

    async fn answer(&self, from: &NodeId, request: Request) -> Reply {
        // The wire may carry numbers that are no sites.
        let link = |site: Site, epoch: Epoch| Some(LinkName::new(Site::new(site.get())?, epoch));
        let answer = match request {
            Request::Leave => return self.part(from).await,
            Request::Open { site, challenge } => match Site::new(site.get()) {
                Some(_) if !self.admits(from).await => None,
                Some(_) if !self.shared.is_confirmed() => return unconfirmed(),
                Some(site) => {
                    self.await_confirmed_by(from).await;
                    Some(self.publisher.open(from, site, challenge).await)
                }
                None => return Reply::refused(code::STORE_REFUSED, "not a site"),
            },
            Request::Resume {
                site,
                publisher,
                epoch,
                down_ms,
            } => match link(site, epoch) {
                Some(_) if !self.admits(from).await => None,
                Some(_) if !self.shared.is_confirmed() => return unconfirmed(),
                Some(link) => {
                    let down = down_ms.map(Duration::from_millis);
                    Some(self.publisher.resume(from, link, publisher, down).await)
                }
                None => return Reply::refused(code::NO_SUCH_LINK, "not a link"),
            },
            // Any member may ask about itself: all that live are to be asked, and few are neighbours.
            Request::Confirm {
                site, upto, below, ..
            } => match Site::new(site.get()) {
                Some(_) if !self.shared.is_serving() => None,
                Some(site) => Some(self.known_of(site, upto, below).await),
                None => return Reply::refused(code::STORE_REFUSED, "not a site"),
            },
            // What a peer owns it may close, neighbour or not.
            Request::Close { site, epoch } => match link(site, epoch) {
                Some(link) => Some(self.publisher.close(from, link).await),
                None => return Reply::refused(code::NO_SUCH_LINK, "not a link"),
            },
        };
        answer.unwrap_or_else(|| Reply::refused(code::NOT_A_NEIGHBOR, "you are not a neighbour"))
    }

    async fn admits(&self, from: &NodeId) -> bool {
        let grace = self.shared.settings.link_grace;
        let mut desired = self.shared.desired.subscribe();
        let admitted = desired.wait_for(|desired| desired.admits(from, self.shared.now(), grace));
        let is_admitted = matches!(timeout(ACQUAINTANCE_LIMIT, admitted).await, Ok(Ok(_)));
        is_admitted && self.shared.is_serving()
    }

    async fn known_of(&self, site: Site, upto: Seq, below: Seq) -> Reply {
        match confirm::known_of(&self.shared.database, site, upto, below).await {
            Ok((known, more)) => Reply::Known { known, more },
            Err(error) => Reply::refused(code::STORE_DOWN, error.to_string()),
        }
    }

    /// A peer should have told what it knows of us before it gets anything from us. If it cannot be
    /// asked, another one has told.
    async fn await_confirmed_by(&self, from: &NodeId) {
        let mut confirmed_by = self.shared.confirmed_by.subscribe();
        let told = confirmed_by.wait_for(|confirmed_by| confirmed_by.contains(from));
        let _ = timeout(CONFIRM_LIMIT, told).await;
    }

    async fn part(&self, from: &NodeId) -> Reply {
        match self.forget(from).await {
            Ok(()) => Reply::Left,
            Err(error) => Reply::refused(code::BUSY, error.to_string()),
        }
    }

    /// Takes down all links with `peer`, now, whether it can be reached or not. It may become a
    /// neighbour again.
    ///
    /// # Errors
    ///
    /// [`Unfinished`] when that takes too long; it is still being done then.
    pub async fn forget(&self, peer: &NodeId) -> Result<(), Unfinished> {
        self.neighbor_down(peer, Departure::Deliberate);
        let is_gone = |observed: &Observed| {
            matches!(observed, Observed::Known(inventory) if inventory.is_free_of(peer))
                && !matches!(
                    self.shared.desired.borrow().peers.get(peer),
                    Some(Wish::Unwanted)
                )
        };
        self.shared.wake.notify_one();
        timeout(PARTING_LIMIT, self.shared.until(is_gone))
            .await
            .map_err(|_| Unfinished)
    }

    /// Leaves the cluster: closes the store to writers, waits until others have all that is written, has
    /// every neighbour take down its side, and takes down ours. To be called while peers can still be
    /// asked. [`leaving`](Self::leaving) tells how far it is.
    ///
    /// # Errors
    ///
    /// Why this node does not leave: it goes on as before, and its store takes writes.
    /// [`LeaveError::Ended`] when this data plane ends before that is decided.
    pub async fn leave(&self, terms: Terms) -> Result<Left, LeaveError> {
        let (reply, answer) = oneshot::channel();
        *self
            .shared
            .order
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Order { terms, reply });
        self.shared
            .desired
            .send_modify(|desired| desired.phase = desired.phase.max(Phase::Leaving));
        answer.await.unwrap_or(Err(LeaveError::Ended))
    }

    /// How far leaving has got; `None` when the node does not leave.
    #[must_use]
    pub fn leaving(&self) -> watch::Receiver<Option<Stage>> {
        self.shared.leaving.subscribe()
    }

    /// Who else is a member: what they have need not be handed over to others.
    pub fn holders(&self, members: BTreeMap<NodeId, Member>) {
        self.shared.holders.send_if_modified(|known| {
            let is_news = *known != members;
            *known = members;
            is_news
        });
    }

    /// Stops at once. Links are left as they are and go on replicating; the next life resumes them.
    pub async fn shutdown(&self) {
        self.shared.cancel.cancel();
        self.tasks.wait().await;
    }

    /// All links, both directions.
    #[must_use]
    pub fn links(&self) -> watch::Receiver<Vec<LinkStatus>> {
        self.shared.links.subscribe()
    }

    /// Checkpoint of each site: everything of that site up to the number is here.
    #[must_use]
    pub fn vector(&self) -> watch::Receiver<Vector> {
        self.shared.vector.subscribe()
    }

    /// Whether what this store shows is as new as some neighbour's when this life began. True as
    /// long as there never was a neighbour.
    #[must_use]
    pub fn level(&self) -> watch::Receiver<bool> {
        self.shared.level.subscribe()
    }

    /// Whether the store may be used under its site. Once it must not, this data plane makes no link any
    /// more, and is to be replaced by one for the new site.
    #[must_use]
    pub fn confirmation(&self) -> watch::Receiver<Confirmation> {
        self.shared.confirmation.subscribe()
    }

    /// The store's clock, as this process's clock sees it; `None` until it was read.
    #[must_use]
    pub fn clock(&self) -> watch::Receiver<Option<Reading>> {
        self.shared.clock.subscribe()
    }

    /// Catch-ups that are going on.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<BTreeMap<NodeId, Progress>> {
        self.shared.progress.subscribe()
    }

    /// What was done so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.counters.totals()
    }
}

/// The answer to who wants a link before a peer has confirmed our store.
fn unconfirmed() -> Reply {
    Reply::refused(
        code::BUSY,
        "this store may be an older copy of itself and is being looked into; ask again",
    )
}
