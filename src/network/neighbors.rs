//! Who is connected and who is a neighbour.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

use crate::{
    discovery::{address, bootstrap::Report},
    identity::NodeId,
};

/// Most hosts worth trying for one store.
const HOSTS_MAX: usize = 16;

/// The node's place in the overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The active view, by name.
    pub active: Vec<Neighbor>,
    /// The number of peers in the passive view.
    pub passive: usize,
    /// Who was known earlier and may be met again, in the views or not.
    pub remembered: Vec<NodeId>,
    /// The configured addresses.
    pub contacts: Vec<Contact>,
}

/// An address that the node was given to join through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The address.
    pub address: Multiaddr,
    /// It is our own.
    pub is_ours: bool,
    /// Who was found there last.
    pub reached: Option<NodeId>,
    /// Why it leads nowhere, if so.
    pub failure: Option<Failure>,
    /// When it is tried next, if it fails.
    pub next: SystemTime,
}

/// Attempts to join in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why the last one failed.
    pub cause: String,
    /// What mends it.
    pub fix: &'static str,
    /// It will not help to try again until somebody acts.
    pub needs_operator: bool,
    /// When the first one failed.
    pub since: SystemTime,
    /// How many there were.
    pub attempts: u32,
}

impl Contact {
    /// From what discovery says; its times are counted from `start`.
    pub(super) fn new(report: Report, start: SystemTime) -> Self {
        Self {
            address: report.address,
            is_ours: report.is_ours,
            reached: report.reached.as_ref().map(node_id),
            failure: report.failure.map(|failure| Failure {
                cause: failure.cause.to_string(),
                fix: failure.cause.fix(),
                needs_operator: failure.cause.needs_operator(),
                since: start + failure.since,
                attempts: failure.attempts,
            }),
            next: start + report.next,
        }
    }
}

/// One neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Who.
    pub peer: NodeId,
    /// Addresses it can be reached at, the best first.
    pub addresses: Vec<Multiaddr>,
    /// Hosts at which its store may be reached, the likeliest first.
    pub hosts: Vec<IpAddr>,
    /// Neighbour since.
    pub since: SystemTime,
    /// Last measured round trip.
    pub rtt: Option<Duration>,
}

/// All peers that we have a connection or a neighbour relation with.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// The oldest connection first: the others are likely to be closed soon.
    connections: BTreeMap<PeerId, Vec<Connection>>,
    neighbors: BTreeMap<PeerId, Neighbor>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    remote: Multiaddr,
    rtt: Option<Duration>,
}

impl Peers {
    pub(super) fn opened(&mut self, peer: PeerId, id: ConnectionId, remote: Multiaddr) {
        let connection = Connection {
            id,
            remote,
            rtt: None,
        };
        self.connections.entry(peer).or_default().push(connection);
    }

    pub(super) fn closed(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(connections) = self.connections.get_mut(peer) {
            connections.retain(|connection| connection.id != id);
            if connections.is_empty() {
                self.connections.remove(peer);
            }
        }
    }

    /// Whom a connection is with.
    pub(super) fn remote(&self, peer: &PeerId, id: ConnectionId) -> Option<&Multiaddr> {
        let connections = self.connections.get(peer)?;
        connections
            .iter()
            .find(|connection| connection.id == id)
            .map(|connection| &connection.remote)
    }

    /// A ping on a connection was answered. `true` if a neighbour's time changed.
    pub(super) fn measured(&mut self, peer: &PeerId, id: ConnectionId, rtt: Duration) -> bool {
        let connections = self.connections.get_mut(peer).map(Vec::as_mut_slice);
        let found = connections
            .unwrap_or_default()
            .iter_mut()
            .find(|it| it.id == id);
        if let Some(connection) = found {
            connection.rtt = Some(rtt);
        }
        let best = self.rtt(peer);
        self.neighbors
            .get_mut(peer)
            .is_some_and(|neighbor| std::mem::replace(&mut neighbor.rtt, best) != best)
    }

    /// `peer` is a neighbour at these addresses, from `now` on unless it was one before. Gives
    /// what is known of it.
    pub(super) fn up(
        &mut self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        now: SystemTime,
    ) -> Neighbor {
        // It may only have moved.
        let since = self.neighbors.get(&peer).map_or(now, |known| known.since);
        let neighbor = Neighbor {
            peer: node_id(&peer),
            hosts: self.hosts(&peer, &addresses),
            addresses,
            since,
            rtt: self.rtt(&peer),
        };
        self.neighbors.insert(peer, neighbor.clone());
        neighbor
    }

    pub(super) fn down(&mut self, peer: &PeerId) {
        self.neighbors.remove(peer);
    }

    /// Whether there is a connection with anybody at `host`.
    pub(super) fn connected_with(&self, host: IpAddr) -> bool {
        let mut all = self.connections.values().flatten();
        all.any(|connection| address::ip(&connection.remote) == Some(host))
    }

