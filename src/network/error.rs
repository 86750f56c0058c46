//! What can go wrong: at the start, and with a request.

use std::{io, path::PathBuf};

use libp2p::Multiaddr;

use crate::identity::{CLUSTER_NAME_BYTES_MAX, NodeId};

/// Why the network could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's name cannot be part of a protocol's name.
    #[error(
        "{0:?} is not a name for a cluster: 1 to {max} letters, digits, '.', '_' and '-', and a letter or \
         digit first",
        max = CLUSTER_NAME_BYTES_MAX
    )]
    ClusterName(String),
    /// Another program listens on the port.
    #[error(
        "port {port} is in use: another program listens on {address}; stop it, or choose another \
         address with --listen (a port of 0 means any free one)"
    )]
    PortInUse {
        /// Where we wanted to listen.
        address: Multiaddr,
        /// The port in it.
        port: u16,
    },
    /// Listening failed.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where we wanted to listen.
        address: Multiaddr,
        /// Why.
        source: io::Error,
    },
    /// The address is not one to listen on.
    #[error(
        "{address} is not an address to listen on; these are: /ip4/<IP>/tcp/<PORT>, \
         /ip4/<IP>/udp/<PORT>/quic-v1, and the same with ip6"
    )]
    ListenAddress {
        /// What was asked for.
        address: Multiaddr,
    },
    /// All addresses are QUIC's, but there is a swarm key.
    #[error("quic cannot carry a swarm key: give a tcp address to listen on as well")]
    KeyWithoutTcp,
    /// The key cannot be used for encrypted connections.
    #[error("the identity cannot be used: {0}")]
    Key(String),
    /// The overlay cannot be set up.
    #[error("cannot set up the overlay")]
    Overlay(#[from] hyparview::SetupError),
    /// The broadcast cannot be set up.
    #[error("cannot set up the broadcast")]
    Broadcast(#[from] plumtree::SetupError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a request has no answer, and what is not known because of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The id is not a PeerId. Nothing was sent.
    #[error("{0} is not the id of a node")]
    NotANode(NodeId),
    /// The request is above the bound. Nothing was sent.
    #[error("the request has {size} bytes, more than {most}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The bound.
        most: usize,
    },
    /// Too many requests are under way. Nothing was sent.
    #[error("too many requests are under way")]
    Busy,
    /// The peer is not connected and no address of it answers. Nothing was sent.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The peer does not speak the link protocol of our cluster. Nothing was sent.
    #[error("the peer does not speak our protocol")]
    Unsupported,
    /// The peer took the request and gave no reply: its node refused, or had too much to do.
    #[error("the peer refused to answer")]
    Refused,
    /// The reply is above the bound. The peer did what it was asked.
    #[error("the reply is too large")]
    Oversized,
    /// No reply in time. Whether the peer did what it was asked is not known.
    #[error("no answer in time")]
    Timeout,
    /// The connection closed. Whether the peer did what it was asked is not known.
    #[error("the connection closed before the answer")]
    Closed,
    /// The network was shut down. Whether the peer did what it was asked is not known.
    #[error("the network is shut down")]
    Stopped,
}
