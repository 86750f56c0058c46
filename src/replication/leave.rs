//! Leaves the cluster: nothing that only this store has is lost, and nothing of this node is left
//! anywhere.
//!
//! The order is what makes it safe. The store is closed to writers before anything is handed over, so
//! that nothing is acknowledged afterwards; the farewell comes when others are known to have all of it.
//! What cannot be handed over in time is no departure: the store takes writes again and the node goes
//! on, unless it was told to leave all the same. A process that ends in between leaves a store behind
//! that its next life opens again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::PgLsn;

use super::Transport;
use super::database::refused;
use super::error::Error;
use super::links::desired::Phase;
use super::links::observed::Observed;
use super::publisher::credentials;
use super::shared::Shared;
use super::subscriber::Subscriber;
use crate::postgres::session::{Lsn, Session};
use crate::store;
use handover::{Handover, Verdict};
use holders::Holders;
pub use terms::{LeaveError, Left, Lost, Member, Stage, Terms};

mod handover;
mod holders;
mod terms;

/// Looking for what a member lacks reads all that it lacks.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// Without news, what is held by others is looked at again so often.
const PAUSE: Duration = Duration::from_millis(500);

/// Farewells have limits of their own, and so have the steps that tear links down.
const CLEAR_LIMIT: Duration = Duration::from_secs(60);

/// A departure that was asked for.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) terms: Terms,
    pub(crate) reply: oneshot::Sender<Result<Left, LeaveError>>,
}

/// Carries the order out, and answers it.
pub(crate) async fn run<T: Transport>(
    shared: Arc<Shared>,
    subscriber: Arc<Subscriber<T>>,
    order: Order,
) {
    let stopped = shared.cancel.clone();
    let result = tokio::select! {
        () = stopped.cancelled() => return,
        result = leave(&shared, &subscriber, &order.terms) => result,
    };
    let _ = order.reply.send(result);
}

async fn leave<T: Transport>(
    shared: &Shared,
    subscriber: &Subscriber<T>,
    terms: &Terms,
) -> Result<Left, LeaveError> {
    match hand_over(shared, terms).await {
        Ok(left) => {
            shared.leaving.send_replace(Some(Stage::TakingDown));
            let is_clear = take_down(shared, subscriber).await;
            Ok(Left { is_clear, ..left })
        }
        Err(error) => {
            tracing::warn!(%error, "this node does not leave");
            while let Err(error) = reopen(shared).await {
                tracing::warn!(%error, "the store cannot be opened to writers yet");
                sleep(PAUSE).await;
            }
            shared.leaving.send_replace(None);
            shared
                .desired
                .send_modify(|desired| desired.phase = Phase::Serving);
            Err(error)
        }
    }
}

async fn reopen(shared: &Shared) -> Result<(), LeaveError> {
    // A store that turned out to be an older copy stays closed.
    if shared.is_confirmed() {
        store::open(&*shared.database.session().await?).await?;
    }
    Ok(())
}

/// Returns once nobody writes and others have all that is written.
async fn hand_over(shared: &Shared, terms: &Terms) -> Result<Left, LeaveError> {
    let session = shared.database.patient(LOOK_LIMIT).await?;
    let holders = Holders::new(shared, &session);
    if !terms.is_alone && !terms.abandon {
        await_peer(shared, &holders, terms).await?;
    }
    store::close(&session).await?;
    let settled = store::settle(&session, terms.patience, |writers| {
        let stage = Stage::Closing(writers.to_vec());
        shared.leaving.send_replace(Some(stage));
    })
    .await?;
    if settled.left.is_empty() {
        // The last one of this site: it vouches for all that the site ever wrote.
        session
            .execute("select crdv.checkpoint_last()", &[])
            .await
            .map_err(refused("write its last checkpoint"))?;
    } else if !terms.abandon {
        return Err(LeaveError::Writers(settled.left));
    }
    let mut lost = Vec::new();
    if !terms.is_alone
        && let Err(error) = confirm(shared, &session, &holders, terms).await
    {
        if !terms.abandon {
            return Err(error);
        }
        lost = holders.lost().await?;
        tracing::warn!(%error, lost = terms::list(&lost), "leaving all the same");
    }
    Ok(Left {
        ended: settled.ended.len(),
        open: settled.left,
        lost,
        is_clear: true,
    })
}

