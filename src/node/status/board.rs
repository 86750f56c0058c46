//! What others see of this node: the status, the cluster, and what it says of itself.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::{
    api::{
        AwayMember, ClockStatus, ContactState, ContactStatus, Direction, Dissemination, Finding,
        LinkState, LinkStatus, MembersStatus, NeighborStatus, NodeInfo, NodeState, NodeStatus,
        OverlayStatus, Presence, Side, Status, StoreStatus, Topology, TreeStatus, timestamp,
    },
    config::Config,
    directory::{Announcement, Directory, Relay},
    http,
    identity::{Incarnation, NodeId, Site},
    network,
    node::{clock::Judgement, data_plane::DataPlane, store::open::OpenStore, tree::Tree},
    telemetry,
    vector::Vector,
    watched,
};

/// All that the status board is written from, at one moment.
#[derive(Debug)]
pub(in crate::node) struct StatusInputs<'a> {
    pub(in crate::node) store_ready: bool,
    /// What a start waits for, or a change of the store's site.
    pub(in crate::node) waits_for: Option<String>,
    pub(in crate::node) overlay: &'a network::Overlay,
    pub(in crate::node) plane: Option<&'a DataPlane>,
    pub(in crate::node) directory: &'a Directory,
    pub(in crate::node) clocks: &'a Judgement,
    pub(in crate::node) tree: &'a Tree,
    pub(in crate::node) listen: &'a [String],
    /// Where another process with this node's key was seen, if there is one.
    pub(in crate::node) twin: Option<String>,
    pub(in crate::node) now: Duration,
}

impl StatusInputs<'_> {
    /// What the node waits for, in words.
    fn waits_for(&self) -> Option<String> {
        if self.waits_for.is_some() {
            return self.waits_for.clone();
        }
        let name = |peer: &NodeId| match self.directory.record(peer) {
            Some(record) if !record.name.is_empty() => record.name.clone(),
            _ => peer.to_string(),
        };
        let stage = self.plane?.leaving.borrow();
        stage.as_ref().map(|stage| stage.describe(name))
    }
}

/// The incoming links that there are or should be.
fn incoming(links: &[LinkStatus]) -> impl Iterator<Item = &LinkStatus> {
    links
        .iter()
        .filter(|link| link.direction == Direction::In && link.state != LinkState::Lazy)
}

/// Whether there are only neighbours that give us nothing, for reasons of theirs. Then nothing is to be
/// waited for.
fn is_left_alone(links: &[LinkStatus]) -> bool {
    let gives_nothing = |link: &LinkStatus| {
        let is_final = link.state == LinkState::Refused || link.overdue;
        is_final && link.side == Some(Side::Peer)
    };
    let mut incoming = incoming(links).peekable();
    incoming.peek().is_some() && incoming.all(gives_nothing)
}

/// Whether anything is known to be missing here that a neighbour has.
fn is_behind(links: &[LinkStatus]) -> bool {
    incoming(links).any(|link| {
        link.state == LinkState::CatchingUp || link.lag_seconds.is_some_and(|lag| lag > 0.0)
    })
}

/// The latest status, and who watches it.
#[derive(Debug)]
pub(in crate::node) struct StatusBoard {
    /// Whether the node was told of peers to join; if not, it is alone by choice.
    wants_peers: bool,
    /// Only who has the swarm key can be a neighbour.
    has_key: bool,
    /// A neighbour was seen in this run.
    met: bool,
    /// It has served in this run.
    was_ready: bool,
    leaving: bool,
    /// When this run began.
    started: Incarnation,
    relay: Relay,
    site: Option<Site>,
    store_address: String,
    status: watch::Sender<Status>,
    nodes: watch::Sender<Vec<NodeInfo>>,
    topology: watch::Sender<Topology>,
}

