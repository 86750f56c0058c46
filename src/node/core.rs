//! The node's loop: waits for whatever comes first, tells the parts, and carries out what they want.

mod commands;
mod effects;
mod links;
mod requests;
mod stage;

use std::{
    net::SocketAddr,
    ops::ControlFlow::{self, Break, Continue},
    path::PathBuf,
    pin::pin,
    sync::PoisonError,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Ended,
    app_roles::AppRoles,
    clock::{Bounds, Clocks},
    data_plane::{DataPlane, departure},
    members::{
        Members,
        rounds::{GossipEvent, Gossiper},
    },
    part::Event,
    positions::Positions,
    runtime_file::RuntimeFile,
    status::{
        board::{StatusBoard, StatusInputs},
        metrics::SharedDataPlane,
    },
    store::{
        continuity::{Trouble, Why},
        open::{self, OpenStore},
    },
    tree::Tree,
    waiting::Waiting,
};
use crate::{
    config::Config,
    directory::Announcement,
    http::Command,
    identity::{Incarnation, NodeId, Run},
    network::{self, NeighborChange, Neighbors},
    replication,
    tasks::Panicked,
};
use stage::{Leaving, Serving, Stage, StageEvent};

/// Until the store was open for the first time.
const NOT_UP: &str = "the store is not up yet";

/// What the loop listens to.
pub(super) struct Inputs {
    pub(super) data_dir: PathBuf,
    pub(super) http: SocketAddr,
    pub(super) events: mpsc::Receiver<network::Event>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) started: Option<oneshot::Sender<RuntimeFile>>,
    pub(super) shutdown: CancellationToken,
}

/// What comes first.
enum Turn {
    Shutdown,
    /// The task has panicked that owns the swarm.
    Panicked(Panicked),
    Stage(StageEvent),
    Command(Command),
    /// The overlay looks different.
    Overlay,
    Network(network::Event),
    Gossip(GossipEvent),
    /// The node waits for something else than before.
    Waiting,
}

/// Why serving came to an end.
enum Next {
    End(Ended),
    /// The node cannot go on.
    Fail(anyhow::Error),
    /// The store has to go on as another site.
    Renew(Why),
    /// The store's server was started again.
    Reopen,
}

/// Goes on, or says how the node ends.
type Flow<T = ()> = ControlFlow<anyhow::Result<Ended>, T>;