/// Waits, while the store still takes writes, until there is somebody to hand over to.
async fn await_peer(
    shared: &Shared,
    holders: &Holders<'_>,
    terms: &Terms,
) -> Result<(), LeaveError> {
    let began = shared.now();
    loop {
        let is_heard = match &**shared.observed.borrow() {
            Observed::Unknown => false,
            Observed::Known(inventory) => handover::is_heard(inventory, &shared.holders.borrow()),
        };
        if is_heard || holders.is_held().await? {
            return Ok(());
        }
        if shared.now() >= began + terms.patience {
            return Err(LeaveError::NobodyListens);
        }
        shared.leaving.send_replace(Some(Stage::AwaitingPeer));
        news(shared).await;
    }
}

/// Waits until every peer that streams from us has confirmed all that is written, and somebody who stays
/// has it. Ends early when there is no progress for too long.
async fn confirm(
    shared: &Shared,
    session: &Session,
    holders: &Holders<'_>,
    terms: &Terms,
) -> Result<(), LeaveError> {
    let row = session
        .query_one("select pg_current_wal_insert_lsn()", &[])
        .await
        .map_err(refused("read where the WAL ends"))?;
    let end = Lsn::from(row.get::<_, PgLsn>(0));
    let mut handover = Handover::new(end, terms.patience, shared.now());
    loop {
        let observed = Arc::clone(&shared.observed.borrow());
        if let Observed::Known(inventory) = &*observed {
            let members = shared.holders.borrow().clone();
            let is_heard = handover::is_heard(inventory, &members);
            // To read the table is the dear way to find out, and seldom needed.
            let is_held = !is_heard && holders.is_held().await?;
            match handover.judge(inventory, &members, is_held, shared.now()) {
                Verdict::Done => {
                    tracing::info!("others have all that is written here");
                    return Ok(());
                }
                Verdict::Stalled(left) => return Err(LeaveError::Stalled(left)),
                Verdict::Waiting(_) if terms.abandon && !is_heard => {
                    return Err(LeaveError::NobodyListens);
                }
                Verdict::Waiting(left) => {
                    shared.leaving.send_replace(Some(Stage::HandingOver(left)));
                }
            }
        }
        news(shared).await;
    }
}

/// Returns when the store or the members look different, or after a while.
async fn news(shared: &Shared) {
    let (mut observed, mut members) = (shared.observed.subscribe(), shared.holders.subscribe());
    tokio::select! {
        _ = observed.changed() => {}
        _ = members.changed() => {}
        () = sleep(PAUSE) => {}
    }
}

/// Says good-bye to every neighbour and has everything taken down; whether nothing is left.
async fn take_down<T: Transport>(shared: &Shared, subscriber: &Subscriber<T>) -> bool {
    let peers: Vec<_> = shared
        .desired
        .borrow()
        .linked()
        .map(|neighbor| neighbor.name.clone())
        .collect();
    join_all(peers.iter().map(|peer| async move {
        if let Err(error) = subscriber.say_farewell(peer).await {
            tracing::warn!(%peer, %error, "peer could not be told that we leave");
        }
    }))
    .await;
    shared
        .desired
        .send_modify(|desired| desired.phase = Phase::Gone);
    let is_clear = |observed: &Observed| matches!(observed, Observed::Known(inventory) if inventory.is_empty());
    if timeout(CLEAR_LIMIT, shared.until(is_clear)).await.is_err() {
        tracing::warn!("links could not be taken down in time");
        return false;
    }
    if let Err(error) = take_role(shared).await {
        tracing::warn!(%error, "the replication role is left behind");
    }
    true
}

async fn take_role(shared: &Shared) -> Result<(), Error> {
    let session = shared.database.session().await?;
    credentials::drop_group(&session).await
}