    /// Where the peer's store may be reached, the likeliest first: where its connections come
    /// from or go to, then what its addresses name.
    fn hosts(&self, peer: &PeerId, addresses: &[Multiaddr]) -> Vec<IpAddr> {
        let connections = self
            .connections
            .get(peer)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let seen: Vec<IpAddr> = connections
            .iter()
            .filter_map(|connection| address::ip(&connection.remote))
            .collect();
        // Its loopback is ours only if we talk over it, or if nothing is known.
        let same_host = seen.is_empty() || seen.iter().any(IpAddr::is_loopback);
        let mut hosts = Vec::new();
        for host in seen
            .into_iter()
            .chain(addresses.iter().filter_map(address::ip))
        {
            let useful = same_host || !host.is_loopback();
            if useful && is_complete(&host) && !hosts.contains(&host) && hosts.len() < HOSTS_MAX {
                hosts.push(host);
            }
        }
        hosts
    }

    pub(super) fn overlay(&self, passive: usize) -> Overlay {
        let now = |(peer, known): (&PeerId, &Neighbor)| Neighbor {
            // Not those that it began with: connections come and go while it stays a neighbour.
            hosts: self.hosts(peer, &known.addresses),
            ..known.clone()
        };
        let mut active: Vec<Neighbor> = self.neighbors.iter().map(now).collect();
        active.sort_unstable_by(|a, b| a.peer.cmp(&b.peer));
        Overlay {
            active,
            passive,
            remembered: Vec::new(),
            contacts: Vec::new(),
        }
    }

    /// The shortest round trip measured on a connection with `peer`.
    pub(super) fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.connections
            .get(peer)?
            .iter()
            .filter_map(|connection| connection.rtt)
            .min()
    }
}

/// The id by which the data plane knows a peer.
pub(super) fn node_id(peer: &PeerId) -> NodeId {
    NodeId::from_base58(peer.to_base58())
}

/// A link-local IPv6 address means nothing without an interface; an unspecified one never does.
fn is_complete(host: &IpAddr) -> bool {
    let link_local = matches!(host, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !link_local && !host.is_unspecified()
}

#[cfg(test)]
mod tests {
    use std::{
        net::IpAddr,
        time::{Duration, SystemTime},
    };

    use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

    use super::Peers;

    fn addresses(ips: &[&str]) -> Vec<Multiaddr> {
        let address = |ip: &&str| {
            let ip: IpAddr = ip.parse().unwrap();
            Multiaddr::from(ip).with(libp2p::multiaddr::Protocol::Tcp(7400))
        };
        ips.iter().map(address).collect()
    }

    fn hosts(connections: &[&str], record: &[&str]) -> Vec<String> {
        let mut peers = Peers::default();
        let peer = PeerId::random();
        for (number, remote) in addresses(connections).into_iter().enumerate() {
            peers.opened(peer, ConnectionId::new_unchecked(number), remote);
        }
        peers
            .hosts(&peer, &addresses(record))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_live_connection_comes_first_and_others_follow_once() {
        assert_eq!(
            hosts(
                &["10.0.0.2"],
                &["127.0.0.1", "192.168.1.2", "10.0.0.2", "fe80::1", "fd00::2"]
            ),
            ["10.0.0.2", "192.168.1.2", "fd00::2"]
        );
    }

    #[test]
    fn loopback_counts_on_one_host() {
        assert_eq!(
            hosts(&["127.0.0.1"], &["10.0.0.2"]),
            ["127.0.0.1", "10.0.0.2"]
        );
        assert_eq!(hosts(&[], &["127.0.0.1"]), ["127.0.0.1"]);
    }

    #[test]
    fn the_quickest_connection_gives_the_round_trip() {
        let mut peers = Peers::default();
        let peer = PeerId::random();
        let [slow, fast] = [1, 2].map(ConnectionId::new_unchecked);
        for id in [slow, fast] {
            peers.opened(peer, id, addresses(&["10.0.0.2"]).remove(0));
        }
        assert!(
            !peers.measured(&peer, slow, Duration::from_millis(9)),
            "no neighbour yet"
        );
        peers.up(peer, Vec::new(), SystemTime::UNIX_EPOCH);
        assert_eq!(
            peers.overlay(0).active[0].rtt,
            Some(Duration::from_millis(9))
        );
        assert!(peers.measured(&peer, fast, Duration::from_millis(3)));
        assert!(!peers.measured(&peer, slow, Duration::from_millis(8)));
        assert_eq!(
            peers.overlay(7).active[0].rtt,
            Some(Duration::from_millis(3))
        );
        peers.down(&peer);
        assert!(peers.overlay(0).active.is_empty());
    }
}
