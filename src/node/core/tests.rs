use std::{net::TcpListener, path::Path, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Core, Inputs};
use crate::{
    config::Config,
    http::Command,
    network,
    node::{Ended, app_roles::AppRoles, data_dir::DataDir},
};

/// Only reached where the node would never end.
const LIMIT: Duration = Duration::from_mins(1);

/// A node that waits for its store, whose server takes connections and says nothing.
struct Node {
    core: Core,
    inputs: Inputs,
    network: network::Handle,
    shutdown: CancellationToken,
    /// Its lock is held for as long as the node runs.
    _data: DataDir,
    _commands: mpsc::Sender<Command>,
    _server: TcpListener,
}

async fn node(folder: &Path) -> Node {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::default();
    let url = format!("postgresql://u@{}/d", server.local_addr().unwrap());
    config.store.postgres = Some(url.parse().unwrap());
    let data = DataDir::open(folder).unwrap();
    let key = network::identity(data.path()).unwrap();
    let me = network::node_id(&key);
    let settings = network::Settings {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        mdns: false,
        ..network::Settings::new("c", data.path())
    };
    let (incarnation, run) = (settings.incarnation, settings.run);
    let (network, events) = network::start(settings, key).await.unwrap();
    let roles = AppRoles::open(data.path(), &me, &config.node.cluster);
    let (sender, commands) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    Node {
        core: Core::new(config, me, incarnation, run, network.clone(), roles),
        inputs: Inputs {
            data_dir: data.path().to_path_buf(),
            http: ([127, 0, 0, 1], 0).into(),
            events,
            commands,
            started: None,
            shutdown: shutdown.clone(),
        },
        network,
        shutdown,
        _data: data,
        _commands: sender,
        _server: server,
    }
}

impl Node {
    async fn run(self) -> anyhow::Result<Ended> {
        let running = Box::pin(self.core.run(self.inputs));
        let ended = timeout(LIMIT, running).await.expect("the node goes on");
        let stopping = self.network.shutdown();
        timeout(LIMIT, stopping).await.expect("its network goes on");
        ended
    }
}

#[tokio::test]
async fn a_node_whose_network_has_panicked_ends_with_that() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    node.network.panic().await;
    let error = node.run().await.unwrap_err().to_string();
    assert!(error.starts_with("the network has panicked"), "{error}");
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_ends_without_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    node.shutdown.cancel();
    assert_eq!(node.run().await.unwrap(), Ended::Stopped);
}
