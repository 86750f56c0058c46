//! The node's configuration: flag > environment > TOML file > default, validated as a whole.
//!
//! [`catalogue`] lists every setting once; flags, variables, file keys and `config show` follow
//! from it. [`load()`] merges the layers and remembers where each value came from, so that every
//! complaint can name its source and how to mend it.

pub mod catalogue;
mod check;
mod duration;
mod http;
mod layers;
mod load;
mod log;
mod network;
mod node;
mod overlay;
mod password;
mod problem;
mod render;
mod replication;
mod secret;
mod size;
mod store;
mod suggest;
mod switch;

use serde::{Deserialize, Serialize};

pub use self::{
    duration::{format_duration, parse_duration},
    http::Http,
    load::{Loaded, Sources, load, store_password},
    log::{Log, LogFormat},
    network::Network,
    node::Node,
    overlay::{Optimize, Overlay},
    password::PasswordSources,
    problem::{Error, Origin, Problem},
    render::{to_json, to_toml},
    replication::Replication,
    secret::{PostgresUrl, Secret},
    size::{format_size, parse_size},
    store::{Advertise, SearchPath, Store},
};

/// Everything a node is told; a section per field.
///
/// Its serialised form masks secrets, so it can be printed and logged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who the node is and where it keeps its things.
    pub node: Node,
    /// How it finds and reaches its peers.
    pub network: Network,
    /// HyParView's parameters.
    pub overlay: Overlay,
    /// Its PostgreSQL server.
    pub store: Store,
    /// The data plane.
    pub replication: Replication,
    /// The HTTP API.
    pub http: Http,
    /// What is logged, and how.
    pub log: Log,
}
