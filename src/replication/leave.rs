//! Leaves the cluster: nothing that only this store has is lost, and nothing of this node is left
//! anywhere.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;
use tokio_postgres::types::PgLsn;

use super::Transport;
use super::credentials;
use super::database::{Lsn, refused};
use super::desired::Phase;
use super::error::Error;
use super::observed::Observed;
use super::shared::Shared;
use super::subscriber::Subscriber;

/// Peers that stream confirm within milliseconds what they have.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// The whole of it: farewells have limits of their own, and so have the steps that tear links down.
const CLEAR_LIMIT: Duration = Duration::from_secs(60);

/// Drains, says good-bye to every neighbour, and has everything torn down.
pub(crate) async fn run<T: Transport>(shared: Arc<Shared>, subscriber: Arc<Subscriber<T>>) {
    let stopped = shared.cancel.clone();
    tokio::select! {
        () = stopped.cancelled() => {}
        () = leave(&shared, &subscriber) => {}
    }
}

async fn leave<T: Transport>(shared: &Shared, subscriber: &Subscriber<T>) {
    match timeout(DRAIN_LIMIT, drain(shared)).await {
        Ok(Ok(())) => tracing::info!("every peer that listens has what we have"),
        Ok(Err(error)) => tracing::warn!(%error, "leaving a store that cannot be asked"),
        Err(_) => tracing::warn!("some peer still lacks what we have; leaving all the same"),
    }
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
    } else if let Err(error) = take_role(shared).await {
        tracing::warn!(%error, "the replication role is left behind");
    }
    shared.left.send_replace(true);
}

/// Waits until every peer that streams from us has confirmed all that is written now.
async fn drain(shared: &Shared) -> Result<(), Error> {
    let session = shared.database.session().await?;
    let row = session
        .query_one("select pg_current_wal_insert_lsn()", &[])
        .await
        .map_err(refused("telling where its WAL ends"))?;
    let end = Lsn::from(row.get::<_, PgLsn>(0));
    let has_all = |observed: &Observed| match observed {
        Observed::Unknown => false,
        Observed::Known(inventory) => inventory
            .outgoing
            .values()
            .filter_map(|link| link.slot.filter(|slot| slot.active))
            .all(|slot| slot.confirmed >= end),
    };
    shared.until(has_all).await;
    Ok(())
}

async fn take_role(shared: &Shared) -> Result<(), Error> {
    let session = shared.database.session().await?;
    credentials::drop_group(&session).await
}
