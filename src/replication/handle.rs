//! The data plane as the node sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{Instrument as _, debug, warn};

use super::{
    Transport,
    checkpoint::Checkpoints,
    clock::{self, Reading},
    confirm::{self, Confirmation, ConfirmationState, Confirmer, Members},
    context::Context,
    counters::CountersSnapshot,
    denials::Denials,
    leave::{Departing, LeaveError, LeaveStage, Left, Member, Order, Terms},
    limits::{ACQUAINTANCE_LIMIT, CLEARING_LIMIT, CONFIRM_LIMIT, PARTING_LIMIT},
    links::{
        desired::{Departure, Desired, Doubt, Neighbor, Phase, Presence},
        observed::{Observed, until},
        reconciler::{Heads, Inputs, Outputs, Reconciler},
    },
    names::{Epoch, LinkName},
    position::{Position, TreePlace},
    protocol::{Reply, Request, code},
    publisher::Publisher,
    reason::Reason,
    settings::Settings,
    subscriber::{Progress, Subscriber},
};
use crate::{
    api::{LinkState, LinkStatus},
    identity::{NodeId, Site},
    postgres::Conninfo,
    tasks::{Panicked, Tasks},
    vector::{Seq, Vector},
    watched,
};

/// Links could not be taken down in time: the store or a walsender does not answer. The work goes on
/// as long as the data plane runs, and the next start finds what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("links could not be taken down in time")]
pub struct Unfinished;

/// A running data plane.
#[derive(Debug, Clone)]
pub struct Handle {
    context: Arc<Context>,
    confirmation: Arc<ConfirmationState>,
    publisher: Arc<Publisher>,
    tasks: Tasks,
    told: Told,
    shown: Shown,
}

/// What the node tells the data plane.
#[derive(Debug, Clone)]
struct Told {
    desired: watch::Sender<Desired>,
    heads: watch::Sender<Heads>,
    /// Who else may know of our site.
    members: watch::Sender<Members>,
    /// The other members, as far as leaving is concerned.
    holders: watch::Sender<BTreeMap<NodeId, Member>>,
    orders: mpsc::Sender<Order>,
    /// Asks the reconciler to look at once.
    wake: Arc<Notify>,
    /// Why peers were last denied a link.
    denials: Arc<Denials>,
    /// There has been a neighbour since this data plane began.
    has_met: Arc<AtomicBool>,
    level: watch::Sender<bool>,
}

/// What the tasks show.
#[derive(Debug, Clone)]
struct Shown {
    observed: watch::Receiver<Arc<Observed>>,
    links: watch::Receiver<Vec<LinkStatus>>,
    vector: watch::Receiver<Vector>,
    /// The store's clock, once it was read.
    clock: watch::Receiver<Option<Reading>>,
    progress: watch::Receiver<BTreeMap<NodeId, Progress>>,
    stage: watch::Receiver<Option<LeaveStage>>,
    insisted: watch::Receiver<BTreeSet<NodeId>>,
}

/// The other ends of what is shown.
struct Showing {
    observed: watch::Sender<Arc<Observed>>,
    links: watch::Sender<Vec<LinkStatus>>,
    vector: watch::Sender<Vector>,
    clock: watch::Sender<Option<Reading>>,
    progress: watch::Sender<BTreeMap<NodeId, Progress>>,
    stage: watch::Sender<Option<LeaveStage>>,
    insisted: watch::Sender<BTreeSet<NodeId>>,
}

impl Told {
    fn new() -> (Self, mpsc::Receiver<Order>) {
        // One departure at a time; who asks for a second one waits.
        let (orders, ordered) = mpsc::channel(1);
        let told = Self {
            desired: watch::Sender::default(),
            heads: watch::Sender::default(),
            members: watch::Sender::default(),
            holders: watch::Sender::default(),
            orders,
            wake: Arc::default(),
            denials: Arc::default(),
            has_met: Arc::default(),
            level: watch::Sender::new(true),
        };
        (told, ordered)
    }
}

fn show() -> (Showing, Shown) {
    let showing = Showing {
        observed: watch::Sender::new(Arc::new(Observed::Unknown)),
        links: watch::Sender::default(),
        vector: watch::Sender::default(),
        clock: watch::Sender::default(),
        progress: watch::Sender::default(),
        stage: watch::Sender::default(),
        insisted: watch::Sender::default(),
    };
    let shown = Shown {
        observed: showing.observed.subscribe(),
        links: showing.links.subscribe(),
        vector: showing.vector.subscribe(),
        clock: showing.clock.subscribe(),
        progress: showing.progress.subscribe(),
        stage: showing.stage.subscribe(),
        insisted: showing.insisted.subscribe(),
    };
    (showing, shown)
}

