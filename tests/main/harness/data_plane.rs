//! Data planes with real servers, joined by an in-process network that can be cut.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use starling::{
    identity::{NodeId, Site},
    postgres::{self, Conninfo, Lifecycle, PrivateConfig, PrivateServer},
    replication::{
        self, Advertise, Departure, Handle, Neighbor, Reply, Request, Settings, Transport,
        TransportError,
    },
    store::{self, SearchPath},
};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_postgres::Client;

/// Longer than anything waited for takes on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// What the tests grant a lost peer: long enough to see it last, short enough to see it end.
const GRACE: Duration = Duration::from_secs(3);

/// Waits until `check` gives something.
pub(crate) async fn until<T, F>(what: &str, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The network between the data planes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Router(Arc<Mutex<Fabric>>);

#[derive(Debug, Default)]
struct Fabric {
    planes: BTreeMap<NodeId, Handle>,
    /// Requests from one to the other are not delivered.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Requests to these are delivered and never answered.
    mute: BTreeSet<NodeId>,
    delay: Duration,
    /// These say that their store is another one.
    lies: BTreeMap<NodeId, Lie>,
}

/// What a member says instead of the truth about its store.
#[derive(Debug, Clone)]
pub(crate) struct Lie {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) publisher: Site,
    pub(crate) login: &'static str,
}

impl Router {
    pub(crate) fn cut(&self, a: &Node, b: &Node) {
        let pairs = [
            (a.name.clone(), b.name.clone()),
            (b.name.clone(), a.name.clone()),
        ];
        self.0.lock().unwrap().cut.extend(pairs);
    }

    /// Requests of `a` do not reach `b`.
    pub(crate) fn cut_one_way(&self, a: &Node, b: &Node) {
        let pair = (a.name.clone(), b.name.clone());
        self.0.lock().unwrap().cut.insert(pair);
    }

    pub(crate) fn heal(&self) {
        let mut fabric = self.0.lock().unwrap();
        fabric.cut.clear();
        fabric.mute.clear();
    }

    pub(crate) fn mute(&self, node: &Node) {
        self.0.lock().unwrap().mute.insert(node.name.clone());
    }

    pub(crate) fn lie(&self, node: &Node, lie: Option<Lie>) {
        let lies = &mut self.0.lock().unwrap().lies;
        match lie {
            Some(lie) => lies.insert(node.name.clone(), lie),
            None => lies.remove(&node.name),
        };
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }
}

/// One data plane's access to the network.
#[derive(Debug)]
pub(crate) struct Wire {
    from: NodeId,
    router: Router,
}

impl Transport for Wire {
    async fn request(&self, peer: &NodeId, request: Request) -> Result<Reply, TransportError> {
        let (plane, is_mute, delay) = {
            let fabric = self.router.0.lock().unwrap();
            let is_cut = fabric.cut.contains(&(self.from.clone(), peer.clone()));
            let plane = fabric.planes.get(peer).filter(|_| !is_cut).cloned();
            (plane, fabric.mute.contains(peer), fabric.delay)
        };
        let plane = plane.ok_or_else(|| TransportError::Unreachable("cut off".to_owned()))?;
        sleep(delay).await;
        let mut reply = plane.serve(&self.from, request).await;
        let lie = self.router.0.lock().unwrap().lies.get(peer).cloned();
        if let (Reply::Opened(offer), Some(lie)) = (&mut reply, lie) {
            offer.host = Some(lie.host);
            offer.port = lie.port;
            offer.publisher = lie.publisher;
            lie.login.clone_into(&mut offer.user);
            lie.login.clone_into(&mut offer.password);
        }
        if is_mute {
            std::future::pending::<()>().await;
        }
        Ok(reply)
    }
}

/// The programs that the whole run is to use, if any are named.
fn named_programs() -> Option<PathBuf> {
    env::var_os("STARLING_PG_BIN").map(PathBuf::from)
}

/// A store with its data plane.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: NodeId,
    pub(crate) site: Site,
    pub(crate) server: Arc<PrivateServer>,
    pub(crate) plane: Option<Handle>,
    /// How to reach the store, if not as the server's superuser.
    pub(crate) login: Option<Conninfo>,
    programs: Option<PathBuf>,
    dir: TempDir,
}

impl Node {
    async fn new(number: usize, programs: Option<PathBuf>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("starling-test-")
            .tempdir()
            .unwrap();
        let config = Self::config(dir.path(), programs.clone());
        let server = Arc::new(PrivateServer::start(config).await.unwrap());
        let mut client = postgres::connect(&server.connection()).await.unwrap();
        store::install(&mut client).await.unwrap();
        let name = format!("node{number}").parse().unwrap();
        let site = store::identify(&mut client, &name, "test").await.unwrap();
        let plain = postgres::connect(&server.connection()).await.unwrap();
        store::settle_search_path(&mut client, &plain, SearchPath::Last)
            .await
            .unwrap();
        tokio::spawn(open_in_each_run(Arc::downgrade(&server), server.watch()));
        Self {
            name,
            site,
            server,
            plane: None,
            login: None,
            programs,
            dir,
        }
    }

