//! Questions about multiaddresses.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

/// The address without the `/p2p/<PeerId>` at its end, and that peer.
pub(crate) fn split_peer(address: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut bare = address.clone();
    match bare.pop() {
        Some(Protocol::P2p(peer)) => (bare, Some(peer)),
        _ => (address.clone(), None),
    }
}

/// The IP address that it begins with.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// The same address at another IP.
pub(crate) fn with_ip(address: &Multiaddr, ip: IpAddr) -> Multiaddr {
    let first = match ip {
        IpAddr::V4(ip) => Protocol::Ip4(ip),
        IpAddr::V6(ip) => Protocol::Ip6(ip),
    };
    std::iter::once(first)
        .chain(address.iter().skip(1))
        .collect()
}

/// Whether it is QUIC's.
pub(crate) fn is_quic(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::Quic | Protocol::QuicV1))
}

#[cfg(test)]
mod tests {
    use libp2p::Multiaddr;

    use super::{ip, is_quic, split_peer, with_ip};

    #[test]
    fn parts_are_found() {
        let peer = libp2p::PeerId::random();
        let bare: Multiaddr = "/ip4/10.0.0.1/udp/7/quic-v1".parse().unwrap();
        let full: Multiaddr = format!("{bare}/p2p/{peer}").parse().unwrap();
        assert_eq!(split_peer(&full), (bare.clone(), Some(peer)));
        assert_eq!(split_peer(&bare), (bare.clone(), None));
        assert_eq!(ip(&bare), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(
            with_ip(&bare, "::1".parse().unwrap()),
            "/ip6/::1/udp/7/quic-v1".parse::<Multiaddr>().unwrap()
        );
        assert!(is_quic(&bare));
        let named: Multiaddr = "/dns4/a.example/tcp/1".parse().unwrap();
        assert_eq!(ip(&named), None);
        assert!(!is_quic(&named));
    }
}