/// Starts the data plane. The store need not be up: work begins when it is.
#[must_use]
pub fn start<T: Transport>(settings: Settings, transport: T) -> Handle {
    let is_confirmed = settings.confirm_within.is_none();
    let context = Context::new(settings);
    let confirmation = ConfirmationState::new(is_confirmed);
    let (told, ordered) = Told::new();
    let (showing, shown) = show();
    let publisher = Publisher::new(
        Arc::clone(&context),
        told.desired.subscribe(),
        Arc::clone(&told.wake),
    );
    let subscriber = Subscriber::new(
        Arc::clone(&context),
        Arc::clone(&confirmation),
        showing.progress.clone(),
        transport,
    );
    let handle = Handle {
        context,
        confirmation,
        publisher,
        tasks: Tasks::default(),
        told,
        shown,
    };
    handle.spawn(&subscriber, showing, ordered);
    handle
}

impl Handle {
    /// Each task is given the channels that it reads or writes, and no others.
    fn spawn<T: Transport>(
        &self,
        subscriber: &Arc<Subscriber<T>>,
        showing: Showing,
        ordered: mpsc::Receiver<Order>,
    ) {
        let (context, confirmation) = (&self.context, &self.confirmation);
        let Settings { node, cluster, .. } = &context.settings;
        let span = tracing::info_span!("replication", %node, cluster);
        if let Some(limit) = context.settings.confirm_within {
            let confirmer = Confirmer {
                context: Arc::clone(context),
                state: Arc::clone(confirmation),
                desired: self.told.desired.subscribe(),
                members: self.told.members.subscribe(),
                subscriber: Arc::clone(subscriber),
            };
            let confirming = confirmer.run(limit).instrument(span.clone());
            self.tasks.spawn("replication (confirmation)", confirming);
        }
        let reconciler = Reconciler::new(
            Arc::clone(context),
            Arc::clone(confirmation),
            Inputs {
                desired: self.told.desired.clone(),
                heads: self.told.heads.subscribe(),
                vector: self.shown.vector.clone(),
                progress: self.shown.progress.clone(),
                denials: Arc::clone(&self.told.denials),
                wake: Arc::clone(&self.told.wake),
            },
            Outputs {
                observed: showing.observed,
                links: showing.links,
                level: self.told.level.clone(),
                insisted: showing.insisted,
            },
            (Arc::clone(subscriber), Arc::clone(&self.publisher)),
        );
        let reconciling = reconciler.run().instrument(span.clone());
        self.tasks.spawn("replication (links)", reconciling);
        let departing = Departing {
            context: Arc::clone(context),
            confirmation: Arc::clone(confirmation),
            desired: self.told.desired.clone(),
            observed: self.shown.observed.clone(),
            holders: self.told.holders.subscribe(),
            stage: showing.stage,
            subscriber: Arc::clone(subscriber),
        };
        let parting = departing.run(ordered).instrument(span.clone());
        self.tasks.spawn("replication (leaving)", parting);
        let reading = clock::run(Arc::clone(context), showing.clock).instrument(span.clone());
        self.tasks.spawn("replication (clock)", reading);
        let checkpoints = Checkpoints {
            context: Arc::clone(context),
            confirmation: Arc::clone(confirmation),
            vector: showing.vector,
        };
        let vouching = checkpoints.run().instrument(span);
        self.tasks.spawn("replication (checkpoints)", vouching);
    }

    /// A peer is a neighbour: link with it, both ways. To be called again when its addresses change.
    pub fn neighbor_up(&self, neighbor: Neighbor) {
        // Alone, a store is as new as any. From the first neighbour on there is something to catch up with.
        if !self.told.has_met.swap(true, Ordering::Relaxed) {
            self.told.level.send_replace(false);
        }
        self.told
            .desired
            .send_modify(|desired| desired.up(neighbor));
    }

    /// A peer is no neighbour any more.
    pub fn neighbor_down(&self, peer: &NodeId, departure: Departure) {
        let now = self.context.now();
        self.told
            .desired
            .send_modify(|desired| desired.down(peer, departure, now));
        self.confirmation.forget(peer);
        // What it held when it went would count as missing here for as long as it is away.
        self.told
            .heads
            .send_if_modified(|heads| heads.remove(peer).is_some());
        self.told.denials.lock().remove(peer);
    }

    /// A neighbour holds everything up to `vector`, by its own word.
    pub fn heard(&self, peer: &NodeId, vector: &Vector) {
        let now = self.context.now();
        self.told.heads.send_if_modified(|heads| {
            let is_news = heads.get(peer).is_none_or(|(_, known)| **known != *vector);
            // A word that is repeated keeps its time: a lag is counted from when it was first heard.
            if is_news {
                heads.insert(peer.clone(), (now, Arc::new(vector.clone())));
            }
            is_news
        });
    }

