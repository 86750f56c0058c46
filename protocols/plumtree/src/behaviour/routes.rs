//! By which connection to speak to whom. Several connections to one peer are one peer here: we speak
//! over the newest that works, as the membership does, and listen on all.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::{PeerId, swarm::ConnectionId};

/// The connections that work and speak the protocol, as far as we know.
#[derive(Debug, Default)]
pub(super) struct Routes {
    usable: BTreeMap<PeerId, BTreeSet<ConnectionId>>,
}

impl Routes {
    pub(super) fn to(&self, peer: PeerId) -> Option<ConnectionId> {
        self.usable.get(&peer)?.last().copied()
    }

    pub(super) fn is_usable(&self, peer: PeerId, connection: ConnectionId) -> bool {
        self.usable
            .get(&peer)
            .is_some_and(|usable| usable.contains(&connection))
    }

    pub(super) fn established(&mut self, peer: PeerId, connection: ConnectionId) {
        self.usable.entry(peer).or_default().insert(connection);
    }

    pub(super) fn closed(&mut self, peer: PeerId, connection: ConnectionId) {
        self.give_up(peer, connection);
    }

    /// Nothing more is said or heard over this connection.
    pub(super) fn give_up(&mut self, peer: PeerId, connection: ConnectionId) {
        if let Some(usable) = self.usable.get_mut(&peer) {
            usable.remove(&connection);
            if usable.is_empty() {
                self.usable.remove(&peer);
            }
        }
    }

    pub(super) fn give_up_all(&mut self, peer: PeerId) {
        self.usable.remove(&peer);
    }
}
