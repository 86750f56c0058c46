//! What the network is told to do.

use std::{path::PathBuf, time::Duration};

use libp2p::Multiaddr;

use super::SwarmKey;
use crate::identity::{Incarnation, Run};

/// Settings of the network. [`Settings::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the cluster. Part of the protocols' names, so that nodes of other clusters have
    /// nothing to say to us. See [`is_cluster_name`](crate::identity::is_cluster_name).
    pub cluster: String,
    /// Orders this start of the node among its starts, for its peers.
    ///
    /// Defaults to now.
    pub incarnation: Incarnation,
    /// This start of the node, as told apart from another process with its key.
    ///
    /// Defaults to a new one.
    pub run: Run,
    /// Where the address book is kept. Must exist.
    pub data_dir: PathBuf,
    /// Addresses to listen on; a port of 0 means any free one.
    ///
    /// Defaults to TCP and QUIC on port 7400 of all IPv4 interfaces.
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach us besides those that we listen on, where a router or a
    /// container host translates. What two peers see alike is found out without this.
    ///
    /// Defaults to none.
    pub external: Vec<Multiaddr>,
    /// Addresses to join through, with or without `/p2p/<PeerId>`; names are resolved at each
    /// attempt.
    ///
    /// Defaults to none: whoever is found on the local network, or finds us.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether to look for peers on the local network.
    ///
    /// Defaults to yes.
    pub mdns: bool,
    /// Pre-shared key of a private network. With it there is no QUIC, which cannot carry it.
    ///
    /// Defaults to none.
    pub swarm_key: Option<SwarmKey>,
    /// Parameters of the overlay.
    ///
    /// Defaults to the paper's.
    pub overlay: hyparview::Config,
    /// How long a request may take, including the peer's work for its answer.
    ///
    /// Defaults to [`Self::REQUEST_TIMEOUT`].
    pub request_timeout: Duration,
    /// How long it may take until a peer is reached; the handshakes may take as long again.
    ///
    /// Defaults to 5 s: above two lost packets in a row on a slow line.
    pub dial_timeout: Duration,
    /// Pause between two pings on a connection.
    ///
    /// Defaults to 5 s. HyParView's heartbeats find a frozen neighbour sooner; pings measure,
    /// and clear away connections that nobody uses and that no longer work.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take. The second failure in a row closes the
    /// connection; it may come 10 s later, if not even a stream can be opened.
    ///
    /// Defaults to 5 s.
    pub ping_timeout: Duration,
    /// How long a connection is kept that neither the overlay nor a request uses.
    ///
    /// Defaults to 10 s: long enough for a newly connected peer to be joined through.
    pub idle_timeout: Duration,
    /// Most connections at a time; half of them may be inbound.
    ///
    /// Defaults to 512, a hundred times the neighbours of a node.
    pub connections_max: u32,
}

impl Settings {
    /// How long a request may take unless somebody says otherwise: 30 s, more than any of ours does.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

    /// The defaults, for the cluster's name and the data directory.
    #[must_use]
    pub fn new(cluster: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            cluster: cluster.into(),
            incarnation: Incarnation::now(),
            run: Run::draw(),
            data_dir: data_dir.into(),
            listen: ["/ip4/0.0.0.0/tcp/7400", "/ip4/0.0.0.0/udp/7400/quic-v1"]
                .iter()
                .filter_map(|address| address.parse().ok())
                .collect(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            swarm_key: None,
            overlay: hyparview::Config::default(),
            request_timeout: Self::REQUEST_TIMEOUT,
            dial_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(10),
            connections_max: 512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn a_node_listens_over_both_transports_by_itself() {
        assert_eq!(Settings::new("a", ".").listen.len(), 2);
    }
}
