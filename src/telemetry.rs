//! Logs and metric names.

mod named;
mod recent;

use std::{
    borrow::Cow,
    io::{IsTerminal, stderr},
};

use prometheus_client::{metrics::info::Info, registry::Registry};
use tracing_subscriber::{
    EnvFilter, Layer, fmt, layer::SubscriberExt, registry as subscriber, util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};
pub use named::set_names;
#[cfg(test)]
pub(crate) use recent::watch;
pub use recent::{recent, totals};

/// Names of the metrics, without the prefix `starling_`, the unit that a [`Registry`] appends, and
/// the `_total` of counters.
pub mod metric {
    /// Gauge: 1 while the process runs.
    pub const UP: &str = "up";
    /// Info: version of the program.
    pub const BUILD: &str = "build";
    /// Gauge: 1 for the state the node is in, 0 for the others.
    pub const NODE_STATE: &str = "node_state";
    /// Gauge: 1 while the store accepts connections and is migrated.
    pub const STORE_READY: &str = "store_ready";
    /// Counter: times that the store went on as another site.
    pub const STORE_RENEWALS: &str = "store_renewals";
    /// Gauge: members of the active view.
    pub const ACTIVE_VIEW_SIZE: &str = "active_view_size";
    /// Gauge: members of the passive view.
    pub const PASSIVE_VIEW_SIZE: &str = "passive_view_size";
    /// Gauge, seconds: last round trip to each neighbour.
    pub const NEIGHBOR_ROUND_TRIP: &str = "neighbor_round_trip";
    /// Gauge, seconds: each neighbour's store's clock minus this store's.
    pub const NEIGHBOR_CLOCK_OFFSET: &str = "neighbor_clock_offset";
    /// Gauge, seconds: how far this store's clock is ahead of the median of its neighbours'.
    pub const CLOCK_AHEAD: &str = "clock_ahead";
    /// Gauge: nodes known, by whether they are alive.
    pub const MEMBERS: &str = "members";
    /// Gauge: data links by direction and state.
    pub const LINKS: &str = "links";
    /// Gauge: data links that have carried nothing for too long, by direction.
    pub const LINKS_OVERDUE: &str = "links_overdue";
    /// Gauge, bytes: of an outgoing link, the WAL that its subscriber has not confirmed; of an incoming one,
    /// what has come and was not processed.
    pub const LINK_LAG_BYTES: &str = "link_lag";
    /// Gauge, seconds: of an incoming link, for how long the peer has had what is missing here, or the link
    /// has been down; of an outgoing one, since when its subscriber has not confirmed nearly all.
    // The same word as above: the unit, which is put behind it, makes two names of it.
    pub const LINK_LAG_SECONDS: &str = "link_lag";
    /// Counter: warnings and errors in the log, by level.
    pub const LOG_MESSAGES: &str = "log_messages";
    /// Gauge: checkpoint by site.
    pub const CHECKPOINT: &str = "checkpoint";
}

/// Names of the metrics' labels.
pub mod label {
    /// Constant: the cluster's name.
    pub const CLUSTER: &str = "cluster";
    /// Constant: the node's name.
    pub const NODE: &str = "node";
    /// PeerId at the other end.
    pub const PEER: &str = "peer";
    /// `in` or `out`.
    pub const DIRECTION: &str = "direction";
    /// State of the thing counted.
    pub const STATE: &str = "state";
    /// `warn` or `error`.
    pub const LEVEL: &str = "level";
    /// Number of a site.
    pub const SITE: &str = "site";
    /// Version of the program.
    pub const VERSION: &str = "version";
}

/// Logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is no list of directives; [`crate::config::load`] would have refused it.
    #[error("log level `{level}`: {source}")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something in this process set up logs before.
    #[error("logs are set up already")]
    Twice,
}

/// Sends logs to standard error from here on, for the whole process.
///
/// # Errors
///
/// A level that cannot be read, or logs that are set up already; nothing is changed then.
pub fn init(log: &Log) -> Result<(), Error> {
    let filter = EnvFilter::builder()
        .parse(&log.level)
        .map_err(|source| Error::Level {
            level: log.level.clone(),
            source,
        })?;
    let lines = match log.format {
        LogFormat::Text => fmt::layer()
            .with_writer(|| named::Named(stderr()))
            .with_ansi(wants_colour(&stderr()))
            .boxed(),
        LogFormat::Json => fmt::layer()
            .with_writer(stderr)
            .json()
            .flatten_event(true)
            .boxed(),
    };
    // Warnings reach the status whatever the log shows.
    subscriber()
        .with(lines.with_filter(filter))
        .with(recent::layer())
        .try_init()
        .map_err(|_| Error::Twice)
}

/// A terminal whose user did not ask for `NO_COLOR`.
#[must_use]
pub fn wants_colour(stream: &impl IsTerminal) -> bool {
    // By no-color.org's rule an empty one counts as none.
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty())
}

/// An empty registry for the metrics of one node: prefix, constant labels, build information.
///
/// Parts register their own metrics in it, under names from [`metric`] or a sub-registry with
/// their own prefix, before it goes into [`crate::http::View`].
#[must_use]
pub fn registry(cluster: &str, node: &str) -> Registry {
    let labels = [
        (Cow::from(label::CLUSTER), Cow::from(cluster.to_owned())),
        (Cow::from(label::NODE), Cow::from(node.to_owned())),
    ];
    let mut registry = Registry::with_prefix_and_labels("starling", labels.into_iter());
    let build = Info::new(vec![(label::VERSION, env!("CARGO_PKG_VERSION"))]);
    registry.register(metric::BUILD, "The program", build);
    registry
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_metric_carries_the_cluster_and_the_node() {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &super::registry("c", "n")).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let line =
            format!("starling_build_info{{cluster=\"c\",node=\"n\",version=\"{version}\"}} 1");
        assert!(text.contains(&line), "{text}");
    }
}
