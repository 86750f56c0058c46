//! The node's loop.

mod commands;
mod requests;
mod roles;
mod twin;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::PoisonError,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    Ended,
    app_roles::AppRoles,
    clock::{Bounds, ClockAnswer, Clocks},
    data_dir::DataDir,
    data_plane::{DataPlane, departure},
    members::{
        departed::Departed,
        rounds::{Answer, GossipEvent, Gossiper},
        starts::Starts,
        twins::Twins,
    },
    runtime_file::RuntimeFile,
    status::{
        board::{StatusBoard, StatusInputs},
        metrics::SharedDataPlane,
    },
    store::{
        continuity::{Trouble, Why},
        open::{self, OpenStore},
    },
    waiting::Waiting,
};
use crate::{
    config::Config,
    directory::{self, Directory},
    http::Command,
    identity::{Incarnation, NodeId, Run},
    network,
    replication::{Departure, Neighbor},
};
use commands::{Leaving, left, refuse};

/// How often a new neighbour is asked for its time while its store is not up.
const GREETING_PAUSE: Duration = Duration::from_millis(250);

/// What the loop listens to.
pub(super) struct Inputs {
    pub(super) data: DataDir,
    pub(super) http: SocketAddr,
    pub(super) events: mpsc::Receiver<network::Event>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) started: Option<oneshot::Sender<RuntimeFile>>,
    pub(super) shutdown: CancellationToken,
}

/// Why serving came to an end.
enum Next {
    End(Ended),
    /// The store has to go on as another site.
    Renew(Why),
    /// The store's server was started again.
    Reopen,
}

/// The parts, and what the loop knows.
pub(super) struct Core {
    config: Config,
    me: NodeId,
    run: Run,
    network: network::Handle,
    gossiper: Gossiper,
    directory: Directory,
    born: Instant,
    neighbors: BTreeMap<NodeId, Vec<IpAddr>>,
    departed: Departed,
    /// A neighbour has told which members there are.
    has_met_members: bool,
    /// Whether another process has our key.
    twins: Twins,
    /// Which starts of others have written as which site.
    starts: Starts,
    /// Nodes with whose key two processes were seen.
    doubles: BTreeSet<NodeId>,
    clocks: Clocks,
    waiting: Waiting,
    app_roles: AppRoles,
    plane: Option<DataPlane>,
    /// The data plane that runs, for the metrics; `None` while there is none.
    pub(super) plane_for_metrics: SharedDataPlane,
    pub(super) board: StatusBoard,
}

impl Core {
    pub(super) fn new(
        config: Config,
        me: NodeId,
        incarnation: Incarnation,
        run: Run,
        network: network::Handle,
        app_roles: AppRoles,
    ) -> Self {
        Self {
            directory: Directory::new(me.clone(), incarnation, run, directory::Settings::default()),
            board: StatusBoard::new(&config, &me),
            gossiper: Gossiper::new(network.clone()),
            born: Instant::now(),
            neighbors: BTreeMap::new(),
            departed: Departed::default(),
            has_met_members: false,
            twins: Twins::default(),
            starts: Starts::default(),
            doubles: BTreeSet::new(),
            clocks: Clocks::new(Bounds {
                warn: config.replication.clock_warn,
                max_ahead: config.replication.max_clock_ahead,
            }),
            waiting: Waiting::default(),
            app_roles,
            plane: None,
            plane_for_metrics: SharedDataPlane::default(),
            config,
            me,
            run,
            network,
        }
    }

