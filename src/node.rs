//! The node: start and stop order of its parts, and the wiring between them.
//!
//! The network says who is a neighbour; the data plane keeps a link to each; the directory tells
//! everybody about everybody; the HTTP API shows it. Each part runs by itself; this module only
//! carries words from one to another, in one loop that never waits for a peer or a server.

mod app_roles;
mod clock;
mod core;
mod data_dir;
mod data_plane;
mod members;
mod part;
mod peer_protocol;
mod positions;
pub mod runtime_file;
mod status;
mod store;
mod tree;
mod waiting;

use std::{path::Path, sync::Arc};

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    app_roles::AppRoles,
    core::{Core, Inputs},
    data_dir::DataDir,
    runtime_file::RuntimeFile,
    store::record::StoreRecord,
};
use crate::{
    config::Config,
    http,
    identity::{Incarnation, Run},
    network,
};

/// Commands of the HTTP API waiting for the loop; more are answered with 503.
const COMMANDS_MAX: usize = 8;

/// How a node that ran came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop; its place in the cluster is kept.
    Stopped,
    /// It left the cluster for good.
    Left,
}

/// Runs a node until `shutdown` or until it has left the cluster, and stops everything it started.
///
/// `started` is sent what was also written to `<data>/node.json`, once: when the HTTP API and the
/// network listen and the store is up. Dropping it unsent means that the start failed.
///
/// # Errors
///
/// A part cannot be started, or one that the node cannot do without broke.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    started: oneshot::Sender<RuntimeFile>,
) -> anyhow::Result<Ended> {
    // The order: first what fails at once and costs nothing, then the overlay, so that peers find
    // this node while its store comes up, then the store.
    let data = DataDir::open(&config.node.data_dir)?;
    let key = network::identity(data.path())?;
    let me = network::node_id(&key);
    let token = http::Token::open(data.path())
        .with_context(|| format!("cannot open http.token in {}", data.path().display()))?;
    let listener = http::bind(config.http.listen).await?;
    let address = listener.local_addr().context("http address")?;
    let (incarnation, run) = (Incarnation::now(), Run::draw());
    let settings = network::Settings {
        incarnation,
        run,
        ..network_settings(&config, data.path())?
    };
    let (network, events) = network::start(settings, key).await?;
    info!(peer = %me, %run, cluster = %config.node.cluster, name = %config.node.name, "node starting");

    let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
    let roles = AppRoles::open(data.path(), &me, &config.node.cluster);
    let mut core = Core::new(config.clone(), me, incarnation, run, network.clone(), roles);
    if let Some(record) = StoreRecord::read(data.path()) {
        core.board.remember(record.site);
    }
    let registry = status::metrics::registry(
        &config,
        &core.board,
        network.clone(),
        Arc::clone(&core.plane_for_metrics),
    );
    let stop_http = CancellationToken::new();
    let server = tokio::spawn(http::serve(
        listener,
        core.board.view(registry, commands_in),
        http::Settings {
            hosts: config.http.hosts.clone(),
            token,
        },
        stop_http.clone(),
    ));

    let inputs = Inputs {
        data_dir: data.path().to_path_buf(),
        http: address,
        events,
        commands,
        started: Some(started),
        shutdown,
    };
    let ended = Box::pin(core.run(inputs)).await;

    // After the node: who has asked it to leave is still to get the answer.
    stop_http.cancel();
    if let Err(error) = server
        .await
        .context("http api")
        .and_then(|r| r.context("http api"))
    {
        warn!(
            error = format!("{error:#}"),
            "the http api ended with an error"
        );
    }
    network.shutdown().await;
    // The directory is locked until here: no other process has said there what it is.
    if let Err(error) = RuntimeFile::mark_stopped(data.path()) {
        warn!(%error, "node.json cannot be marked as that of a node that has stopped");
    }
    ended
}

fn network_settings(config: &Config, data_dir: &Path) -> anyhow::Result<network::Settings> {
    let mut settings = network::Settings::new(config.node.cluster.clone(), data_dir);
    settings.listen.clone_from(&config.network.listen);
    settings.bootstrap.clone_from(&config.network.bootstrap);
    settings.external.clone_from(&config.network.external);
    settings.mdns = config.network.mdns;
    if let Some(path) = &config.network.swarm_key {
        settings.swarm_key = Some(network::SwarmKey::load(path)?);
    }
    settings.overlay = config.overlay.hyparview()?;
    Ok(settings)
}
