//! The picture that others have of this node: the status, the cluster, and what it says of itself.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};

use super::{clock::Judgement, open_store::OpenStore, plane::Plane};
use crate::{
    api::{
        ClockStatus, Direction, Finding, LinkStatus, NeighborStatus, NodeInfo, NodeState,
        NodeStatus, OverlayStatus, Status, StoreStatus, Topology, timestamp,
    },
    config::Config,
    directory::{Announcement, Directory},
    http,
    identity::{NodeName, Site},
    network,
};

/// All that the picture is drawn from, at one moment.
#[derive(Debug)]
pub(super) struct Glance<'a> {
    pub(super) store_ready: bool,
    pub(super) overlay: &'a network::Overlay,
    pub(super) plane: Option<&'a Plane>,
    pub(super) directory: &'a Directory,
    pub(super) clocks: &'a Judgement,
    pub(super) listen: &'a [String],
    /// Where another process with this node's key was seen, if there is one.
    pub(super) twin: Option<String>,
    pub(super) now: Duration,
}

/// Is there nobody but neighbours whose clocks are not believed? Then nothing is to be waited for.
fn is_refusing(links: &[LinkStatus]) -> bool {
    let mut incoming = links
        .iter()
        .filter(|link| link.direction == Direction::In)
        .peekable();
    incoming.peek().is_some() && incoming.all(|link| link.state == "refused")
}

/// The latest picture, and who looks at it.
#[derive(Debug)]
pub(super) struct Picture {
    /// Whether the node was told of peers to join; if not, it is alone by choice.
    wants_peers: bool,
    /// A neighbour was seen in this life.
    met: bool,
    leaving: bool,
    site: Option<Site>,
    store_address: String,
    status: watch::Sender<Status>,
    nodes: watch::Sender<Vec<NodeInfo>>,
    topology: watch::Sender<Topology>,
}

impl Picture {
    pub(super) fn new(config: &Config, me: &NodeName) -> Self {
        let status = Status {
            node: NodeStatus {
                peer_id: me.0.clone(),
                site: 0,
                name: config.node.name.clone(),
                cluster: config.node.cluster.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                state: NodeState::Starting,
                listen: Vec::new(),
                has_twin: false,
                twin_at: String::new(),
            },
            store: StoreStatus {
                url: String::new(),
                version: String::new(),
                ready: false,
                unconfirmed: false,
                renewals: Vec::new(),
            },
            clock: ClockStatus::default(),
            overlay: OverlayStatus::default(),
            links: Vec::new(),
            vector: BTreeMap::new(),
            findings: Vec::new(),
        };
        Self {
            wants_peers: !config.network.bootstrap.is_empty(),
            met: false,
            leaving: false,
            site: None,
            store_address: String::new(),
            status: watch::Sender::new(status),
            nodes: watch::Sender::new(Vec::new()),
            topology: watch::Sender::new(Topology::default()),
        }
    }

