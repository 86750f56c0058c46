//! Addresses of peers at which somebody else was met.
//!
//! Private addresses are not unique: a node advertises all that it has, and at one of them, in the network of
//! whoever dials, a third node may listen. A dial that meets it ends as a whole, whatever good addresses are
//! left. So such an address is left out for a while, and the rest is dialled at once.

use std::{collections::BTreeMap, time::Duration};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

/// The address may be right again once one of the three has moved.
const STRAYS_FOR: Duration = Duration::from_secs(600);

/// Most that are remembered. Forgetting one costs a dial.
const STRAYS_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Strays {
    met: BTreeMap<(PeerId, Multiaddr), Duration>,
}

impl Strays {
    /// A dial to `peer` met somebody else at `address`.
    pub(super) fn met(&mut self, peer: PeerId, address: &Multiaddr, now: Duration) {
        self.met.retain(|_, since| now < *since + STRAYS_FOR);
        if self.met.len() >= STRAYS_MAX {
            let oldest = self.met.iter().min_by_key(|(_, since)| **since);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.met.remove(&oldest);
            }
        }
        self.met.insert((peer, bare(address)), now);
    }

    /// `peer` itself was met at `address`.
    pub(super) fn found(&mut self, peer: PeerId, address: &Multiaddr) {
        // Most nodes never meet anybody else: no address is copied to look for nothing.
        if !self.met.is_empty() {
            self.met.remove(&(peer, bare(address)));
        }
    }

    /// Whether an address of `peer` is worth a dial.
    pub(super) fn is_good(&self, peer: PeerId, address: &Multiaddr, now: Duration) -> bool {
        if self.met.is_empty() {
            return true;
        }
        let since = self.met.get(&(peer, bare(address)));
        since.is_none_or(|since| now >= *since + STRAYS_FOR)
    }
}

/// The address without the peer at its end.
fn bare(address: &Multiaddr) -> Multiaddr {
    let mut bare = address.clone();
    if matches!(bare.iter().last(), Some(Protocol::P2p(_))) {
        bare.pop();
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{number}").parse().unwrap()
    }

    #[test]
    fn a_stray_is_left_out_for_a_while_and_for_that_peer_alone() {
        let mut strays = Strays::default();
        let [peer, other] = [PeerId::random(), PeerId::random()];
        let full = address(1).with_p2p(peer).unwrap();
        strays.met(peer, &full, Duration::ZERO);
        let soon = Duration::from_secs(1);
        assert!(!strays.is_good(peer, &address(1), soon));
        assert!(!strays.is_good(peer, &full, soon));
        assert!(strays.is_good(peer, &address(2), soon));
        assert!(strays.is_good(other, &address(1), soon));
        assert!(strays.is_good(peer, &address(1), STRAYS_FOR));
        strays.found(peer, &full);
        assert!(strays.is_good(peer, &address(1), soon));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut strays, peer) = (Strays::default(), PeerId::random());
        for number in 0..1000 {
            let now = Duration::from_millis(u64::try_from(number).unwrap());
            strays.met(peer, &address(number), now);
        }
        assert_eq!(strays.met.len(), STRAYS_MAX);
        let now = Duration::from_secs(1);
        assert!(
            !strays.is_good(peer, &address(999), now),
            "the newest are kept"
        );
    }
}
