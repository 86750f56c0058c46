//! The directory as the HTTP API shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::{Directory, entry::Entry, record::NodeRecord};
use crate::{
    api::{NodeInfo, Presence, Topology, TopologyEdge, TopologyNode, timestamp},
    identity::NodeId,
};

impl Directory {
    /// Every node known, ourselves included, by name. `wall` is the wall clock at `now`; it is
    /// only shown, never reckoned with.
    #[must_use]
    pub fn nodes(&self, now: Duration, wall: SystemTime) -> Vec<NodeInfo> {
        let seen = |age: Duration| timestamp(wall.checked_sub(age).unwrap_or(wall));
        let mut nodes = vec![info(&self.me, seen(Duration::ZERO), self.my_presence())];
        nodes.extend(self.others.values().map(|entry| {
            let presence = entry.presence(now, self.settings.alive_after);
            info(&entry.record, seen(entry.age(now)), presence)
        }));
        nodes.sort_unstable_by(|a, b| a.peer_id.cmp(&b.peer_id));
        nodes
    }

    /// The overlay: all members, and an edge for each pair of which one that is alive names the
    /// other.
    #[must_use]
    pub fn topology(&self, now: Duration) -> Topology {
        let mut members: BTreeMap<&NodeId, (&NodeRecord, Presence)> = self
            .others(now)
            .filter(|(_, presence)| !presence.is_gone())
            .map(|(record, presence)| (&record.node, (record, presence)))
            .collect();
        if !self.my_presence().is_gone() {
            members.insert(&self.me.node, (&self.me, Presence::Here));
        }

        let named: BTreeSet<(&NodeId, &NodeId)> = members
            .values()
            .filter(|(_, presence)| *presence == Presence::Here)
            .flat_map(|(record, _)| record.neighbors.iter().map(|other| (&record.node, other)))
            // A record is what a peer says: it may name itself, or one that has left.
            .filter(|(a, b)| a != b && members.contains_key(b))
            .collect();
        let edges: BTreeSet<TopologyEdge> = named
            .iter()
            .map(|(a, b)| TopologyEdge {
                a: a.min(b).to_string(),
                b: a.max(b).to_string(),
                symmetric: named.contains(&(*b, *a)),
            })
            .collect();
        Topology {
            nodes: members
                .into_values()
                .map(|(record, presence)| TopologyNode {
                    peer_id: record.node.to_string(),
                    name: record.name.clone(),
                    alive: presence == Presence::Here,
                    presence,
                })
                .collect(),
            edges: edges.into_iter().collect(),
        }
    }

    /// What all others say of themselves, and whether they are there.
    pub fn others(&self, now: Duration) -> impl Iterator<Item = (&NodeRecord, Presence)> {
        let presence = move |entry: &Entry| entry.presence(now, self.settings.alive_after);
        self.others
            .values()
            .map(move |entry| (&entry.record, presence(entry)))
    }

    /// Whether `node` is a member heard of recently.
    #[must_use]
    pub fn is_alive(&self, node: &NodeId, now: Duration) -> bool {
        if *node == self.me.node {
            return !self.my_presence().is_gone();
        }
        let alive_after = self.settings.alive_after;
        self.others
            .get(node)
            .is_some_and(|entry| entry.is_alive(now, alive_after))
    }

    fn my_presence(&self) -> Presence {
        if self.me.left {
            Presence::Left
        } else if self.me.evicted {
            Presence::Evicted
        } else {
            Presence::Here
        }
    }
}

fn info(record: &NodeRecord, last_seen: String, presence: Presence) -> NodeInfo {
    NodeInfo {
        peer_id: record.node.to_string(),
        name: record.name.clone(),
        state: (!record.left && !record.evicted).then_some(record.state),
        site: record.site.map_or(0, crate::identity::Site::get),
        store: record.store.clone(),
        vector: record.vector.clone(),
        neighbors: record.neighbors.iter().map(ToString::to_string).collect(),
        last_seen,
        alive: presence == Presence::Here,
        presence,
    }
}
