//! What peers tell of themselves and of us: who is a stranger, and how we look from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use super::address;

/// Most strangers remembered. One more makes room for itself; it costs a log line.
const STRANGERS_MAX: usize = 256;
/// A stranger is not approached again for this long. It may have been given another
/// configuration by then.
const SHUN: Duration = Duration::from_secs(600);

/// Peers that do not belong to our cluster.
#[derive(Debug, Default)]
pub struct Strangers(BTreeMap<PeerId, Duration>);

impl Strangers {
    /// `peer` was found to be a stranger. `true` if that is news.
    pub fn met(&mut self, peer: PeerId, now: Duration) -> bool {
        if self.0.len() >= STRANGERS_MAX && !self.0.contains_key(&peer) {
            let oldest = self
                .0
                .iter()
                .min_by_key(|(_, met)| **met)
                .map(|(peer, _)| *peer);
            oldest.and_then(|peer| self.0.remove(&peer));
        }
        self.0.insert(peer, now).is_none()
    }

    /// `peer` turned out to belong to us. `true` if that is news.
    pub fn clear(&mut self, peer: &PeerId) -> bool {
        self.0.remove(peer).is_some()
    }

    /// Whether `peer` is to be left alone.
    #[must_use]
    pub fn shun(&self, peer: &PeerId, now: Duration) -> bool {
        self.0
            .get(peer)
            .is_some_and(|met| now.saturating_sub(*met) < SHUN)
    }
}

/// How many peers have to see us at one address before we believe that others can reach us there.
const OBSERVERS_MIN: usize = 2;
/// Most peers whose word is kept.
const WORDS_MAX: usize = 64;
/// Most addresses that we advertise because others saw us there.
const OBSERVED_MAX: usize = 4;

/// Addresses at which others see us, though we do not listen on them: a router or a container
/// host translates. Believed when two peers agree; lost when they no longer do.
#[derive(Debug, Default)]
pub struct Observed {
    /// Each peer's last word.
    words: BTreeMap<PeerId, IpAddr>,
    /// What we advertise because of them.
    believed: BTreeSet<Multiaddr>,
}

impl Observed {
    /// `observer` sees us at `seen`. What follows for the addresses that we advertise, given
    /// those that we listen on: new ones, and ones that no longer hold.
    pub fn seen_by(
        &mut self,
        observer: PeerId,
        seen: &Multiaddr,
        listen: &[Multiaddr],
    ) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
        // A peer on this machine sees us where nobody else can reach us.
        let Some(ip) = address::ip(seen).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        else {
            return (Vec::new(), Vec::new());
        };
        if self.words.len() >= WORDS_MAX && !self.words.contains_key(&observer) {
            self.words.pop_first();
        }
        // One word for each peer, however often it speaks: nobody is two observers.
        self.words.insert(observer, ip);
        let now_believed = self.conclude(listen);
        let fresh = now_believed.difference(&self.believed).cloned().collect();
        let stale = self.believed.difference(&now_believed).cloned().collect();
        self.believed = now_believed;
        (fresh, stale)
    }

    fn conclude(&self, listen: &[Multiaddr]) -> BTreeSet<Multiaddr> {
        let mut observers: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for ip in self.words.values() {
            *observers.entry(*ip).or_default() += 1;
        }
        let own: BTreeSet<IpAddr> = listen.iter().filter_map(address::ip).collect();
        observers
            .into_iter()
            .filter(|(ip, count)| *count >= OBSERVERS_MIN && !own.contains(ip))
            .flat_map(|(ip, _)| {
                // Whoever translates usually keeps the port.
                listen
                    .iter()
                    .filter(move |address| same_family(address, ip))
                    .map(move |address| address::with_ip(address, ip))
            })
            .take(OBSERVED_MAX)
            .collect()
    }
}

fn same_family(address: &Multiaddr, ip: IpAddr) -> bool {
    matches!(
        (address.iter().next(), ip),
        (Some(Protocol::Ip4(_)), IpAddr::V4(_)) | (Some(Protocol::Ip6(_)), IpAddr::V6(_))
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libp2p::{Multiaddr, PeerId};

    use super::{Observed, SHUN, STRANGERS_MAX, Strangers};

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_stranger_is_news_once_and_shunned_for_a_while() {
        let mut strangers = Strangers::default();
        let peer = PeerId::random();
        assert!(strangers.met(peer, Duration::ZERO));
        assert!(!strangers.met(peer, Duration::from_secs(1)));
        assert!(strangers.shun(&peer, SHUN));
        assert!(!strangers.shun(&peer, SHUN * 2));
        strangers.clear(&peer);
        assert!(!strangers.shun(&peer, Duration::from_secs(1)));
        for second in 0..1000 {
            strangers.met(PeerId::random(), Duration::from_secs(second));
        }
        assert_eq!(strangers.0.len(), STRANGERS_MAX);
    }

    #[test]
    fn two_observers_are_believed_and_one_is_not() {
        let listen = [
            address("/ip4/10.0.0.5/tcp/7400"),
            address("/ip4/10.0.0.5/udp/7400/quic-v1"),
        ];
        let outside = address("/ip4/198.51.100.7/tcp/40001");
        let mut observed = Observed::default();
        let (first, second) = (PeerId::random(), PeerId::random());
        assert_eq!(observed.seen_by(first, &outside, &listen), (vec![], vec![]));
        assert_eq!(observed.seen_by(first, &outside, &listen), (vec![], vec![]));
        let (fresh, _) = observed.seen_by(second, &outside, &listen);
        assert_eq!(
            fresh,
            [
                address("/ip4/198.51.100.7/tcp/7400"),
                address("/ip4/198.51.100.7/udp/7400/quic-v1")
            ]
        );
        // One of them now sees us elsewhere: we have moved.
        let elsewhere = address("/ip4/203.0.113.9/tcp/40001");
        let (fresh, stale) = observed.seen_by(first, &elsewhere, &listen);
        assert_eq!((fresh.len(), stale.len()), (0, 2));
    }

    #[test]
    fn what_we_listen_on_and_loopback_need_no_observer() {
        let listen = [
            address("/ip4/10.0.0.5/tcp/7400"),
            address("/ip4/127.0.0.1/tcp/7400"),
        ];
        let mut observed = Observed::default();
        for seen in ["/ip4/10.0.0.5/tcp/9", "/ip4/127.0.0.2/tcp/9"] {
            for _ in 0..3 {
                let outcome = observed.seen_by(PeerId::random(), &address(seen), &listen);
                assert_eq!(outcome, (vec![], vec![]));
            }
        }
    }
}
