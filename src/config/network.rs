//! `[network]`: how the node finds and reaches its peers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{check::Check, switch};
use crate::network::{SwarmKey, SwarmKeyError};

/// The port of the default listen addresses.
const DEFAULT_PORT: u16 = 7400;

/// How the node finds and reaches its peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where the node listens: TCP and QUIC addresses. Defaults to port 7400 of every IPv4
    /// interface over both; over TCP alone when a `swarm_key` is set, which QUIC cannot honour.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach us besides those, where a router or a container host
    /// translates: IP addresses, because peers look up no names of others. What two peers see alike is found out
    /// without this. Defaults to none.
    #[serde(deserialize_with = "addresses")]
    pub external: Vec<Multiaddr>,
    /// Peers to join through, with or without `/p2p/<PeerId>`. Defaults to none.
    #[serde(deserialize_with = "addresses")]
    pub bootstrap: Vec<Multiaddr>,
    /// Find peers on the local network. Defaults to on.
    #[serde(deserialize_with = "switch::deserialize")]
    pub mdns: bool,
    /// File with the pre-shared key that admits to the network. Defaults to none.
    pub swarm_key: Option<PathBuf>,
}

impl Default for Network {
    fn default() -> Self {
        let ip = || Multiaddr::from(Ipv4Addr::UNSPECIFIED);
        Self {
            listen: vec![
                ip().with(Protocol::Tcp(DEFAULT_PORT)),
                ip().with(Protocol::Udp(DEFAULT_PORT))
                    .with(Protocol::QuicV1),
            ],
            external: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            swarm_key: None,
        }
    }
}

impl Network {
    /// Drops QUIC from the *default* addresses when a swarm key is set; addresses that somebody
    /// wrote down are left for [`Network::check`] to refuse.
    pub(super) fn resolve(&mut self) {
        if self.swarm_key.is_some() && self.listen == Self::default().listen {
            self.listen.retain(|address| !is_quic(address));
        }
    }

    pub(super) fn check(&self, check: &mut Check<'_>) {
        if self.listen.is_empty() {
            check.fail(
                "network.listen",
                "a node has to listen somewhere",
                "give one address, for example /ip4/0.0.0.0/tcp/7400",
            );
        }
        for address in &self.listen {
            if !is_listenable(address) {
                check.fail(
                    "network.listen",
                    format!("`{address}` is not an address to listen on"),
                    "use /ip4/<IP>/tcp/<port> or /ip4/<IP>/udp/<port>/quic-v1 (or ip6)",
                );
            } else if self.swarm_key.is_some() && is_quic(address) {
                check.fail(
                    "network.listen",
                    format!("`{address}` would let peers in without the swarm key"),
                    "listen on TCP only, or do without network.swarm_key: QUIC has no \
                     pre-shared keys",
                );
            }
        }
        for address in &self.external {
            self.check_dialled("network.external", address, check);
            // They hear it from us, not from a resolver.
            if address.iter().any(|part| is_name(&part)) {
                check.fail(
                    "network.external",
                    format!("`{address}` is told to peers, and they look up no names of others"),
                    "give the IP address that the name stands for",
                );
            }
        }
        for address in &self.bootstrap {
            self.check_dialled("network.bootstrap", address, check);
        }
        if let Some(file) = &self.swarm_key
            && let Err(error) = SwarmKey::load(file)
        {
            let message = match error {
                SwarmKeyError::Io { source, .. } => {
                    format!("cannot read `{}`: {source}", file.display())
                }
                malformed @ SwarmKeyError::Malformed { .. } => malformed.to_string(),
            };
            check.fail(
                "network.swarm_key",
                message,
                "name a readable file in the swarm key format",
            );
        }
    }

    /// The transport dials TCP and QUIC, with a swarm key only TCP, at an IP address or a name that the system
    /// resolves. Everything else would fail at each attempt, like a peer that is away.
    fn check_dialled(&self, key: &str, address: &Multiaddr, check: &mut Check<'_>) {
        let mut protocols = address.iter().map(|part| part.tag());
        let unknown = protocols.find(|tag| !DIALLED.contains(tag));
        let (why, fix) = match unknown {
            Some("dnsaddr") => (
                "its records are not looked up".to_owned(),
                "use /dns/<name>/tcp/<port>, or an address that the records of the name give",
            ),
            Some(protocol) => (format!("nodes do not speak {protocol}"), DIALLED_FORMS),
            None if !is_dialable(address) => {
                ("it is not a whole address".to_owned(), DIALLED_FORMS)
            }
            None if self.swarm_key.is_some() && is_quic(address) => (
                "QUIC cannot carry the swarm key".to_owned(),
                "give the peer's TCP address, or do without network.swarm_key",
            ),
            None => return,
        };
        check.fail(key, format!("`{address}` cannot be dialled: {why}"), fix);
    }
}

/// What an address that can be dialled is made of.
const DIALLED: [&str; 9] = [
    "ip4", "ip6", "dns", "dns4", "dns6", "tcp", "udp", "quic-v1", "p2p",
];

/// How it looks.
const DIALLED_FORMS: &str = "use /ip4/<IP>/tcp/<port>, /dns/<name>/tcp/<port> or the same with \
                             /udp/<port>/quic-v1, and /p2p/<PeerId> behind it if you like";

/// Names the first that cannot be read: the items of a list that fails are read one by one.
fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Multiaddr>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let address = |text: &String| -> Result<Multiaddr, D::Error> {
        text.parse::<Multiaddr>().map_err(|error| {
            let wrongly = format!("`{}` is not a multiaddr: {error}", text.escape_debug());
            de::Error::custom(match multiaddr_of(text) {
                Some(meant) => format!("{wrongly}; you may mean {meant}"),
                None => wrongly,
            })
        })
    };
    texts.iter().map(address).collect()
}

/// What others write as `host:port`.
fn multiaddr_of(text: &str) -> Option<Multiaddr> {
    // Before it is split: an IPv6 address has colons of its own.
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port())));
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_name = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    let port = port.parse().ok().filter(|_| is_name)?;
    Some(Multiaddr::from(Protocol::Dns(host.into())).with(Protocol::Tcp(port)))
}

fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

fn is_listenable(address: &Multiaddr) -> bool {
    let parts: Vec<_> = address.iter().collect();
    matches!(
        parts.as_slice(),
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)]
            | [
                Protocol::Ip4(_) | Protocol::Ip6(_),
                Protocol::Udp(_),
                Protocol::QuicV1
            ]
    )
}

fn is_dialable(address: &Multiaddr) -> bool {
    let mut parts: Vec<_> = address.iter().collect();
    if matches!(parts.last(), Some(Protocol::P2p(_))) {
        parts.pop();
    }
    let host =
        |part: &Protocol<'_>| matches!(part, Protocol::Ip4(_) | Protocol::Ip6(_)) || is_name(part);
    match parts.as_slice() {
        [first, Protocol::Tcp(port)] | [first, Protocol::Udp(port), Protocol::QuicV1] => {
            // To a listener port 0 is any free one; to who dials it is nothing.
            host(first) && *port != 0
        }
        _ => false,
    }
}

fn is_name(part: &Protocol<'_>) -> bool {
    matches!(
        part,
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)
    )
}
