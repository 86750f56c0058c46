//! Peers that multicast DNS found on the local network.
//!
//! Any libp2p program answers there, nodes of other clusters too; who does not belong is found
//! out by talking to it, and left alone for a while after that.

use std::collections::BTreeMap;

use libp2p::{Multiaddr, PeerId};

use super::address;

/// Most peers remembered; a LAN with more still has enough of them to join through.
const PEERS_MAX: usize = 256;
/// Most addresses of one peer.
const ADDRESSES_MAX: usize = 8;

/// Who is on the local network now.
#[derive(Debug, Default)]
pub struct Mdns {
    peers: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// Where the next candidates are taken from, so that all get their turn.
    last: Option<PeerId>,
}

impl Mdns {
    /// Takes in what was discovered; gives the peers that are new.
    pub fn discovered(&mut self, found: Vec<(PeerId, Multiaddr)>) -> Vec<PeerId> {
        let mut fresh = Vec::new();
        for (peer, address) in found {
            let known = self.peers.contains_key(&peer);
            if !known && self.peers.len() >= PEERS_MAX {
                // Not the end of the list: further on may be another address of somebody who is known.
                continue;
            }
            if !known {
                fresh.push(peer);
            }
            let addresses = self.peers.entry(peer).or_default();
            let (address, _) = address::split_peer(&address);
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        fresh
    }

    /// Forgets what has expired.
    pub fn expired(&mut self, gone: Vec<(PeerId, Multiaddr)>) {
        for (peer, address) in gone {
            let (address, _) = address::split_peer(&address);
            if let Some(addresses) = self.peers.get_mut(&peer) {
                addresses.retain(|known| *known != address);
                if addresses.is_empty() {
                    self.peers.remove(&peer);
                }
            }
        }
    }

    /// The addresses found of `peer`.
    #[must_use]
    pub fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.peers.get(peer).cloned().unwrap_or_default()
    }

    /// Up to `count` peers to join through, others each time.
    pub fn candidates(
        &mut self,
        count: usize,
        welcome: impl Fn(&PeerId) -> bool,
    ) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let after = self
            .peers
            .iter()
            .filter(|(peer, _)| self.last.is_none_or(|it| **peer > it));
        let before = self
            .peers
            .iter()
            .filter(|(peer, _)| self.last.is_some_and(|it| **peer <= it));
        let chosen: Vec<_> = after
            .chain(before)
            .filter(|(peer, _)| welcome(peer))
            .take(count)
            .map(|(peer, addresses)| (*peer, addresses.clone()))
            .collect();
        self.last = chosen.last().map_or(self.last, |(peer, _)| Some(*peer));
        chosen
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use libp2p::{Multiaddr, PeerId};

    use super::{ADDRESSES_MAX, Mdns, PEERS_MAX};

    fn address(port: usize) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn peers_come_and_go_with_their_addresses() {
        let mut mdns = Mdns::default();
        let peer = PeerId::random();
        let full = address(1).with_p2p(peer).unwrap();
        assert_eq!(
            mdns.discovered(vec![(peer, full.clone()), (peer, address(2))]),
            [peer]
        );
        assert_eq!(mdns.discovered(vec![(peer, address(2))]), []);
        assert_eq!(mdns.addresses(&peer), [address(1), address(2)]);
        mdns.expired(vec![(peer, full)]);
        assert_eq!(mdns.addresses(&peer), [address(2)]);
        mdns.expired(vec![(peer, address(2))]);
        assert_eq!(mdns.discovered(vec![(peer, address(2))]), [peer]);
    }

    #[test]
    fn all_welcome_ones_get_their_turn() {
        let mut mdns = Mdns::default();
        let peers: Vec<PeerId> = (0..5).map(|_| PeerId::random()).collect();
        mdns.discovered(peers.iter().map(|peer| (*peer, address(1))).collect());
        let unwelcome = peers[0];
        let mut seen = BTreeSet::new();
        for _ in 0..2 {
            let chosen = mdns.candidates(2, |peer| *peer != unwelcome);
            assert_eq!(chosen.len(), 2);
            seen.extend(chosen.into_iter().map(|(peer, _)| peer));
        }
        assert_eq!(seen.len(), 4);
        assert!(!seen.contains(&unwelcome));
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut mdns = Mdns::default();
        mdns.discovered(
            (0..1000)
                .map(|port| (PeerId::random(), address(port)))
                .collect(),
        );
        assert_eq!(mdns.peers.len(), PEERS_MAX);
        let peer = *mdns.peers.keys().next().unwrap();
        mdns.discovered((0..100).map(|port| (peer, address(port))).collect());
        assert_eq!(mdns.addresses(&peer).len(), ADDRESSES_MAX);
    }
}
