//! Leaves the cluster: nothing that only this store has is lost, and nothing of this node is left
//! anywhere.
//!
//! The order is what makes it safe. The store is closed to writers before anything is handed over, so
//! that nothing is acknowledged afterwards; the farewell comes when others are known to have all of it.
//! What cannot be handed over in time is no departure: the store takes writes again and the node goes
//! on, unless it was told to leave all the same. A process that ends in between leaves a store behind
//! that its next start opens again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tokio_postgres::types::PgLsn;
use tracing::{info, warn};

use super::{
    Transport,
    confirm::ConfirmationState,
    context::Context,
    database::{STATEMENT_LIMIT, refused},
    error::Error,
    links::{
        desired::{Desired, Phase},
        observed::{Observed, until},
    },
    publisher::credentials,
    subscriber::Subscriber,
};
use crate::{
    identity::NodeId,
    postgres::session::{Lsn, Session},
    store,
};
use handover::{Handover, Verdict};
use holders::Holders;
pub use terms::{LeaveError, LeaveStage, Left, Lost, Member, Terms};

mod handover;
mod holders;
mod terms;

/// Looking for what a member lacks reads all that it lacks.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked at again what others hold, while there is no news.
const PAUSE: Duration = Duration::from_millis(500);

/// Farewells have limits of their own, and so have the steps that tear links down.
const CLEAR_LIMIT: Duration = Duration::from_secs(60);

/// A departure that was asked for.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) terms: Terms,
    pub(crate) reply: oneshot::Sender<Result<Left, LeaveError>>,
}

/// What the task reads and changes that takes the node out of the cluster.
pub(crate) struct Departing<T> {
    pub(crate) context: Arc<Context>,
    pub(crate) confirmation: Arc<ConfirmationState>,
    pub(crate) desired: watch::Sender<Desired>,
    pub(crate) observed: watch::Receiver<Arc<Observed>>,
    /// The other members, as far as leaving is concerned.
    pub(crate) holders: watch::Receiver<BTreeMap<NodeId, Member>>,
    /// How far the departure has got that is under way.
    pub(crate) stage: watch::Sender<Option<LeaveStage>>,
    pub(crate) subscriber: Arc<Subscriber<T>>,
}