    /// Runs until shutdown or leave, and stops the store.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> anyhow::Result<Ended> {
        let opened = self.open(&mut inputs).await;
        let Ok(Some(mut store)) = opened else {
            // Who has never had a store holds nothing that anybody could wait for.
            if self.board.has_had_store() {
                self.say_goodbye().await;
            } else {
                self.say_farewell().await;
            }
            return opened.map(|_| Ended::Stopped);
        };
        let store_ready = store.server.ready();
        let mut leaving = None;
        let ended = loop {
            let plane = self.start_plane(&store);
            let runtime = self.runtime_file(inputs.http, &store);
            runtime.write(inputs.data.path())?;
            self.refresh(*store_ready.borrow());
            if let Some(started) = inputs.started.take() {
                let _ = started.send(runtime);
            }
            let next = self
                .serve(
                    &mut inputs,
                    &store,
                    plane.clone(),
                    store_ready.clone(),
                    &mut leaving,
                )
                .await;
            // Before the store gets another site: all that used the old one must have ended.
            plane.handle.shutdown().await;
            match next {
                Next::End(ended) => break ended,
                Next::Renew(why) => {
                    self.hold_plane(None);
                    if let Some(leaving) = leaving.take() {
                        leaving.put_off(&why);
                    }
                    if self.renew(&mut inputs, &mut store, &why).await.is_none() {
                        break Ended::Stopped;
                    }
                }
                Next::Reopen => {
                    self.hold_plane(None);
                    if self.reopen(&mut inputs, &mut store).await.is_none() {
                        break Ended::Stopped;
                    }
                }
            }
        };
        if ended == Ended::Stopped {
            self.say_goodbye().await;
        } else {
            store.give_back().await;
        }
        store.close().await;
        Ok(ended)
    }

    /// Starts the data plane for the store's present site.
    fn start_plane(&mut self, store: &OpenStore) -> DataPlane {
        let plane = DataPlane::start(&self.config, &self.me, &self.network, store);
        self.hold_plane(Some(plane.clone()));
        self.gossiper.set_clock(plane.clock.clone());
        if !self.neighbors.is_empty() {
            // These came while the store was not open, when there was no record to note them in.
            store.continuity.met_a_peer();
        }
        for (name, hosts) in self.neighbors.clone() {
            self.link(name, hosts);
        }
        plane
    }

    fn hold_plane(&mut self, plane: Option<DataPlane>) {
        // A handle is whole even after a panic elsewhere.
        *self
            .plane_for_metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner) =
            plane.as_ref().map(|plane| plane.handle.clone());
        self.plane = plane;
    }

    /// Has the store go on as another site; `None` when told to stop meanwhile.
    async fn renew(&mut self, inputs: &mut Inputs, store: &mut OpenStore, why: &Why) -> Option<()> {
        let (waiting, told) = (
            self.waiting.clone(),
            "the store is being given a new incarnation",
        );
        self.board.leaving(false);
        self.attend(inputs, store.renew(why, &waiting), told)
            .await?;
        self.board.store(store);
        self.announce();
        self.gossiper.hurry();
        Some(())
    }

    /// Has the store looked into again; `None` when told to stop meanwhile.
    async fn reopen(&mut self, inputs: &mut Inputs, store: &mut OpenStore) -> Option<()> {
        info!("the store's server was started again: the store is looked into");
        let waiting = "the store's server was started again";
        self.attend(inputs, store.reopen(), waiting).await?;
        self.board.store(store);
        self.announce();
        self.gossiper.hurry();
        Some(())
    }

    /// Brings the store up while neighbours come and go; `None` when told to stop meanwhile.
    async fn open(&mut self, inputs: &mut Inputs) -> anyhow::Result<Option<OpenStore>> {
        let (config, me) = (self.config.clone(), self.me.clone());
        let data_dir = inputs.data.path().to_path_buf();
        let waiting = self.waiting.clone();
        // It is large, and is over soon.
        let opening = Box::pin(open::open(&config, &data_dir, &me, self.run, &waiting));
        let opened = self
            .attend(inputs, opening, "the store is not up yet")
            .await;
        let store = opened.transpose()?;
        if let Some(store) = &store {
            self.board.store(store);
            self.board.examined(&store.server.findings);
        }
        Ok(store)
    }

    /// Waits for `work` while neighbours come and go; `None` when told to stop meanwhile.
    async fn attend<T>(
        &mut self,
        inputs: &mut Inputs,
        work: impl Future<Output = T>,
        waiting: &str,
    ) -> Option<T> {
        let mut work = pin!(work);
        let mut waits = self.waiting.subscribe();
        loop {
            tokio::select! {
                biased;
                () = inputs.shutdown.cancelled() => return None,
                done = &mut work => return Some(done),
                Some(event) = inputs.events.recv() => self.on_network(event),
                Some(command) = inputs.commands.recv() => refuse(command, waiting),
                turn = self.gossiper.next() => self.on_gossip(turn),
                Ok(()) = waits.changed() => {}
            }
            self.refresh(false);
        }
    }

    async fn serve(
        &mut self,
        inputs: &mut Inputs,
        store: &OpenStore,
        mut plane: DataPlane,
        mut store_ready: watch::Receiver<bool>,
        leaving: &mut Option<Leaving>,
    ) -> Next {
        let mut record = store.keep_record();
        let mut examination = store.server.keep_examining();
        let app_roles = self.app_roles.keep(store.server.connection());
        let mut overlay = self.network.overlay();
        loop {
            tokio::select! {
                biased;
                // First what ends the loop: events that never end must not put it off.
                () = inputs.shutdown.cancelled() => return Next::End(Ended::Stopped),
                result = left(leaving.as_mut()) => {
                    if let Some(leaving) = leaving.take()
                        && self.on_left(leaving, result).await
                    {
                        return Next::End(Ended::Left);
                    }
                }
                Some(command) = inputs.commands.recv() => {
                    self.on_command(command, store, leaving);
                }
                Some(event) = inputs.events.recv() => {
                    // On disk before anything is exchanged: from now on a peer may know what this store forgets.
                    if matches!(event, network::Event::NeighborUp { .. }) {
                        store.continuity.met_a_peer();
                    }
                    self.on_network(event);
                }
                turn = self.gossiper.next() => self.on_gossip(turn),
                trouble = record.trouble(), if leaving.is_none() => return match trouble {
                    Trouble::Another(why) => Next::Renew(Why::Behind(why)),
                    Trouble::Restarted => Next::Reopen,
                },
                Ok(()) = store_ready.changed() => {
                    if *store_ready.borrow() {
                        plane.handle.store_moved(store.server.connection());
                        record.store_moved(store.server.connection());
                        examination.store_moved(store.server.connection());
                        app_roles.store_moved(store.server.connection());
                    }
                }
                findings = examination.changed() => self.board.examined(&findings),
                Ok(()) = overlay.changed() => {}
                () = plane.changed() => {}
            }
            self.refresh(*store_ready.borrow());
            if leaving.is_some() {
                self.tell_members();
            }
            if let Some(why) = plane.must_change() {
                return Next::Renew(why);
            }
            if self.directory.am_evicted() && leaving.is_none() {
                return Next::Renew(Why::Evicted);
            }
            if self.shares_site(store) && leaving.is_none() {
                return Next::Renew(Why::Twin);
            }
        }
    }

    fn on_network(&mut self, event: network::Event) {
        match event {
            network::Event::NeighborUp { peer, hosts, .. } => {
                debug!(%peer, ?hosts, "neighbour up");
                self.neighbors.insert(peer.clone(), hosts.clone());
                self.directory.neighbor_up(&peer);
                self.clocks.met(&peer);
                self.gossiper.greet(peer.clone(), Duration::ZERO);
                self.share_roles_with(&peer);
                self.link(peer, hosts);
                self.gossiper.exchange_soon();
            }
            network::Event::NeighborDown { peer, reason } => {
                debug!(%peer, ?reason, "neighbour down");
                self.neighbors.remove(&peer);
                self.clocks.forget(&peer);
                let departure = departure(reason);
                self.directory
                    .neighbor_down(&peer, departure == Departure::Lost);
                if let Some(plane) = &self.plane {
                    plane.handle.neighbor_down(&peer, departure);
                }
                self.gossiper.hurry();
            }
            network::Event::Met { peer } => self.inquire(peer),
            network::Event::Request { from, body, reply } => self.on_request(from, &body, reply),
            network::Event::Broadcast { from, content, .. } => self.on_broadcast(&from, &content),
            // The status board asks the network itself.
            network::Event::Listening { .. } => {}
        }
    }

    /// What is known of a neighbour's clock comes before its link.
    fn link(&mut self, name: NodeId, hosts: Vec<IpAddr>) {
        let judgement = self.clocks.judge(self.born.elapsed());
        if let Some(plane) = &self.plane {
            plane.handle.doubt(&judgement.doubts);
            plane.handle.neighbor_up(Neighbor { name, hosts });
        }
    }

    fn on_gossip(&mut self, turn: GossipEvent) {
        let now = self.born.elapsed();
        match turn {
            GossipEvent::Due { exchange } => {
                self.announce();
                self.directory.beat(now);
                self.inquire_all();
                let said = self.gossiper.speak(&self.directory);
                if exchange {
                    self.share_roles();
                }
                if exchange || !said {
                    self.gossiper
                        .round(&mut self.directory, self.neighbors.keys(), now);
                } else {
                    self.compare_clocks();
                }
            }
            GossipEvent::Answered(Answer {
                peer,
                gossip,
                clock,
            }) => {
                self.on_clock(&peer, clock);
                if let Some(gossip) = gossip {
                    if self.directory.receive(&peer, gossip, now) {
                        self.gossiper.exchange_soon();
                    }
                    self.note_members();
                }
            }
            GossipEvent::Roles(peer, records) => self.on_roles(&peer, records),
            GossipEvent::Seen(peer, seen) => self.twins.told(peer, seen, now),
            GossipEvent::ClockAnswered(peer, told) => {
                self.on_clock(&peer, told);
                if self.clocks.is_unproven(&peer) {
                    self.gossiper.greet(peer, GREETING_PAUSE);
                }
            }
        }
        self.note_departed();
    }

    fn note_members(&mut self) {
        self.has_met_members = true;
        self.starts.learn_all(&self.directory);
    }

    fn note_departed(&mut self) {
        let news = self.departed.news(&self.directory);
        for gone in news.gone {
            info!(node = %gone, "a member is gone for good");
            if let Some(plane) = &self.plane {
                plane.forget(gone);
            }
        }
        for back in news.back {
            info!(node = %back, "a member that was gone is back");
            // It may have been a neighbour all the while, with links that were refused.
            if let Some(hosts) = self.neighbors.get(&back) {
                self.link(back.clone(), hosts.clone());
            }
        }
    }

    /// Between two rounds, which do it on the way. Those who have not told yet are being asked already.
    fn compare_clocks(&mut self) {
        for peer in self.neighbors.keys() {
            if !self.clocks.is_unproven(peer) {
                self.gossiper.greet(peer.clone(), Duration::ZERO);
            }
        }
    }

    fn on_clock(&mut self, peer: &NodeId, told: ClockAnswer) {
        // An answer may come after its neighbour has gone; nobody would forget it then.
        if self.neighbors.contains_key(peer) {
            self.clocks.told(peer, told, self.born.elapsed());
        }
    }

    fn announce(&mut self) {
        let vector = self
            .plane
            .as_ref()
            .map(|plane| plane.vector.borrow().clone());
        // Who does not write yet makes no claim to its site.
        let generation = self
            .plane
            .as_ref()
            .filter(|plane| plane.is_confirmed())
            .map_or(0, |plane| plane.generation);
        self.directory.announce(
            self.board
                .announcement(vector.unwrap_or_default(), generation),
        );
    }

    /// Brings what others see up to date.
    fn refresh(&mut self, store_ready: bool) {
        let clocks = self.clocks.judge(self.born.elapsed());
        if let Some(plane) = &self.plane {
            plane.handle.doubt(&clocks.doubts);
            for peer in self.neighbors.keys() {
                if let Some(record) = self.directory.record(peer) {
                    plane.handle.heard(peer, &record.vector);
                }
            }
            if plane.is_unconfirmed() {
                plane.handle.know(self.members(plane.site));
            }
        }
        self.note_twin();
        let inputs = StatusInputs {
            clocks: &clocks,
            waits_for: self.waiting.look(),
            store_ready,
            overlay: &self.network.overlay().borrow().clone(),
            plane: self.plane.as_ref(),
            directory: &self.directory,
            listen: &self.listen(),
            twin: self.twin(),
            now: self.born.elapsed(),
        };
        if self.board.refresh(&inputs) {
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
            peer_id: self.me.to_string(),
            site: store.continuity.site().get(),
            name: self.config.node.name.clone(),
            cluster: self.config.node.cluster.clone(),
            http,
            listen: self.listen(),
            store_url: store.server.url.clone(),
        }
    }
}
