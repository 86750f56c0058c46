//! Our own addresses and the record that we sign of them.

use std::time::Duration;

use libp2p::{
    Multiaddr,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{ExternalAddresses, FromSwarm, ListenAddresses},
};
use tracing::error;

use crate::record::Record;

/// What the swarm says we can be reached at.
pub(super) struct Advertised {
    key: Keypair,
    listen: ListenAddresses,
    external: ExternalAddresses,
    /// Unix milliseconds at start.
    incarnation: u64,
    /// Of the last record; the next one's is higher.
    seq: u64,
}

impl Advertised {
    pub(super) fn new(key: Keypair, incarnation: u64) -> Self {
        Self {
            key,
            listen: ListenAddresses::default(),
            external: ExternalAddresses::default(),
            incarnation,
            seq: incarnation,
        }
    }

    /// Returns whether our addresses changed.
    pub(super) fn on_swarm_event(&mut self, event: &FromSwarm<'_>) -> bool {
        // Both must see the event, so no short circuit.
        self.listen.on_swarm_event(event) | self.external.on_swarm_event(event)
    }

    /// Signs our addresses, `now` after start.
    pub(super) fn sign(&mut self, now: Duration) -> Option<Record> {
        let elapsed = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.seq = self
            .incarnation
            .saturating_add(elapsed)
            .max(self.seq.saturating_add(1));
        let addresses = select(self.external.iter(), self.listen.iter());
        Record::sign(&self.key, self.seq, &addresses)
            .inspect_err(|error| error!(%error, "cannot sign our own record"))
            .ok()
    }
}

/// The addresses worth telling others: confirmed external ones, then those we listen on. Loopback is
/// told only when there is nothing else (a cluster on one machine): to others it leads to themselves.
fn select<'a>(
    external: impl Iterator<Item = &'a Multiaddr>,
    listen: impl Iterator<Item = &'a Multiaddr>,
) -> Vec<Multiaddr> {
    let mut listen: Vec<_> = listen.collect();
    // A stable order: the swarm keeps them in a hash set.
    listen.sort();
    let all: Vec<_> = external
        .chain(listen)
        .filter(|address| reach(address) > Reach::Nobody)
        .collect();
    let best = all.iter().map(|address| reach(address)).max();
    all.into_iter()
        .filter(|address| best == Some(Reach::Host) || reach(address) > Reach::Host)
        .cloned()
        .collect()
}

/// Who can use an address.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Nobody,
    Host,
    Others,
}

fn reach(address: &Multiaddr) -> Reach {
    match address.iter().next() {
        None => Reach::Nobody,
        Some(Protocol::Ip4(ip)) if ip.is_unspecified() => Reach::Nobody,
        Some(Protocol::Ip6(ip)) if ip.is_unspecified() => Reach::Nobody,
        // Link-local addresses mean nothing without the zone, which is the reader's own.
        Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local() => Reach::Nobody,
        Some(Protocol::Ip4(ip)) if ip.is_loopback() => Reach::Host,
        Some(Protocol::Ip6(ip)) if ip.is_loopback() => Reach::Host,
        Some(_) => Reach::Others,
    }
}

#[cfg(test)]
mod tests {
    use libp2p::{core::transport::ListenerId, swarm::behaviour::NewListenAddr};

    use super::*;

    fn told(external: &[&str], listen: &[&str]) -> Vec<String> {
        let parse = |list: &[&str]| -> Vec<Multiaddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (external, listen) = (parse(external), parse(listen));
        select(external.iter(), listen.iter())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn useless_addresses_are_not_told() {
        let listen = [
            "/ip4/0.0.0.0/tcp/1",
            "/ip6/::/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
        ];
        assert_eq!(told(&[], &listen), ["/ip4/10.0.0.1/tcp/1"]);
    }

    #[test]
    fn loopback_is_told_when_there_is_nothing_else() {
        let listen = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
        ];
        assert_eq!(
            told(&[], &listen),
            ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"]
        );
    }

    #[test]
    fn external_addresses_come_first() {
        let external = ["/dns4/node.example/tcp/1"];
        let listen = ["/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1"];
        assert_eq!(
            told(&external, &listen),
            ["/dns4/node.example/tcp/1", "/ip4/10.0.0.1/tcp/1"]
        );
    }

    #[test]
    fn every_record_is_newer_than_the_last() {
        let mut own = Advertised::new(Keypair::generate_ed25519(), 1000);
        let seqs: Vec<_> = [0, 0, 0, 9]
            .map(|now| own.sign(Duration::from_millis(now)).unwrap().seq())
            .into();
        assert_eq!(seqs, [1001, 1002, 1003, 1009]);
    }

    #[test]
    fn change_is_noticed_once() {
        let mut own = Advertised::new(Keypair::generate_ed25519(), 1);
        let addr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        let event = FromSwarm::NewListenAddr(NewListenAddr {
            listener_id: ListenerId::next(),
            addr: &addr,
        });
        assert!(own.on_swarm_event(&event));
        assert!(!own.on_swarm_event(&event));
        assert_eq!(
            own.sign(Duration::ZERO)
                .unwrap()
                .addresses()
                .collect::<Vec<_>>(),
            [&addr]
        );
    }
}