impl<T: Transport> Departing<T> {
    /// Carries out one order after the other, and answers each, until the data plane ends.
    pub(crate) async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let stopped = self.context.cancel.clone();
        let work = async {
            let mut may_be_closed = false;
            loop {
                tokio::select! {
                    order = orders.recv() => {
                        let Some(Order { terms, reply }) = order else { break };
                        let mut answer = self.leave(&terms).await;
                        // Also when it is open by now: a statement that hangs may close it yet. Once the node
                        // has left, it has to stay closed.
                        may_be_closed = answer.is_err();
                        if let Err(error) = &mut answer
                            && let Err(why) = self.stay(error).await
                        {
                            *error = still_closed(error, &why);
                        }
                        let _ = reply.send(answer);
                    }
                    () = sleep(PAUSE), if may_be_closed => {
                        may_be_closed = self.reopen().await.is_err();
                    }
                }
            }
        };
        tokio::select! {
            () = stopped.cancelled() => {}
            () = work => {}
        }
    }

    async fn leave(&self, terms: &Terms) -> Result<Left, LeaveError> {
        // An order before this one may have failed, and set the node to serve again.
        self.desired
            .send_modify(|desired| desired.phase = desired.phase.max(Phase::Leaving));
        let left = tokio::select! {
            left = self.hand_over(terms) => left?,
            () = self.out_of_sight(terms.patience) => return Err(unseen(terms.patience)),
        };
        self.stage.send_replace(Some(LeaveStage::TakingDown));
        let untold = self.say_farewell().await;
        let is_clear = self.take_down().await;
        Ok(Left {
            is_clear,
            untold,
            ..left
        })
    }

    /// The node serves again. An error says that its store may still be closed to writers.
    async fn stay(&self, error: &LeaveError) -> Result<(), LeaveError> {
        warn!(%error, "this node does not leave");
        // Before the answer, which promises that the store takes writes again.
        let reopened = self.reopen().await;
        if let Err(error) = &reopened {
            warn!(%error, "the store cannot be opened to writers yet");
        }
        self.stage.send_replace(None);
        self.desired
            .send_modify(|desired| desired.phase = Phase::Serving);
        reopened
    }

    async fn reopen(&self) -> Result<(), LeaveError> {
        // A store that turned out to be an older copy stays closed.
        if !self.confirmation.is_confirmed() {
            return Ok(());
        }
        let opening = async {
            let session = self.context.database.session().await?;
            store::open(&session).await?;
            Ok(())
        };
        // A server that hangs does not end its own statements.
        let opened = timeout(STATEMENT_LIMIT, opening).await;
        opened.unwrap_or(Err(Error::Timeout("opening the store to writers").into()))
    }

    /// Returns when the store has not been seen for `limit`: what waits for its answers may wait for ever.
    async fn out_of_sight(&self, limit: Duration) {
        let mut observed = self.observed.clone();
        let is_known = |observed: &Arc<Observed>| matches!(**observed, Observed::Known(_));
        // A moment at least: the first look has to be possible.
        let limit = limit.max(PAUSE);
        while timeout(limit, observed.wait_for(is_known)).await.is_ok() {
            sleep(PAUSE).await;
        }
    }

    /// Returns once nobody writes and others have all that is written.
    async fn hand_over(&self, terms: &Terms) -> Result<Left, LeaveError> {
        let session = self.context.database.patient(LOOK_LIMIT).await?;
        let holders = Holders::new(&self.holders, &session);
        if !terms.is_alone && !terms.abandon {
            self.await_peer(&holders, terms).await?;
        }
        store::close(&session).await?;
        let settled = store::settle(&session, terms.patience, |writers| {
            let stage = LeaveStage::Closing(writers.to_vec());
            self.stage.send_replace(Some(stage));
        })
        .await?;
        if settled.left.is_empty() {
            // The last one of this site: it vouches for all that the site ever wrote, so nobody may be writing still.
            session
                .execute("select crdv.checkpoint_last()", &[])
                .await
                .map_err(refused("write its last checkpoint"))?;
        } else if !terms.abandon {
            return Err(LeaveError::Writers(settled.left));
        }
        let mut lost = Vec::new();
        if !terms.is_alone
            && let Err(error) = self.confirm(&session, &holders, terms).await
        {
            if !terms.abandon {
                return Err(error);
            }
            lost = holders.lost().await?;
            warn!(%error, lost = terms::list(&lost), "leaving all the same");
        }
        Ok(Left {
            ended: settled.ended.len(),
            open: settled.left,
            lost,
            is_clear: true,
            untold: Vec::new(),
        })
    }

    /// Waits, while the store still takes writes, until there is somebody to hand over to.
    async fn await_peer(&self, holders: &Holders<'_>, terms: &Terms) -> Result<(), LeaveError> {
        let began = self.context.now();
        loop {
            let is_heard = match &**self.observed.borrow() {
                Observed::Unknown => false,
                Observed::Known(inventory) => handover::is_heard(inventory, &self.holders.borrow()),
            };
            // Nobody need listen to a node whose writes another member is known to have.
            if is_heard || holders.is_held().await? {
                return Ok(());
            }
            if self.context.now() >= began + terms.patience {
                return Err(LeaveError::NobodyListens);
            }
            self.stage.send_replace(Some(LeaveStage::AwaitingPeer));
            self.news().await;
        }
    }

    /// Waits until every peer that streams from us has confirmed all that is written, and somebody who stays
    /// has it. Ends early when there is no progress for too long.
    async fn confirm(
        &self,
        session: &Session,
        holders: &Holders<'_>,
        terms: &Terms,
    ) -> Result<(), LeaveError> {
        // After the last checkpoint, so that it is handed over, too.
        let row = session
            .query_one("select pg_current_wal_insert_lsn()", &[])
            .await
            .map_err(refused("read where the WAL ends"))?;
        let end = Lsn::from(row.get::<_, PgLsn>(0));
        let mut handover = Handover::new(end, terms.patience, self.context.now());
        loop {
            let observed = Arc::clone(&self.observed.borrow());
            if let Observed::Known(inventory) = &*observed {
                let members = self.holders.borrow().clone();
                let is_heard = handover::is_heard(inventory, &members);
                // To read the table is the dear way to find out, and seldom needed.
                let is_held = !is_heard && holders.is_held().await?;
                match handover.judge(inventory, &members, is_held, self.context.now()) {
                    Verdict::Done => {
                        info!("others have all that is written here");
                        return Ok(());
                    }
                    Verdict::Stalled(left) => return Err(LeaveError::Stalled(left)),
                    // It was told to leave all the same: it does not wait for somebody to come.
                    Verdict::Waiting(_) if terms.abandon && !is_heard => {
                        return Err(LeaveError::NobodyListens);
                    }
                    Verdict::Waiting(left) => {
                        self.stage.send_replace(Some(LeaveStage::HandingOver(left)));
                    }
                }
            }
            self.news().await;
        }
    }

    /// Returns when the store or the members look different, or after a while.
    async fn news(&self) {
        let (mut observed, mut members) = (self.observed.clone(), self.holders.clone());
        // A clone has seen what its original has, which is only ever looked at.
        observed.mark_unchanged();
        members.mark_unchanged();
        tokio::select! {
            _ = observed.changed() => {}
            _ = members.changed() => {}
            () = sleep(PAUSE) => {}
        }
    }

    /// Tells every neighbour; whom that could not be told.
    async fn say_farewell(&self) -> Vec<NodeId> {
        let peers: Vec<_> = self
            .desired
            .borrow()
            .present()
            .map(|neighbor| neighbor.name.clone())
            .collect();
        let told = join_all(peers.iter().map(|peer| async move {
            let error = self.subscriber.announce_leave(peer).await.err()?;
            warn!(%peer, %error, "peer could not be told that we leave");
            Some(peer.clone())
        }));
        told.await.into_iter().flatten().collect()
    }

    /// Has everything taken down; whether nothing is left.
    async fn take_down(&self) -> bool {
        self.desired
            .send_modify(|desired| desired.phase = Phase::Gone);
        let is_clear = |observed: &Observed| matches!(observed, Observed::Known(inventory) if inventory.is_empty());
        if !matches!(
            timeout(CLEAR_LIMIT, until(&self.observed, is_clear)).await,
            Ok(Ok(()))
        ) {
            warn!("links could not be taken down in time");
            return false;
        }
        if let Err(error) = take_role(&self.context).await {
            warn!(%error, "the replication role is left behind");
        }
        true
    }
}

fn unseen(limit: Duration) -> LeaveError {
    let why = format!("it could not be looked at for {limit:?}; leave again when it can");
    Error::StoreNotReady(why).into()
}

/// What is answered when the promise cannot be made that the store takes writes again.
fn still_closed(error: &LeaveError, why: &LeaveError) -> LeaveError {
    let why = format!(
        "it may be closed to writers until it answers again ({why}). The node goes on, and does not leave: {error}"
    );
    Error::StoreNotReady(why).into()
}

async fn take_role(context: &Context) -> Result<(), Error> {
    let taking = async {
        let session = context.database.session().await?;
        credentials::drop_group(&session).await
    };
    let taken = timeout(STATEMENT_LIMIT, taking).await;
    taken.unwrap_or(Err(Error::Timeout("dropping the replication role")))
}
