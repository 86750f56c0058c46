//! Which peers are connected, by which connection to speak to them, and what waits for a dial.
//!
//! Several connections to one peer (both sides dialled, or other protocols did) are one peer here: we
//! speak over the newest that works, and listen on all. The newest, because a peer that comes back
//! after a power cut leaves its old connection half open for a long time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, multiaddr::Protocol},
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use substream::Frame;

use crate::settings::Settings;

/// Most frames that wait for one dial. The machine asks a stranger for one thing at a time.
const OUTBOX_FRAMES_MAX: usize = 16;

/// Where a frame goes.
#[derive(Debug)]
pub(super) enum Route {
    /// Over this connection.
    Via(ConnectionId, Frame),
    /// It waits for a dial.
    Waits,
    /// It was given up; others to the same peer wait for a dial.
    Shed,
    /// Nowhere: the peer does not speak the protocol, or too many others wait already.
    Nowhere,
}

/// What came of a dial that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// What waited for it waits for another one.
    Again,
    /// What waited for it, if anything did, is dropped.
    GivenUp { peer: PeerId, waited: bool },
}

#[derive(Debug)]
pub(super) struct Peers {
    peers: BTreeMap<PeerId, Peer>,
    /// Our dials under way.
    dials: BTreeMap<ConnectionId, PeerId>,
    /// Peers with an outbox whose dial has not begun.
    waiting: VecDeque<PeerId>,
    dials_max: usize,
    waiting_max: usize,
    /// What waited longer is of no use to anybody: the machine has given it up.
    wait_max: Duration,
}

#[derive(Debug, Default)]
struct Peer {
    connections: BTreeMap<ConnectionId, Connection>,
    kept: bool,
    outbox: Option<Outbox>,
}

#[derive(Debug)]
struct Connection {
    condition: Condition,
    endpoint: ConnectedPoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// Speaks the protocol, as far as we know.
    Usable,
    /// Does not speak the protocol; others may use it.
    Mute,
    /// About to be closed. That can take long when the peer is frozen, so it counts as gone.
    GivenUp,
}

#[derive(Debug, Default)]
struct Outbox {
    /// With the time at which each began to wait.
    frames: VecDeque<(Instant, Frame)>,
    addresses: Vec<Multiaddr>,
    dial: Option<ConnectionId>,
}

impl Peers {
    pub(super) fn new(settings: &Settings, wait_max: Duration) -> Self {
        Self {
            peers: BTreeMap::new(),
            dials: BTreeMap::new(),
            waiting: VecDeque::new(),
            dials_max: settings.dials_max(),
            waiting_max: settings.waiting_peers_max(),
            wait_max,
        }
    }

    /// Whether there is a connection to `peer`, or a dial for what waits already.
    pub(super) fn is_within_reach(&self, peer: PeerId) -> bool {
        self.peers
            .get(&peer)
            .is_some_and(|entry| entry.outbox.is_some())
            || self.usable_connection(peer).is_some()
    }

    /// The connection to speak over, if there is one.
    fn usable_connection(&self, peer: PeerId) -> Option<ConnectionId> {
        self.peers
            .get(&peer)?
            .usable()
            .map(|(connection, _)| connection)
            .last()
    }

    pub(super) fn remote_address(&self, peer: PeerId) -> Option<&Multiaddr> {
        let (_, connection) = self.peers.get(&peer)?.usable().last()?;
        Some(connection.endpoint.get_remote_address())
    }

    pub(super) fn is_usable(&self, peer: PeerId, connection: ConnectionId) -> bool {
        self.peers
            .get(&peer)
            .and_then(|known| known.connections.get(&connection))
            .is_some_and(|connection| connection.condition == Condition::Usable)
    }

