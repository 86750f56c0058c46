//! Start of the network, and what can go wrong with it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use libp2p::{
    Multiaddr, Swarm, TransportError, core::transport::ListenerId, identity::Keypair, swarm,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Counters, Event, Handle, Settings, behaviour::Behaviour, event, event_loop::EventLoop, handle,
    key, transport,
};
use crate::{
    discovery::{
        Discovery,
        address_book::{self, AddressBook},
    },
    identity::{CLUSTER_NAME_BYTES_MAX, is_cluster_name},
    tasks::Tasks,
};

/// How long to wait at start until each listener knows its addresses. They are the kernel's to
/// tell; without an answer the node goes on, and hears of them later.
const LISTEN_PATIENCE: Duration = Duration::from_secs(3);

/// Why the network could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's name cannot be part of a protocol's name.
    #[error(
        "{0:?} is not a name for a cluster: 1 to {max} letters, digits, '.', '_' and '-', and a letter or \
         digit first",
        max = CLUSTER_NAME_BYTES_MAX
    )]
    ClusterName(String),
    /// Another program listens on the port.
    #[error(
        "port {port} is in use: another program listens on {address}; stop it, or choose another \
         address with --listen (a port of 0 means any free one)"
    )]
    PortInUse {
        /// Where we wanted to listen.
        address: Multiaddr,
        /// The port in it.
        port: u16,
    },
    /// Listening failed.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where we wanted to listen.
        address: Multiaddr,
        /// Why.
        source: io::Error,
    },
    /// The address is not one to listen on.
    #[error(
        "{address} is not an address to listen on; these are: /ip4/<IP>/tcp/<PORT>, \
         /ip4/<IP>/udp/<PORT>/quic-v1, and the same with ip6"
    )]
    ListenAddress {
        /// What was asked for.
        address: Multiaddr,
    },
    /// All addresses are QUIC's, but there is a swarm key.
    #[error("quic cannot carry a swarm key: give a tcp address to listen on as well")]
    KeyWithoutTcp,
    /// The key cannot be used for encrypted connections.
    #[error("the identity cannot be used: {0}")]
    Key(String),
    /// The overlay cannot be set up.
    #[error("cannot set up the overlay")]
    Overlay(#[from] hyparview::SetupError),
    /// The broadcast cannot be set up.
    #[error("cannot set up the broadcast")]
    Broadcast(#[from] plumtree::SetupError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Starts the network: returns when all listeners are up. From then on the node looks for its
/// cluster, for as long as it takes.
///
/// # Errors
///
/// If a setting cannot be followed. Nothing is left running then.
pub async fn start(
    settings: Settings,
    keypair: Keypair,
) -> Result<(Handle, mpsc::Receiver<Event>), Error> {
    if !is_cluster_name(&settings.cluster) {
        return Err(Error::ClusterName(settings.cluster));
    }
    let path = &settings.data_dir;
    // A missing one would pass for an empty address book, until that cannot be saved.
    if let Err(source) = std::fs::metadata(path) {
        return Err(Error::DataDir {
            path: path.clone(),
            source,
        });
    }
    let me = keypair.public().to_peer_id();
    let counters = Arc::new(Counters::default());
    let mut swarm = Swarm::new(
        transport::build(&keypair, settings.swarm_key, settings.dial_timeout)?,
        Behaviour::new(&settings, &keypair, Arc::clone(&counters))?,
        me,
        swarm::Config::with_tokio_executor()
            // QUIC first, the others a little later: without it up to eight addresses are dialled at once.
            .with_smart_dial()
            .with_idle_connection_timeout(settings.idle_timeout),
    );
    let listeners = listen(&mut swarm, &settings)?;
    for address in &settings.external {
        swarm.add_external_address(address.clone());
    }
    let book_path = settings.data_dir.join(address_book::FILE_NAME);
    let (book, unusable) = AddressBook::load(&book_path, me, &settings.cluster);
    if let Some((error, aside)) = unusable {
        let (from, to) = (book_path.display(), aside.display());
        warn!(%error, %from, %to, "address book moved aside, starting with an empty one");
    }
    let discovery = Discovery::new(&me, &settings.cluster, settings.bootstrap.clone(), book);

    let (command_sender, commands) = mpsc::channel(handle::COMMANDS_MAX);
    let (event_sender, events) = mpsc::channel(event::CHANNEL_CAPACITY);
    let stop = CancellationToken::new();
    let mut event_loop = Box::new(EventLoop::new(
        swarm,
        discovery,
        commands,
        event_sender,
        Arc::clone(&counters),
        &settings,
    ));
    let handle = Handle {
        node_id: key::node_id(&keypair),
        commands: command_sender,
        overlay: event_loop.overlay(),
        protocols: event_loop.protocols.subscribe(),
        listening: event_loop.listening(),
        runs: Arc::clone(&event_loop.runs),
        counters,
        stop: stop.clone(),
        tasks: Tasks::default(),
        request_timeout: settings.request_timeout,
    };
    event_loop.settle(listeners, LISTEN_PATIENCE).await;
    let running = async move { event_loop.run(stop).await };
    handle.tasks.spawn("the network", running);
    Ok((handle, events))
}

fn listen(swarm: &mut Swarm<Behaviour>, settings: &Settings) -> Result<Vec<ListenerId>, Error> {
    let mut listeners = Vec::new();
    for address in transport::usable(&settings.listen, settings.swarm_key.as_ref())? {
        transport::check_free(&address)?;
        let listener = swarm
            .listen_on(address.clone())
            .map_err(|error| match error {
                TransportError::MultiaddrNotSupported(address) => Error::ListenAddress { address },
                TransportError::Other(source) => {
                    transport::listen_error(&address, transport::with_root_kind(source))
                }
            })?;
        listeners.push(listener);
    }
    Ok(listeners)
}