/// The parts, and what the loop knows.
pub(super) struct Core {
    config: Config,
    me: NodeId,
    run: Run,
    network: network::Handle,
    gossiper: Gossiper,
    born: Instant,
    /// The overlay as it was looked at last.
    neighbors: Neighbors,
    members: Members,
    clocks: Clocks,
    app_roles: AppRoles,
    positions: Positions,
    tree: Tree,
    waiting: Waiting,
    waits: watch::Receiver<Option<String>>,
    stage: Stage,
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
        let waiting = Waiting::default();
        let mode = config.replication.dissemination;
        Self {
            members: Members::new(me.clone(), incarnation, run),
            positions: Positions::new(mode),
            tree: Tree::new(mode, me.clone()),
            board: StatusBoard::new(&config, &me, incarnation),
            gossiper: Gossiper::new(network.clone()),
            born: Instant::now(),
            neighbors: network.neighbors(),
            clocks: Clocks::new(Bounds {
                warn: config.replication.clock_warn,
                max_ahead: config.replication.max_clock_ahead,
            }),
            waits: waiting.subscribe(),
            waiting,
            app_roles,
            stage: Stage::Opening { because: NOT_UP },
            plane_for_metrics: SharedDataPlane::default(),
            config,
            me,
            run,
            network,
        }
    }

    /// Runs until shutdown or leave, and stops the store.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> anyhow::Result<Ended> {
        let mut store = match self.open(&mut inputs).await {
            Continue(store) => store,
            Break(ended) => {
                // Who has never had a store holds nothing that anybody could wait for.
                if self.board.has_had_store() {
                    self.announce();
                    self.announce_stop().await;
                } else {
                    info!(
                        "the store has never been up: the node leaves, and joins anew when it is started again"
                    );
                    self.announce_leave().await;
                }
                return ended;
            }
        };
        // Once for all that is served: each call begins a task that watches the server.
        let ready = store.server.ready();
        loop {
            self.begin_serving(store, ready.clone());
            let next = match self.tell_started(&mut inputs) {
                Ok(()) => self.serve(&mut inputs).await,
                Err(error) => Next::Fail(error),
            };
            let Some((served, leaving)) = self.stop_serving(&next).await else {
                return Ok(Ended::Stopped);
            };
            store = served;
            if let Break(ended) = self.go_on(&mut inputs, &mut store, next, leaving).await {
                match ended {
                    // Its farewell was said when that was decided, see `on_left`.
                    Ok(Ended::Left) => store.give_back().await,
                    Ok(Ended::Stopped) | Err(_) => self.announce_stop().await,
                }
                store.close().await;
                return ended;
            }
        }
    }

    /// Does what serving ended for, or says how the node ends.
    async fn go_on(
        &mut self,
        inputs: &mut Inputs,
        store: &mut OpenStore,
        next: Next,
        leaving: Option<Leaving>,
    ) -> Flow {
        match next {
            Next::End(ended) => Break(Ok(ended)),
            Next::Fail(error) => Break(Err(error)),
            Next::Renew(why) => {
                if let Some(leaving) = leaving {
                    leaving.put_off(&why);
                }
                self.renew(inputs, store, &why).await
            }
            // No leave to put off: while there is one, `Serving::next` keeps a restart to itself.
            Next::Reopen => self.reopen(inputs, store).await,
        }
    }

    /// Starts the data plane for the store's present site.
    fn begin_serving(&mut self, store: OpenStore, ready: watch::Receiver<bool>) {
        let plane = DataPlane::start(&self.config, &self.me, &self.network, &store);
        self.hold_plane(Some(plane.handle.clone()));
        self.gossiper.set_clock(plane.clock.clone());
        let serving = Serving::new(store, plane, ready, &self.app_roles);
        self.stage = Stage::Serving(Box::new(serving));
        // These came while the store was not open, when there was no record to note them in.
        for neighbor in self.neighbors.seen().active.clone() {
            self.link(&neighbor);
        }
    }

    /// Ends the data plane, and all that looks after the store. The store, if one was served, and the leave
    /// that was under way.
    async fn stop_serving(&mut self, next: &Next) -> Option<(OpenStore, Option<Leaving>)> {
        // Before the store gets another site: all that used the old one must have ended.
        if let Some(plane) = self.stage.plane() {
            plane.handle.shutdown().await;
        }
        // What this store has, as of now, is in the farewell: it is known as long as there is a data plane.
        if next.is_stop() {
            self.announce();
        }
        self.hold_plane(None);
        let because = next.because();
        match std::mem::replace(&mut self.stage, Stage::Opening { because }) {
            // The rest ends here: nobody may write the store's record while it is given another site.
            Stage::Serving(serving) => Some(serving.into_store()),
            Stage::Opening { .. } => None,
        }
    }

    fn hold_plane(&self, plane: Option<replication::Handle>) {
        // A handle is whole even after a panic elsewhere.
        *self
            .plane_for_metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = plane;
    }

    /// Writes down that the node is up, and tells who waits for it.
    fn tell_started(&mut self, inputs: &mut Inputs) -> anyhow::Result<()> {
        let Some(runtime) = self.runtime_file(inputs.http) else {
            return Ok(());
        };
        let written = runtime.write(&inputs.data_dir);
        // Before anybody is told: until now the status says that the node is starting.
        self.refresh();
        match (written, inputs.started.take()) {
            // Whoever started the node finds it by that file, and would wait for ever.
            (Err(error), Some(_)) => {
                let path = inputs.data_dir.display();
                return Err(error).with_context(|| format!("cannot write node.json in {path}"));
            }
            // A node that serves does not stop for it; what it tells has changed little.
            (Err(error), None) => {
                warn!(%error, "cannot write node.json anew");
            }
            // Nobody may wait for it.
            (Ok(()), Some(started)) => drop(started.send(runtime)),
            (Ok(()), None) => {}
        }
        Ok(())
    }

    /// Has the store go on as another site.
    async fn renew(&mut self, inputs: &mut Inputs, store: &mut OpenStore, why: &Why) -> Flow {
        let waiting = self.waiting.clone();
        // A leave that was under way has been put off.
        self.board.leaving(false);
        self.attend(inputs, store.renew(why, &waiting)).await?;
        self.board.store(store);
        self.announce();
        self.gossiper.speak_soon();
        Continue(())
    }

    /// Has the store looked into again.
    async fn reopen(&mut self, inputs: &mut Inputs, store: &mut OpenStore) -> Flow {
        info!("the store's server was started again: the store is looked into");
        self.attend(inputs, store.reopen()).await?;
        self.board.store(store);
        self.announce();
        self.gossiper.speak_soon();
        Continue(())
    }

    /// Brings the store up while neighbours come and go.
    async fn open(&mut self, inputs: &mut Inputs) -> Flow<OpenStore> {
        let (config, me) = (self.config.clone(), self.me.clone());
        let data_dir = inputs.data_dir.clone();
        let waiting = self.waiting.clone();
        // It is large, and is over soon.
        let opening = Box::pin(open::open(&config, &data_dir, &me, self.run, &waiting));
        match self.attend(inputs, opening).await? {
            Ok(store) => {
                self.board.store(&store);
                self.board.examined(&store.server.findings);
                Continue(store)
            }
            Err(error) => Break(Err(error)),
        }
    }

    /// Waits for `work` while neighbours come and go, unless the node ends meanwhile.
    async fn attend<T>(&mut self, inputs: &mut Inputs, work: impl Future<Output = T>) -> Flow<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                // First: a loop that always had something else to do would never let the work get on.
                done = &mut work => return Continue(done),
                turn = self.next(inputs) => match turn {
                    Turn::Shutdown => return Break(Ok(Ended::Stopped)),
                    Turn::Panicked(panicked) => return Break(Err(panicked.into())),
                    turn => self.on_turn(turn),
                }
            }
            self.refresh();
        }
    }

    /// Serves the store until something ends that.
    async fn serve(&mut self, inputs: &mut Inputs) -> Next {
        loop {
            match self.next(inputs).await {
                Turn::Shutdown => return Next::End(Ended::Stopped),
                // Its supervisor starts it again: as it is it would be cut off, or show what is long over.
                Turn::Panicked(panicked) | Turn::Stage(StageEvent::Panicked(panicked)) => {
                    return Next::Fail(panicked.into());
                }
                Turn::Stage(StageEvent::Left(result)) => {
                    if self.on_left(result).await {
                        return Next::End(Ended::Left);
                    }
                }
                Turn::Stage(StageEvent::Trouble(Trouble::Another(why))) => {
                    return Next::Renew(Why::Behind(why));
                }
                Turn::Stage(StageEvent::Trouble(Trouble::Restarted)) => return Next::Reopen,
                turn => self.on_turn(turn),
            }
            self.refresh();
            self.tell_members();
            if let Some(why) = self.must_renew() {
                return Next::Renew(why);
            }
        }
    }

    /// Waits for whatever comes first. Safe to drop and call again.
    async fn next(&mut self, inputs: &mut Inputs) -> Turn {
        tokio::select! {
            biased;
            // First what ends the loop: requests that never end must not put it off. What a stage tells besides
            // are watched values, which change at the pace of looks and checkpoints.
            () = inputs.shutdown.cancelled() => Turn::Shutdown,
            panicked = self.network.panicked() => Turn::Panicked(panicked),
            event = self.stage.next() => Turn::Stage(event),
            Some(command) = inputs.commands.recv() => Turn::Command(command),
            () = self.neighbors.changed() => Turn::Overlay,
            Some(event) = inputs.events.recv() => Turn::Network(event),
            event = self.gossiper.next() => Turn::Gossip(event),
            Ok(()) = self.waits.changed() => Turn::Waiting,
        }
    }

    fn on_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Command(command) => self.on_command(command),
            Turn::Overlay => self.on_overlay(),
            Turn::Network(event) => self.on_network(event),
            Turn::Gossip(event) => self.on_gossip(event),
            Turn::Stage(event) => self.on_stage(event),
            // The status is written anew after each turn.
            Turn::Waiting | Turn::Shutdown | Turn::Panicked(_) => {}
        }
    }

    fn on_stage(&mut self, event: StageEvent) {
        match event {
            StageEvent::Ready => {
                // A private server may be back on another port, which is known once it answers.
                if let Some(serving) = self.stage.serving()
                    && self.stage.is_store_ready()
                {
                    serving.store_moved();
                }
            }
            StageEvent::Examined(findings) => self.board.examined(&findings),
            // What ends a stage is not for here; the status shows the rest.
            StageEvent::Left(_)
            | StageEvent::Trouble(_)
            | StageEvent::Panicked(_)
            | StageEvent::Plane => {}
        }
    }

    fn on_overlay(&mut self) {
        for change in self.neighbors.look() {
            match change {
                NeighborChange::Up(neighbor) => {
                    let network::Neighbor { peer, hosts, .. } = &neighbor;
                    debug!(%peer, ?hosts, "neighbour up");
                    // Before its link: by then a clock that was not read yet is in doubt.
                    self.tell_parts(&Event::NeighborUp(peer.clone()));
                    self.link(&neighbor);
                }
                NeighborChange::Down { peer, reason } => {
                    debug!(%peer, ?reason, "neighbour down");
                    let departure = departure(reason);
                    if let Some(plane) = self.stage.plane() {
                        plane.handle.neighbor_down(&peer, departure);
                    }
                    self.tell_parts(&Event::NeighborDown(peer, departure));
                }
            }
        }
    }

    fn on_network(&mut self, event: network::Event) {
        // Whoever asks may have become a neighbour since: that is noted on disk before it is answered.
        self.on_overlay();
        match event {
            network::Event::Met { peer } => self.tell_parts(&Event::Met(peer)),
            network::Event::Request { from, body, reply } => self.on_request(from, &body, reply),
            network::Event::Broadcast { from, content, .. } => self.on_broadcast(from, &content),
        }
    }

    fn on_gossip(&mut self, event: GossipEvent) {
        match event {
            GossipEvent::Due { exchange } => {
                let now = self.now();
                // What has changed and was not urgent, the vector above all, goes out with the heartbeat.
                self.announce();
                self.members.directory.beat(now);
                // What could not be said to all at once goes from neighbour to neighbour.
                let said = self.gossiper.speak(&self.members.directory);
                let is_round = exchange || !said;
                self.tell_parts(&Event::Heartbeat { exchange, is_round });
                if is_round {
                    let neighbors = self.neighbors.seen().peers();
                    let directory = &mut self.members.directory;
                    self.gossiper.round(directory, neighbors, now);
                }
            }
            GossipEvent::Told(events) => {
                for event in &events {
                    self.tell_parts(event);
                }
            }
            // As after each turn all that is shown and told is brought up to date.
            GossipEvent::Alarm => {}
        }
    }

    /// Time since the start: the clock of all parts.
    fn now(&self) -> Duration {
        self.born.elapsed()
    }

    /// Why the store has to go on as another site, if it has to.
    fn must_renew(&self) -> Option<Why> {
        let serving = self.stage.serving()?;
        // Also while the node leaves: such a data plane takes no step any more, so no link would go.
        if let Some(why) = serving.plane.must_change() {
            return Some(why);
        }
        if serving.leaving.is_some() {
            return None;
        }
        if self.members.directory.am_evicted() {
            return Some(Why::Evicted);
        }
        let (site, lineage) = (
            serving.store.continuity.site(),
            serving.store.continuity.lineage(),
        );
        let is_shared = self.members.shares_site(site, &lineage, self.now());
        is_shared.then_some(Why::Twin)
    }

    fn announce(&mut self) {
        let plane = self.stage.plane();
        let vector = plane.map(|plane| plane.vector.borrow().clone());
        // Who does not write yet makes no claim to its site.
        let generation = plane
            .filter(|plane| plane.is_confirmed())
            .map_or(0, |plane| plane.generation);
        let announcement = Announcement {
            follows: self.tree.root().cloned(),
            ..self
                .board
                .announcement(vector.unwrap_or_default(), generation)
        };
        self.members.directory.announce(announcement);
    }

    /// Brings what others see up to date.
    fn refresh(&mut self) {
        let now = self.now();
        self.look_at_tree(now);
        let clocks = self.clocks.judge(now);
        self.tell_plane(&clocks, now);
        self.members.note_twin(now);
        let inputs = StatusInputs {
            clocks: &clocks,
            tree: &self.tree,
            waits_for: self.waiting.look(),
            store_ready: self.stage.is_store_ready(),
            overlay: self.neighbors.seen(),
            plane: self.stage.plane(),
            directory: &self.members.directory,
            listen: &self.listen(),
            twin: self.members.twin(now),
            now,
        };
        if self.board.refresh(&inputs) {
            self.announce();
            self.gossiper.speak_soon();
        }
        self.tell_positions(now);
        self.set_alarm();
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

    fn runtime_file(&self, http: SocketAddr) -> Option<RuntimeFile> {
        let store = &self.stage.serving()?.store;
        Some(RuntimeFile {
            pid: Some(std::process::id()),
            peer_id: self.me.to_string(),
            site: store.continuity.site().get(),
            name: self.config.node.name.clone(),
            cluster: self.config.node.cluster.clone(),
            http,
            listen: self.listen(),
            store_url: store.server.url.clone(),
        })
    }
}

impl Next {
    /// The node ends, and may come back.
    fn is_stop(&self) -> bool {
        matches!(self, Self::End(Ended::Stopped) | Self::Fail(_))
    }

    /// Why nothing that needs the store can be done from now on.
    fn because(&self) -> &'static str {
        match self {
            Self::End(_) | Self::Fail(_) => "the node is stopping",
            Self::Renew(_) => "the store goes on as another site",
            Self::Reopen => "the store's server was started again",
        }
    }
}

#[cfg(test)]
mod tests;
