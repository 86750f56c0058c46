//! What we know of peers' addresses: the newest envelope of each, and local hints.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::{Multiaddr, PeerId};

use super::{Record, RecordError, Signed};

/// Most peers remembered. It is a cache: a forgotten peer only costs a signature check again, or
/// loses the protection against an older record.
const PEERS_MAX: usize = 1024;

/// The newest record of each peer, shared by all connections.
///
/// Gossip repeats the same records all the time and delivers old ones late. The book spares the repeated
/// signature checks, and hands out the newest known record whatever came in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    peers: BTreeMap<PeerId, Entry>,
    /// Counts uses; orders entries by their last one.
    clock: u64,
}

#[derive(Debug, Default)]
struct Entry {
    record: Record,
    used: u64,
}

impl Book {
    /// Verifies an envelope that claims to be `peer`'s and returns the newest record of that peer.
    /// Also says whether a signature had to be checked.
    pub(crate) fn accept(
        &self,
        peer: PeerId,
        encoded: &[u8],
    ) -> Result<(Record, bool), RecordError> {
        if let Some(known) = self.pages().known(peer)
            && known.encoded() == Some(encoded)
        {
            return Ok((known.clone(), false));
        }
        // Checked outside the lock: connections must not wait for each other's signatures. And
        // before the peer gets a page: garbage must not push out what we know.
        let signed = Signed::verify(peer, encoded)?;
        let mut pages = self.pages();
        let record = &mut pages.entry(peer).record;
        if !record.is_signed() || record.seq() < signed.seq {
            record.signed = Some(Arc::new(signed));
        }
        Ok((record.clone(), true))
    }

    /// Adds what somebody local said about `peer`; newest hints first. Returns all that is known.
    pub(crate) fn hint(
        &self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
    ) -> Record {
        let mut pages = self.pages();
        let record = &mut pages.entry(peer).record;
        let older = std::mem::take(&mut record.hints);
        record.hints = super::dialable(peer, addresses.into_iter().chain(older));
        record.clone()
    }

    /// All that is known of `peer`, which may be nothing.
    pub(crate) fn get(&self, peer: PeerId) -> Record {
        self.pages().known(peer).cloned().unwrap_or_default()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // A panic elsewhere cannot leave a page half written: every change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn known(&mut self, peer: PeerId) -> Option<&Record> {
        self.clock += 1;
        let entry = self.peers.get_mut(&peer)?;
        entry.used = self.clock;
        Some(&entry.record)
    }

    fn entry(&mut self, peer: PeerId) -> &mut Entry {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            let oldest = self
                .peers
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.peers.remove(&oldest);
            }
        }
        self.clock += 1;
        let entry = self.peers.entry(peer).or_default();
        entry.used = self.clock;
        entry
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    fn sign(key: &Keypair, seq: u64, port: u16) -> Vec<u8> {
        let record = Record::sign(key, seq, &[address(port)]).unwrap();
        record.encoded().unwrap().to_vec()
    }

    #[test]
    fn newest_record_wins_whatever_the_order() {
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let book = Book::default();
        for (seq, port, expected) in [(2, 20, 20), (1, 10, 20), (3, 30, 30), (3, 31, 30)] {
            let (record, checked) = book.accept(peer, &sign(&key, seq, port)).unwrap();
            assert!(checked);
            assert_eq!(record.addresses().collect::<Vec<_>>(), [&address(expected)]);
        }
    }

    #[test]
    fn known_envelope_is_not_checked_again() {
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let book = Book::default();
        let encoded = sign(&key, 1, 1);
        assert!(book.accept(peer, &encoded).unwrap().1);
        assert!(!book.accept(peer, &encoded).unwrap().1);
    }

    #[test]
    fn refused_record_leaves_the_known_one() {
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let book = Book::default();
        let good = book.accept(peer, &sign(&key, 1, 1)).unwrap().0;
        let stranger = sign(&Keypair::generate_ed25519(), 9, 9);
        assert!(matches!(
            book.accept(peer, &stranger),
            Err(RecordError::OfAnotherPeer(_))
        ));
        assert_eq!(book.get(peer), good);
    }

    #[test]
    fn hints_survive_a_signed_record_and_are_dialled_after_it() {
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let book = Book::default();
        assert!(!book.hint(peer, [address(1)]).is_signed());
        let (record, _) = book.accept(peer, &sign(&key, 1, 2)).unwrap();
        assert!(record.is_signed());
        assert_eq!(
            record.addresses().collect::<Vec<_>>(),
            [&address(2), &address(1)]
        );
        let record = book.hint(peer, [address(3)]);
        let ports = [address(2), address(3), address(1)];
        assert_eq!(
            record.addresses().collect::<Vec<_>>(),
            ports.iter().collect::<Vec<_>>()
        );
    }

    #[test]
    fn book_is_bounded_and_forgets_the_least_recently_used() {
        let book = Book::default();
        let first = PeerId::random();
        let second = PeerId::random();
        book.hint(first, [address(1)]);
        book.hint(second, [address(2)]);
        book.get(first);
        for _ in 2..=PEERS_MAX {
            book.hint(PeerId::random(), []);
        }
        assert_eq!(book.pages().peers.len(), PEERS_MAX);
        assert_ne!(book.get(first), Record::default());
        assert_eq!(book.get(second), Record::default());
    }
}
