//! The messages between two directories.
//!
//! Each side names the last revision of the other up to which it holds everything; the other
//! sends what changed after it. So a lost message is sent again, a neighbour that restarted (and names
//! nothing) gets everything, and nothing is kept per message.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Directory,
    entry::Entry,
    record::{NodeRecord, ORDER_MAX},
};
use crate::identity::{Incarnation, NodeId, Run};

/// Neighbours come and go; this many are remembered. Forgetting one only costs sending it
/// everything once more.
const PEERS_MAX: usize = 128;
/// Bytes of a [`Pulse`] on the wire, roughly.
const PULSE_BYTES: usize = 96;

/// One message of one directory to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// The sender's run: its revisions count from nothing in each.
    // In messages it has the name that earlier versions gave it.
    #[serde(rename = "life")]
    pub run: Run,
    /// With these records the receiver holds all that changed at the sender up to this revision.
    pub upto: u64,
    /// What the sender holds of the receiver; `None` before it has heard of it.
    pub holds: Option<Held>,
    /// Records that changed.
    pub rumors: Vec<Rumor>,
    /// Signs of life of nodes whose record did not change.
    pub pulses: Vec<Pulse>,
}

/// All that changed at a directory up to a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Run, u64)", into = "(Run, u64)")]
pub struct Held {
    /// Whose run it is that the revision counts in.
    pub run: Run,
    /// The revision.
    pub upto: u64,
}

impl From<(Run, u64)> for Held {
    fn from((run, upto): (Run, u64)) -> Self {
        Self { run, upto }
    }
}

impl From<Held> for (Run, u64) {
    fn from(held: Held) -> Self {
        (held.run, held.upto)
    }
}

/// A record on its way, with the newest sign of life of its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rumor {
    /// What the node said.
    pub record: NodeRecord,
    /// Its newest beat.
    pub beat: u64,
    /// How long ago, in seconds, the sender heard of it. So that a node long gone does not look
    /// alive to those who join later.
    pub age_seconds: u32,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Whose.
    pub node: NodeId,
    /// In which of its starts.
    pub incarnation: Incarnation,
    /// The newest beat.
    pub beat: u64,
}

/// What is known of a neighbour's directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    /// As of its last message; `None` before the first.
    run: Option<Run>,
    /// The last of our revisions that it says it holds.
    holds: u64,
    /// The last of its revisions that we hold.
    held: u64,
    /// Our revision when we last sent it pulses.
    pulsed: u64,
    /// Our own beat when we last sent it.
    beat: u64,
}

impl Directory {
    /// The next message to `peer`: a request's body or a reply's.
    pub fn gossip_for(&mut self, peer: &NodeId, now: Duration) -> Gossip {
        let known = self.peer(peer).clone();
        let mut budget = self.settings.message_bytes_max;
        // Records first: a sign of life of somebody who is not known is dropped.
        let (rumors, upto) = self.rumors_since(&known, peer, now, &mut budget);
        let (pulses, pulsed) = self.pulses_since(&known, peer, &mut budget);
        let beat = self.beat;
        let state = self.peer(peer);
        state.pulsed = pulsed;
        state.beat = beat;
        Gossip {
            run: self.run,
            upto,
            holds: known.run.map(|run| Held {
                run,
                upto: known.held,
            }),
            rumors,
            pulses,
        }
    }

    /// Takes in a message of `peer`. `true` if a record changed.
    pub fn receive(&mut self, peer: &NodeId, gossip: Gossip, now: Duration) -> bool {
        let (run, revision) = (self.run, self.revision);
        let state = self.peer(peer);
        // Another run counts its revisions from nothing, and has forgotten what it held of us.
        if state.run != Some(gossip.run) {
            *state = Peer {
                run: Some(gossip.run),
                ..Peer::default()
            };
        }
        // The records of a message for an earlier run of ours are as good as any, but leave out
        // what that run knew.
        if gossip.holds.is_none_or(|held| held.run == run) {
            state.held = state.held.max(gossip.upto);
        }
        state.holds = match gossip.holds {
            // No more than there is: a peer that claims the future would not be sent what is to come.
            Some(held) if held.run == run => held.upto.min(revision),
            _ => 0,
        };
        let source = (peer.clone(), Some(gossip.run));
        let mut changed = false;
        for rumor in gossip.rumors {
            changed |= self.hear(rumor, &source, now);
        }
        for pulse in gossip.pulses {
            self.feel(&pulse, now);
        }
        changed
    }

    /// What we broadcast of ourselves: our record and a sign of life.
    #[must_use]
    pub fn status(&self) -> Rumor {
        Rumor {
            record: self.me.clone(),
            beat: self.beat,
            age_seconds: 0,
        }
    }

