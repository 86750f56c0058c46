//! `starling up`

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::settings::SettingFlags;
use crate::{
    config::Config,
    network::is_loopback,
    node::{self, Ended, runtime_file::RuntimeFile},
    telemetry,
    terminal::output,
};

const EXAMPLES: &str = "\
Examples:
  starling up                        a node with a private PostgreSQL, for this machine alone
  starling up --pg-listen 0.0.0.0:7432
                                     the same for a cluster of several machines: other stores reach
                                     this one, and peers are found on the local network
  starling up --pg-listen 0.0.0.0:7432 --bootstrap /ip4/192.0.2.7/tcp/7400
                                     join the cluster of the node at that address
  STARLING_STORE__PASSWORD_FILE=/run/secrets/pg \\
    starling up --postgres postgresql://starling@db.example.org/starling
                                     attach to a server of your own
  starling up --data-dir b --http 127.0.0.1:0 --pg-listen 127.0.0.1:0 \\
    --listen /ip4/127.0.0.1/tcp/0    a second node on this machine, on free ports

A port of 0 means any free one; the chosen ones are printed, and are in <data-dir>/node.json.
SIGINT or SIGTERM stops the node; a second one ends it at once.";

/// What a node needs whose store others are to reach.
const LISTEN: &str = " --pg-listen 0.0.0.0:7432";

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
    let reach = Reach::of(&loaded.config);
    let swarm_key = loaded.config.network.swarm_key.clone();
    telemetry::init(&loaded.config.log)?;
    // Only now is there a log to say it in.
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        // Before anything is started: a node that is stopped while it starts still takes its server down.
        watch_signals(shutdown.clone())?;
        if args.exit_with_parent {
            watch_parent(shutdown.clone());
        }
        let (started, announcement) = oneshot::channel();
        let announcer = tokio::spawn(async move {
            if let Ok(node) = announcement.await {
                announce(&node, reach, swarm_key.as_deref());
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

/// From where a node's store can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// From its own machine.
    Machine,
    /// From others, as far as this program knows.
    Network,
}

impl Reach {
    fn of(config: &Config) -> Self {
        let store = &config.store;
        let advertises = store
            .pg_advertise
            .as_ref()
            .is_some_and(|a| a.host.is_some());
        // Whoever advertises a host has made it lead here, in a way that this program does not see.
        if store.postgres.is_none() && store.pg_listen.ip().is_loopback() && !advertises {
            Self::Machine
        } else {
            Self::Network
        }
    }
}

fn announce(node: &RuntimeFile, reach: Reach, swarm_key: Option<&Path>) {
    // With nobody there to read it the node runs all the same.
    let _ = output::print(&announcement(node, reach, swarm_key));
}

/// What is printed once a node is up. A line that others can follow to the letter: links go both ways, so
/// a store that joins from another machine has to listen where this one reaches it.
fn announcement(node: &RuntimeFile, reach: Reach, swarm_key: Option<&Path>) -> String {
    let mut text = format!(
        "starling node {} of cluster {} is up\n  peer   {}\n  http   http://{}\n  store  psql '{}'\n",
        output::harmless(&node.name),
        node.cluster,
        node.peer_id,
        node.http,
        node.store_url
    );
    let cluster = match node.cluster.as_str() {
        cluster if cluster == Config::default().node.cluster => String::new(),
        cluster => format!(" --cluster {cluster}"),
    };
    let key = swarm_key.map(word);
    let key_flag = key
        .as_ref()
        .map_or_else(String::new, |key| format!(" --swarm-key {key}"));
    for address in &node.listen {
        // Who joins over loopback is on this machine, and its store may stay on loopback as well.
        let listen = if is_loopback(address) { "" } else { LISTEN };
        text.push_str(&format!(
            "  join   starling up{cluster}{key_flag}{listen} --bootstrap {address}\n"
        ));
    }
    if let Some(key) = key {
        text.push_str(&format!(
            "  note   each node of the cluster has the same swarm key: copy {key}\n"
        ));
    }
    // A node that itself listens on loopback alone was never meant for several machines.
    if reach == Reach::Machine && !node.listen.iter().all(|address| is_loopback(address)) {
        text.push_str(&format!(
            "  note   other machines cannot reach this store: it listens on loopback only. For a cluster\n         \
             of several machines start this node with{LISTEN}, too; data goes between stores\n         \
             in clear text, so do that in a network that you trust\n"
        ));
    }
    text
}

/// A path as one word of a shell's line.
fn word(path: &Path) -> String {
    let text = output::harmless(&path.to_string_lossy());
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
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
                // What a shell reports of SIGINT. Nothing is taken down: a private server runs on, and the
                // next start adopts it.
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Reach, announcement};
    use crate::{config::Config, node::runtime_file::RuntimeFile};

    fn node(listen: &[&str]) -> RuntimeFile {
        RuntimeFile {
            pid: Some(7),
            peer_id: "p".to_owned(),
            site: 9,
            name: "n".to_owned(),
            cluster: Config::default().node.cluster,
            http: ([127, 0, 0, 1], 7480).into(),
            listen: listen.iter().map(ToString::to_string).collect(),
            store_url: "postgresql://".to_owned(),
        }
    }

    #[test]
    fn the_line_to_join_by_works_from_where_it_is_for() {
        let node = node(&["/ip4/127.0.0.1/tcp/7400", "/ip4/192.0.2.1/tcp/7400"]);
        let text = announcement(&node, Reach::Network, None);
        assert!(text.contains("join   starling up --bootstrap /ip4/127.0.0.1/tcp/7400\n"));
        let line =
            "join   starling up --pg-listen 0.0.0.0:7432 --bootstrap /ip4/192.0.2.1/tcp/7400\n";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("note"), "{text}");
        assert!(announcement(&node, Reach::Machine, None).contains("listens on loopback only"));
    }

    #[test]
    fn the_tour_shows_what_is_printed() {
        let peer = "12D3KooWK6pYoj8b4mb7Ap4WcY2wvjwRjuEw5mkS5CwuCYzAvwub";
        let listen = "/ip4/127.0.0.1/tcp/7400";
        let address = format!("{listen}/p2p/{peer}");
        let node = RuntimeFile {
            peer_id: peer.to_owned(),
            name: "a".to_owned(),
            store_url: "postgresql://starling@/starling?host=/tmp/tour/a/postgres/run&port=7432"
                .to_owned(),
            ..node(&[address.as_str()])
        };
        let printed = announcement(&node, Reach::of(&Config::default()), None);
        // The flag makes it that one address.
        let shown = format!(
            "```console\n$ starling up --data-dir a --name a --mdns off --listen {listen}\n{printed}```\n"
        );
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&shown), "{shown}");
    }

    #[test]
    fn nothing_is_said_of_other_machines_to_who_wants_none() {
        let node = node(&["/ip4/127.0.0.1/tcp/7400"]);
        assert!(!announcement(&node, Reach::Machine, None).contains("note"));
    }

    #[test]
    fn a_cluster_of_another_name_is_in_the_line() {
        let other = RuntimeFile {
            cluster: "shops".to_owned(),
            ..node(&["/ip4/127.0.0.1/tcp/7400"])
        };
        let text = announcement(&other, Reach::Machine, None);
        assert!(
            text.contains("starling up --cluster shops --bootstrap"),
            "{text}"
        );
    }

    #[test]
    fn the_line_to_join_by_has_the_swarm_key() {
        let node = node(&["/ip4/127.0.0.1/tcp/7400"]);
        let text = |key: &str| announcement(&node, Reach::Network, Some(Path::new(key)));
        let line = "join   starling up --swarm-key swarm.key --bootstrap /ip4/127.0.0.1/tcp/7400\n";
        assert!(text("swarm.key").contains(line), "{}", text("swarm.key"));
        assert!(text("swarm.key").contains("same swarm key: copy swarm.key\n"));
        assert!(text("/my keys/it's").contains(r" --swarm-key '/my keys/it'\''s' --bootstrap"));
        let open = announcement(&node, Reach::Network, None);
        assert!(!open.contains("swarm"), "{open}");
    }

    #[test]
    fn only_a_private_store_on_loopback_is_out_of_reach() {
        let mut config = Config::default();
        assert_eq!(Reach::of(&config), Reach::Machine);
        config.store.pg_listen = ([0, 0, 0, 0], 7432).into();
        assert_eq!(Reach::of(&config), Reach::Network);
        config = Config::default();
        config.store.pg_advertise = Some("db.example.org".parse().unwrap());
        assert_eq!(Reach::of(&config), Reach::Network);
    }
}