    /// A neighbour has told what it holds, and whether it wants to be linked with us.
    pub fn position(&self, peer: &NodeId, position: &Position) {
        self.heard(peer, &position.vector);
        self.told
            .desired
            .send_if_modified(|desired| desired.told(peer, position.insists));
    }

    /// A neighbour is of a version that cannot tell: it wants links with all its neighbours.
    pub fn floods(&self, peer: &NodeId) {
        self.told
            .desired
            .send_if_modified(|desired| desired.told(peer, true));
    }

    /// Where we are in the tree from now on.
    pub fn follow(&self, place: &TreePlace) {
        self.told.desired.send_if_modified(|desired| {
            let is_news = desired.place != *place;
            if is_news {
                desired.place.clone_from(place);
            }
            is_news
        });
    }

    /// Whom this node wants to be linked with, whether or not they want that: they are to be told.
    #[must_use]
    pub fn insisted(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.shown.insisted.clone()
    }

    /// Whose clocks are not believed from now on. What such a peer has to give is caught up with later.
    pub fn doubt(&self, doubts: &BTreeMap<NodeId, Doubt>) {
        self.told.desired.send_if_modified(|desired| {
            let is_news = desired.doubts != *doubts;
            if is_news {
                let is_ahead = |of: &BTreeMap<_, _>, peer| of.get(peer) == Some(&Doubt::Ahead);
                let new = |peer| is_ahead(doubts, peer) && !is_ahead(&desired.doubts, peer);
                let count = doubts.keys().filter(|peer| new(peer)).count();
                self.context.counters.mistrusted(count);
                desired.doubts.clone_from(doubts);
            }
            is_news
        });
    }

    /// Who else is there to confirm the store, besides the neighbours.
    pub fn know(&self, members: Members) {
        watched::set(&self.told.members, members);
    }

    /// The store is to be found elsewhere from now on, for example on another port after a restart.
    pub fn store_moved(&self, store: impl Into<Conninfo>) {
        self.context.database.relocate(store.into());
        self.told.wake.notify_one();
    }

