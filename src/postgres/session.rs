//! Sessions on stores, our own and those of publishers.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, types::PgLsn};

use super::{conninfo::Conninfo, open_with};
use crate::driver::DriverError;

/// A local server answers at once, unless it is starting, stopping or drowned.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(5);

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
    // These come after what all sessions of ours have, which lifts every limit.
    let own = [BOUNDS, &[("statement_timeout", &limit)]].concat();
    let (client, driver) = open_with(&config, &own).await?;
    Ok(Session { client, driver })
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
