//! A private server with stores in it.

use std::{fs, time::Duration};

use starling::{
    identity::NodeId,
    postgres::{self, PrivateConfig, PrivateServer},
    store::{self, SearchPath},
};
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_postgres::{Client, Config, error::SqlState};

/// Checkpoints would fall on the one side or on the other.
const WITHOUT_CHECKPOINTS: &str = "alter system set max_wal_size = '16GB';
    alter system set checkpoint_timeout = '1h';
    select pg_reload_conf()";

#[derive(Debug)]
pub struct Server {
    server: PrivateServer,
    /// Its first process.
    pub postmaster: i32,
    _dir: TempDir,
}

/// A database with a store and plain tables.
#[derive(Debug)]
pub struct Store {
    config: Config,
    pub name: String,
    /// In it, and in the plain tables as well.
    pub elements: i64,
    pub postmaster: i32,
}

impl Server {
    pub async fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("starling-bench-")
            .tempdir()
            .unwrap();
        let config = PrivateConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            shared_buffers_mb: 512,
            ..PrivateConfig::new(dir.path())
        };
        let server = PrivateServer::start(config).await.unwrap();
        let admin = postgres::connect(&server.connection()).await.unwrap();
        for statement in WITHOUT_CHECKPOINTS.split(';') {
            admin.batch_execute(statement).await.unwrap();
        }
        let pid_file = dir.path().join("postgres/data/postmaster.pid");
        let pid_file = fs::read_to_string(pid_file).unwrap();
        Self {
            server,
            postmaster: pid_file.lines().next().unwrap().parse().unwrap(),
            _dir: dir,
        }
    }

    /// A new store.
    pub async fn store(&self, elements: i64) -> Store {
        let store = self.create(format!("store_{elements}"), elements, "").await;
        let mut client = store.client().await;
        store::install(&mut client).await.unwrap();
        let node = "benchmark".parse::<NodeId>().unwrap();
        store::identify(&mut client, &node, "benchmark")
            .await
            .unwrap();
        let plain = store.client().await;
        store::settle_search_path(&mut client, &plain, SearchPath::Last)
            .await
            .unwrap();
        store
    }

    /// A database like another, to which nobody is connected.
    pub async fn copy(&self, of: &Store) -> Store {
        let options = format!("template {} strategy file_copy", of.name);
        self.create(format!("{}_copy", of.name), of.elements, &options)
            .await
    }

    async fn create(&self, name: String, elements: i64, options: &str) -> Store {
        let admin = postgres::connect(&self.server.connection()).await.unwrap();
        let create = format!("create database {name} {options}");
        // Sessions take a moment to end.
        while let Err(error) = admin.batch_execute(&create).await {
            assert_eq!(error.code(), Some(&SqlState::OBJECT_IN_USE), "{error:?}");
            sleep(Duration::from_millis(20)).await;
        }
        let mut config = self.server.connection();
        config.dbname(&name);
        Store {
            config,
            name,
            elements,
            postmaster: self.postmaster,
        }
    }

    pub async fn stop(self) {
        self.server.stop().await.unwrap();
    }
}

impl Store {
    pub async fn client(&self) -> Client {
        postgres::connect(&self.config).await.unwrap()
    }

    /// How the server's own workers connect.
    pub fn connection_string(&self) -> String {
        let host = match &self.config.get_hosts()[0] {
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
        };
        format!(
            "host={host} port={} user={} dbname={}",
            self.config.get_ports()[0],
            self.config.get_user().unwrap(),
            self.name
        )
    }
}
