//! Waits for what a server has committed to be visible there.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

/// Transactions that are committing end within milliseconds.
const PAUSE: Duration = Duration::from_millis(3);

/// Returns once everything that committed before this call is visible to new snapshots.
///
/// A commit is in the WAL a moment before it is visible. A transaction in that moment when a slot was made
/// is neither streamed by the slot (it committed before) nor seen by the catch-up (it is not visible yet).
/// So wait until all transactions that run now have ended: those are the ones with a lower id than a new
/// one. (The upper bound of a snapshot would not do: it is the successor of the last id that ended, and
/// the transaction in question may be beyond it.)
///
/// # Errors
///
/// A statement failed, or the session did. Without a limit of the caller's it waits as long as the
/// longest transaction runs.
pub(crate) async fn await_visibility(session: &Client) -> Result<(), tokio_postgres::Error> {
    let read = |sql: &'static str| async move {
        let row = session.query_one(sql, &[]).await?;
        Ok::<i64, tokio_postgres::Error>(row.get(0))
    };
    let horizon = read("select pg_current_xact_id()::text::bigint").await?;
    while read("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint").await? < horizon {
        sleep(PAUSE).await;
    }
    Ok(())
}
