//! Finds the way to a publisher's store.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::timeout;

use crate::replication::database::{Session, connect};
use crate::replication::desired::Neighbor;
use crate::replication::error::Error;
use crate::replication::observed::own_site;
use crate::replication::protocol::Offer;

/// One of a peer's addresses; others are tried after it.
const HOST_LIMIT: Duration = Duration::from_secs(2);

/// Connects to the publisher's store by the first address that leads there.
pub(super) async fn reach(neighbor: &Neighbor, offer: &Offer) -> Result<(String, Session), Error> {
    let hosts = candidates(neighbor, offer);
    let mut last = "the peer has no address".to_owned();
    for host in &hosts {
        match timeout(HOST_LIMIT, enter(host, offer)).await {
            Ok(Ok(session)) => return Ok((host.clone(), session)),
            Ok(Err(error)) => last = error,
            Err(_) => "no answer".clone_into(&mut last),
        }
    }
    let foreign = neighbor.hosts.iter().find(|host| !host.is_loopback());
    Err(match foreign {
        Some(host) if offer.loopback_only => Error::LoopbackOnly { host: *host },
        _ => Error::PublisherUnreachable {
            hosts: hosts.join(", "),
            port: offer.port,
            last,
        },
    })
}

/// The advertised host, or else the peer's own addresses. A store that listens on loopback only may
/// still be on this very machine, whatever address the controllers use.
pub(super) fn candidates(neighbor: &Neighbor, offer: &Offer) -> Vec<String> {
    if let Some(host) = &offer.host {
        return vec![host.clone()];
    }
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut hosts: Vec<_> = neighbor.hosts.clone();
    if offer.loopback_only {
        hosts.retain(IpAddr::is_loopback);
        if !hosts.contains(&loopback) {
            hosts.push(loopback);
        }
    }
    hosts.iter().map(ToString::to_string).collect()
}

/// Connects with the link's role and makes sure that it is the right store: another one may listen
/// on the same port of an address that several machines have.
async fn enter(host: &str, offer: &Offer) -> Result<Session, String> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(host)
        .port(offer.port)
        .user(&offer.user)
        .password(&offer.password)
        .dbname(&offer.database)
        .keepalives_idle(Duration::from_secs(10))
        .tcp_user_timeout(Duration::from_secs(30));
    let session = connect(&config, Duration::ZERO)
        .await
        .map_err(|error| error.to_string())?;
    match own_site(&session).await {
        Ok(site) if site == offer.publisher => Ok(session),
        Ok(_) => Err("another store answered".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
