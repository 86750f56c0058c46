//! The statements about subscriptions.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::{
    driver::DriverError,
    identity::Site,
    postgres::{
        quote::{conninfo, identifier, literal},
        session::Session,
    },
    replication::{
        database::refused, error::Error, links::desired::Neighbor, names::LinkName, protocol::Offer,
    },
};

/// A worker starts at once; on 15 after at most half a second if another has just been started.
const STREAMING_LIMIT: Duration = Duration::from_secs(10);
const STREAMING_PAUSE: Duration = Duration::from_millis(10);

/// Keeps the password of the next statements out of the server's log, where we may.
pub(super) async fn silence_statement_log(session: &Session) {
    let quiet = "set log_statement = 'none'; set log_min_duration_statement = -1;
                 set log_min_error_statement = 'panic'";
    if let Err(error) = session.batch_execute(quiet).await {
        debug!(error = %DriverError::from(error), "statement logging not switched off");
    }
}

pub(super) fn create_subscription(
    own: Site,
    neighbor: &Neighbor,
    offer: &Offer,
    host: &str,
) -> String {
    let port = offer.port.to_string();
    // A subscriber sends a few bytes at a time, which the other machine acknowledges whether or not the sender
    // there reads them. So 30 s without an acknowledgement mean that the machine is gone, or the way to it.
    // Not so at the other end, where megabytes wait for a worker that may be busy: see
    // `publisher::credentials`.
    let connection = conninfo([
        ("host", host),
        ("port", &port),
        ("dbname", &offer.database),
        ("user", &offer.user),
        ("password", &offer.password),
        ("connect_timeout", "5"),
        ("keepalives_idle", "10"),
        ("keepalives_interval", "5"),
        ("keepalives_count", "3"),
        ("tcp_user_timeout", "30000"),
    ]);
    let slot = offer.slot(own).to_string();
    // A parallel apply worker and its leader would meet on the appliers' locks. To wait for the disk at each commit
    // would take nine tenths of the rate, and the publisher hears only of what is flushed anyway.
    // The slot was made by the publisher and the data copied by the catch-up, in this order.
    format!(
        "begin;
         create subscription {name} connection {connection} publication {publication}
           with (slot_name = {slot}, create_slot = false, copy_data = false, enabled = false,
                 binary = true, streaming = false, synchronous_commit = 'off');
         comment on subscription {name} is {peer};
         commit",
        name = identifier(&offer.subscription().to_string()),
        connection = literal(&connection),
        publication = identifier(&slot),
        slot = literal(&slot),
        peer = literal(neighbor.name.as_str()),
    )
}

/// Returns once the apply worker has heard from the publisher, or after a while: a subscription that
/// does not stream yet is there all the same, and the reconciler watches it.
pub(super) async fn await_streaming(session: &Session, link: &LinkName) -> Result<(), Error> {
    let name = link.to_string();
    let deadline = Instant::now() + STREAMING_LIMIT;
    let sql = session
        .prepare(
            "select from pg_stat_subscription
              where subname = $1 and relid is null and pid is not null and received_lsn is not null",
        )
        .await
        .map_err(refused("watch a subscription"))?;
    while Instant::now() < deadline {
        let row = session
            .query_opt(&sql, &[&name])
            .await
            .map_err(refused("watch a subscription"))?;
        if row.is_some() {
            return Ok(());
        }
        sleep(STREAMING_PAUSE).await;
    }
    Ok(())
}

/// Drops a subscription without its publisher; returns the slot it read from.
///
/// One transaction: it is there and runs, or is gone with its origin.
pub(crate) async fn drop_subscription(
    session: &Session,
    name: &str,
) -> Result<Option<String>, Error> {
    let found = session
        .query_opt(
            "select subslotname::text from pg_subscription
              where subname = $1
                and subdbid = (select oid from pg_database where datname = current_database())",
            &[&name],
        )
        .await
        .map_err(refused("look up a subscription"))?;
    let Some(found) = found else { return Ok(None) };
    let name = identifier(name);
    // The only order that does without the publisher: dropping a subscription that has a slot drops the slot there,
    // and only one that is disabled gives its slot up.
    session
        .batch_execute(&format!(
            "begin;
             alter subscription {name} disable;
             alter subscription {name} set (slot_name = none);
             drop subscription {name};
             commit"
        ))
        .await
        .map_err(refused("drop a subscription"))?;
    Ok(found.get(0))
}
