//! The behaviours that share the swarm. No logic: who tells whom what is in `routing`.

use std::{io, sync::Arc};

use libp2p::{
    StreamProtocol,
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    mdns, ping,
    request_response::{self, ProtocolSupport},
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};
use tracing::warn;

use super::{Counters, Error, Settings, codec::Codec};
use crate::identity::Run;

/// Most connections with one peer. One is enough; dials from both sides and from several
/// behaviours may cross.
const CONNECTIONS_PER_PEER_MAX: u32 = 8;
/// Most connections whose handshake is under way, in each direction.
const PENDING_MAX: u32 = 64;
/// Most requests under way on one connection, both directions together.
const STREAMS_MAX: usize = 32;
/// How often the local network is asked. An answer to one asker is heard by all, so the whole
/// LAN sends about one question in this time.
const MDNS_INTERVAL: std::time::Duration = std::time::Duration::from_secs(30);

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    // First: what it denies the others must not have seen.
    limits: connection_limits::Behaviour,
    pub(super) overlay: hyparview::Behaviour,
    pub(super) broadcast: plumtree::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) link: request_response::Behaviour<Codec>,
}

impl Behaviour {
    pub(super) fn new(
        settings: &Settings,
        keypair: &Keypair,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let cluster = &settings.cluster;
        let incarnation = settings.incarnation.get();
        let overlay = hyparview::Behaviour::new(
            keypair.clone(),
            protocol(format!("/starling/{cluster}/hyparview/1.0.0"))?,
            settings.overlay.clone(),
            hyparview::Settings::new(incarnation),
        )?;
        let broadcast = plumtree::Behaviour::new(
            keypair.clone(),
            protocol(format!("/starling/{cluster}/broadcast/1.0.0"))?,
            plumtree::Config::default(),
            &plumtree::Settings::new(incarnation),
        )?;
        let identify = identify::Config::new(format!("/starling/{cluster}"), keypair.public())
            .with_agent_version(agent(settings.run))
            // Addresses of peers are the overlay's and the address book's business.
            .with_cache_size(0);
        let link = request_response::Behaviour::with_codec(
            Codec::new(counters),
            [(
                protocol(format!("/starling/{cluster}/link/1.0.0"))?,
                ProtocolSupport::Full,
            )],
            request_response::Config::default()
                .with_request_timeout(settings.request_timeout)
                .with_max_concurrent_streams(STREAMS_MAX),
        );
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits(settings)),
            overlay,
            broadcast,
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(settings.ping_interval)
                    .with_timeout(settings.ping_timeout),
            ),
            mdns: local_network(settings, keypair).into(),
            link,
        })
    }
}

/// What a node calls itself: program, version and start.
fn agent(run: Run) -> String {
    format!("starling/{} {run}", env!("CARGO_PKG_VERSION"))
}

/// The start in what a peer calls itself.
pub(super) fn run_of(agent: &str) -> Option<Run> {
    let (_, run) = agent.strip_prefix("starling/")?.split_once(' ')?;
    Run::new(u64::from_str_radix(run, 16).ok()?)
}

fn protocol(name: String) -> Result<StreamProtocol, Error> {
    StreamProtocol::try_from_owned(name).map_err(|error| Error::ClusterName(error.to_string()))
}

fn limits(settings: &Settings) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_pending_outgoing(Some(PENDING_MAX))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
        // The other half is left for our own dials, however many others dial in.
        .with_max_established_incoming(Some(settings.connections_max / 2))
        .with_max_established(Some(settings.connections_max))
}

/// Without multicast (no interface, no permission) a node can still be told its peers.
fn local_network(settings: &Settings, keypair: &Keypair) -> Option<mdns::tokio::Behaviour> {
    let build = || -> io::Result<_> {
        let config = mdns::Config {
            query_interval: MDNS_INTERVAL,
            ..mdns::Config::default()
        };
        mdns::tokio::Behaviour::new(config, keypair.public().to_peer_id())
    };
    if !settings.mdns {
        return None;
    }
    build()
        .inspect_err(|error| warn!(%error, "cannot look for peers on the local network"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{agent, run_of};
    use crate::identity::Run;

    #[test]
    fn a_start_is_told_by_the_agents_name() {
        let run = Run::draw();
        assert_eq!(run_of(&agent(run)), Some(run));
        for other in [
            "",
            "starling/0.1.0",
            "starling/0.1.0 x",
            "starling/1 0",
            "kubo/1 7",
        ] {
            assert_eq!(run_of(other), None, "{other}");
        }
    }
}