    /// Takes in what `from` said of itself to all. `true` if its record changed. What it says of others
    /// is refused.
    pub fn hear_status(&mut self, from: &NodeId, rumor: Rumor, now: Duration) -> bool {
        if rumor.record.node != *from {
            self.refused += 1;
            return false;
        }
        // No neighbour brought it.
        self.hear(rumor, &(from.clone(), None), now)
    }

    /// `peer` is no neighbour any more: what it holds need not be remembered. If it was lost without a
    /// word, it counts as silent until somebody hears of it again.
    pub fn neighbor_down(&mut self, peer: &NodeId, is_lost: bool) {
        self.peers.remove(peer);
        if let Some(entry) = self.others.get_mut(peer) {
            entry.is_lost |= is_lost;
        }
    }

    /// `peer` is a neighbour: it is there.
    pub fn neighbor_up(&mut self, peer: &NodeId) {
        if let Some(entry) = self.others.get_mut(peer) {
            entry.is_lost = false;
        }
    }

    fn peer(&mut self, peer: &NodeId) -> &mut Peer {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(peer) {
            self.peers.pop_first();
        }
        self.peers.entry(peer.clone()).or_default()
    }

    /// What changed after the revision that `peer` holds, oldest change first, and the revision
    /// up to which that is all.
    fn rumors_since(
        &self,
        known: &Peer,
        peer: &NodeId,
        now: Duration,
        budget: &mut usize,
    ) -> (Vec<Rumor>, u64) {
        let mut changes: Vec<(u64, Option<&Entry>)> = self
            .others
            .values()
            .filter(|entry| entry.changed > known.holds)
            .map(|entry| (entry.changed, Some(entry)))
            .collect();
        if self.my_change > known.holds {
            changes.push((self.my_change, None));
        }
        // In this order what does not fit comes last, and `upto` claims nothing that was left out.
        changes.sort_unstable_by_key(|(changed, _)| *changed);

        let mut rumors = Vec::new();
        let mut upto = known.holds;
        for (changed, entry) in changes {
            let rumor = match entry {
                None => Rumor {
                    record: self.me.clone(),
                    beat: self.beat,
                    age_seconds: 0,
                },
                // It told us itself, in this run; what an earlier run of it told may be forgotten there.
                Some(entry) if entry.is_from(peer, known.run) => {
                    upto = changed;
                    continue;
                }
                Some(entry) => Rumor {
                    record: entry.record.clone(),
                    beat: entry.beat,
                    age_seconds: u32::try_from(entry.age(now).as_secs()).unwrap_or(u32::MAX),
                },
            };
            let weight = rumor.record.weight();
            // The first always goes: a single record is within the link protocol's bound.
            if weight > *budget && !rumors.is_empty() {
                return (rumors, upto);
            }
            *budget = budget.saturating_sub(weight);
            upto = changed;
            rumors.push(rumor);
        }
        (rumors, self.revision)
    }

    /// Signs of life since the last message to `peer`, oldest first, and the revision up to
    /// which they were sent. Not acknowledged: the next beat makes up for a lost one.
    fn pulses_since(&self, known: &Peer, peer: &NodeId, budget: &mut usize) -> (Vec<Pulse>, u64) {
        let mut pulses = Vec::new();
        if self.beat > known.beat {
            // Ours goes whatever room is left: nobody else can say that we live.
            *budget = budget.saturating_sub(PULSE_BYTES);
            pulses.push(Pulse {
                node: self.me.node.clone(),
                incarnation: self.me.incarnation,
                beat: self.beat,
            });
        }
        let mut due: Vec<&Entry> = self
            .others
            .values()
            .filter(|entry| entry.pulsed > known.pulsed && entry.record.node != *peer)
            .collect();
        due.sort_unstable_by_key(|entry| entry.pulsed);
        let mut upto = known.pulsed;
        for entry in due {
            if *budget < PULSE_BYTES {
                return (pulses, upto);
            }
            *budget -= PULSE_BYTES;
            upto = entry.pulsed;
            pulses.push(Pulse {
                node: entry.record.node.clone(),
                incarnation: entry.record.incarnation,
                beat: entry.beat,
            });
        }
        (pulses, self.revision)
    }