    /// Decides where a frame goes, dialling `addresses` when there is no connection.
    pub(super) fn route(
        &mut self,
        peer: PeerId,
        frame: Frame,
        addresses: impl FnOnce() -> Vec<Multiaddr>,
    ) -> Route {
        if let Some(connection) = self.usable_connection(peer) {
            return Route::Via(connection, frame);
        }
        let entry = self.peers.entry(peer).or_default();
        if entry
            .connections
            .values()
            .any(|connection| connection.condition == Condition::Mute)
        {
            // Connected, but it does not speak our protocol: another dial would end in the same.
            return Route::Nowhere;
        }
        // A peer that is being dialled already takes more; only another peer would need room.
        if entry.outbox.is_none() && self.waiting.len() >= self.waiting_max {
            self.forget_if_idle(peer);
            return Route::Nowhere;
        }
        let outbox = entry.outbox.get_or_insert_with(|| {
            self.waiting.push_back(peer);
            Outbox {
                addresses: addresses(),
                ..Outbox::default()
            }
        });
        // Shed rather than refused: the dial is under way, and the first frames may yet be sent.
        if outbox.frames.len() >= OUTBOX_FRAMES_MAX {
            return Route::Shed;
        }
        outbox.frames.push_back((Instant::now(), frame));
        Route::Waits
    }

    /// The next dial to begin, if one waits and there are not too many under way.
    pub(super) fn next_dial(&mut self) -> Option<DialOpts> {
        while self.dials.len() < self.dials_max {
            let peer = self.waiting.pop_front()?;
            let outbox = self
                .peers
                .get_mut(&peer)
                .and_then(|entry| entry.outbox.as_mut());
            let Some(outbox) = outbox else { continue };
            // Always: another dial to the same peer may be under way for somebody else and fail for
            // want of a good address. A second connection does no harm. A new port: from the listening
            // port, two simultaneous dials would be one TCP connection with two dialling ends. Nobody adds
            // addresses: it could be one at which somebody else was met.
            let opts = DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(outbox.addresses.clone())
                .allocate_new_port()
                .build();
            outbox.dial = Some(opts.connection_id());
            self.dials.insert(opts.connection_id(), peer);
            return Some(opts);
        }
        None
    }

    /// A connection came up, whoever asked for it. Returns what waited for one, and not for too long.
    pub(super) fn established(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: ConnectedPoint,
    ) -> Vec<Frame> {
        self.dials.remove(&connection);
        let entry = self.peers.entry(peer).or_default();
        entry.connections.insert(
            connection,
            Connection {
                condition: Condition::Usable,
                endpoint,
            },
        );
        // Whoever has dialled: what waited for our dial goes over this connection.
        let outbox = entry.outbox.take().unwrap_or_default();
        // The dial has not begun, and is not needed any more.
        if outbox.dial.is_none() {
            self.waiting.retain(|waiting| *waiting != peer);
        }
        // An old request has been given up by the machine meanwhile: sent now it would make a relation that
        // nobody wants.
        let in_time = |since: &Instant| since.elapsed() < self.wait_max;
        outbox
            .frames
            .into_iter()
            .filter(|(since, _)| in_time(since))
            .map(|(_, frame)| frame)
            .collect()
    }

    /// A dial of ours failed; `is_good` tells of its addresses which are worth another one. There is another
    /// one if these are some, but not all: so it comes to an end.
    pub(super) fn dial_failed(
        &mut self,
        connection: ConnectionId,
        is_good: impl FnMut(&Multiaddr) -> bool,
    ) -> Option<Failed> {
        let peer = self.dials.remove(&connection)?;
        let outbox = self.peers.get_mut(&peer).map(|entry| &mut entry.outbox);
        let mut outbox = outbox.and_then(|it| it.as_mut().filter(|it| it.dial == Some(connection)));
        if let Some(outbox) = &mut outbox {
            let tried = outbox.addresses.len();
            outbox.addresses.retain(is_good);
            if (1..tried).contains(&outbox.addresses.len()) {
                outbox.dial = None;
                self.waiting.push_back(peer);
                return Some(Failed::Again);
            }
        }
        let waited = outbox.is_some();
        if waited && let Some(entry) = self.peers.get_mut(&peer) {
            entry.outbox = None;
        }
        self.forget_if_idle(peer);
        Some(Failed::GivenUp { peer, waited })
    }

