//! The node's loop.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::{Instant, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Ended,
    data_dir::DataDir,
    departed::Departed,
    envelope::{self, Reply, Request, Word},
    gossip::{Answer, Gossiper, Turn},
    metrics::LatePlane,
    open_store::{self, OpenStore, Server},
    picture::{Glance, Picture},
    plane::{Plane, departure},
    runtime_file::RuntimeFile,
};
use crate::{
    config::Config,
    directory::{self, Directory},
    http::{Command, CommandError},
    identity::NodeName,
    network,
    replication::{Neighbor, Unfinished},
};

/// What the loop listens to.
pub(super) struct Inputs {
    pub(super) data: DataDir,
    pub(super) http: SocketAddr,
    pub(super) events: mpsc::Receiver<network::Event>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) started: Option<oneshot::Sender<RuntimeFile>>,
    pub(super) shutdown: CancellationToken,
}

/// The parts, and what the loop knows.
pub(super) struct Core {
    config: Config,
    me: NodeName,
    network: network::Handle,
    gossiper: Gossiper,
    directory: Directory,
    born: Instant,
    neighbors: BTreeMap<NodeName, Vec<IpAddr>>,
    departed: Departed,
    plane: Option<Plane>,
    /// The same for the metrics.
    pub(super) late_plane: LatePlane,
    pub(super) picture: Picture,
}

type LeaveReply = oneshot::Sender<Result<(), CommandError>>;

/// A leave under way: the data plane's part, and who waits for the end of it.
struct Leaving {
    links: JoinHandle<Result<(), Unfinished>>,
    reply: LeaveReply,
}

impl Core {
    pub(super) fn new(config: Config, me: NodeName, network: network::Handle) -> Self {
        let (incarnation, life) = (unix_milliseconds(), rand::random());
        Self {
            directory: Directory::new(
                me.clone(),
                incarnation,
                life,
                directory::Settings::default(),
            ),
            picture: Picture::new(&config, &me),
            gossiper: Gossiper::new(network.clone()),
            born: Instant::now(),
            neighbors: BTreeMap::new(),
            departed: Departed::default(),
            plane: None,
            late_plane: LatePlane::default(),
            config,
            me,
            network,
        }
    }

    /// Runs until shutdown or leave, and stops the store.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> anyhow::Result<Ended> {
        let Some(store) = self.open(&mut inputs).await? else {
            return Ok(Ended::Stopped);
        };
        let store_ready = store.server.ready();
        let plane = Plane::start(&self.config, &self.me, &self.network, &store.server);
        let _ = self.late_plane.set(plane.handle.clone());
        self.plane = Some(plane.clone());
        for (name, hosts) in self.neighbors.clone() {
            self.link(name, hosts);
        }
        let runtime = self.runtime_file(inputs.http, &store);
        runtime.write(inputs.data.path())?;
        self.refresh(*store_ready.borrow());
        if let Some(started) = inputs.started.take() {
            let _ = started.send(runtime);
        }