    fn connection(&self) -> Conninfo {
        let superuser = || self.server.connection().into();
        self.login.clone().unwrap_or_else(superuser)
    }

    fn config(dir: &Path, programs: Option<PathBuf>) -> PrivateConfig {
        PrivateConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            shared_buffers_mb: 32,
            pg_bin: programs,
            ..PrivateConfig::new(dir)
        }
    }

    /// Starts the store again after it was stopped.
    pub(crate) async fn start_store(&mut self) {
        let config = Self::config(self.dir.path(), self.programs.clone());
        self.server = Arc::new(PrivateServer::start(config).await.unwrap());
        self.open_store().await;
        tokio::spawn(open_in_each_run(
            Arc::downgrade(&self.server),
            self.server.watch(),
        ));
        if let Some(plane) = &self.plane {
            plane.store_moved(self.connection());
        }
    }

    /// What a node's controller does once it has looked into the store.
    async fn open_store(&self) {
        until("the store is opened", || async {
            open(&self.server.connection()).await
        })
        .await;
    }

    pub(crate) fn plane(&self) -> &Handle {
        self.plane.as_ref().unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        postgres::connect(&self.connection()).await.unwrap()
    }

    /// Runs statements; only for when the store is up.
    pub(crate) async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    /// The first column of the first row as text; `None` when the store is down.
    pub(crate) async fn try_text(&self, sql: &str) -> Option<String> {
        let client = postgres::connect(&self.connection()).await.ok()?;
        let row = client
            .query_one(&format!("select ({sql})::text"), &[])
            .await
            .ok()?;
        Some(row.get::<_, Option<String>>(0).unwrap_or_default())
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        self.try_text(sql).await.unwrap()
    }

    pub(crate) fn neighbor(&self) -> Neighbor {
        Neighbor {
            name: self.name.clone(),
            hosts: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        }
    }

    /// What an immediate stop does: the server is gone, and recovers when it comes back.
    pub(crate) async fn crash(&self) {
        quit(&self.data_dir());
        sleep(Duration::from_millis(50)).await;
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("postgres/data")
    }

    pub(crate) async fn await_up(&self) {
        until("the store is back", || self.try_text("1")).await;
        self.reopen().await;
    }

    /// After the store's server was started again.
    pub(crate) async fn reopen(&self) {
        self.open_store().await;
        if let Some(plane) = &self.plane {
            plane.store_moved(self.connection());
        }
    }

    /// All that the server has said.
    pub(crate) fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        read("postgres/server.log.1") + &read("postgres/server.log")
    }

    /// Names of our links on the server and of what hangs on them, one per line.
    pub(crate) async fn links(&self) -> String {
        self.try_links().await.unwrap()
    }

    async fn try_links(&self) -> Option<String> {
        self.try_text(
            "select string_agg(kind || ' ' || name, e'\\n' order by kind, name) from (
               select 'subscription', subname::text from pg_subscription
               union all select 'slot', slot_name from pg_replication_slots
               union all select 'publication', pubname from pg_publication
               union all select 'role', rolname from pg_roles
                where rolname ~ '^starling_[0-9a-f]{16}_'
               union all select 'origin', coalesce(s.subname, o.roname)
                 from pg_replication_origin o
                 left join pg_subscription s on 'pg_' || s.oid = o.roname
             ) as t (kind, name)",
        )
        .await
    }

    /// Waits until nothing of any link is left on the server.
    pub(crate) async fn await_clear(&self) {
        until("nothing is left", || async {
            self.try_links().await?.is_empty().then_some(())
        })
        .await;
    }
}

/// A store is closed in each new run of its server, until somebody has looked into it.
async fn open_in_each_run(server: Weak<PrivateServer>, mut lifecycle: watch::Receiver<Lifecycle>) {
    while lifecycle.changed().await.is_ok() {
        let is_ready = *lifecycle.borrow_and_update() == Lifecycle::Ready;
        let Some(connection) = server.upgrade().map(|server| server.connection()) else {
            return;
        };
        if is_ready {
            // One that is down again comes back here.
            let _ = open(&connection).await;
        }
    }
}

async fn open(connection: &tokio_postgres::Config) -> Option<()> {
    let client = postgres::open(connection).await.ok()?;
    store::open(&client).await.ok()
}

/// Stops the server of a data directory at once, if it runs.
pub(crate) fn quit(data_dir: &Path) {
    let Ok(text) = std::fs::read_to_string(data_dir.join("postmaster.pid")) else {
        return;
    };
    let pid = text.lines().next().unwrap().parse().unwrap();
    // It may be on its way down already.
    let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
}

