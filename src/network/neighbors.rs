//! Who is connected and who is a neighbour.
//!
//! That a relation begins or ends is told in one way: the [`Overlay`] as it is now, which says of each
//! former neighbour how the last relation ended. Whoever looks seldom misses what was in between and
//! nothing else, and no event waits for a slow reader. [`Neighbors`] tells what is new since the last look.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use hyparview::DownReason;
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use plumtree::EdgeRole;
use tokio::sync::watch;

use crate::{
    discovery::{address, bootstrap::Report},
    identity::NodeId,
};

/// Most hosts worth trying for one store.
const HOSTS_MAX: usize = 16;

/// Former neighbours whose end is told: many times an active view. Whoever looks again only after more than
/// that have gone takes those it knew for lost.
const ENDED_MAX: usize = 64;

/// The node's place in the overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The active view, by name.
    pub active: Vec<Neighbor>,
    /// How the last relation with each former neighbour ended, by name; it may be a neighbour again. Only
    /// so many: those that ended longest ago are forgotten.
    pub ended: Vec<Ended>,
    /// That of the last change of a relation; 0 before the first.
    pub revision: u64,
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
    /// What the tree that is followed last said of its edge (R16). `None` while it has said nothing: a new
    /// neighbour's edge begins lazy without a word, and without a tree there is no word at all.
    pub role: Option<EdgeRole>,
    /// When it became a neighbour, or its addresses changed: one number counts the changes of all
    /// relations.
    pub revision: u64,
}

/// The end of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// With whom.
    pub peer: NodeId,
    /// Why.
    pub reason: DownReason,
    /// When, as [`Neighbor::revision`] counts.
    pub revision: u64,
}

/// Something that has happened to a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NeighborChange {
    /// It is a neighbour from now on, or its addresses have changed.
    Up(Neighbor),
    /// It is none any more.
    Down {
        /// Who.
        peer: NodeId,
        /// Why.
        reason: DownReason,
    },
}

impl Overlay {
    /// Whether `peer` is a neighbour.
    #[must_use]
    pub fn is_neighbor(&self, peer: &NodeId) -> bool {
        self.neighbor(peer).is_some()
    }

    /// The neighbour `peer`, if it is one.
    #[must_use]
    pub fn neighbor(&self, peer: &NodeId) -> Option<&Neighbor> {
        self.active.iter().find(|neighbor| neighbor.peer == *peer)
    }

    /// The neighbours, by name.
    pub fn peers(&self) -> impl Iterator<Item = &NodeId> {
        self.active.iter().map(|neighbor| &neighbor.peer)
    }

    /// What has happened since `seen`, in its order. Of each peer the last end and the last beginning:
    /// what came and went in between is not told.
    #[must_use]
    pub fn changes_since(&self, seen: &Self) -> Vec<NeighborChange> {
        let down = |peer: &NodeId, reason| NeighborChange::Down {
            peer: peer.clone(),
            reason,
        };
        let is_new = |revision: u64| revision > seen.revision;
        let ended = self.ended.iter().filter(|end| is_new(end.revision));
        let ended = ended.map(|end| (end.revision, down(&end.peer, end.reason)));
        let begun = self.active.iter().filter(|it| is_new(it.revision));
        let begun = begun.map(|it| (it.revision, NeighborChange::Up(it.clone())));
        let mut changes: Vec<_> = ended.chain(begun).collect();
        // One that came back has to end first: its end would take down the links of its new relation.
        changes.sort_by_key(|(revision, _)| *revision);
        // Nobody knows any more how these went: their links stay for a while, as those of a lost peer do.
        let is_told = |peer: &NodeId| self.ended.iter().any(|end| end.peer == *peer);
        let forgotten = seen
            .peers()
            .filter(|peer| !self.is_neighbor(peer) && !is_told(peer))
            .map(|peer| down(peer, DownReason::Closed));
        forgotten
            .chain(changes.into_iter().map(|(_, change)| change))
            .collect()
    }
}

