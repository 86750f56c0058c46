//! How a private server is set up, and what it is doing.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::sizing::links_max;

/// How a private server is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateConfig {
    /// The node's data directory; the server lives in its folder `postgres`. Made if it does not
    /// exist.
    pub data_dir: PathBuf,
    /// The folder of `initdb` and `postgres`; found if not given.
    pub pg_bin: Option<PathBuf>,
    /// Where it listens besides its socket. Port 0 means any free one, the same as last time if it
    /// still is free, because peers know it. Defaults to `127.0.0.1:7432`.
    pub listen: SocketAddr,
    /// The database that is made. Defaults to `starling`.
    pub database: String,
    /// The most links in each direction that the server is sized for; a change takes a restart.
    /// Defaults to 32, what [`links_max`] gives an active view of 5.
    pub max_links: u16,
    /// The system user that runs the server when root starts us. Chosen if not given.
    pub run_as: Option<String>,
    /// PostgreSQL's buffer pool. Defaults to 64.
    pub shared_buffers_mb: u32,
    /// The most WAL that a slot may hold back before the server itself gives it up. Above the bound of the
    /// node, which drops a slot in order: this one is for when the node is down. Defaults to 2048.
    pub slot_wal_max_mb: u32,
    /// How long a stop may take to end sessions, bring peers level and write a checkpoint before it does
    /// without. A sender whose peer hangs would hold it up for the `wal_sender_timeout` of links, ten
    /// minutes; what is cut short is caught up later. Defaults to 20 s.
    pub stop_timeout: Duration,
}

impl PrivateConfig {
    /// The defaults, below `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            pg_bin: None,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7432),
            database: "starling".to_owned(),
            max_links: links_max(5),
            run_as: None,
            shared_buffers_mb: 64,
            slot_wal_max_mb: 2048,
            stop_timeout: Duration::from_secs(20),
        }
    }
}

/// What a private server is doing. Lives in memory only: after a restart of the controller it is
/// found out anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifecycle {
    /// There is no data directory yet, or we have not looked. Next: `Initialised`, or the start
    /// fails.
    Absent,
    /// There is a data directory and no server: before the first start and after a stop. Next:
    /// `Starting`.
    Initialised,
    /// A server is being started, adopted, or started again after a crash. Next: `Ready` or
    /// `Failed`.
    Starting,
    /// It answers. Next: `Failed` when it crashes, `Stopping` when asked to.
    Ready,
    /// It was asked to stop. Next: `Initialised`.
    Stopping,
    /// It ended by itself or does not start; it is being tried again, with growing pauses. Next:
    /// `Starting`.
    Failed {
        /// Why, for people.
        reason: String,
        /// Starts tried in vain since it last was ready.
        attempts: u32,
    },
}