/// Some nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) router: Router,
}

impl Cluster {
    /// Servers only.
    pub(crate) async fn stores(count: usize) -> Self {
        Self::stores_of(vec![named_programs(); count]).await
    }

    /// Servers only, each of the version whose programs are in its folder.
    pub(crate) async fn stores_of(programs: Vec<Option<PathBuf>>) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let nodes = programs.into_iter().enumerate();
        let nodes = nodes.map(|(number, programs)| Node::new(number, programs));
        let nodes = futures::future::join_all(nodes).await;
        Self {
            nodes,
            router: Router::default(),
        }
    }

    /// Servers with data planes.
    pub(crate) async fn start(count: usize) -> Self {
        let mut cluster = Self::stores(count).await;
        for node in 0..count {
            cluster.start_plane(node);
        }
        cluster
    }

    pub(crate) fn settings(&self, node: usize) -> Settings {
        let node = &self.nodes[node];
        let advertise = Advertise {
            host: None,
            port: 0,
        };
        Settings {
            link_grace: GRACE,
            // Tests wait for vectors. Users' nodes make one a second.
            checkpoint_interval: Duration::from_millis(250),
            ..Settings::new(
                node.name.clone(),
                "test".to_owned(),
                node.connection(),
                advertise,
            )
        }
    }

    pub(crate) fn start_plane(&mut self, node: usize) {
        self.start_plane_with(node, self.settings(node));
    }

    pub(crate) fn start_plane_with(&mut self, node: usize, settings: Settings) {
        let name = settings.node.clone();
        let wire = Wire {
            from: name.clone(),
            router: self.router.clone(),
        };
        let plane = replication::start(settings, wire);
        self.router
            .0
            .lock()
            .unwrap()
            .planes
            .insert(name, plane.clone());
        self.nodes[node].plane = Some(plane);
    }

    /// As `kill -9` does, as far as anybody can tell: every task ends where it is.
    pub(crate) async fn kill_plane(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        self.router.0.lock().unwrap().planes.remove(&node.name);
        if let Some(plane) = node.plane.take() {
            plane.shutdown().await;
        }
    }

    /// Tells both that they are neighbours.
    pub(crate) fn link(&self, a: usize, b: usize) {
        for (one, other) in [(a, b), (b, a)] {
            if let Some(plane) = &self.nodes[one].plane {
                plane.neighbor_up(self.nodes[other].neighbor());
            }
        }
    }

    pub(crate) fn unlink(&self, a: usize, b: usize, departure: Departure) {
        for (one, other) in [(a, b), (b, a)] {
            if let Some(plane) = &self.nodes[one].plane {
                plane.neighbor_down(&self.nodes[other].name, departure);
            }
        }
    }

    /// Waits until both directions between the two stream, and nothing else of them is left.
    pub(crate) async fn await_linked(&self, a: usize, b: usize) {
        for (subscriber, publisher) in [(a, b), (b, a)] {
            until("a link streams", || self.is_linked(subscriber, publisher)).await;
        }
    }

    async fn is_linked(&self, subscriber: usize, publisher: usize) -> Option<()> {
        let (subscriber, publisher) = (&self.nodes[subscriber], &self.nodes[publisher]);
        let count = |table: &str, site: Site| {
            format!(
                "select count(*) from {table} ~ '^starling_{:016x}_'",
                site.get()
            )
        };
        let streaming = count(
            "pg_stat_subscription where pid is not null and subname",
            publisher.site,
        );
        let subscriptions = count("pg_subscription where subname", publisher.site);
        let active = count(
            "pg_replication_slots where active and slot_name",
            subscriber.site,
        );
        let slots = count("pg_replication_slots where slot_name", subscriber.site);
        let publications = count("pg_publication where pubname", subscriber.site);
        let roles = count("pg_roles where rolname", subscriber.site);
        let sums = [
            subscriber
                .try_text(&format!("({streaming}) || ',' || ({subscriptions})"))
                .await?,
            publisher
                .try_text(&format!(
                    "({active}) || ',' || ({slots}) || ',' || ({publications}) || ',' || ({roles})"
                ))
                .await?,
        ];
        (sums == ["1,1", "1,1,1,1"]).then_some(())
    }

    /// Waits until nothing of any link is left on any node.
    pub(crate) async fn await_clear(&self) {
        for node in &self.nodes {
            node.await_clear().await;
        }
    }

    /// Waits until `sql` gives `expected` on a node.
    pub(crate) async fn await_text(&self, node: usize, sql: &str, expected: &str) {
        let what = format!("{sql} = {expected} on node {node}");
        until(&what, || async {
            (self.nodes[node].try_text(sql).await? == expected).then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(mut self) {
        for node in 0..self.nodes.len() {
            self.kill_plane(node).await;
        }
        futures::future::join_all(self.nodes.iter().map(|node| node.server.stop())).await;
    }
}
