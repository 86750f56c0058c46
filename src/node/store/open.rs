//! Opens the node's store: a private server or one of the user's, migrated and given its identity.

use std::{path::Path, time::Duration};

use anyhow::Context;
use tokio::{sync::watch, task::JoinHandle};
use tracing::{info, warn};

use super::{
    continuity::{Continuity, Owned, Trouble, Why},
    examination::{self, Examination},
    hold::Hold,
};
use crate::{
    api,
    config::{self, Config, PasswordSources},
    driver::DriverError,
    finding::Finding,
    identity::{NodeId, Run},
    network,
    node::waiting::Waiting,
    postgres::{
        self, Conninfo, Lifecycle, PrivateConfig, PrivateServer,
        doctor::{Requirements, require_fit},
        links_max,
    },
    replication::Advertise,
    store::{self, PathStanding, SearchPath},
    watched,
};

/// How often a foreign server is asked whether it is still there.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Two statements, on a server that has just taken down our links.
const GIVE_BACK_MAX: Duration = Duration::from_secs(10);

/// Pauses between attempts to reach a foreign server that does not answer.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(15);

/// PostgreSQL's own port, for foreign servers whose URL names none.
const DEFAULT_PORT: u16 = 5432;

/// A store that is up, migrated and ours.
#[derive(Debug)]
pub(in crate::node) struct OpenStore {
    /// Its identity, and the record of it.
    pub(in crate::node) continuity: Continuity,
    /// Where it is and how to reach it.
    pub(in crate::node) server: Server,
    /// Nobody else looks after it.
    hold: Hold,
    /// Why the functions are not on the `search_path`.
    pub(in crate::node) off_path: Option<String>,
}

/// The server below a store.
#[derive(Debug)]
pub(in crate::node) struct Server {
    admin: Conninfo,
    /// What a local client gives to `psql`.
    pub(in crate::node) url: String,
    /// PostgreSQL's version.
    pub(in crate::node) version: String,
    /// Where other stores reach it.
    pub(in crate::node) advertise: Advertise,
    /// What was wrong with it at the start, though nothing that forbids to use it.
    pub(in crate::node) findings: Vec<api::Finding>,
    requirements: Requirements,
    private: Option<PrivateServer>,
}

/// Brings the store up. A foreign server that does not answer yet is waited for.
pub(in crate::node) async fn open(
    config: &Config,
    data_dir: &Path,
    me: &NodeId,
    run: Run,
    waiting: &Waiting,
) -> anyhow::Result<OpenStore> {
    let owned = |may_adopt| Owned {
        me: me.clone(),
        run,
        cluster: config.node.cluster.clone(),
        may_adopt,
    };
    let passwords = PasswordSources::from_environment();
    match config.store.connection(&passwords) {
        // It serves nobody but us, so another node's store in it can only be a copy.
        None => private(config, data_dir, owned(true), waiting).await,
        Some(connection) => {
            let mut server = attached(config, connection, waiting).await?;
            let owned = owned(config.store.adopt);
            let admin = server.connection();
            // Before anything is looked at: two controllers would take each other's links for debris.
            let hold = Hold::take(admin.clone(), me, waiting).await?;
            let continuity = prepare(&admin, owned, data_dir, waiting).await?;
            // The database is the application's: our names go on its path only where none of its own collides.
            let wish = wish(config.store.search_path).unwrap_or(SearchPath::Polite);
            let off_path = settle_path(&admin, wish).await?;
            server.requirements.plain_names = off_path.is_none();
            Ok(OpenStore {
                continuity,
                server,
                hold,
                off_path,
            })
        }
    }
}

