//! What can be read off the behaviour at any time.

use std::{fmt, sync::Arc};

use libp2p::{Multiaddr, PeerId};

use crate::{Behaviour, Contact, CountersSnapshot, Record, State};

impl Behaviour {
    /// The neighbours, in order of their ids.
    pub fn active(&self) -> impl Iterator<Item = PeerId> {
        self.state.active()
    }

    /// How many peers are held in reserve.
    #[must_use]
    pub fn passive_len(&self) -> usize {
        self.state.passive().count()
    }

    /// Every peer worth remembering over a restart, and how to reach it.
    #[must_use]
    pub fn known(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let known = self.state.known();
        known
            .into_iter()
            .map(|contact| (contact.id, self.addresses(&contact)))
            .collect()
    }

    /// The address at the other end of our connection to `peer`. When the peer dialled us, its port is
    /// of no use, but its host is where the peer is.
    #[must_use]
    pub fn remote_address(&self, peer: PeerId) -> Option<&Multiaddr> {
        self.peers.remote_address(peer)
    }

    /// The state machine, for looking at.
    #[must_use]
    pub fn state(&self) -> &State<PeerId, Record> {
        &self.state
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.shared.protocol.counters.snapshot()
    }

    /// How many frames wait to be written, over all connections.
    #[must_use]
    pub fn pending_frames(&self) -> usize {
        Arc::strong_count(&self.ticket) - 1
    }

    /// All that is known of how to reach a peer; what its contact says first. Where somebody else was met
    /// is left out, unless nothing else is known.
    pub(super) fn addresses(&self, contact: &Contact<PeerId, Record>) -> Vec<Multiaddr> {
        let mut addresses: Vec<_> = contact.record.addresses().cloned().collect();
        for address in self.shared.protocol.book.get(contact.id).addresses() {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let now = self.timers.now();
        let is_good = |address: &Multiaddr| self.strays.is_good(contact.id, address, now);
        if addresses.iter().any(is_good) {
            addresses.retain(is_good);
        }
        addresses
    }

    /// The same of a peer without a contact at hand.
    pub(super) fn known_addresses(&self, id: PeerId) -> Vec<Multiaddr> {
        let record = self.shared.protocol.book.get(id);
        self.addresses(&Contact { id, record })
    }

    pub(super) fn ranked(&self, contact: &Contact<PeerId, Record>) -> Vec<Multiaddr> {
        self.peers.rank(contact.id, self.addresses(contact))
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("state", &self.state)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}
