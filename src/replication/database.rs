//! Sessions on the local store.
//!
//! Steps are rare and connecting to a local socket takes milliseconds, so each step has a session
//! of its own: nothing it leaves behind (a transaction, a setting, a hung statement) reaches another.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::error::Error;
use crate::{
    driver::DriverError,
    postgres::{
        Conninfo,
        session::{CONNECT_LIMIT, Session, connect},
    },
};

/// For statements that wait for nothing but locks.
pub(crate) const STATEMENT_LIMIT: Duration = Duration::from_secs(20);

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
