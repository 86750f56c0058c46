//! What this node knows of every node of the cluster, by broadcasts of each, and by gossip with its neighbours.
//!
//! A pure state machine: it takes the time and messages and gives messages and views; sending is
//! the node's work. Each node speaks for itself with a [`NodeRecord`] that carries when
//! it started (`incarnation`) and a `counter`; of two records of one node the greater pair wins
//! everywhere, so that any order of any messages, lost and repeated ones included, ends in the
//! same directory at all nodes.
//!
//! A node says its whole record with its beat to all nodes every [`HEARTBEAT`], and soon after a change
//! ([`Directory::status`]); that keeps it counted as alive. What it knows of others it compares with its
//! neighbours ([`Gossip`]), more seldom: what a broadcast has missed, who left, and who was evicted come
//! that way. Of a record that has not changed a comparison carries a [`Pulse`] only: name and beat.
//!
//! What it does not do: records that are compared are not signed, as broadcasts are by their origins. A
//! peer that was admitted to the cluster is believed when it passes on what others said; only records
//! about ourselves are answered back.

mod entry;
mod gossip;
mod record;
pub mod roles;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use gossip::{Gossip, Held, Pulse, Rumor};
pub use record::{Announcement, NodeRecord, Relay};

use crate::identity::{Incarnation, NodeId, Run, Site, Start};
use entry::Entry;
use gossip::Peer;

/// How often the node is expected to call [`Directory::beat`], and to say [`Directory::status`] to all. If
/// that is too long to be broadcast, [`Gossip`] is exchanged with each neighbour as often; otherwise it is
/// more seldom.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Two processes with one name contradict one another within a second, because every contradiction is news.
const TWIN_SILENT: Duration = Duration::from_secs(8);

/// Bounds and deadlines of a [`Directory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A node is present while a new beat of it arrived within this time.
    ///
    /// Defaults to 4 heartbeats (20 s): a broadcast may be lost or late; and what is too long for one moves a
    /// hop per heartbeat, at unsynchronised times, so that two beats may arrive two heartbeats apart
    /// without any loss.
    pub alive_after: Duration,
    /// A node not heard of for this long is forgotten.
    ///
    /// Defaults to 7 days: longer than a ship's or a shop's usual absence.
    pub forget_after: Duration,
    /// The most nodes remembered. When full, the one not heard of for longest makes room, unless
    /// all are alive.
    ///
    /// Defaults to 4096.
    pub nodes_max: usize,
    /// The most bytes, roughly, of one [`Gossip`].
    ///
    /// Defaults to 192 KiB: well below the link protocol's bound for one request.
    pub message_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            alive_after: HEARTBEAT * 4,
            forget_after: Duration::from_hours(7 * 24),
            nodes_max: 4096,
            message_bytes_max: 192 * 1024,
        }
    }
}

/// The directory of one node. Times are since the start of the process.
#[derive(Debug, Clone)]
pub struct Directory {
    settings: Settings,
    /// Ours, so that a neighbour's acknowledgements of an earlier one are not taken for acknowledgements
    /// of this.
    run: Run,
    me: NodeRecord,
    beat: u64,
    /// Everyone but ourselves.
    others: BTreeMap<NodeId, Entry>,
    peers: BTreeMap<NodeId, Peer>,
    /// Counts changes here; what a neighbour lacks is what changed after the number it named.
    revision: u64,
    /// Revision at which our own record last changed.
    my_change: u64,
    refused: u64,
    /// The last other process under our name that has heard us, and when we last heard it.
    twin_heard: Option<(Run, Duration)>,
    /// The last other process under our name that writes as our site.
    claimed: Option<Start>,
}

impl Directory {
    /// A directory that knows only ourselves. Should the clock have been set back since an earlier
    /// start, the first neighbour that remembers that start makes us take a greater incarnation.
    #[must_use]
    pub fn new(me: NodeId, incarnation: Incarnation, run: Run, settings: Settings) -> Self {
        Self {
            settings,
            run,
            // Others would refuse a greater one, and never hear of this node.
            me: NodeRecord::blank(me, incarnation.min(record::INCARNATION_MAX), run),
            beat: 0,
            others: BTreeMap::new(),
            peers: BTreeMap::new(),
            // From one: a neighbour that holds nothing of us says 0, and is sent what changed after that.
            revision: 1,
            my_change: 1,
            refused: 0,
            twin_heard: None,
            claimed: None,
        }
    }

