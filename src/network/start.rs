//! Start of the network.

use std::{sync::Arc, time::Duration};

use libp2p::{Swarm, TransportError, core::transport::ListenerId, identity::Keypair, swarm};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Counters, Error, Event, Handle, Settings, behaviour::Behaviour, event, event_loop::EventLoop,
    handle, key, transport,
};
use crate::{
    discovery::{
        Discovery,
        address_book::{self, AddressBook},
    },
    identity::is_cluster_name,
    tasks::Tasks,
};

/// How long to wait at start until each listener knows its addresses. They are the kernel's to
/// tell; without an answer the node goes on, and hears of them later.
const LISTEN_PATIENCE: Duration = Duration::from_secs(3);

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
