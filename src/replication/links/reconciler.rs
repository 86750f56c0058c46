//! Makes what is wanted and what is there agree: looks, plans, starts steps, and takes note of how
//! they ended.
//!
//! Events only wake it. Steps of different keys run side by side, each in a task of its own, so that
//! a peer that hangs holds up nobody else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tracing::{Instrument as _, debug, info, warn};

use super::{
    bounds::Bounds,
    desired::{Desired, Phase, Presence},
    executor::{Executor, StepOutcome},
    ledger::{Ledger, Retry},
    observed::{Inventory, Observed, Observer},
    plan::{Limits, STALL, View, plan},
    policy::{Policy, Wants},
    sights::sights,
    status::{OVERDUE, Scene, Standings, out_of_sight},
    step::{Key, Step},
};
use crate::{
    api::{Dissemination, LinkStatus},
    identity::{NodeId, Site},
    replication::{
        Transport,
        confirm::ConfirmationState,
        context::Context,
        counters::Outcome,
        denials::Denials,
        error::Error,
        holders,
        publisher::Publisher,
        reason::Reason,
        subscriber::{Past, Progress, Resumption, Subscriber},
    },
    vector::Vector,
    watched,
};

/// How often the links are looked at while something is in motion.
const FAST_TICK: Duration = Duration::from_millis(500);

/// A look takes milliseconds; a server that does not answer for this long counts as down.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What a look that failed is remembered under.
const LOOKING: (Key, &str) = (Key::Store, "inspect");

/// Never spin, whatever the back-off says.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// After making a link, the next attempt at the same peer waits as if this one had failed, so that
/// links that break at once are not remade without end.
const OPENED_PAUSE: Duration = Duration::from_millis(500);

/// What the reconciler is told.
pub(crate) struct Inputs {
    pub(crate) desired: watch::Sender<Desired>,
    /// What peers say that they hold, and when we heard of it.
    pub(crate) heads: watch::Receiver<Heads>,
    pub(crate) vector: watch::Receiver<Vector>,
    pub(crate) progress: watch::Receiver<BTreeMap<NodeId, Progress>>,
    pub(crate) denials: Arc<Denials>,
    /// Asks for a look at once.
    pub(crate) wake: Arc<Notify>,
}

/// What it tells others.
pub(crate) struct Outputs {
    pub(crate) observed: watch::Sender<Arc<Observed>>,
    pub(crate) links: watch::Sender<Vec<LinkStatus>>,
    pub(crate) level: watch::Sender<bool>,
    /// Whom we want to be linked with.
    pub(crate) insisted: watch::Sender<BTreeSet<NodeId>>,
}

/// The vectors of peers, each with when it was heard.
pub(crate) type Heads = BTreeMap<NodeId, (Duration, Arc<Vector>)>;

pub(crate) struct Reconciler<T> {
    context: Arc<Context>,
    confirmation: Arc<ConfirmationState>,
    inputs: Inputs,
    outputs: Outputs,
    executor: Executor<T>,
    ledger: Ledger,
    observer: Option<Observer>,
    observed: Arc<Observed>,
    policy: Policy,
    wants: Wants,
    generations: BTreeMap<NodeId, u64>,
    tasks: JoinSet<Result<StepOutcome, Error>>,
    running: HashMap<Id, Step>,
    standings: Standings,
}

impl<T: Transport> Reconciler<T> {
    pub(crate) fn new(
        context: Arc<Context>,
        confirmation: Arc<ConfirmationState>,
        inputs: Inputs,
        outputs: Outputs,
        (subscriber, publisher): (Arc<Subscriber<T>>, Arc<Publisher>),
    ) -> Self {
        Self {
            executor: Executor::new(inputs.desired.subscribe(), subscriber, publisher),
            policy: Policy::new(context.settings.dissemination),
            wants: Wants::default(),
            context,
            confirmation,
            inputs,
            outputs,
            ledger: Ledger::default(),
            observer: None,
            observed: Arc::new(Observed::Unknown),
            generations: BTreeMap::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            standings: Standings::default(),
        }
    }

    /// Runs until the data plane ends.
    pub(crate) async fn run(mut self) {
        let stopped = self.context.cancel.clone();
        tokio::select! {
            () = stopped.cancelled() => {}
            () = self.reconcile() => {}
        }
    }