impl StatusBoard {
    pub(in crate::node) fn new(config: &Config, me: &NodeId, started: Incarnation) -> Self {
        let status = Status {
            node: NodeStatus {
                peer_id: me.to_string(),
                site: 0,
                name: config.node.name.clone(),
                cluster: config.node.cluster.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                state: NodeState::Starting,
                listen: Vec::new(),
                has_twin: false,
                twin_at: String::new(),
                waits_for: None,
            },
            store: StoreStatus {
                is_private: config.store.postgres.is_none(),
                url: String::new(),
                version: String::new(),
                ready: false,
                unconfirmed: false,
                off_path: None,
                renewals: Vec::new(),
                requirements: None,
            },
            clock: ClockStatus::default(),
            overlay: OverlayStatus::default(),
            members: MembersStatus::default(),
            links: Vec::new(),
            vector: Vector::default(),
            tree: None,
            findings: Vec::new(),
            warnings: Vec::new(),
        };
        Self {
            wants_peers: !config.network.bootstrap.is_empty(),
            has_key: config.network.swarm_key.is_some(),
            met: false,
            was_ready: false,
            leaving: false,
            started,
            relay: config.overlay.relay,
            site: None,
            store_address: String::new(),
            status: watch::Sender::new(status),
            nodes: watch::Sender::new(Vec::new()),
            topology: watch::Sender::new(Topology::default()),
        }
    }