    fn hear(&mut self, rumor: Rumor, source: &(NodeId, Option<Run>), now: Duration) -> bool {
        if !rumor.record.is_bounded() || rumor.beat > ORDER_MAX {
            self.refused += 1;
            return false;
        }
        if rumor.record.node == self.me.node {
            return self.answer(&rumor.record, now);
        }
        let stale = self.staleness(rumor.age_seconds);
        let revision = self.revision + 1;
        let Some(entry) = self.others.get_mut(&rumor.record.node) else {
            return self.meet(rumor, source, stale, now);
        };
        let before = (entry.record.incarnation, entry.beat);
        let joined = entry.record.clone().join(rumor.record.clone());
        let changed = joined != entry.record;
        if changed {
            if joined.incarnation != entry.record.incarnation {
                // Beats count from nothing in each start.
                entry.beat = 0;
            }
            // What results may be neither ours nor theirs (an older record's eviction); then
            // the source has to hear of it too.
            entry.from = (joined == rumor.record).then(|| source.clone());
            entry.record = joined;
            entry.changed = revision;
            self.revision = revision;
        }
        let after = (rumor.record.incarnation, rumor.beat);
        // A beat of an earlier start is no sign that the node lives now.
        if after > before {
            entry.feel(rumor.beat, now, stale, revision);
            self.revision = revision;
        }
        changed
    }

    /// A node not known before.
    fn meet(
        &mut self,
        rumor: Rumor,
        source: &(NodeId, Option<Run>),
        stale: Duration,
        now: Duration,
    ) -> bool {
        // What all others are about to forget must not go round again.
        if stale >= self.settings.forget_after || !self.make_room(now) {
            self.refused += 1;
            return false;
        }
        self.revision += 1;
        let entry = Entry {
            beat: rumor.beat,
            heard: now,
            stale,
            is_lost: false,
            changed: self.revision,
            pulsed: self.revision,
            from: Some(source.clone()),
            record: rumor.record,
        };
        self.others.insert(entry.record.node.clone(), entry);
        true
    }

    /// Frees a place if there is none; `false` if all are taken by nodes that are alive.
    fn make_room(&mut self, now: Duration) -> bool {
        if self.others.len() + 1 < self.settings.nodes_max {
            return true;
        }
        let alive_after = self.settings.alive_after;
        let oldest = self
            .others
            .values()
            .filter(|entry| !entry.is_alive(now, alive_after))
            .max_by_key(|entry| entry.age(now))
            .map(|entry| entry.record.node.clone());
        oldest.is_some_and(|node| self.others.remove(&node).is_some())
    }

    /// Somebody passes on a record about ourselves. If it is not ours (of an earlier start when
    /// our clock was ahead, of a twin, of a liar), we outrank it: our own word holds. An
    /// eviction of the site that we announce is taken in; it is not ours to revoke.
    fn answer(&mut self, record: &NodeRecord, now: Duration) -> bool {
        let met = self.meet_rival(record, now);
        let evicted = record.evicted && record.site == self.me.site && !self.me.evicted;
        let mut words = record.clone();
        // An eviction is not our word: a record that differs in it alone is still ours.
        words.evicted = self.me.evicted;
        // Nor is it another word of ours what an earlier version makes of it: outranked, it would come back again.
        words.complete(&self.me);
        let outranks =
            record.rank() > self.me.rank() || (record.rank() == self.me.rank() && words != self.me);
        if outranks {
            (self.me.incarnation, self.me.counter) = record.rank();
        }
        self.me.evicted |= evicted;
        if evicted || outranks || met {
            self.changed_myself();
        }
        evicted
    }

    /// Another process has spoken under our name, now or long ago: we name it, and who names us has heard
    /// of us. `true` if it is another one than before.
    fn meet_rival(&mut self, record: &NodeRecord, now: Duration) -> bool {
        let Some(run) = record.run.filter(|run| Some(*run) != self.me.run) else {
            return false;
        };
        if record.rival == self.me.run {
            self.twin_heard = Some((run, now));
        }
        if record.site == self.me.site {
            self.claimed = record.start().or(self.claimed);
        }
        let is_news = self.me.rival != record.run;
        self.me.rival = record.run;
        is_news
    }

    fn feel(&mut self, pulse: &Pulse, now: Duration) {
        let alive_after = self.settings.alive_after;
        let revision = self.revision + 1;
        let Some(entry) = self.others.get_mut(&pulse.node) else {
            return;
        };
        let newer = pulse.incarnation == entry.record.incarnation
            && pulse.beat > entry.beat
            && pulse.beat <= ORDER_MAX;
        if !newer {
            return;
        }
        // Some may have forgotten a node that was silent for long: who hears it again sends
        // its record once more.
        if entry.is_member() && entry.age(now) >= alive_after {
            entry.changed = revision;
            entry.from = None;
        }
        entry.feel(pulse.beat, now, Duration::ZERO, revision);
        self.revision = revision;
    }

    /// How old a rumour counts on arrival. What is fresh counts as new, or every hop would make
    /// a live node look older.
    fn staleness(&self, age_seconds: u32) -> Duration {
        let age = Duration::from_secs(age_seconds.into());
        if age < self.settings.alive_after {
            Duration::ZERO
        } else {
            age
        }
    }
}
