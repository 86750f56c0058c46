//! Sessions on the local store.
//!
//! Steps are rare and connecting to a local socket takes milliseconds, so each step has a session
//! of its own: nothing it leaves behind (a transaction, a setting, a hung statement) reaches another.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::types::PgLsn;

use super::error::Error;
use crate::driver::DriverError;
use crate::postgres::{self, Conninfo};

/// A local server answers at once, unless it is starting, stopping or drowned.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// For statements that wait for nothing but locks.
pub(crate) const STATEMENT_LIMIT: Duration = Duration::from_secs(20);

/// What sessions on stores have beside what all of ours have: bounds on what a lost controller leaves
/// running.
const BOUNDS: &[(&str, &str)] = &[
    ("client_connection_check_interval", "5s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("lock_timeout", "10s"),
];

/// A connection to a store, closed when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Opens a session whose statements end after `limit`.
pub(crate) async fn connect(
    store: &(impl Clone + Into<Conninfo>),
    limit: Duration,
) -> Result<Session, DriverError> {
    let mut config: Conninfo = store.clone().into();
    config
        .connect_timeout(CONNECT_LIMIT)
        .application_name("starling");
    let limit = limit.as_millis().to_string();
    let own = [BOUNDS, &[("statement_timeout", &limit)]].concat();
    let (client, driver) = postgres::open_with(&config, &own).await?;
    Ok(Session { client, driver })
}

/// The local store, as its administrator.
#[derive(Debug)]
pub(crate) struct Database {
    config: Mutex<Conninfo>,
}

impl Database {
    pub(crate) fn new(config: Conninfo) -> Self {
        Self {
            config: Mutex::new(config),
        }
    }

    fn config(&self) -> MutexGuard<'_, Conninfo> {
        // Replaced as a whole, so it is sound even after a panic elsewhere.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the store is to be found there.
    pub(crate) fn relocate(&self, config: Conninfo) {
        *self.config() = config;
    }

    /// A session for ordinary statements.
    pub(crate) async fn session(&self) -> Result<Session, Error> {
        self.patient(STATEMENT_LIMIT).await
    }

    /// A session for statements that may take up to `limit`.
    pub(crate) async fn patient(&self, limit: Duration) -> Result<Session, Error> {
        let config = self.config().clone();
        tokio::time::timeout(CONNECT_LIMIT, connect(&config, limit))
            .await
            .map_err(|_| Error::Timeout("connecting to the store"))?
            .map_err(Error::StoreUnreachable)
    }

    /// Name of the database; libpq's rule when none is given.
    pub(crate) fn name(&self) -> String {
        let config = self.config();
        let name = config.get_dbname().or(config.get_user());
        name.unwrap_or("starling").to_owned()
    }
}

/// A place in a server's WAL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lsn(pub(crate) u64);

impl From<PgLsn> for Lsn {
    fn from(lsn: PgLsn) -> Self {
        Self(lsn.into())
    }
}

impl From<Lsn> for PgLsn {
    fn from(lsn: Lsn) -> Self {
        Self::from(lsn.0)
    }
}

/// Names what was tried when the local store refuses.
pub(crate) fn refused(what: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Error {
    move |source| {
        let cause = DriverError::from(source);
        if cause.is_closed() {
            Error::StoreUnreachable(cause)
        } else {
            Error::Store { what, cause }
        }
    }
}
