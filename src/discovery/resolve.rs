//! Names in addresses, resolved by the system's own resolver.
//!
//! So `/etc/hosts`, container networks, split horizons and multicast names work as they do for
//! every other program of the host, and a changed answer is seen at the next attempt. Keeping
//! it out of the transport also means that the address of every connection is an IP address.

use std::{io, net::IpAddr, time::Duration};

use libp2p::{Multiaddr, multiaddr::Protocol};

use super::address;

/// Most addresses that one name may stand for. Joining through a few is as good as through all.
const ADDRESSES_MAX: usize = 4;
/// A resolver that takes longer is treated as one that fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// The addresses that `address` stands for: itself, unless it begins with a name.
///
/// # Errors
///
/// If the name does not resolve to any address of the wanted kind.
pub async fn resolve(address: &Multiaddr) -> io::Result<Vec<Multiaddr>> {
    let Some((name, wanted)) = name(address) else {
        return Ok(vec![address.clone()]);
    };
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name.as_str(), 0)))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))??;
    let mut addresses: Vec<Multiaddr> = Vec::new();
    for ip in found.map(|found| found.ip()).filter(wanted) {
        let resolved = address::with_ip(address, ip);
        if !addresses.contains(&resolved) {
            addresses.push(resolved);
        }
    }
    // Nodes that resolve one name must not all pick the same few.
    rand::seq::SliceRandom::shuffle(&mut addresses[..], &mut rand::rng());
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no address of that kind",
        ));
    }
    Ok(addresses)
}

type Wanted = fn(&IpAddr) -> bool;

fn name(address: &Multiaddr) -> Option<(String, Wanted)> {
    match address.iter().next()? {
        Protocol::Dns(name) => Some((name.into_owned(), |_| true)),
        Protocol::Dns4(name) => Some((name.into_owned(), IpAddr::is_ipv4)),
        Protocol::Dns6(name) => Some((name.into_owned(), IpAddr::is_ipv6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use libp2p::Multiaddr;

    use super::resolve;

    #[tokio::test]
    async fn names_become_addresses_of_the_wanted_kind() {
        let plain: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        assert_eq!(resolve(&plain).await.unwrap(), std::slice::from_ref(&plain));
        let named: Multiaddr = "/dns4/localhost/udp/5/quic-v1".parse().unwrap();
        let expected: Multiaddr = "/ip4/127.0.0.1/udp/5/quic-v1".parse().unwrap();
        assert_eq!(resolve(&named).await.unwrap(), [expected]);
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_an_error() {
        let named: Multiaddr = "/dns/nothing.invalid/tcp/1".parse().unwrap();
        assert!(resolve(&named).await.is_err());
    }
}