        let ended = self
            .serve(&mut inputs, &store.server, plane.clone(), store_ready)
            .await;
        plane.handle.shutdown().await;
        store.server.stop().await;
        Ok(ended)
    }

    /// Brings the store up while neighbours come and go; `None` when told to stop meanwhile.
    async fn open(&mut self, inputs: &mut Inputs) -> anyhow::Result<Option<OpenStore>> {
        let (config, me) = (self.config.clone(), self.me.clone());
        let mut opening = pin!(open_store::open(&config, inputs.data.path(), &me));
        loop {
            tokio::select! {
                biased;
                () = inputs.shutdown.cancelled() => return Ok(None),
                store = &mut opening => {
                    let store = store?;
                    self.picture.store(&store);
                    return Ok(Some(store));
                }
                Some(event) = inputs.events.recv() => self.on_network(event),
                Some(command) = inputs.commands.recv() => {
                    refuse(command, "the store is not up yet");
                }
                turn = self.gossiper.next() => self.on_gossip(turn),
            }
            self.refresh(false);
        }
    }

    async fn serve(
        &mut self,
        inputs: &mut Inputs,
        server: &Server,
        mut plane: Plane,
        mut store_ready: watch::Receiver<bool>,
    ) -> Ended {
        let mut leaving: Option<Leaving> = None;
        let mut overlay = self.network.overlay();
        loop {
            tokio::select! {
                biased;
                () = inputs.shutdown.cancelled() => return Ended::Stopped,
                result = left(leaving.as_mut()), if leaving.is_some() => {
                    self.say_farewell().await;
                    if let Err(error) = &result {
                        warn!(%error, "left, but not without traces");
                    }
                    if let Some(leaving) = leaving.take() {
                        let _ = leaving.reply.send(result);
                    }
                    return Ended::Left;
                }
                Some(command) = inputs.commands.recv() => self.on_command(command, &mut leaving),
                Some(event) = inputs.events.recv() => self.on_network(event),
                turn = self.gossiper.next() => self.on_gossip(turn),
                Ok(()) = store_ready.changed() => {
                    if *store_ready.borrow() {
                        plane.handle.store_moved(server.connection());
                    }
                }
                Ok(()) = overlay.changed() => {}
                () = plane.changed() => {}
            }
            self.refresh(*store_ready.borrow());
        }
    }

    fn on_network(&mut self, event: network::Event) {
        match event {
            network::Event::NeighborUp { peer, hosts, .. } => {
                debug!(%peer, ?hosts, "neighbour up");
                self.neighbors.insert(peer.clone(), hosts.clone());
                self.link(peer, hosts);
                self.gossiper.exchange_soon();
            }
            network::Event::NeighborDown { peer, reason } => {
                debug!(%peer, ?reason, "neighbour down");
                self.neighbors.remove(&peer);
                self.directory.neighbor_down(&peer);
                if let Some(plane) = &self.plane {
                    plane.handle.neighbor_down(&peer, departure(reason));
                }
                self.gossiper.hurry();
            }
            network::Event::Request { from, body, reply } => self.on_request(from, &body, reply),
            network::Event::Broadcast { from, content } => self.on_broadcast(&from, &content),
            // The picture asks the network itself.
            network::Event::Listening { .. } => {}
        }
    }

    fn link(&self, name: NodeName, hosts: Vec<IpAddr>) {
        if let Some(plane) = &self.plane {
            plane.handle.neighbor_up(Neighbor { name, hosts });
        }
    }

    fn on_request(&mut self, from: NodeName, body: &[u8], reply: oneshot::Sender<Vec<u8>>) {
        match envelope::decode(body) {
            Some(Request::Status(gossip)) => {
                let now = self.born.elapsed();
                if self.directory.receive(&from, gossip, now) {
                    self.gossiper.exchange_soon();
                }
                let answer = Reply::Status(self.directory.gossip_for(&from, now));
                let _ = reply.send(envelope::encode(&answer));
            }
            Some(Request::Link(request)) => match &self.plane {
                Some(plane) => plane.serve(from, request, reply),
                None => drop(reply.send(envelope::encode(&Reply::not_ready()))),
            },
            None => {
                debug!(%from, bytes = body.len(), "request makes no sense to this version");
                let _ = reply.send(envelope::encode(&Reply::Unknown));
            }
        }
    }

    fn on_broadcast(&mut self, from: &NodeName, content: &[u8]) {
        match envelope::decode(content) {
            Some(Word::Status(rumor)) => {
                // All others hear it as well: nothing needs to be passed on.
                self.directory.hear_status(from, rumor, self.born.elapsed());
                self.note_departed();
            }
            None => {
                debug!(%from, bytes = content.len(), "broadcast makes no sense to this version")
            }
        }
    }

    fn on_gossip(&mut self, turn: Turn) {
        let now = self.born.elapsed();
        match turn {
            Turn::Due { exchange } => {
                self.announce();
                self.directory.beat(now);
                let said = self.gossiper.speak(&self.directory);
                if exchange || !said {
                    self.gossiper
                        .round(&mut self.directory, self.neighbors.keys(), now);
                }
            }
            Turn::Answered(Answer {
                peer,
                gossip: Some(gossip),
            }) => {
                if self.directory.receive(&peer, gossip, now) {
                    self.gossiper.exchange_soon();
                }
            }
            Turn::Answered(Answer { gossip: None, .. }) => {}
        }
        self.note_departed();
    }

    fn note_departed(&mut self) {
        for gone in self.departed.news(&self.directory) {
            info!(node = %gone, "a member is gone for good");
            if let Some(plane) = &self.plane {
                plane.forget(gone);
            }
        }
    }

    fn on_command(&mut self, command: Command, leaving: &mut Option<Leaving>) {
        match command {
            Command::Leave { reply } if leaving.is_some() => {
                let _ = reply.send(Err(CommandError::NotNow(
                    "the node is leaving already".to_owned(),
                )));
            }
            Command::Leave { reply } => {
                info!("leaving the cluster");
                self.picture.leaving();
                if let Some(plane) = &self.plane {
                    *leaving = Some(Leaving {
                        links: plane.leave(),
                        reply,
                    });
                }
            }
            Command::Evict { peer, reply } => {
                let _ = reply.send(self.evict(&peer));
            }
        }
    }

    fn evict(&mut self, peer: &NodeName) -> Result<(), CommandError> {
        if *peer == self.me {
            return Err(CommandError::Myself(peer.clone()));
        }
        if self.directory.record(peer).is_none() {
            return Err(CommandError::UnknownPeer(peer.clone()));
        }
        if self.neighbors.contains_key(peer) || self.directory.is_alive(peer, self.born.elapsed()) {
            return Err(CommandError::Alive(peer.clone()));
        }
        if self.directory.evict(peer) {
            self.gossiper.exchange_soon();
        }
        if let Some(plane) = &self.plane {
            plane.forget(peer.clone());
        }
        Ok(())
    }

    /// The last words: the directory's to the neighbours, then the overlay's.
    async fn say_farewell(&mut self) {
        self.directory.leave();
        self.gossiper.speak(&self.directory);
        self.gossiper
            .last_round(
                &mut self.directory,
                self.neighbors.keys(),
                self.born.elapsed(),
            )
            .await;
        self.network.leave().await;
    }

    fn announce(&mut self) {
        let vector = self
            .plane
            .as_ref()
            .map(|plane| plane.vector.borrow().clone());
        self.directory
            .announce(self.picture.announcement(vector.unwrap_or_default()));
    }

    /// Brings what others see up to date.
    fn refresh(&mut self, store_ready: bool) {
        let glance = Glance {
            store_ready,
            overlay: &self.network.overlay().borrow().clone(),
            plane: self.plane.as_ref(),
            directory: &self.directory,
            listen: &self.listen(),
            now: self.born.elapsed(),
        };
        if self.picture.refresh(&glance) {
            self.announce();
            self.gossiper.hurry();
        }
    }

    /// The addresses that others can join through.
    fn listen(&self) -> Vec<String> {
        let me = &self.me;
        self.network
            .listen_addresses()
            .iter()
            .map(|a| format!("{a}/p2p/{me}"))
            .collect()
    }

    fn runtime_file(&self, http: SocketAddr, store: &OpenStore) -> RuntimeFile {
        RuntimeFile {
            pid: std::process::id(),
            peer_id: self.me.0.clone(),
            site: store.site.get(),
            name: self.config.node.name.clone(),
            cluster: self.config.node.cluster.clone(),
            http,
            listen: self.listen(),
            store_url: store.server.url.clone(),
        }
    }
}

/// Ends when the data plane has left, with what came of it.
async fn left(leaving: Option<&mut Leaving>) -> Result<(), CommandError> {
    let Some(leaving) = leaving else {
        return Ok(());
    };
    match (&mut leaving.links).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(CommandError::Failed(error.to_string())),
        Err(error) => Err(CommandError::Failed(format!("leaving broke off: {error}"))),
    }
}

fn refuse(command: Command, why: &str) {
    let (Command::Leave { reply } | Command::Evict { reply, .. }) = command;
    let _ = reply.send(Err(CommandError::NotNow(why.to_owned())));
}

/// The start of this life, as the directory orders lives.
fn unix_milliseconds() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
