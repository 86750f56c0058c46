//! One controller per store: whoever looks after a store holds a lock in its database.
//!
//! Two controllers would take each other's links for debris. The lock belongs to a session, so a controller
//! that is gone, however it went, holds nothing any more as soon as its server notices. Which one comes first is
//! all that is decided: it is no lease, and a store that stands still keeps its holder.

use std::{ops::RangeInclusive, time::Duration};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_postgres::Client;
use tracing::{debug, error, info};

use crate::{
    driver::DriverError,
    identity::NodeId,
    node::waiting::Waiting,
    postgres::{self, Conninfo},
    store,
};

/// Whose session has the lock, and since when it is there.
const HOLDER: &str = "
    select a.pid, a.application_name, coalesce(host(a.client_addr), 'this machine'), a.backend_start::timestamptz(0)::text
      from pg_locks l join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'advisory' and l.classid = 1398030677 and l.objid = 0 and l.objsubid = 2
       and l.granted and l.database = (select oid from pg_database where datname = current_database())";

/// So that a server notices within this time that a machine is gone: five seconds, and three questions.
const KEEPALIVES: &[(&str, &str)] = &[
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
];

/// Longer than a server takes to notice that the machine of the former controller is gone.
const PATIENCE: Duration = Duration::from_secs(15);

/// Pauses between attempts.
const RETRY: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(5);

/// Another controller looks after the store.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store is in use: {0}; stop the node that uses it, or give this one a database of its own"
)]
pub(in crate::node) struct InUse(String);

/// The lock on a store; dropped with it.
#[derive(Debug)]
pub(in crate::node) struct Hold {
    store: watch::Sender<Conninfo>,
    task: JoinHandle<()>,
}

impl Hold {
    /// Takes the lock, and takes it again whenever the session is lost.
    ///
    /// # Errors
    ///
    /// [`InUse`] when another controller still has it after 15 s; or when the server refuses.
    pub(in crate::node) async fn take(
        store: Conninfo,
        me: &NodeId,
        waiting: &Waiting,
    ) -> anyhow::Result<Self> {
        let name = format!("starling {me}");
        let deadline = Instant::now() + PATIENCE;
        let session = loop {
            match Held::attempt(&store, &name).await? {
                Ok(held) => break held,
                Err(holder) if Instant::now() > deadline => return Err(InUse(holder).into()),
                Err(holder) => waiting.set(format!("the store to be let go of: {holder}")),
            }
            sleep(*RETRY.start()).await;
        };
        waiting.over();
        let (store, receiver) = watch::channel(store);
        let task = tokio::spawn(keep(session, receiver, name));
        Ok(Self { store, task })
    }

    /// Tells it where the store is from now on.
    pub(in crate::node) fn mover(&self) -> watch::Sender<Conninfo> {
        self.store.clone()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A session that has the lock.
struct Held {
    _client: Client,
    connection: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Held {
    /// The lock, or who has it.
    async fn attempt(store: &Conninfo, name: &str) -> Result<Result<Self, String>, DriverError> {
        let mut config = store.clone();
        config.application_name(name);
        let (client, connection) = postgres::open_with(&config, KEEPALIVES).await?;
        if client.query_one(store::HOLD, &[]).await?.get(0) {
            // Kept, though nothing is asked of it any more: the lock ends with its session.
            let _client = client;
            return Ok(Ok(Self {
                _client,
                connection,
            }));
        }
        let holder = client.query_opt(HOLDER, &[]).await?;
        connection.abort();
        Ok(Err(holder.map_or_else(
            || "by a controller that has just ended".to_owned(),
            |row| {
                format!(
                    "by `{}`, connected from {} since {} (process {} of the server)",
                    row.get::<_, &str>(1),
                    row.get::<_, &str>(2),
                    row.get::<_, &str>(3),
                    row.get::<_, i32>(0)
                )
            },
        )))
    }
}

async fn keep(mut held: Held, mut store: watch::Receiver<Conninfo>, name: String) {
    loop {
        // It fails when the session ends, for whatever reason.
        let _ = (&mut held.connection).await;
        held = again(&mut store, &name).await;
        info!(
            over = "another controller uses the store",
            "the lock on the store is ours again"
        );
    }
}

/// Takes the lock once the server is back. Somebody may have been faster, and both are told.
async fn again(store: &mut watch::Receiver<Conninfo>, name: &str) -> Held {
    let mut pause = *RETRY.start();
    loop {
        let config = store.borrow_and_update().clone();
        match Held::attempt(&config, name).await {
            Ok(Ok(held)) => return held,
            Ok(Err(holder)) if pause > *RETRY.start() => {
                error!(%holder, "another controller uses the store");
            }
            // Our own lost session may be there for a moment.
            Ok(Err(_)) => {}
            // That it is down is told elsewhere.
            Err(error) => debug!(%error, "the lock on the store cannot be taken yet"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(*RETRY.end());
    }
}