    async fn reconcile(&mut self) {
        self.await_confirmation().await;
        let mut desired = self.inputs.desired.subscribe();
        let mut heads = self.inputs.heads.clone();
        loop {
            let mut next = Instant::now() + self.round().await;
            let wake = Arc::clone(&self.inputs.wake);
            loop {
                tokio::select! {
                    biased;
                    Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                    _ = desired.changed() => {}
                    () = wake.notified() => {}
                    // Peers tell of what they hold far more often than a look would pay. But what does not come
                    // has to be noticed in time.
                    Ok(()) = heads.changed() => {
                        if let Observed::Known(Inventory { own, .. }) = *self.observed {
                            self.compare_heads(own);
                        }
                        if self.awaits_data() {
                            next = next.min(Instant::now() + FAST_TICK);
                        }
                        continue;
                    }
                    () = sleep_until(next) => {}
                }
                break;
            }
            // All that has ended by now frees its key before the next plan is made.
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.ended(ended);
            }
        }
    }

    /// Nothing is done for a store that may be an older copy of itself, but to leave for good.
    async fn await_confirmation(&self) {
        let mut desired = self.inputs.desired.subscribe();
        tokio::select! {
            () = self.confirmation.confirmed() => {}
            // The sender lives in `self`, so waiting cannot fail.
            _ = desired.wait_for(|desired| desired.phase != Phase::Serving) => {}
        }
    }

    /// One look, one plan; how long to wait if nothing happens.
    async fn round(&mut self) -> Duration {
        self.note_neighbors();
        self.look().await;
        let now = self.context.now();
        self.decide(now);
        let steps = self.plan(now);
        let is_settled = steps.is_empty() && self.tasks.is_empty() && self.is_calm();
        // Catalogues tell nobody of a change: while one is due, they are looked at more often.
        let mut pause = if is_settled && !self.awaits_data() {
            self.context.settings.tick
        } else {
            FAST_TICK
        };
        for step in steps {
            match self.ledger.retries.get(&(step.key(), step.name())) {
                // It is planned again once that has ended, if it is still needed.
                _ if self.ledger.busy.contains(&step.key()) => {}
                Some(retry) if retry.not_before > now => pause = pause.min(retry.not_before - now),
                // The next round looks again.
                _ if step == Step::Inspect => {}
                _ => self.start(step),
            }
        }
        self.tell();
        self.tidy();
        pause.max(PAUSE_MIN)
    }

    /// Takes note of who became a neighbour since the last round.
    fn note_neighbors(&mut self) {
        let desired = self.inputs.desired.borrow();
        for peer in desired.present() {
            let generation = desired
                .neighbor(&peer.name)
                .map_or(0, |(_, generation)| generation);
            // What failed for it may have failed because it was away.
            if self.generations.insert(peer.name.clone(), generation) != Some(generation) {
                self.ledger.clear_backoff(&peer.name);
            }
        }
        self.generations
            .retain(|peer, _| desired.neighbor(peer).is_some());
    }

    async fn look(&mut self) {
        // Before the look, and again after it: an end whose making begins or is over meanwhile is in one of the two,
        // and is not taken for debris.
        let mut making = self.executor.publisher.making();
        let looked = timeout(LOOK_LIMIT, self.inspect()).await;
        let observed = match looked.unwrap_or(Err(Error::Timeout("a look at the store"))) {
            Ok(inventory) => {
                self.store_is_up();
                Observed::Known(inventory)
            }
            Err(error) => {
                self.store_is_down(&error);
                Observed::Unknown
            }
        };
        making.append(&mut self.executor.publisher.making());
        self.ledger.opening = making;
        self.ledger.note(&observed, self.context.now());
        if let Observed::Known(inventory) = &observed {
            self.executor.publisher.note(inventory);
            self.compare(inventory).await;
        }
        self.observed = Arc::new(observed);
        self.outputs
            .observed
            .send_replace(Arc::clone(&self.observed));
    }

    /// Compares what peers hold with what we do.
    fn compare_heads(&mut self, own: Site) {
        let (heads, ours) = (&self.inputs.heads, &self.inputs.vector);
        let now = self.context.now();
        self.ledger
            .compare(&heads.borrow(), (&ours.borrow(), now), own);
    }

    /// Whether peers were seen to hold what is still to come, and there may be another way to get it. Where every
    /// neighbour is linked with there is none.
    fn awaits_data(&self) -> bool {
        let mut backlogs = self.ledger.backlogs.values();
        self.context.settings.dissemination == Dissemination::Tree
            && backlogs.any(|backlog| backlog.since().is_some())
    }

    /// Finds out which links bring less than their publishers have, and why.
    async fn compare(&mut self, inventory: &Inventory) {
        self.compare_heads(inventory.own);
        let stuck = self.ledger.stuck(inventory, self.context.now());
        self.ledger.hindrances.clear();
        // Only for the status, so only while there is a lag to be explained.
        let Some(observer) = self.observer.as_ref().filter(|_| !stuck.is_empty()) else {
            return;
        };
        match timeout(LOOK_LIMIT, holders::hindrances(observer.session(), &stuck)).await {
            Ok(Ok(hindrances)) => self.ledger.hindrances = hindrances,
            Ok(Err(error)) => debug!(%error, "what holds up a link cannot be found out"),
            // The statement is still under way in that session. The next one does not prove that its
            // server is the same.
            Err(_) => {
                self.observer = None;
                self.ledger.forget_volatile();
            }
        }
    }

    async fn inspect(&mut self) -> Result<Inventory, Error> {
        // Taken out, so that a session that failed or timed out is not used again.
        let observer = match self.observer.take() {
            Some(observer) => observer,
            None => Observer::open(&self.context.database).await?,
        };
        let inventory = observer.look().await?;
        self.observer = Some(observer);
        Ok(inventory)
    }

    fn store_is_up(&mut self) {
        if self.ledger.retries.remove(&LOOKING).is_some() {
            info!(
                over = "the links of the store cannot be seen",
                "the store can be reached again"
            );
        }
    }

    fn store_is_down(&mut self, error: &Error) {
        self.context
            .counters
            .step(Step::Inspect.name(), Outcome::Failed);
        let now = self.context.now();
        let retry = self.ledger.retries.entry(LOOKING).or_default();
        if fail(retry, error, now) {
            warn!(%error, "the links of the store cannot be seen");
        }
    }

    /// Finds out what is wanted of the links, from what was seen of them.
    fn decide(&mut self, now: Duration) {
        let desired = self.inputs.desired.borrow();
        let sights = sights(&desired, &self.observed, &self.ledger, now);
        let wants = self.policy.decide(&desired.place, &sights, now);
        drop(desired);
        if wants != self.wants {
            debug!(?wants, "other links are wanted");
        }
        watched::set(&self.outputs.insisted, wants.insisted.clone());
        self.wants = wants;
    }

    fn plan(&self, now: Duration) -> Vec<Step> {
        // Another data plane follows, of another site, once all links were taken down from outside.
        if self.confirmation.is_over() {
            return Vec::new();
        }
        let settings = &self.context.settings;
        plan(View {
            desired: &self.inputs.desired.borrow(),
            wants: &self.wants,
            observed: &self.observed,
            ledger: &self.ledger,
            limits: Limits {
                grace: settings.link_grace,
                bounds: Bounds {
                    bytes_max: settings.slot_bytes_max,
                    inactive_max: settings.slot_inactive_max,
                },
            },
            now,
        })
    }

    /// Nothing waits for a time to pass or for a worker to come back.
    fn is_calm(&self) -> bool {
        let desired = self.inputs.desired.borrow();
        let is_waiting = |presence: &Presence| !matches!(presence, Presence::Present { .. });
        let now = self.context.now();
        desired.phase == Phase::Serving
            && !self.wants.is_changing()
            && !desired.peers.values().any(is_waiting)
            && self
                .ledger
                .incoming
                .values()
                .all(|note| note.down_since.is_none())
            && self
                .ledger
                .outgoing
                .values()
                // The look of this round has set it, unless the subscriber lags or is away.
                .all(|note| note.last_level + FAST_TICK >= now)
    }

    fn start(&mut self, step: Step) {
        let now = self.context.now();
        self.ledger.busy.insert(step.key());
        let note = match &step {
            Step::Resume { link, .. } => self.ledger.incoming.get(link),
            Step::Inspect
            | Step::Open { .. }
            | Step::Unsubscribe { .. }
            | Step::Unpublish { .. } => None,
        };
        let past = note.map(|note| Past {
            has_streamed: note.has_streamed,
            latest_end_lsn: note.latest_end_lsn,
            // Until then its server may start the worker again by itself, and no sender need be ended.
            down: note
                .down_since
                .map(|since| now.saturating_sub(since))
                .filter(|down| *down >= STALL),
        });
        debug!(step = step.name(), ?step, at = ?now, "step begins");
        let work = self.executor.clone().perform(
            step.clone(),
            Arc::clone(&self.observed),
            past.unwrap_or_default(),
        );
        let handle = self.tasks.spawn(work.in_current_span());
        self.running.insert(handle.id(), step);
    }

    fn ended(&mut self, ended: Result<(Id, Result<StepOutcome, Error>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            // A step that panicked has failed like any other: its key must become free.
            Err(error) => (error.id(), Err(Error::Panicked(error.to_string()))),
        };
        let Some(step) = self.running.remove(&id) else {
            return;
        };
        let key = step.key();
        self.ledger.busy.remove(&key);
        let outcome = if result.is_ok() {
            Outcome::Done
        } else {
            Outcome::Failed
        };
        self.context.counters.step(step.name(), outcome);
        match result {
            Ok(done) => self.succeeded(&step, &done),
            Err(error) => self.failed(&step, &error),
        }
    }

    fn succeeded(&mut self, step: &Step, done: &StepOutcome) {
        let now = self.context.now();
        let attempt = (step.key(), step.name());
        // Should it have failed before, that is over.
        debug!(step = attempt.1, key = %attempt.0, over = "step failed", ?done, "step done");
        if let StepOutcome::Opened { link, generation } = *done {
            self.ledger.opened(link, generation, now);
            let retry = self.ledger.retries.entry(attempt).or_default();
            retry.trouble = None;
            // As after a failure, half a minute at most, until the link has streamed for `PROBATION`.
            retry.failures += 1;
            retry.not_before = now + OPENED_PAUSE * retry.failures.min(60);
            return;
        }
        self.ledger.retries.remove(&attempt);
        if let StepOutcome::Resumed {
            link,
            generation,
            resumption,
        } = *done
        {
            match resumption {
                Resumption::Whole { end } => self.ledger.verified(&link, generation, end, now),
                Resumption::Broken => {
                    info!(%link, "a link cannot be resumed and is made anew");
                    self.ledger.give_up(&link);
                }
            }
        }
    }

    fn failed(&mut self, step: &Step, error: &Error) {
        let now = self.context.now();
        let attempt = (step.key(), step.name());
        let retry = self.ledger.retries.entry(attempt).or_default();
        // The first refusal as a stranger is a matter of who heard of the other first.
        let is_news = fail(retry, error, now) && !error.is_awaiting_acquaintance();
        let (step, key) = (step.name(), step.key());
        if is_news {
            warn!(step, %key, %error, "step failed; it will be tried again");
        } else {
            debug!(step, %key, %error, "step failed again");
        }
    }

    /// Tells what we saw to those who watch.
    fn tell(&mut self) {
        let now = self.context.now();
        let mut links = match &*self.observed {
            Observed::Known(inventory) => {
                // Never taken back: what is told is whether we have been level once.
                if self.ledger.is_level(inventory) {
                    watched::set(&self.outputs.level, true);
                }
                let desired = self.inputs.desired.borrow();
                let scene = Scene {
                    desired: &desired,
                    wants: &self.wants,
                    inventory,
                    ledger: &self.ledger,
                    progress: &self.inputs.progress.borrow(),
                    denials: &self.inputs.denials.lock(),
                    now,
                };
                scene.links()
            }
            Observed::Unknown => {
                // What was seen last, not nothing: the servers may stream while we cannot look.
                let (key, step) = LOOKING;
                let links = self.outputs.links.borrow().clone();
                out_of_sight(links, self.ledger.trouble(&key, step))
            }
        };
        // A link that is kept for a peer that was lost is not overdue for as long as it is kept on purpose.
        let grace = self.context.settings.link_grace.max(OVERDUE);
        self.standings.date(&mut links, now, grace);
        watched::set(&self.outputs.links, links);
    }

    /// Takes peers off the list of which nothing is left.
    fn tidy(&mut self) {
        // Not on a guess: who is taken off too early leaves links that wait for the grace as debris.
        let Observed::Known(inventory) = &*self.observed else {
            return;
        };
        let grace = self.context.settings.link_grace;
        let now = self.context.now();
        let ledger = &self.ledger;
        let is_over = |peer: &NodeId, presence: &Presence| match presence {
            Presence::Present { .. } => false,
            Presence::Lost { since } if now < *since + grace => false,
            Presence::Lost { .. } | Presence::Gone => {
                // A link that is being made may not be seen yet.
                inventory.is_free_of(peer) && !ledger.busy.contains(&Key::In(peer.clone()))
            }
        };
        let mut is_shorter = false;
        self.inputs.desired.send_if_modified(|desired| {
            let before = desired.peers.len();
            desired
                .peers
                .retain(|peer, presence| !is_over(peer, presence));
            is_shorter = desired.peers.len() < before;
            // Nothing to do for ourselves.
            false
        });
        if is_shorter {
            // Whoever waits for a peer to be gone looks at both.
            self.outputs.observed.send_modify(|_| {});
        }
        let desired = self.inputs.desired.borrow();
        // Or the list would grow with each peer and each link that ever failed.
        self.ledger.retries.retain(|(key, _), _| match key {
            Key::Store => true,
            Key::In(peer) => {
                desired.peers.contains_key(peer) || inventory.incoming_of(peer).next().is_some()
            }
            Key::Stray(link) => inventory.incoming.contains_key(link),
            Key::Out(link) => inventory.outgoing.contains_key(link),
        });
    }
}

/// Takes note of a failure; tells whether it is another one than the last time.
fn fail(retry: &mut Retry, error: &Error, now: Duration) -> bool {
    retry.failures = retry.failures.saturating_add(1);
    // Peers that lost one another at the same moment should not come back at the same moment.
    let jitter = 0.75 + rand::random::<f64>() / 2.0;
    retry.not_before = now + error.retry_after(retry.failures).mul_f64(jitter);
    let trouble = Reason::of(error);
    let is_news = retry
        .trouble
        .as_ref()
        .is_none_or(|last| last.text != trouble.text);
    retry.trouble = Some(trouble);
    is_news
}