/// The overlay as it was at the last look, and what is new since.
#[derive(Debug)]
pub struct Neighbors {
    latest: watch::Receiver<Overlay>,
    seen: Overlay,
}

impl Neighbors {
    /// Nothing was looked at yet: all that there is now is new, ends included.
    pub(super) fn new(mut latest: watch::Receiver<Overlay>) -> Self {
        latest.mark_changed();
        Self {
            latest,
            seen: Overlay::default(),
        }
    }

    /// Waits until the overlay looks different from the last look; for ever once the network has ended.
    /// Safe to drop and call again.
    pub async fn changed(&mut self) {
        if self.latest.changed().await.is_err() {
            // Ready from then on, it would keep whatever loop waits for it among others from resting.
            std::future::pending::<()>().await;
        }
    }

    /// Looks: what has happened to the relations since the last look.
    pub fn look(&mut self) -> Vec<NeighborChange> {
        let latest = self.latest.borrow_and_update();
        if *latest == self.seen {
            return Vec::new();
        }
        // Copied: the swarm waits with the next one for as long as this is borrowed.
        let latest = latest.clone();
        let changes = latest.changes_since(&self.seen);
        self.seen = latest;
        changes
    }

    /// The overlay at the last look.
    #[must_use]
    pub fn seen(&self) -> &Overlay {
        &self.seen
    }
}