    /// What the HTTP API looks at.
    pub(super) fn view(
        &self,
        metrics: Registry,
        commands: mpsc::Sender<http::Command>,
    ) -> http::View {
        http::View {
            status: self.status.subscribe(),
            nodes: self.nodes.subscribe(),
            topology: self.topology.subscribe(),
            metrics: Arc::new(metrics),
            commands,
        }
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn nodes(&self) -> watch::Receiver<Vec<NodeInfo>> {
        self.nodes.subscribe()
    }

    /// The store is up for the first time, or goes on as another site.
    pub(super) fn store(&mut self, store: &OpenStore) {
        let site = store.continuity.site();
        self.site = Some(site);
        let host = store.server.advertise.host.as_deref().unwrap_or("*");
        self.store_address = format!("{host}:{}", store.server.advertise.port);
        self.status.send_modify(|status| {
            status.node.site = site.get();
            status.store.renewals = store.continuity.renewals();
            status.store.url.clone_from(&store.server.url);
            status.store.version.clone_from(&store.server.version);
        });
    }

    /// The store's server was examined.
    pub(super) fn examined(&mut self, findings: &[Finding]) {
        self.status
            .send_modify(|status| status.findings = findings.to_vec());
    }

    /// The site that the store had at last, until it is up: an eviction speaks of a site, and has to
    /// find it in what the node says of itself.
    pub(super) fn remember(&mut self, site: Site) {
        self.site = Some(site);
    }

    /// The node was told to leave.
    pub(super) fn leaving(&mut self) {
        self.leaving = true;
    }

    /// Draws the picture anew. Returns whether the node has something new to say of itself that
    /// cannot wait for the next heartbeat.
    pub(super) fn refresh(&mut self, glance: &Glance<'_>) -> bool {
        self.met |= !glance.overlay.active.is_empty();
        let state = self.state(glance);
        let mut status = self.status.borrow().clone();
        status.node.state = state;
        status.node.listen = glance.listen.to_vec();
        status.node.has_twin = glance.twin.is_some();
        status.node.twin_at = glance.twin.clone().unwrap_or_default();
        status.store.ready = glance.store_ready;
        status.clock = glance.clocks.own.clone();
        status.overlay = overlay_status(glance);
        status.store.unconfirmed = glance.plane.is_some_and(Plane::is_unconfirmed);
        if let Some(plane) = glance.plane {
            status.links.clone_from(&plane.links.borrow());
            status.vector = plane
                .vector
                .borrow()
                .iter()
                .map(|(s, n)| (s.to_string(), *n))
                .collect();
        }
        let is_urgent = {
            let old = self.status.borrow();
            old.node.state != state || names(&old.overlay).ne(names(&status.overlay))
        };
        set(&self.status, status);
        set(
            &self.nodes,
            glance.directory.nodes(glance.now, SystemTime::now()),
        );
        set(&self.topology, glance.directory.topology(glance.now));
        is_urgent
    }

    fn state(&self, glance: &Glance<'_>) -> NodeState {
        let Some(plane) = glance.plane else {
            return NodeState::Starting;
        };
        // A store that holds what others wrote was in the cluster before: it may go on alone.
        let was_in = plane
            .vector
            .borrow()
            .keys()
            .any(|site| Some(*site) != self.site);
        let is_new = self.wants_peers && !self.met && !was_in;
        let is_level = *plane.level.borrow() || (was_in && is_refusing(&plane.links.borrow()));
        if self.leaving {
            NodeState::Leaving
        } else if !glance.store_ready {
            NodeState::Degraded
        } else if plane.is_unconfirmed() || is_new || !is_level {
            NodeState::Joining
        } else {
            NodeState::Ready
        }
    }

    /// What the node says of itself to the others.
    pub(super) fn announcement(
        &self,
        vector: BTreeMap<Site, i64>,
        generation: u64,
    ) -> Announcement {
        let status = self.status.borrow();
        Announcement {
            name: status.node.name.clone(),
            site: self.site,
            generation,
            state: status.node.state,
            store: self.store_address.clone(),
            vector,
            neighbors: names(&status.overlay)
                .map(|name| NodeName(name.to_owned()))
                .collect(),
            version: status.node.version.clone(),
        }
    }
}

fn overlay_status(glance: &Glance<'_>) -> OverlayStatus {
    let clock = |neighbor: &network::Neighbor| glance.clocks.neighbors.get(&neighbor.peer);
    let active = glance.overlay.active.iter().map(|neighbor| NeighborStatus {
        peer_id: neighbor.peer.0.clone(),
        name: glance
            .directory
            .record(&neighbor.peer)
            .map(|r| r.name.clone())
            .unwrap_or_default(),
        addresses: neighbor.addresses.iter().map(ToString::to_string).collect(),
        since: timestamp(neighbor.since),
        rtt_ms: neighbor.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        clock_offset_ms: clock(neighbor).map(|reading| reading.offset_ms()),
        clock_error_ms: clock(neighbor).map(|reading| reading.error_ms()),
    });
    let departed = glance.directory.departed();
    let remembered = glance.overlay.remembered.iter();
    OverlayStatus {
        active: active.collect(),
        passive: glance.overlay.passive,
        remembered: remembered.filter(|peer| !departed.contains(peer)).count(),
    }
}

fn names(overlay: &OverlayStatus) -> impl Iterator<Item = &str> {
    overlay
        .active
        .iter()
        .map(|neighbor| neighbor.peer_id.as_str())
}

fn set<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|old| {
        let is_new = *old != value;
        if is_new {
            *old = value;
        }
        is_new
    });
}

#[cfg(test)]
mod tests {
    use super::is_refusing;
    use crate::api::{Direction, LinkStatus};

    fn link(direction: Direction, state: &str) -> LinkStatus {
        LinkStatus {
            peer_id: String::new(),
            site: 0,
            direction,
            state: state.to_owned(),
            lag_bytes: None,
            lag_seconds: None,
            slot: String::new(),
        }
    }

    #[test]
    fn who_believes_nobody_around_waits_for_nobody() {
        let (refused, opening) = (
            link(Direction::In, "refused"),
            link(Direction::In, "opening"),
        );
        let out = link(Direction::Out, "streaming");
        assert!(!is_refusing(std::slice::from_ref(&out)));
        assert!(is_refusing(&[out, refused.clone()]));
        assert!(!is_refusing(&[refused, opening]));
    }
}
