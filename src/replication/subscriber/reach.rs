//! Finds the way to a publisher's store, and makes sure that it is the publisher's.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    driver::DriverError,
    identity::NodeId,
    postgres::session::{Session, connect},
    replication::{error::Error, links::desired::Neighbor, names::LinkName, protocol::Offer},
    store::LINK_SCHEMA,
};

/// One of a peer's addresses; others are tried after it.
const HOST_LIMIT: Duration = Duration::from_secs(2);

/// The most characters that are shown of a host's name that a peer made up.
const SHOWN_MAX: usize = 80;

/// What the publisher's store shows.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) node: &'a NodeId,
    pub(super) cluster: &'a str,
    /// Name of the link's publication.
    pub(super) link: LinkName,
    /// The comment on it.
    pub(super) comment: String,
}

/// Why a host is not the way.
enum Miss {
    /// No session came about; why, for people.
    NoEntry(String),
    /// A server answered and does not let us in.
    TurnedAway(String),
    /// It is somebody else's store.
    Imposter(String),
}

/// Connects to the publisher's store by the first of `hosts` that leads there.
pub(super) async fn reach(
    neighbor: &Neighbor,
    offer: &Offer,
    hosts: &[String],
    expected: &Expected<'_>,
) -> Result<(String, Session), Error> {
    let mut last = "the peer has no address".to_owned();
    let mut imposter = None;
    let mut turned_away = None;
    for host in hosts {
        match timeout(HOST_LIMIT, enter(host, offer, expected)).await {
            Ok(Ok(session)) => return Ok((host.clone(), session)),
            Ok(Err(Miss::NoEntry(why))) => last = why,
            Ok(Err(Miss::TurnedAway(answer))) => {
                turned_away = Some(Error::TurnedAway {
                    host: host.clone(),
                    port: offer.port,
                    answer,
                });
            }
            Ok(Err(Miss::Imposter(why))) => {
                imposter = Some(Error::Imposter {
                    host: host.clone(),
                    port: offer.port,
                    why,
                });
            }
            Err(_) => "no answer".clone_into(&mut last),
        }
    }
    let foreign = neighbor.hosts.iter().find(|host| !host.is_loopback());
    // Who does not let us in may well be the peer's store; an impostor is not.
    Err(match (turned_away.or(imposter), foreign) {
        (Some(answered), _) => answered,
        // The peer itself says what is wrong, which explains more than that nobody answers.
        (None, Some(host)) if offer.loopback_only => Error::LoopbackOnly { host: *host },
        (None, _) => Error::PublisherUnreachable {
            hosts: hosts.join(", "),
            port: offer.port,
            last,
        },
    })
}

/// Where the store may be: the peer's own addresses, or the host that it names if that is one of them or
/// `allowed`. A store that listens on loopback only is sought there if the peer is on this machine, as
/// `is_ours` says of an address.
///
/// Never a socket: what lies on this machine is not for a peer to choose.
pub(super) fn candidates(
    neighbor: &Neighbor,
    offer: &Offer,
    allowed: &[String],
    is_ours: impl Fn(&IpAddr) -> bool,
) -> Result<Vec<String>, Error> {
    if let Some(host) = &offer.host {
        let is_seen = host
            .parse()
            .is_ok_and(|host: IpAddr| neighbor.hosts.contains(&host));
        return if is_seen || allowed.iter().any(|pattern| is_named(host, pattern)) {
            Ok(vec![host.clone()])
        } else {
            let shown: String = host.escape_debug().take(SHOWN_MAX).collect();
            Err(Error::HostRefused { host: shown })
        };
    }
    let mut hosts: Vec<_> = neighbor.hosts.clone();
    if offer.loopback_only {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let is_neighbor_here = hosts.iter().any(|host| host.is_loopback() || is_ours(host));
        hosts.retain(IpAddr::is_loopback);
        if is_neighbor_here && !hosts.contains(&loopback) {
            hosts.push(loopback);
        }
    }
    Ok(hosts.iter().map(ToString::to_string).collect())
}

/// Whether the operator's pattern names the host. A star in it stands for letters, digits, dots and hyphens,
/// and for nothing on this machine.
fn is_named(host: &str, pattern: &str) -> bool {
    let (host, pattern) = (host.to_ascii_lowercase(), pattern.to_ascii_lowercase());
    let Some((start, end)) = pattern.split_once('*') else {
        return host == pattern;
    };
    let between = host
        .strip_prefix(start)
        .and_then(|rest| rest.strip_suffix(end));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let is_here = host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback() || address.is_unspecified());
    !is_here && between.is_some_and(|between| between.chars().all(is_plain))
}

/// Whether this machine has the address: a socket can be bound to no other.
pub(crate) fn is_ours(address: &IpAddr) -> bool {
    UdpSocket::bind((*address, 0)).is_ok()
}

/// Connects with the link's role and makes sure that it is the right store: another one may listen on
/// the same port of an address that several machines have, or the peer may have named one that is not
/// its own.
async fn enter(host: &str, offer: &Offer, expected: &Expected<'_>) -> Result<Session, Miss> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(host)
        .port(offer.port)
        .user(&offer.user)
        .password(&offer.password)
        .dbname(&offer.database)
        .keepalives_idle(Duration::from_secs(10))
        // As for a subscription (`subscription`): what goes out from here are a few bytes.
        .tcp_user_timeout(Duration::from_secs(30));
    let session =
        // Without a statement limit: a catch-up is copied in this session, for hours if it is large.
        connect(&config, Duration::ZERO)
            .await
            .map_err(|error| match error.as_db_error() {
                // A server that starts or stops will let us in later.
                Some(answer) if !answer.code().code().starts_with("57P") => {
                    Miss::TurnedAway(answer.message().to_owned())
                }
                _ => Miss::NoEntry(error.to_string()),
            })?;
    // Where a member of an earlier version has what links may read.
    let path = format!("set search_path = {LINK_SCHEMA}, crdv");
    let refused = |error| Miss::Imposter(DriverError::from(error).to_string());
    session.batch_execute(&path).await.map_err(refused)?;
    let shown = session
        .query_opt(
            "select s.site, s.node, s.cluster, obj_description(p.oid, 'pg_publication')
               from self s left join pg_publication p on p.pubname = $1",
            &[&expected.link.to_string()],
        )
        .await
        .map_err(refused)?;
    let Some(shown) = shown else {
        return Err(Miss::Imposter("it has no identity".to_owned()));
    };
    let is_same = shown.get::<_, i64>(0) == offer.publisher.get()
        && shown.get::<_, &str>(1) == expected.node.as_str()
        && shown.get::<_, &str>(2) == expected.cluster;
    if !is_same {
        return Err(Miss::Imposter("another store answered".to_owned()));
    }
    // All else that the store shows may be known to anybody; this was sent to the peer alone.
    if shown.get::<_, Option<&str>>(3) != Some(&expected.comment) {
        let why = "it does not show what its controller was asked to write into it";
        return Err(Miss::Imposter(why.to_owned()));
    }
    Ok(session)
}