/// All peers that we have a connection or a neighbour relation with.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// The oldest connection first: the others are likely to be closed soon.
    connections: BTreeMap<PeerId, Vec<Connection>>,
    neighbors: BTreeMap<PeerId, Neighbor>,
    ended: BTreeMap<PeerId, Ended>,
    /// Counts the changes of relations.
    revision: u64,
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

    /// `peer` is a neighbour at these addresses, from `now` on unless it was one before.
    pub(super) fn up(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, now: SystemTime) {
        // For a move as well: that there are new addresses is told by this number.
        self.revision += 1;
        // It may only have moved.
        let known = self.neighbors.get(&peer);
        let neighbor = Neighbor {
            peer: node_id(&peer),
            hosts: self.hosts(&peer, &addresses),
            addresses,
            since: known.map_or(now, |known| known.since),
            rtt: self.rtt(&peer),
            role: known.and_then(|known| known.role),
            revision: self.revision,
        };
        self.neighbors.insert(peer, neighbor);
    }

    /// `peer` is no neighbour any more.
    pub(super) fn down(&mut self, peer: &PeerId, reason: DownReason) {
        if self.neighbors.remove(peer).is_none() {
            return;
        }
        self.revision += 1;
        let end = Ended {
            peer: node_id(peer),
            reason,
            revision: self.revision,
        };
        self.ended.insert(*peer, end);
        let ends = self.ended.iter();
        let oldest = ends
            .min_by_key(|(_, end)| end.revision)
            .map(|(peer, _)| *peer);
        if self.ended.len() > ENDED_MAX
            && let Some(oldest) = oldest
        {
            self.ended.remove(&oldest);
        }
    }

    /// The edge to a neighbour has another role in the tree that is followed. `true` if that is news.
    pub(super) fn edge_changed(&mut self, peer: &PeerId, role: EdgeRole) -> bool {
        // The tree may hear of the end of a relation later than we do.
        let neighbor = self.neighbors.get_mut(peer);
        neighbor.is_some_and(|neighbor| neighbor.role.replace(role) != Some(role))
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
        let mut ended: Vec<Ended> = self.ended.values().cloned().collect();
        ended.sort_unstable_by(|a, b| a.peer.cmp(&b.peer));
        Overlay {
            active,
            ended,
            revision: self.revision,
            passive,
            // Both are discovery's to say, see `publish_overlay`.
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

    use hyparview::DownReason;
    use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
    use plumtree::EdgeRole;
    use tokio::sync::watch;

    use super::{ENDED_MAX, NeighborChange, Neighbors, Peers, node_id};
    use crate::identity::NodeId;

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
        peers.down(&peer, DownReason::Closed);
        assert!(peers.overlay(0).active.is_empty());
    }

    /// What a look tells, as words.
    fn words(changes: &[NeighborChange], peers: &[PeerId]) -> Vec<String> {
        let number = |id: &NodeId| peers.iter().position(|peer| node_id(peer) == *id).unwrap();
        let word = |change: &NeighborChange| match change {
            NeighborChange::Up(neighbor) => format!("up {}", number(&neighbor.peer)),
            NeighborChange::Down { peer, reason } => format!("{} {}", reason.name(), number(peer)),
        };
        changes.iter().map(word).collect()
    }

    #[test]
    fn a_look_tells_what_happened_since_the_last_one_in_its_order() {
        let mut peers = Peers::default();
        let ids: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
        let up = |peers: &mut Peers, number: usize| {
            peers.up(ids[number], Vec::new(), SystemTime::UNIX_EPOCH);
        };
        let (sender, receiver) = watch::channel(peers.overlay(0));
        let mut neighbors = Neighbors::new(receiver);
        assert!(neighbors.look().is_empty());
        let mut look = |peers: &Peers| {
            sender.send_replace(peers.overlay(0));
            words(&neighbors.look(), &ids)
        };
        up(&mut peers, 2);
        up(&mut peers, 0);
        assert_eq!(look(&peers), ["up 2", "up 0"]);
        assert!(look(&peers).is_empty(), "told once");
        // Between two looks one came back, one came and went, one went.
        peers.down(&ids[0], DownReason::Left);
        up(&mut peers, 0);
        up(&mut peers, 1);
        peers.down(&ids[1], DownReason::Dropped);
        peers.down(&ids[2], DownReason::Silent);
        assert_eq!(look(&peers), ["left 0", "up 0", "dropped 1", "silent 2"]);
        // An address that changes is told as well, without an end.
        up(&mut peers, 0);
        assert_eq!(look(&peers), ["up 0"]);
        // What is no change of a relation is none.
        peers.edge_changed(&ids[0], EdgeRole::Eager);
        assert!(look(&peers).is_empty());
        // Who never was a neighbour cannot end.
        peers.down(&ids[1], DownReason::Closed);
        assert!(look(&peers).is_empty());
    }

    #[test]
    fn who_looks_late_takes_forgotten_ends_for_losses() {
        let mut peers = Peers::default();
        let first = PeerId::random();
        peers.up(first, Vec::new(), SystemTime::UNIX_EPOCH);
        let seen = peers.overlay(0);
        peers.down(&first, DownReason::Left);
        for _ in 0..ENDED_MAX {
            let peer = PeerId::random();
            peers.up(peer, Vec::new(), SystemTime::UNIX_EPOCH);
            peers.down(&peer, DownReason::Dropped);
        }
        let latest = peers.overlay(0);
        assert_eq!(latest.ended.len(), ENDED_MAX);
        let changes = latest.changes_since(&seen);
        assert_eq!(words(&changes[..1], &[first]), ["closed 0"]);
        assert_eq!(changes.len(), 1 + ENDED_MAX);
    }

    #[test]
    fn an_edge_has_its_role_until_the_relation_ends() {
        let mut peers = Peers::default();
        let peer = PeerId::random();
        assert!(!peers.edge_changed(&peer, EdgeRole::Eager), "no neighbour");
        peers.up(peer, Vec::new(), SystemTime::UNIX_EPOCH);
        assert_eq!(peers.overlay(0).active[0].role, None, "no tree is followed");
        assert!(peers.edge_changed(&peer, EdgeRole::Parent));
        assert!(!peers.edge_changed(&peer, EdgeRole::Parent));
        peers.up(peer, addresses(&["10.0.0.2"]), SystemTime::UNIX_EPOCH);
        assert_eq!(peers.overlay(0).active[0].role, Some(EdgeRole::Parent));
        peers.down(&peer, DownReason::Closed);
        peers.up(peer, Vec::new(), SystemTime::UNIX_EPOCH);
        assert_eq!(peers.overlay(0).active[0].role, None);
    }
}
