//! The statements about slots.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::error::SqlState;

use crate::driver::DriverError;
use crate::replication::database::{Session, refused};
use crate::replication::error::Error;
use crate::replication::names::LinkName;

const DROP_PAUSE: Duration = Duration::from_millis(30);

/// Transactions that were committing when the slot was made end within milliseconds.
const BARRIER_PAUSE: Duration = Duration::from_millis(3);

/// Returns once everything that committed before the slot's start is visible to new snapshots.
///
/// A commit is in the WAL a moment before it is visible. A transaction in that moment when the slot
/// was made is neither streamed by the slot (it committed before) nor seen by the catch-up (it is not
/// visible yet). So wait until all transactions that run now have ended: those are the ones with a
/// lower id than a new one. (The upper bound of a snapshot would not do: it is the successor of the
/// last id that ended, and the transaction in question may be beyond it.)
pub(crate) async fn await_visibility(session: &Session) -> Result<(), Error> {
    let read = |sql: &'static str| async move {
        let row = session
            .query_one(sql, &[])
            .await
            .map_err(refused("read a snapshot"))?;
        Ok::<i64, Error>(row.get(0))
    };
    let horizon = read("select pg_current_xact_id()::text::bigint").await?;
    while read("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint").await? < horizon {
        sleep(BARRIER_PAUSE).await;
    }
    Ok(())
}

/// Ends a sender that has served `link` since before its subscriber lost it, `down` ago.
///
/// The connection broke, and only the subscriber has noticed: no network tells a sender at once, and
/// until it knows nobody else can stream. A younger one is the subscriber's new attempt, which may
/// have a long way to go before it has anything to say.
pub(super) async fn end_orphan(
    session: &Session,
    link: LinkName,
    down: Duration,
) -> Result<(), Error> {
    let ended = session
        .query_opt(
            "select pg_terminate_backend(a.pid)
               from pg_replication_slots s join pg_stat_activity a on a.pid = s.active_pid
              where s.slot_name = $1
                and a.backend_start < clock_timestamp() - make_interval(secs => $2)",
            &[&link.to_string(), &down.as_secs_f64()],
        )
        .await
        .map_err(refused("end a sender without a subscriber"))?;
    if ended.is_some() {
        tracing::info!(%link, "ended a sender whose subscriber has lost it");
    }
    Ok(())
}

/// Its walsender may hold on to it, and its subscriber come back before we get there.
pub(super) async fn drop_slot(session: &Session, name: &str) -> Result<(), Error> {
    loop {
        let slot = session
            .query_opt(
                "select active_pid from pg_replication_slots
                  where slot_name = $1 and database = current_database()",
                &[&name],
            )
            .await
            .map_err(refused("look up a slot"))?;
        let Some(slot) = slot else { return Ok(()) };
        if let Some(pid) = slot.get::<_, Option<i32>>(0)
            && let Err(error) = session
                .query("select pg_terminate_backend($1)", &[&pid])
                .await
        {
            // Without the right to do so we wait until the subscriber lets go.
            let error = DriverError::from(error);
            tracing::debug!(slot = name, %error, "walsender not terminated");
        }
        match session
            .query("select pg_drop_replication_slot($1)", &[&name])
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => return Ok(()),
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                sleep(DROP_PAUSE).await;
            }
            Err(error) => return Err(refused("drop a slot")(error)),
        }
    }
}
