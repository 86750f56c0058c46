//! Closes a store to writers without making anybody queue: new writers are refused at once, those under
//! way are waited for by looking, and ended when they take too long.

use std::{fmt, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Row};
use tracing::{info, warn};

use super::Error;

/// Transactions that write mostly end at once.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Between two looks at those that take longer. A look reads the server's lock table.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Who has not ended by then is worth a line in the log.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// A session that was told to end does so within milliseconds, unless its server is drowned.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How long a transaction that writes may go on in a store that is closed because of what it is, before
/// its session is ended. A transaction of an application takes seconds at most.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A transaction that has not ended, and is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What holds it open.
    pub holder: Holder,
    /// Its role.
    pub role: String,
    /// Since when, in whole seconds.
    pub seconds: i64,
}

/// What holds a transaction open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A session.
    Session {
        /// Its process at the server.
        pid: i32,
        /// As it calls itself.
        application: String,
        /// What it does: `active`, `idle in transaction`, ...
        state: String,
    },
    /// Nobody: it was prepared for a commit in two phases.
    Prepared {
        /// The name that it was given.
        gid: String,
    },
}

impl Pending {
    /// Reads the columns of `crdv.writers()`, with `since` as seconds.
    pub(super) fn read(row: &Row) -> Self {
        let text = |column: usize| row.get::<_, Option<String>>(column).unwrap_or_default();
        let holder = match row.get::<_, Option<i32>>(0) {
            Some(pid) => Holder::Session {
                pid,
                application: text(3),
                state: text(5),
            },
            // A prepared transaction belongs to no session.
            None => Holder::Prepared { gid: text(1) },
        };
        Self {
            holder,
            role: text(2),
            seconds: row.get::<_, Option<i64>>(4).unwrap_or_default(),
        }
    }

    /// What ends it.
    #[must_use]
    pub fn cure(&self) -> String {
        match &self.holder {
            Holder::Session { pid, .. } => format!("select pg_terminate_backend({pid})"),
            Holder::Prepared { gid } => {
                let gid = gid.replace('\'', "''");
                format!("commit prepared '{gid}', or rollback prepared '{gid}'")
            }
        }
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            holder,
            role,
            seconds,
        } = self;
        match holder {
            Holder::Session {
                pid,
                application,
                state,
            } => {
                write!(f, "session {pid} of role {role}")?;
                if !application.is_empty() {
                    write!(f, " ({application})")?;
                }
                write!(f, ", {state}, for {seconds} s")
            }
            Holder::Prepared { gid } => {
                write!(
                    f,
                    "prepared transaction '{gid}' of role {role}, for {seconds} s"
                )
            }
        }
    }
}

/// Several of them in one line.
#[must_use]
pub fn list(writers: &[Pending]) -> String {
    let names: Vec<String> = writers.iter().map(ToString::to_string).collect();
    names.join("; ")
}

/// How the writers of a closed store came to an end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Their sessions were ended: what they had not committed is undone, and they got an error.
    pub ended: Vec<Pending>,
    /// They go on: prepared transactions, and sessions that we could not end.
    pub left: Vec<Pending>,
}

/// Refuses local writes that begin from now on, across restarts, until [`open`] or
/// [`renew`](super::renew). Links go on. Waits for nobody: see [`settle`].
///
/// # Errors
///
/// [`Error::Database`]; the store is then as before, or closed.
pub async fn close(client: &Client) -> Result<(), Error> {
    client
        .batch_execute("select crdv.close_to_writers()")
        .await
        .map_err(Error::attempt("close the store to writers"))
}

/// The same for a store that may be an older copy of itself: it takes nothing in from links either.
///
/// # Errors
///
/// As for [`close`].
pub async fn close_in_doubt(client: &Client) -> Result<(), Error> {
    client
        .batch_execute("select crdv.close_in_doubt()")
        .await
        .map_err(Error::attempt("close the store"))
}

/// Takes local writes again.
///
/// # Errors
///
/// [`Error::Database`]; the store is then as before.
pub async fn open(client: &Client) -> Result<(), Error> {
    client
        .batch_execute("select crdv.open_to_writers()")
        .await
        .map_err(Error::attempt("open the store to writers"))
}

/// Transactions that have written to the store and have not ended; those that links apply left out.
///
/// # Errors
///
/// [`Error::Database`].
pub async fn writers(client: &Client) -> Result<Vec<Pending>, Error> {
    let rows = client
        .query(
            "select pid, gid, role, application,
                    extract(epoch from pg_catalog.clock_timestamp() - since)::bigint, state
               from crdv.writers() order by since, pid, gid",
            &[],
        )
        .await
        .map_err(Error::attempt("look for transactions that write"))?;
    Ok(rows.iter().map(Pending::read).collect())
}

/// Waits until nobody who began before the store was closed writes any more. Whoever takes longer than
/// `patience` is ended. `tell` hears whom it waits for, again whenever that has changed.
///
/// # Errors
///
/// [`Error::Database`]; the store is still closed then.
pub async fn settle(
    client: &Client,
    patience: Duration,
    mut tell: impl FnMut(&[Pending]),
) -> Result<Settled, Error> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut told = Vec::new();
    let mut is_logged = false;
    let mut ended: Vec<Pending> = Vec::new();
    loop {
        let left = writers(client).await?;
        let waited = began.elapsed();
        let who: Vec<Holder> = left.iter().map(|writer| writer.holder.clone()).collect();
        // What is prepared is its application's to end, and may stay for days. Sessions that were told to end
        // get a little longer.
        let is_over = !who.iter().any(is_session) && waited >= patience;
        if left.is_empty() || is_over || waited >= patience + END_LIMIT {
            // Who was told to end and is still there has not been ended.
            ended.retain(|writer| !who.contains(&writer.holder));
            return Ok(Settled { ended, left });
        }
        if waited >= patience {
            end(client, &left, &mut ended).await;
        }
        if who != told {
            tell(&left);
            told = who;
            is_logged = false;
        }
        if waited >= TELL_AFTER && !std::mem::replace(&mut is_logged, true) {
            info!(writers = list(&left), limit = ?patience, "waiting for transactions that write");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn is_session(holder: &Holder) -> bool {
    matches!(holder, Holder::Session { .. })
}

/// Tells those sessions to end that were not told before.
async fn end(client: &Client, writers: &[Pending], ended: &mut Vec<Pending>) {
    for writer in writers {
        let Holder::Session { pid, .. } = &writer.holder else {
            continue;
        };
        if ended.iter().any(|told| told.holder == writer.holder) {
            continue;
        }
        let statement = "select pg_catalog.pg_terminate_backend($1)";
        match client.query(statement, &[pid]).await {
            Ok(_) => warn!(%writer, "a session that wrote for too long was ended"),
            Err(error) => warn!(%writer, %error, "a session cannot be ended"),
        }
        // Also one that cannot be ended: to try again would only repeat the warning.
        ended.push(writer.clone());
    }
}