    /// What we say of ourselves from now on. Nothing travels if nothing changed.
    pub fn announce(&mut self, announcement: Announcement) {
        let me = self.me.saying(announcement);
        if me == self.me {
            return;
        }
        let has_new_site = me.site != self.me.site;
        self.me = me;
        // A store with a new site is a new member: an eviction spoke of the old one.
        if has_new_site {
            self.me.evicted = false;
            self.claimed = None;
        }
        self.changed_myself();
    }

    /// One heartbeat: shows the others that we live, and forgets nodes not heard of for long.
    pub fn beat(&mut self, now: Duration) {
        self.beat += 1;
        let forget_after = self.settings.forget_after;
        self.others.retain(|_, entry| entry.age(now) < forget_after);
    }

    /// We leave for good: our last word.
    pub fn leave(&mut self) {
        if !self.me.left {
            self.me.left = true;
            self.changed_myself();
        }
    }

    /// We stop, and come back in another run: our last word in this one.
    pub fn stop(&mut self) {
        if !self.me.stopped {
            self.me.stopped = true;
            self.beat += 1;
            self.changed_myself();
        }
    }

    /// Declares a member gone for good. Its store's site stays evicted even if the node speaks
    /// again; a return under a new site is a new member. `false` if the node is not known, is
    /// ourselves, or was evicted before.
    pub fn evict(&mut self, node: &NodeId) -> bool {
        let revision = self.revision + 1;
        match self.others.get_mut(node) {
            Some(entry) if !entry.record.evicted => {
                entry.record.evicted = true;
                entry.changed = revision;
                // Also whoever brought the record has not heard of this.
                entry.from = None;
                self.revision = revision;
                true
            }
            _ => false,
        }
    }

    /// Whether the cluster has evicted the site that we announce: the store must take a new one
    /// before it may speak again.
    #[must_use]
    pub fn am_evicted(&self) -> bool {
        self.me.evicted
    }

    /// The other process that speaks under our name, with a copy of our key, if there is one. What an
    /// earlier run of ours said may come back at any time, but that run has never heard of this one: who
    /// names us is alive after we began.
    #[must_use]
    pub fn twin(&self, now: Duration) -> Option<Run> {
        let (run, heard) = self.twin_heard?;
        (now.saturating_sub(heard) < TWIN_SILENT).then_some(run)
    }

    /// The last other process under our name that writes as the site that we announce. It may be an
    /// earlier run of ours.
    #[must_use]
    pub fn claimed(&self) -> Option<Start> {
        self.claimed
    }

    /// Our own record.
    #[must_use]
    pub fn me(&self) -> &NodeRecord {
        &self.me
    }

    /// What `node` last said; ourselves included.
    #[must_use]
    pub fn record(&self, node: &NodeId) -> Option<&NodeRecord> {
        if *node == self.me.node {
            return Some(&self.me);
        }
        self.others.get(node).map(|entry| &entry.record)
    }

    /// The newest sign of life of `node`: which of its starts, and the beat counted in that; ourselves included.
    #[must_use]
    pub fn life(&self, node: &NodeId) -> Option<(Incarnation, u64)> {
        if *node == self.me.node {
            return Some((self.me.incarnation, self.beat));
        }
        let entry = self.others.get(node)?;
        Some((entry.record.incarnation, entry.beat))
    }

    /// The node whose store has `site`.
    #[must_use]
    pub fn node_of(&self, site: Site) -> Option<&NodeId> {
        std::iter::once(&self.me)
            .chain(self.others.values().map(|entry| &entry.record))
            .filter(|record| record.site == Some(site))
            .max_by_key(|record| (record.incarnation, record.counter))
            .map(|record| &record.node)
    }

    /// The records of all members, whether heard of lately or not: neither left nor evicted.
    /// Stability is what all of these hold.
    pub fn members(&self) -> impl Iterator<Item = &NodeRecord> {
        std::iter::once(&self.me)
            .chain(self.others.values().map(|entry| &entry.record))
            .filter(|record| !record.left && !record.evicted)
    }

    /// Nodes that are members no more: they left or were evicted.
    #[must_use]
    pub fn departed(&self) -> BTreeSet<NodeId> {
        self.others
            .iter()
            .filter(|(_, entry)| entry.record.left || entry.record.evicted)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The number of nodes known, ourselves included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.others.len() + 1
    }

    /// Never true: we know ourselves.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Records refused because they broke a bound or found no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn changed_myself(&mut self) {
        self.me.counter = self.me.counter.saturating_add(1);
        self.revision += 1;
        self.my_change = self.revision;
    }
}

#[cfg(test)]
mod tests;
