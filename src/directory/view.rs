//! The directory as the HTTP API shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::{Directory, entry::Entry, record::NodeRecord};
use crate::{
    api::{NodeInfo, Topology, TopologyEdge, TopologyNode, timestamp},
    identity::NodeName,
};

impl Directory {
    /// Every node known, ourselves included, by name. `wall` is the wall clock at `now`; it is
    /// only shown, never reckoned with.
    #[must_use]
    pub fn nodes(&self, now: Duration, wall: SystemTime) -> Vec<NodeInfo> {
        let seen = |age: Duration| timestamp(wall.checked_sub(age).unwrap_or(wall));
        let mut nodes = vec![info(&self.me, seen(Duration::ZERO), self.me_alive())];
        nodes.extend(self.others.values().map(|entry| {
            info(
                &entry.record,
                seen(entry.age(now)),
                self.entry_alive(entry, now),
            )
        }));
        nodes.sort_unstable_by(|a, b| a.peer_id.cmp(&b.peer_id));
        nodes
    }

    /// The overlay: all members, and an edge for each pair of which one that is alive names the
    /// other.
    #[must_use]
    pub fn topology(&self, now: Duration) -> Topology {
        let mut members: BTreeMap<&NodeName, (&NodeRecord, bool)> = self
            .others
            .values()
            .filter(|entry| entry.is_member())
            .map(|entry| {
                (
                    &entry.record.node,
                    (&entry.record, self.entry_alive(entry, now)),
                )
            })
            .collect();
        if !self.me.left && !self.me.evicted {
            members.insert(&self.me.node, (&self.me, true));
        }

        let named: BTreeSet<(&NodeName, &NodeName)> = members
            .values()
            .filter(|(_, alive)| *alive)
            .flat_map(|(record, _)| record.neighbors.iter().map(|other| (&record.node, other)))
            .filter(|(a, b)| a != b && members.contains_key(b))
            .collect();
        let edges: BTreeSet<TopologyEdge> = named
            .iter()
            .map(|(a, b)| TopologyEdge {
                a: a.min(b).0.clone(),
                b: a.max(b).0.clone(),
                symmetric: named.contains(&(*b, *a)),
            })
            .collect();
        Topology {
            nodes: members
                .into_values()
                .map(|(record, alive)| TopologyNode {
                    peer_id: record.node.0.clone(),
                    name: record.name.clone(),
                    alive,
                })
                .collect(),
            edges: edges.into_iter().collect(),
        }
    }

    /// Whether `node` is a member heard of recently.
    #[must_use]
    pub fn is_alive(&self, node: &NodeName, now: Duration) -> bool {
        if *node == self.me.node {
            return self.me_alive();
        }
        self.others
            .get(node)
            .is_some_and(|entry| self.entry_alive(entry, now))
    }

    fn me_alive(&self) -> bool {
        !self.me.left && !self.me.evicted
    }

    fn entry_alive(&self, entry: &Entry, now: Duration) -> bool {
        entry.is_alive(now, self.settings.alive_after)
    }
}

fn info(record: &NodeRecord, last_seen: String, alive: bool) -> NodeInfo {
    NodeInfo {
        peer_id: record.node.0.clone(),
        name: record.name.clone(),
        state: (!record.left && !record.evicted).then_some(record.state),
        site: record.site.map_or(0, crate::identity::Site::get),
        store: record.store.clone(),
        vector: record
            .vector
            .iter()
            .map(|(site, upto)| (site.to_string(), *upto))
            .collect(),
        neighbors: record.neighbors.iter().map(|node| node.0.clone()).collect(),
        last_seen,
        alive,
    }
}