    /// Answers a request of `from`, who must have been authenticated.
    pub async fn serve(&self, from: &NodeId, request: Request) -> Reply {
        let is_about_link = matches!(request, Request::Open { .. } | Request::Resume { .. });
        let reply = tokio::select! {
            // Whoever asked hears why at once, instead of waiting until its own time is over.
            () = self.context.cancel.cancelled() => {
                Reply::refused(code::STOPPING, "the node is stopping")
            }
            reply = self.answer(from, request) => reply,
        };
        if let Reply::Refused { code, message, .. } = &reply {
            self.context.counters.refused(code);
            debug!(%from, code, message, "request refused");
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
                self.told.denials.lock().remove(from);
                return;
            }
        };
        let text = denial.text.clone();
        let is_refusal = denial.state == LinkState::Refused;
        let before = self.told.denials.lock().insert(from.clone(), denial);
        // The peer asks again and again: it is said once, and when it changes.
        if is_refusal && before.is_none_or(|before| before.text != text) {
            warn!(peer = %from, reason = text, "a neighbour gets no link from this store");
        }
    }

    async fn answer(&self, from: &NodeId, request: Request) -> Reply {
        // The wire may carry numbers that are no sites.
        let link = |site: Site, epoch: Epoch| Some(LinkName::new(Site::new(site.get())?, epoch));
        let answer = match request {
            Request::Leave => return self.part(from).await,
            Request::Open { site, challenge } => match Site::new(site.get()) {
                Some(_) if !self.admits(from).await => None,
                // Nothing leaves a store that may be an older copy: nothing has to be taken back if it is one.
                Some(_) if !self.confirmation.is_confirmed() => return unconfirmed(),
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
                Some(_) if !self.confirmation.is_confirmed() => return unconfirmed(),
                Some(link) => {
                    let down = down_ms.map(Duration::from_millis);
                    Some(self.publisher.resume(from, link, publisher, down).await)
                }
                None => return Reply::refused(code::NO_SUCH_LINK, "not a link"),
            },
            // Any member may ask about itself: all that live are to be asked, and few are neighbours.
            // An unconfirmed store answers, too: of two that were started again each waits for the other.
            Request::Confirm {
                site, upto, below, ..
            } => match Site::new(site.get()) {
                Some(_) if !self.is_serving() => None,
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
        let grace = self.context.settings.link_grace;
        let mut desired = self.told.desired.subscribe();
        let admitted = desired.wait_for(|desired| desired.admits(from, self.context.now(), grace));
        let is_admitted = matches!(timeout(ACQUAINTANCE_LIMIT, admitted).await, Ok(Ok(_)));
        is_admitted && self.is_serving()
    }

    /// Others may have links to us.
    fn is_serving(&self) -> bool {
        self.told.desired.borrow().phase != Phase::Gone
    }

    async fn known_of(&self, site: Site, upto: Seq, below: Seq) -> Reply {
        match confirm::known_of(&self.context.database, site, upto, below).await {
            Ok((known, more)) => Reply::Known { known, more },
            Err(error) => Reply::refused(code::STORE_DOWN, error.to_string()),
        }
    }

    /// A peer should have told what it knows of us before it gets anything from us. If it cannot be
    /// asked, another one has told.
    async fn await_confirmed_by(&self, from: &NodeId) {
        let _ = timeout(CONFIRM_LIMIT, self.confirmation.confirmed_by(from)).await;
    }

    async fn part(&self, from: &NodeId) -> Reply {
        match self.forget_within(from, PARTING_LIMIT).await {
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
        self.forget_within(peer, CLEARING_LIMIT).await
    }

    async fn forget_within(&self, peer: &NodeId, limit: Duration) -> Result<(), Unfinished> {
        self.neighbor_down(peer, Departure::Deliberate);
        let is_gone = |observed: &Observed| {
            // Both: it stays on the list while a step for it is under way, of which a look may show nothing yet.
            matches!(observed, Observed::Known(inventory) if inventory.is_free_of(peer))
                && !matches!(
                    self.told.desired.borrow().peers.get(peer),
                    Some(Presence::Gone)
                )
        };
        self.told.wake.notify_one();
        match timeout(limit, until(&self.shown.observed, is_gone)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unfinished),
        }
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
        // Before the order is begun, so that nothing new is taken while it waits; never back from `Gone`.
        self.told
            .desired
            .send_modify(|desired| desired.phase = desired.phase.max(Phase::Leaving));
        if self.told.orders.send(Order { terms, reply }).await.is_err() {
            return Err(LeaveError::Ended);
        }
        answer.await.unwrap_or(Err(LeaveError::Ended))
    }

    /// How far leaving has got; `None` when the node does not leave.
    #[must_use]
    pub fn leaving(&self) -> watch::Receiver<Option<LeaveStage>> {
        self.shown.stage.clone()
    }

    /// Who else is a member: what they have need not be handed over to others.
    pub fn holders(&self, members: BTreeMap<NodeId, Member>) {
        watched::set(&self.told.holders, members);
    }

    /// Stops at once. Links are left as they are and go on replicating; the next start resumes them.
    pub async fn shutdown(&self) {
        self.context.cancel.cancel();
        self.tasks.ended().await;
    }

    /// Returns the first of the tasks that has panicked, once one has; never as long as none does. What that
    /// one does is not done any more, and what it shows stays as it is.
    pub async fn panicked(&self) -> Panicked {
        self.tasks.panicked().await
    }

    /// Has one of the tasks panic.
    #[cfg(test)]
    pub(crate) fn panic(&self) {
        self.tasks.spawn("replication (test)", async {
            panic!("a test has asked for it")
        });
    }

    /// All links, both directions.
    #[must_use]
    pub fn links(&self) -> watch::Receiver<Vec<LinkStatus>> {
        self.shown.links.clone()
    }

    /// Checkpoint of each site: everything of that site up to the number is here.
    #[must_use]
    pub fn vector(&self) -> watch::Receiver<Vector> {
        self.shown.vector.clone()
    }

    /// Whether what this store shows is as new as what some neighbour had when this data plane began. True
    /// as long as there never was a neighbour.
    #[must_use]
    pub fn level(&self) -> watch::Receiver<bool> {
        self.told.level.subscribe()
    }

    /// Whether the store may be used under its site. Once it must not, this data plane makes no link any
    /// more, and is to be replaced by one for the new site.
    #[must_use]
    pub fn confirmation(&self) -> watch::Receiver<Confirmation> {
        self.confirmation.subscribe()
    }

    /// The store's clock, as this process's clock sees it; `None` until it was read.
    #[must_use]
    pub fn clock(&self) -> watch::Receiver<Option<Reading>> {
        self.shown.clock.clone()
    }

    /// Catch-ups that are going on.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<BTreeMap<NodeId, Progress>> {
        self.shown.progress.clone()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.context.counters.snapshot()
    }
}

/// The answer to who wants a link before our peers have confirmed our store.
fn unconfirmed() -> Reply {
    Reply::refused(
        code::BUSY,
        "this store may be an older copy of itself and is being looked into; ask again",
    )
}