    /// What the HTTP API looks at.
    pub(in crate::node) fn view(
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

    pub(in crate::node) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(in crate::node) fn nodes(&self) -> watch::Receiver<Vec<NodeInfo>> {
        self.nodes.subscribe()
    }

    /// The store is up for the first time, or goes on as another site.
    pub(in crate::node) fn store(&mut self, store: &OpenStore) {
        let site = store.continuity.site();
        self.site = Some(site);
        let host = store.server.advertise.host.as_deref().unwrap_or("*");
        self.store_address = format!("{host}:{}", store.server.advertise.port);
        self.status.send_modify(|status| {
            status.node.site = site.get();
            status.store.renewals = store.continuity.renewals();
            status.store.off_path.clone_from(&store.off_path);
            status.store.url.clone_from(&store.server.url);
            status.store.version.clone_from(&store.server.version);
            status.store.requirements = Some(store.server.told_requirements());
        });
    }

    /// The store's server was examined.
    pub(in crate::node) fn examined(&mut self, findings: &[Finding]) {
        self.status
            .send_modify(|status| status.findings = findings.to_vec());
    }

    /// The site that the store had at last, until it is up: an eviction speaks of a site, and has to
    /// find it in what the node says of itself.
    pub(in crate::node) fn remember(&mut self, site: Site) {
        self.site = Some(site);
    }

    /// The store is up, or was up in an earlier start.
    pub(in crate::node) fn has_had_store(&self) -> bool {
        self.site.is_some()
    }

    /// The node leaves, or goes on after all.
    pub(in crate::node) fn leaving(&mut self, is_leaving: bool) {
        self.leaving = is_leaving;
    }

    /// Writes the board anew. Returns whether the node has something new to say of itself that
    /// cannot wait for the next heartbeat.
    pub(in crate::node) fn refresh(&mut self, inputs: &StatusInputs<'_>) -> bool {
        self.met |= !inputs.overlay.active.is_empty();
        let state = self.state(inputs);
        self.was_ready |= state == NodeState::Ready;
        let mut status = self.status.borrow().clone();
        status.node.state = state;
        status.node.listen = inputs.listen.to_vec();
        status.node.has_twin = inputs.twin.is_some();
        status.node.twin_at = inputs.twin.clone().unwrap_or_default();
        status.node.waits_for = inputs.waits_for();
        status.store.ready = inputs.store_ready;
        status.clock = inputs.clocks.own.clone();
        let was_open = status.overlay.is_open;
        status.overlay = OverlayStatus {
            // Once true it stays: a neighbour that comes and goes is warned of once.
            is_open: was_open || !self.has_key && spans_machines(inputs.overlay),
            ..overlay_status(inputs)
        };
        if status.overlay.is_open && !was_open {
            warn!(
                "this cluster has no swarm key: whoever reaches a node's port may join, read and write"
            );
        }
        status.tree = Some(tree_status(inputs));
        status.warnings = telemetry::recent();
        status.store.unconfirmed = inputs.plane.is_some_and(DataPlane::is_unconfirmed);
        // While there is none, because the store is being opened anew, what was seen last stays shown: the state
        // says that it is not served. No links and no vector would look as if all were lost.
        if let Some(plane) = inputs.plane {
            status.links.clone_from(&plane.links.borrow());
            status.vector.clone_from(&plane.vector.borrow());
        }
        let is_urgent = {
            let old = self.status.borrow();
            old.node.state != state || names(&old.overlay).ne(names(&status.overlay))
        };
        let mut nodes = inputs.directory.nodes(inputs.now, SystemTime::now());
        // What the directory has of this node is what it said last.
        let own = |node: &&mut NodeInfo| node.peer_id == status.node.peer_id;
        if let Some(own) = nodes.iter_mut().find(own) {
            own.site = status.node.site;
            own.state = Some(state);
            own.store.clone_from(&self.store_address);
            own.vector.clone_from(&status.vector);
        }
        status.members = members(&nodes, &status.members);
        let names = nodes.iter();
        telemetry::set_names(names.map(|node| (node.peer_id.as_str(), node.name.as_str())));
        watched::set(&self.nodes, nodes);
        watched::set(&self.status, status);
        watched::set(&self.topology, inputs.directory.topology(inputs.now));
        is_urgent
    }

    fn state(&self, inputs: &StatusInputs<'_>) -> NodeState {
        let Some(plane) = inputs.plane else {
            return NodeState::Starting;
        };
        // A store that holds what others wrote was in the cluster before: it may go on alone.
        let was_in = plane
            .vector
            .borrow()
            .iter()
            .any(|(site, _)| Some(site) != self.site);
        let is_new = self.wants_peers && !self.met && !was_in;
        let links = plane.links.borrow();
        let is_level = *plane.level.borrow()
            // What is wrong at the peers takes nobody out of service; but a new node needs the data of one.
            || ((was_in || !self.wants_peers) && is_left_alone(&links))
            // Whoever joins us later takes nothing away from what we are, unless he knows more.
            || (self.was_ready && !self.wants_peers && !is_behind(&links));
        if self.leaving {
            NodeState::Leaving
        } else if !inputs.store_ready {
            NodeState::Degraded
        } else if plane.is_unconfirmed() || is_new || !is_level {
            NodeState::Joining
        } else {
            NodeState::Ready
        }
    }

    /// What the node says of itself to the others, but for whom it follows.
    pub(in crate::node) fn announcement(&self, vector: Vector, generation: u64) -> Announcement {
        let status = self.status.borrow();
        Announcement {
            name: status.node.name.clone(),
            site: self.site,
            generation,
            state: status.node.state,
            store: self.store_address.clone(),
            vector,
            neighbors: names(&status.overlay)
                .filter_map(|id| id.parse().ok())
                .collect(),
            version: status.node.version.clone(),
            started: self.started.get(),
            relay: self.relay,
            follows: None,
        }
    }
}

fn tree_status(inputs: &StatusInputs<'_>) -> TreeStatus {
    let mode = inputs.tree.mode();
    // Where data floods every neighbour is insisted on, and none is a parent.
    let plane = inputs.plane.filter(|_| mode == Dissemination::Tree);
    let parent = plane.and_then(|plane| plane.insisted.borrow().first().map(ToString::to_string));
    TreeStatus {
        mode,
        root: inputs.tree.root().map(ToString::to_string),
        parent,
        is_root: inputs.tree.is_root(),
    }
}

fn overlay_status(inputs: &StatusInputs<'_>) -> OverlayStatus {
    let clock = |neighbor: &network::Neighbor| inputs.clocks.neighbors.get(&neighbor.peer);
    let active = inputs.overlay.active.iter().map(|neighbor| NeighborStatus {
        peer_id: neighbor.peer.to_string(),
        name: inputs
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
    let departed = inputs.directory.departed();
    let remembered = inputs.overlay.remembered.iter();
    OverlayStatus {
        active: active.collect(),
        passive: inputs.overlay.passive,
        // The address book keeps who left while it was no neighbour of ours.
        remembered: remembered.filter(|peer| !departed.contains(peer)).count(),
        bootstrap: inputs.overlay.contacts.iter().map(contact).collect(),
        is_open: false,
    }
}

/// Whether a neighbour is on another machine.
fn spans_machines(overlay: &network::Overlay) -> bool {
    let is_remote = |neighbor: &network::Neighbor| {
        // Who is on this machine names other addresses beside loopback; of who names none nothing is known.
        let mut addresses = neighbor.addresses.iter().peekable();
        addresses.peek().is_some()
            && !addresses.any(|address| network::is_loopback(&address.to_string()))
    };
    overlay.active.iter().any(is_remote)
}

fn contact(contact: &network::Contact) -> ContactStatus {
    let failure = contact.failure.as_ref();
    ContactStatus {
        address: contact.address.to_string(),
        state: match (failure, &contact.reached) {
            _ if contact.is_ours => ContactState::Ourselves,
            // Also where somebody was found earlier: what came of it last counts.
            (Some(_), _) => ContactState::Failing,
            (None, Some(_)) => ContactState::Reached,
            (None, None) => ContactState::Trying,
        },
        peer_id: contact.reached.as_ref().map(ToString::to_string),
        cause: failure.map(|failure| failure.cause.clone()),
        fix: failure.map(|failure| failure.fix.to_owned()),
        needs_operator: failure.is_some_and(|failure| failure.needs_operator),
        since: failure.map(|failure| timestamp(failure.since)),
        attempts: failure.map_or(0, |failure| failure.attempts),
        next: failure.map(|_| timestamp(contact.next)),
    }
}

/// Since when somebody is away is told once, and does not move with the clock.
fn members(nodes: &[NodeInfo], before: &MembersStatus) -> MembersStatus {
    let members = || nodes.iter().filter(|node| !node.presence.is_gone());
    let since = |node: &NodeInfo| {
        let known = before
            .away
            .iter()
            .find(|away| (&away.peer_id, away.presence) == (&node.peer_id, node.presence));
        known.map_or_else(|| node.last_seen.clone(), |away| away.since.clone())
    };
    let away = members().filter(|node| node.presence != Presence::Here);
    MembersStatus {
        total: members().count(),
        away: away
            .map(|node| AwayMember {
                peer_id: node.peer_id.clone(),
                name: node.name.clone(),
                presence: node.presence,
                since: since(node),
            })
            .collect(),
    }
}

fn names(overlay: &OverlayStatus) -> impl Iterator<Item = &str> {
    overlay
        .active
        .iter()
        .map(|neighbor| neighbor.peer_id.as_str())
}

#[cfg(test)]
mod tests {
    use super::{is_behind, is_left_alone};
    use crate::api::{Direction, LinkState, LinkStatus, Side};

    fn link(direction: Direction, state: LinkState, side: Option<Side>) -> LinkStatus {
        LinkStatus {
            peer_id: String::new(),
            site: 0,
            direction,
            state,
            since: String::new(),
            reason: None,
            fix: None,
            side,
            overdue: false,
            lag_bytes: None,
            lag_seconds: None,
            slot: String::new(),
        }
    }

    #[test]
    fn who_gets_nothing_from_anybody_by_their_fault_waits_for_nobody() {
        let refused = link(Direction::In, LinkState::Refused, Some(Side::Peer));
        let opening = link(Direction::In, LinkState::Opening, Some(Side::Peer));
        let out = link(Direction::Out, LinkState::Streaming, None);
        assert!(!is_left_alone(std::slice::from_ref(&out)));
        assert!(is_left_alone(&[out.clone(), refused.clone()]));
        assert!(!is_left_alone(&[refused.clone(), opening.clone()]));
        let overdue = LinkStatus {
            overdue: true,
            ..opening
        };
        assert!(is_left_alone(&[refused, overdue]));
        let ours = link(Direction::In, LinkState::Refused, Some(Side::Here));
        assert!(!is_left_alone(&[out, ours]));
    }

    #[test]
    fn who_catches_up_or_lacks_what_a_neighbour_has_is_behind() {
        let mut taken = link(Direction::In, LinkState::Opening, None);
        assert!(
            !is_behind(std::slice::from_ref(&taken)),
            "nobody has said so"
        );
        taken.lag_seconds = Some(0.0);
        assert!(!is_behind(std::slice::from_ref(&taken)));
        taken.lag_seconds = Some(4.0);
        assert!(is_behind(std::slice::from_ref(&taken)));
        let catching_up = link(Direction::In, LinkState::CatchingUp, None);
        assert!(is_behind(&[catching_up]));
        let mut given = link(Direction::Out, LinkState::Streaming, None);
        given.lag_seconds = Some(9.0);
        assert!(!is_behind(&[given]));
    }
}