    /// A connection closed. Returns whether it was the last one that worked.
    pub(super) fn closed(&mut self, peer: PeerId, connection: ConnectionId) -> bool {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return false;
        };
        let closed = entry.connections.remove(&connection);
        let lost = closed.is_some_and(|connection| connection.condition == Condition::Usable)
            && entry.usable().next().is_none();
        if lost {
            // The machine hears of the loss, and says anew if it wants the next connection held.
            entry.kept = false;
        }
        self.forget_if_idle(peer);
        lost
    }

    /// Nothing more is said or heard over this connection, which is about to be closed. Returns
    /// whether it was the last one that worked.
    pub(super) fn give_up(&mut self, peer: PeerId, connection: ConnectionId) -> bool {
        self.set_condition(peer, connection, Condition::GivenUp)
    }

    /// The peer does not speak the protocol over this connection. Returns whether it was the
    /// last one that seemed to work.
    pub(super) fn mute(&mut self, peer: PeerId, connection: ConnectionId) -> bool {
        self.set_condition(peer, connection, Condition::Mute)
    }

    fn set_condition(&mut self, peer: PeerId, connection: ConnectionId, to: Condition) -> bool {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return false;
        };
        let Some(known) = entry.connections.get_mut(&connection) else {
            return false;
        };
        let was = std::mem::replace(&mut known.condition, to);
        was == Condition::Usable && entry.usable().next().is_none()
    }

    /// Gives up all connections to `peer` and what waits for it. Returns whether any worked.
    pub(super) fn give_up_all(&mut self, peer: PeerId) -> bool {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return false;
        };
        let worked = entry.usable().next().is_some();
        for connection in entry.connections.values_mut() {
            connection.condition = Condition::GivenUp;
        }
        entry.kept = false;
        entry.outbox = None;
        self.waiting.retain(|waiting| *waiting != peer);
        self.forget_if_idle(peer);
        worked
    }

    /// Marks `peer` as a neighbour or not. Returns the connections that must hear of it.
    pub(super) fn keep(&mut self, peer: PeerId, kept: bool) -> Vec<ConnectionId> {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return Vec::new();
        };
        if entry.kept == kept {
            return Vec::new();
        }
        entry.kept = kept;
        // All of them: the peer may speak over another one than we do.
        entry.usable().map(|(connection, _)| connection).collect()
    }

    pub(super) fn is_kept(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|entry| entry.kept)
    }

    /// Puts `addresses` in order of proof: the one we reached the peer at, those on a host that it is
    /// connected from, the rest.
    pub(super) fn rank(&self, peer: PeerId, mut addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let usable = || self.peers.get(&peer).into_iter().flat_map(Peer::usable);
        let hosts: Vec<Protocol<'_>> = usable()
            .filter_map(|(_, connection)| connection.endpoint.get_remote_address().iter().next())
            .collect();
        // Stable: within each half the order of the peer's own record stays.
        addresses.sort_by_key(|address| {
            !address
                .iter()
                .next()
                .is_some_and(|host| hosts.contains(&host))
        });
        for (_, connection) in usable() {
            if let ConnectedPoint::Dialer { address, .. } = &connection.endpoint {
                let mut reached = address.clone();
                if matches!(reached.iter().last(), Some(Protocol::P2p(_))) {
                    reached.pop();
                }
                addresses.retain(|address| *address != reached);
                addresses.insert(0, reached);
            }
        }
        addresses
    }

    fn forget_if_idle(&mut self, peer: PeerId) {
        if self
            .peers
            .get(&peer)
            .is_some_and(|entry| entry.connections.is_empty() && entry.outbox.is_none())
        {
            self.peers.remove(&peer);
        }
    }
}

impl Peer {
    /// Connections that work, oldest first.
    fn usable(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.condition == Condition::Usable)
            .map(|(id, connection)| (*id, connection))
    }
}

#[cfg(test)]
mod tests;
