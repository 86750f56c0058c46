//! Opens the node's store: a private server or one of the user's, migrated and given its identity.

use std::{path::Path, time::Duration};

use anyhow::Context;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    config::{self, Config, PasswordSources},
    identity::{NodeName, Site},
    postgres::{self, Lifecycle, PrivateConfig, PrivateServer},
    replication::Advertise,
    store,
};

/// How often a foreign server is asked whether it is still there.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Pauses between attempts to reach a foreign server that does not answer.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(15);

/// PostgreSQL's own port, for foreign servers whose URL names none.
const DEFAULT_PORT: u16 = 5432;

/// A store that is up, migrated and ours.
#[derive(Debug)]
pub(super) struct OpenStore {
    /// Its site.
    pub(super) site: Site,
    /// Where it is and how to reach it.
    pub(super) server: Server,
}

/// The server below a store.
#[derive(Debug)]
pub(super) struct Server {
    admin: tokio_postgres::Config,
    /// What a local client gives to `psql`.
    pub(super) url: String,
    /// PostgreSQL's version.
    pub(super) version: String,
    /// Where other stores reach it.
    pub(super) advertise: Advertise,
    private: Option<PrivateServer>,
}

/// Brings the store up. A foreign server that does not answer yet is waited for.
pub(super) async fn open(
    config: &Config,
    data_dir: &Path,
    me: &NodeName,
) -> anyhow::Result<OpenStore> {
    let server = match config
        .store
        .connection(&PasswordSources::from_environment())
    {
        None => private(config, data_dir).await?,
        Some(connection) => attached(config, connection).await?,
    };
    match prepare(&server.connection(), me, &config.node.cluster).await {
        Ok(site) => Ok(OpenStore { site, server }),
        Err(error) => {
            server.stop().await;
            Err(error)
        }
    }
}

impl Server {
    /// Whether the server answers, as it changes.
    pub(super) fn ready(&self) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(true);
        match &self.private {
            Some(server) => tokio::spawn(follow(server.watch(), sender)),
            None => tokio::spawn(ask(self.admin.clone(), sender)),
        };
        receiver
    }

    /// How the controller connects now: a private server on a free port may come back on another
    /// after a crash.
    pub(super) fn connection(&self) -> tokio_postgres::Config {
        self.private
            .as_ref()
            .map_or_else(|| self.admin.clone(), PrivateServer::connection)
    }

    /// Stops a private server; a foreign one is left alone.
    pub(super) async fn stop(self) {
        if let Some(server) = self.private
            && let Err(error) = server.stop().await
        {
            warn!(%error, "the private server did not stop in order");
        }
    }
}

/// A private server's life tells.
async fn follow(mut lifecycle: watch::Receiver<Lifecycle>, ready: watch::Sender<bool>) {
    loop {
        let is_ready = *lifecycle.borrow_and_update() == Lifecycle::Ready;
        if ready.send_if_modified(|old| std::mem::replace(old, is_ready) != is_ready) {
            info!(ready = is_ready, "private server");
        }
        if ready.is_closed() || lifecycle.changed().await.is_err() {
            return;
        }
    }
}

/// A foreign server has to be asked.
async fn ask(admin: tokio_postgres::Config, ready: watch::Sender<bool>) {
    let mut client = None;
    while !ready.is_closed() {
        if client.is_none() {
            client = postgres::connect(&admin).await.ok();
        }
        let is_ready = match &client {
            Some(open) => open.simple_query("").await.is_ok(),
            None => false,
        };
        if !is_ready {
            client = None;
        }
        if ready.send_if_modified(|old| std::mem::replace(old, is_ready) != is_ready) {
            info!(ready = is_ready, "store");
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

async fn private(config: &Config, data_dir: &Path) -> anyhow::Result<Server> {
    let mut wanted = PrivateConfig::new(data_dir);
    wanted.pg_bin.clone_from(&config.store.pg_bin);
    wanted.run_as.clone_from(&config.store.run_as);
    wanted.listen = config.store.pg_listen;
    wanted.shared_buffers_mb = u32::try_from(config.store.shared_buffers >> 20)
        .unwrap_or(u32::MAX)
        .max(1);
    let server = PrivateServer::start(wanted).await?;
    Ok(Server {
        admin: server.connection(),
        url: server.url(),
        version: server.version().to_string(),
        advertise: advertise(config.store.pg_advertise.as_ref(), server.address().port()),
        private: Some(server),
    })
}

async fn attached(config: &Config, connection: tokio_postgres::Config) -> anyhow::Result<Server> {
    let mut pause = *RETRY.start();
    let attached = loop {
        match postgres::attach_to(connection.clone()).await {
            Ok(attached) => break attached,
            Err(error @ postgres::Error::Unreachable { .. }) => {
                warn!(%error, retry_in = ?pause, "the store does not answer yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(*RETRY.end());
            }
            Err(error) => return Err(error.into()),
        }
    };
    let port = attached
        .connection
        .get_ports()
        .first()
        .copied()
        .unwrap_or(DEFAULT_PORT);
    Ok(Server {
        admin: attached.connection,
        url: config
            .store
            .postgres
            .as_ref()
            .map(config::PostgresUrl::masked)
            .unwrap_or_default(),
        version: attached.version.to_string(),
        advertise: advertise(config.store.pg_advertise.as_ref(), port),
        private: None,
    })
}

async fn prepare(
    admin: &tokio_postgres::Config,
    me: &NodeName,
    cluster: &str,
) -> anyhow::Result<Site> {
    let mut client = postgres::connect(admin)
        .await
        .context("cannot connect to the store")?;
    let installed = store::install(&mut client).await?;
    info!(?installed, "store schema is in place");
    Ok(store::identify(&mut client, me, cluster).await?)
}

fn advertise(wanted: Option<&config::Advertise>, port: u16) -> Advertise {
    Advertise {
        host: wanted.and_then(|a| a.host.clone()),
        port: wanted.and_then(|a| a.port).unwrap_or(port),
    }
}
