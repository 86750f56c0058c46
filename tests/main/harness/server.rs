//! A PostgreSQL server for all tests that run at the moment, in whatever process, and databases in it.
//!
//! Test runners give each test a process of its own, and making a server takes longer than most tests.
//! So the first one starts a server in a folder that all of them know and lets go of it, the others
//! adopt it, and the last one stops and removes it. What a killed test leaves running, the next run
//! takes over. `STARLING_PG_BIN` chooses another PostgreSQL.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use starling::{
    identity::{NodeId, Site},
    postgres::{self, PrivateConfig, PrivateServer},
    store::{self, SearchPath},
};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config};

/// This process's use of the server. Weak, so that its last test ends the use: nothing is dropped when
/// a test program ends.
static USE: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// Names databases, together with the process.
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The use of a running server.
pub(crate) struct Server {
    place: Place,
    /// Locked in shared mode: while anybody has it, the server stays.
    user: File,
    connection: Config,
}

impl Server {
    /// Starts a server, or joins the one that other tests use.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = USE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::join());
        *shared = Arc::downgrade(&server);
        server
    }

    fn join() -> Self {
        let place = Place::new();
        let _change = place.lock_changes();
        let user = place.file("users");
        user.lock_shared().unwrap();
        let config = place.config();
        let connection = apart(async move {
            let server = PrivateServer::start(config).await.unwrap();
            let connection = server.connection();
            server.detach().await;
            connection
        });
        Self {
            place,
            user,
            connection,
        }
    }

    /// A new, empty database; `options` go to `create database`.
    pub(crate) async fn database(self: &Arc<Self>, options: &str) -> Database {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", process::id());
        let admin = postgres::connect(&self.connection).await.unwrap();
        // A killed process may have had our id.
        admin
            .batch_execute(&format!("drop database if exists {name}"))
            .await
            .unwrap();
        let create = format!("create database {name} {options}");
        admin.batch_execute(&create).await.unwrap();
        let mut config = self.connection.clone();
        config.dbname(&name);
        Database {
            config,
            name,
            _server: Arc::clone(self),
        }
    }

    /// A new database with a store in it, whose owner is the node called `node`.
    pub(crate) async fn store(self: &Arc<Self>, node: &str) -> Store {
        let database = self.database("").await;
        let mut client = database.connect().await;
        store::install(&mut client).await.unwrap();
        let node = node.parse::<NodeId>().unwrap();
        let site = store::identify(&mut client, &node, "test").await.unwrap();
        let plain = database.connect().await;
        store::settle_search_path(&mut client, &plain, SearchPath::Last)
            .await
            .unwrap();
        Store { database, site }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _change = self.place.lock_changes();
        self.user.unlock().unwrap();
        if self.user.try_lock().is_err() {
            return;
        }
        let config = self.place.config();
        apart(async move {
            let server = PrivateServer::start(config).await.unwrap();
            server.stop().await.unwrap();
        });
        fs::remove_dir_all(self.place.server()).unwrap();
    }
}

/// Where the tests of one checkout have their server.
struct Place {
    dir: PathBuf,
    pg_bin: Option<OsString>,
}

impl Place {
    fn new() -> Self {
        let pg_bin = env::var_os("STARLING_PG_BIN");
        let mut hash = DefaultHasher::new();
        (env!("CARGO_TARGET_TMPDIR"), &pg_bin).hash(&mut hash);
        let user = nix::unistd::Uid::effective();
        let dir = env::temp_dir().join(format!("starling-test-{user}-{:016x}", hash.finish()));
        fs::create_dir_all(&dir).unwrap();
        Self { dir, pg_bin }
    }

    fn server(&self) -> PathBuf {
        self.dir.join("server")
    }

    fn config(&self) -> PrivateConfig {
        PrivateConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            pg_bin: self.pg_bin.clone().map(Into::into),
            // It is removed anyway: no last checkpoint for it.
            stop_timeout: Duration::ZERO,
            ..PrivateConfig::new(self.server())
        }
    }

    fn file(&self, name: &str) -> File {
        let path = self.dir.join(name);
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .unwrap()
    }

    /// Held while the server is started or stopped.
    fn lock_changes(&self) -> File {
        let file = self.file("changes");
        file.lock().unwrap();
        file
    }
}

/// Runs a future to its end from within a test's runtime, where nothing can be waited for.
fn apart<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    thread::spawn(|| Runtime::new().unwrap().block_on(future))
        .join()
        .unwrap()
}

/// A database of one test.
pub(crate) struct Database {
    /// How to reach it as superuser.
    pub(crate) config: Config,
    pub(crate) name: String,
    _server: Arc<Server>,
}

impl Database {
    /// A new session.
    pub(crate) async fn connect(&self) -> Client {
        postgres::connect(&self.config).await.unwrap()
    }
}

/// A database with a store in it.
pub(crate) struct Store {
    pub(crate) database: Database,
    pub(crate) site: Site,
}

impl Store {
    /// A new session, in which the functions of schema `crdv` can be called by their plain names.
    pub(crate) async fn connect(&self) -> Client {
        self.database.connect().await
    }

    /// A new session that acts like the apply worker of a link from `publisher`.
    pub(crate) async fn apply_worker(&self, publisher: Site) -> Client {
        let client = self.connect().await;
        let settings = format!(
            "set session_replication_role = replica; set search_path = '';
             set crdv.via = '{publisher}'",
        );
        client.batch_execute(&settings).await.unwrap();
        client
    }
}

/// As long as a standby is awaited that does not exist, no commit returns or becomes visible.
pub(crate) async fn set_standby(client: &Client, name: &str) {
    let sql = format!("alter system set synchronous_standby_names = {name}");
    // The server may crash at any time; the end of a run sets it right.
    let _ = client.batch_execute(&sql).await;
    let _ = client.batch_execute("select pg_reload_conf()").await;
}
