//! Sessions on the local store.
//!
//! Steps are rare and connecting to a local socket takes milliseconds, so each step has a session
//! of its own: nothing it leaves behind (a transaction, a setting, a hung statement) reaches another.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Config, NoTls};

use super::error::Error;

/// A local server answers at once, unless it is starting, stopping or drowned.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// For statements that wait for nothing but locks.
pub(crate) const STATEMENT_LIMIT: Duration = Duration::from_secs(20);

/// Settings of every session of ours.
///
/// `search_path`: nobody's function shadows the server's. `synchronous_commit`: what we say we did
/// is on disk, whatever the database's default, but no standby is waited for. The rest bounds what
/// a lost controller leaves running.
const SESSION: &str = "-c search_path=pg_catalog -c synchronous_commit=local \
    -c client_connection_check_interval=5s -c idle_in_transaction_session_timeout=60s \
    -c lock_timeout=10s -c jit=off";

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
    store: &Config,
    limit: Duration,
) -> Result<Session, tokio_postgres::Error> {
    let mut config = store.clone();
    let given = store.get_options().unwrap_or_default();
    config
        .options(format!(
            "{given} {SESSION} -c statement_timeout={}",
            limit.as_millis()
        ))
        .connect_timeout(CONNECT_LIMIT)
        .application_name("starling");
    let (client, connection) = config.connect(NoTls).await?;
    let driver = tokio::spawn(async move {
        // The statement in flight reports the same error to whoever waits for it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a store ended");
        }
    });
    Ok(Session { client, driver })
}

/// The local store, as its administrator.
#[derive(Debug)]
pub(crate) struct Database {
    config: Mutex<Config>,
}

impl Database {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config: Mutex::new(config),
        }
    }

    fn config(&self) -> MutexGuard<'_, Config> {
        // Replaced as a whole, so it is sound even after a panic elsewhere.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the store is to be found there.
    pub(crate) fn relocate(&self, config: Config) {
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
        if source.is_closed() {
            Error::StoreUnreachable(source)
        } else {
            Error::Store { what, source }
        }
    }
}