impl OpenStore {
    /// Gives the store another site, however long its server takes to allow it.
    pub(in crate::node) async fn renew(&mut self, why: &Why, waiting: &Waiting) {
        let mut pause = *RETRY.start();
        loop {
            let renewed = self.continuity.renew(&self.server.connection(), why).await;
            let Err(error) = renewed else {
                info!(
                    over = "the store cannot go on as another site yet",
                    "the store has a new incarnation"
                );
                return waiting.over();
            };
            let error = format!("{error:#}");
            waiting.set(format!("a new site for the store: {error}"));
            warn!(%why, error, retry_in = ?pause, "the store cannot go on as another site yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(*RETRY.end());
        }
    }

    /// Looks into the store anew, however long its server takes to allow it.
    pub(in crate::node) async fn reopen(&mut self) {
        let mut pause = *RETRY.start();
        loop {
            match self.continuity.again(&self.server.connection()).await {
                Ok(continuity) => {
                    self.continuity = continuity;
                    info!(
                        over = "the store cannot be looked into yet",
                        "the store was looked into"
                    );
                    return;
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    warn!(error, retry_in = ?pause, "the store cannot be looked into yet");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(*RETRY.end());
        }
    }

    /// Keeps the record of the store up to date for as long as the result lives.
    pub(in crate::node) fn keep_record(&self) -> RecordKeeper {
        let (server, receiver) = watch::channel(self.server.connection());
        let (task, trouble) = self.continuity.keep(receiver);
        RecordKeeper {
            server,
            hold: self.hold.mover(),
            task,
            trouble,
        }
    }

    /// Puts back what was changed of a database that is not ours: the node has left it.
    pub(in crate::node) async fn give_back(&self) {
        if self.server.private.is_some() {
            return;
        }
        let admin = self.server.connection();
        let settled = settle_path(&admin, SearchPath::Off);
        let error = match tokio::time::timeout(GIVE_BACK_MAX, settled).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("no answer within {} s", GIVE_BACK_MAX.as_secs()),
        };
        warn!(error, "the database's search_path is not put back");
    }

    /// Makes the last entry in the record, and stops a private server.
    pub(in crate::node) async fn close(self) {
        self.continuity.close(&self.server.connection()).await;
        // Before the server stops, or the lock would be taken for lost and sought again.
        drop(self.hold);
        self.server.stop().await;
    }
}

/// Keeps the record of a store up to date until it is dropped.
#[derive(Debug)]
pub(in crate::node) struct RecordKeeper {
    server: watch::Sender<Conninfo>,
    hold: watch::Sender<Conninfo>,
    task: JoinHandle<()>,
    trouble: watch::Receiver<Option<Trouble>>,
}

impl RecordKeeper {
    /// The store is to be found elsewhere from now on.
    pub(in crate::node) fn store_moved(&self, server: Conninfo) {
        self.hold.send_replace(server.clone());
        self.server.send_replace(server);
    }

    /// Returns what is wrong with the store, once something is. Safe to drop and call again.
    pub(in crate::node) async fn trouble(&mut self) -> Trouble {
        let told = self.trouble.wait_for(Option::is_some).await;
        match told.ok().and_then(|trouble| trouble.clone()) {
            Some(trouble) => trouble,
            // The task has ended without an answer: there will be none.
            None => std::future::pending().await,
        }
    }
}

impl Drop for RecordKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Whether the server answers, as it changes.
    pub(in crate::node) fn ready(&self) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(true);
        match &self.private {
            Some(server) => tokio::spawn(follow(server.watch(), sender)),
            None => tokio::spawn(ask(self.admin.clone(), sender)),
        };
        receiver
    }

    /// What the server has to be fit for, for others to examine it by.
    pub(in crate::node) fn told_requirements(&self) -> api::StoreRequirements {
        let Requirements {
            links_min,
            slot_bytes_max,
            ..
        } = self.requirements;
        api::StoreRequirements {
            links_min,
            slot_bytes_max,
        }
    }

    /// Goes on examining the server for as long as the result lives.
    pub(in crate::node) fn keep_examining(&self) -> Examination {
        Examination::start(self.connection(), self.requirements, self.findings.clone())
    }

    /// How the controller connects now: a private server on a free port may come back on another
    /// after a crash.
    pub(in crate::node) fn connection(&self) -> Conninfo {
        self.private
            .as_ref()
            .map_or_else(|| self.admin.clone(), reach)
    }

    /// Stops a private server; a foreign one is left alone.
    pub(in crate::node) async fn stop(self) {
        if let Some(server) = self.private
            && let Err(error) = server.stop().await
        {
            warn!(%error, "the private server did not stop in order");
        }
    }
}

/// Of a private server the lifecycle tells.
async fn follow(mut lifecycle: watch::Receiver<Lifecycle>, ready: watch::Sender<bool>) {
    loop {
        let is_ready = *lifecycle.borrow_and_update() == Lifecycle::Ready;
        if watched::set(&ready, is_ready) {
            info!(ready = is_ready, "private server");
        }
        if ready.is_closed() || lifecycle.changed().await.is_err() {
            return;
        }
    }
}

