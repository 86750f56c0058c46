//! The statements about slots.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::error::SqlState;
use tracing::{debug, info};

use crate::{
    driver::DriverError,
    postgres::session::Session,
    replication::{database::refused, error::Error, names::LinkName},
};

const DROP_PAUSE: Duration = Duration::from_millis(30);

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
    // Durations are compared, not times: the clocks of the two machines may differ.
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
        info!(%link, "ended a sender whose subscriber has lost it");
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
            debug!(slot = name, %error, "walsender not terminated");
        }
        match session
            .query("select pg_drop_replication_slot($1)", &[&name])
            .await
        {
            Ok(_) => return Ok(()),
            // Somebody was faster: the subscriber may ask us to close what our reconciler is dropping.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => return Ok(()),
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                sleep(DROP_PAUSE).await;
            }
            Err(error) => return Err(refused("drop a slot")(error)),
        }
    }
}
