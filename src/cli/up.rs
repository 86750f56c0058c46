//! `starling up`

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{output, settings::SettingFlags};
use crate::{
    node::{self, Ended, runtime_file::RuntimeFile},
    telemetry,
};

const EXAMPLES: &str = "\
Examples:
  starling up                        private PostgreSQL, peers found on the local network
  starling up --bootstrap /ip4/192.0.2.7/tcp/7400 --pg-listen 0.0.0.0:7432
                                     join a cluster; stores on other machines can reach ours
  STARLING_STORE__PASSWORD_FILE=/run/secrets/pg \\
    starling up --postgres postgresql://starling@db.example.org/starling
                                     attach to a server of your own
  starling up --data-dir b --http 127.0.0.1:0 --pg-listen 127.0.0.1:0 \\
    --listen /ip4/127.0.0.1/tcp/0    a second node on this machine, on free ports

A port of 0 means any free one; the chosen ones are printed, and are in <data-dir>/node.json.
SIGINT or SIGTERM stops the node; a second one ends it at once.";

/// The node has stopped its parts itself; what still blocks after this long is left behind.
const LINGER: Duration = Duration::from_secs(2);

/// Run a node in the foreground until SIGINT or SIGTERM
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingFlags,
    /// Stop when standard input ends: whoever started us and held the other end is gone
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let loaded = args.settings.load()?;
    telemetry::init(&loaded.config.log)?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        watch_signals(shutdown.clone())?;
        if args.exit_with_parent {
            watch_parent(shutdown.clone());
        }
        let (started, announcement) = oneshot::channel();
        let announcer = tokio::spawn(async move {
            if let Ok(node) = announcement.await {
                announce(&node);
            }
        });
        // Boxed: the future of a whole node is large.
        let ended = Box::pin(node::run(loaded.config, shutdown, started)).await;
        announcer.abort();
        ended
    });
    runtime.shutdown_timeout(LINGER);
    match ended? {
        Ended::Stopped => info!("stopped"),
        Ended::Left => info!("left the cluster"),
    }
    Ok(ExitCode::SUCCESS)
}

fn announce(node: &RuntimeFile) {
    let mut text = format!(
        "starling node {} of cluster {} is up\n  peer   {}\n  http   http://{}\n  store  psql '{}'\n",
        output::harmless(&node.name),
        node.cluster,
        node.peer_id,
        node.http,
        node.store_url
    );
    for address in &node.listen {
        text.push_str(&format!("  join   starling up --bootstrap {address}\n"));
    }
    // With nobody there to read it the node runs all the same.
    let _ = output::print(&text);
}

/// The first SIGINT or SIGTERM stops the node, a second one ends the process.
fn watch_signals(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if shutdown.is_cancelled() {
                warn!("ended by a second signal");
                std::process::exit(130);
            }
            info!("stopping; a second signal ends the node at once");
            shutdown.cancel();
        }
    });
    Ok(())
}

/// Reads standard input to its end on a thread of its own: such a read cannot be called off, and
/// must not hold up the runtime's end.
fn watch_parent(shutdown: CancellationToken) {
    std::thread::spawn(move || {
        // An error is an end too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        info!("standard input ended: stopping with whoever started us");
        shutdown.cancel();
    });
}