/// A foreign server has to be asked.
async fn ask(admin: Conninfo, ready: watch::Sender<bool>) {
    let mut client = None;
    while !ready.is_closed() {
        if client.is_none() {
            client = postgres::open(&admin).await.ok();
        }
        let is_ready = match &client {
            Some(open) => open.simple_query("").await.is_ok(),
            None => false,
        };
        if !is_ready {
            client = None;
        }
        if watched::set(&ready, is_ready) {
            info!(ready = is_ready, "store");
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

/// How the private server is to be set up.
fn wanted(config: &Config, data_dir: &Path) -> PrivateConfig {
    let store = &config.store;
    PrivateConfig {
        pg_bin: store.pg_bin.clone(),
        run_as: store.run_as.clone(),
        listen: store.pg_listen,
        shared_buffers_mb: mebibytes(store.shared_buffers),
        max_links: links_max(neighbors(config)),
        // Twice: the node comes first and drops a slot in order. The server acts at its checkpoints, and also
        // while the node is down.
        slot_wal_max_mb: mebibytes(config.replication.slot_bytes_max.saturating_mul(2)),
        ..PrivateConfig::new(data_dir)
    }
}

/// What a server has to be fit for by the node's settings.
fn needed(config: &Config) -> Requirements {
    Requirements::for_node(neighbors(config), config.replication.slot_bytes_max)
}

/// As PostgreSQL takes a size: a positive number of 31 bits.
fn mebibytes(bytes: u64) -> u32 {
    const MOST: u32 = i32::MAX as u32;
    u32::try_from(bytes >> 20).map_or(MOST, |size| size.clamp(1, MOST))
}

/// Each has a link in each direction.
fn neighbors(config: &Config) -> u16 {
    u16::try_from(config.overlay.active_view).unwrap_or(u16::MAX)
}

async fn private(
    config: &Config,
    data_dir: &Path,
    owned: Owned,
    waiting: &Waiting,
) -> anyhow::Result<OpenStore> {
    // Nobody gets in before the store is what it should be: one that exists is looked into before anybody
    // can write to it, and a session that opens too early would never have the functions on its path.
    let server = PrivateServer::start_secluded(wanted(config, data_dir)).await?;
    // Who may reach it is said by its own settings.
    let requirements = Requirements {
        remote_peers: false,
        plain_names: false,
        ..needed(config)
    };
    let opened = async {
        pin(&reach(&server)).await?;
        let hold = Hold::take(reach(&server), &owned.me, waiting).await?;
        let continuity = prepare(&reach(&server), owned, data_dir, waiting).await?;
        let wish = wish(config.store.search_path).unwrap_or(SearchPath::Last);
        let off_path = settle_path(&reach(&server), wish).await?;
        // To be found, the server is started again, and a store is open in one run of it only.
        server.reveal().await?;
        continuity.follow(&reach(&server)).await?;
        let findings = require_fit(&reach(&server), requirements).await?;
        anyhow::Ok((continuity, hold, off_path, findings))
    };
    let (opened, findings) = match opened.await {
        Ok((continuity, hold, off_path, findings)) => (Ok((continuity, hold, off_path)), findings),
        Err(error) => (Err(error), Vec::new()),
    };
    let mut server = Server {
        admin: reach(&server),
        url: server.url(),
        version: server.version().to_string(),
        advertise: advertise(config.store.pg_advertise.as_ref(), server.address().port()),
        findings: told(&findings),
        requirements,
        private: Some(server),
    };
    match opened {
        Ok((continuity, hold, off_path)) => {
            server.requirements.plain_names = off_path.is_none();
            Ok(OpenStore {
                continuity,
                server,
                hold,
                off_path,
            })
        }
        Err(error) => {
            // A start that is given up leaves no server behind.
            server.stop().await;
            Err(error)
        }
    }
}

fn reach(server: &PrivateServer) -> Conninfo {
    server.connection().into()
}

async fn attached(
    config: &Config,
    connection: Conninfo,
    waiting: &Waiting,
) -> anyhow::Result<Server> {
    let mut pause = *RETRY.start();
    let attached = loop {
        match postgres::attach_to(connection.clone()).await {
            Ok(attached) => break attached,
            // It may come up; what else is wrong does not change by waiting.
            Err(error @ postgres::Error::Unreachable { .. }) => {
                warn!(%error, retry_in = ?pause, "the store does not answer yet");
                waiting.set(format!("the store to answer: {error}"));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(*RETRY.end());
            }
            Err(error) => return Err(error.into()),
        }
    };
    let remote_peers = !config
        .network
        .listen
        .iter()
        .all(|address| network::is_loopback(&address.to_string()));
    let requirements = Requirements {
        remote_peers,
        // That is settled once the store is open.
        plain_names: false,
        ..needed(config)
    };
    let findings = require_fit(&attached.connection, requirements).await?;
    info!(over = "the store does not answer yet", "the store answers");
    waiting.over();
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
        findings: told(&findings),
        requirements,
        private: None,
    })
}

/// What is wrong, logged.
fn told(findings: &[Finding]) -> Vec<api::Finding> {
    let bad = examination::tell(findings);
    examination::log(&[], &bad);
    bad
}

/// Links are applied with what is set for our role in our database, whatever the server's settings are.
async fn pin(admin: &Conninfo) -> anyhow::Result<()> {
    let client = postgres::open(admin)
        .await
        .context("cannot connect to the store")?;
    let isolation = "do $$ begin
        execute format('alter role %I in database %I \
                        set default_transaction_isolation to %L',
                       current_user, current_database(), 'read committed');
      end $$";
    client
        .batch_execute(isolation)
        .await
        .map_err(DriverError::from)
        .context("cannot set the isolation level of links")
}

async fn prepare(
    admin: &Conninfo,
    owned: Owned,
    data_dir: &Path,
    waiting: &Waiting,
) -> anyhow::Result<Continuity> {
    let mut client = postgres::open(admin)
        .await
        .context("cannot connect to the store")?;
    let installed = store::install_telling(&mut client, store::PATIENCE, |holders| {
        let who = store::list(holders);
        waiting.set(format!("locks on the store's schema: {who}"));
    })
    .await;
    waiting.over();
    let installed = installed?;
    info!(?installed, "store schema is in place");
    drop(client);
    Continuity::establish(admin, owned, data_dir, waiting).await
}

/// Puts schema `crdv` where it is wanted on the database's `search_path`; says why not, if it is not on it.
async fn settle_path(admin: &Conninfo, wish: SearchPath) -> anyhow::Result<Option<String>> {
    let connecting = || "cannot connect to the store";
    let mut client = postgres::open(admin).await.with_context(connecting)?;
    // Our own session pins its path; this one sees what a client's does.
    let plain = postgres::connect_patient(admin)
        .await
        .with_context(connecting)?;
    let standing = store::settle_search_path(&mut client, &plain, wish).await?;
    Ok(match standing {
        PathStanding::On => None,
        PathStanding::Off => Some("as asked for; call functions as crdv.mapAdd".to_owned()),
        PathStanding::Refrained(why) => Some(why),
    })
}

fn wish(wanted: Option<config::SearchPath>) -> Option<SearchPath> {
    Some(match wanted? {
        config::SearchPath::Off => SearchPath::Off,
        config::SearchPath::Last => SearchPath::Last,
        config::SearchPath::First => SearchPath::First,
    })
}

fn advertise(wanted: Option<&config::Advertise>, port: u16) -> Advertise {
    Advertise {
        host: wanted.and_then(|a| a.host.clone()),
        port: wanted.and_then(|a| a.port).unwrap_or(port),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{needed, wanted};
    use crate::{config::Config, postgres::doctor::Requirements};

    #[test]
    fn a_private_server_keeps_wal_for_as_long_as_the_node_would() {
        let mut config = Config::default();
        let kept = |config: &Config| wanted(config, Path::new("d")).slot_wal_max_mb;
        assert_eq!(kept(&config), 2048);
        for bytes in [16 << 20, 3 << 30, 1 << 40] {
            config.replication.slot_bytes_max = bytes;
            assert_eq!(u64::from(kept(&config)) << 20, bytes * 2);
        }
        config.replication.slot_bytes_max = u64::MAX;
        assert_eq!(kept(&config), i32::MAX.unsigned_abs());
    }

    #[test]
    fn servers_are_sized_and_examined_for_the_active_view() {
        let mut config = Config::default();
        assert_eq!(needed(&config), Requirements::default());
        assert_eq!(wanted(&config, Path::new("d")).max_links, 32);
        config.overlay.active_view = 64;
        let requirements = needed(&config);
        assert_eq!(requirements.links_min, 64);
        assert!(requirements.max_links > 128);
        let private = wanted(&config, Path::new("d"));
        assert_eq!(private.max_links, requirements.max_links);
        config.replication.slot_bytes_max = 3 << 30;
        assert_eq!(needed(&config).slot_bytes_max, 3 << 30);
    }
}
