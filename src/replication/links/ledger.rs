//! What the reconciler remembers between two looks: since when something has been so, what the peer
//! confirmed, what is being done, and when to try again.
//!
//! All of it may be lost at any time; the next start of the controller begins with what the stores show.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    backlog::Backlog,
    observed::{Incoming, Inventory, Observed},
    step::Key,
};
use crate::{
    identity::{NodeId, Site},
    postgres::session::Lsn,
    replication::{names::LinkName, publisher::Pending, reason::Reason},
    vector::Vector,
};

/// This many errors of one apply worker within [`CRASH_WINDOW`] are a crash loop. A publisher that
/// restarts costs one or two.
const CRASHES_MAX: i64 = 8;
const CRASH_WINDOW: Duration = Duration::from_secs(60);

/// A link that streams this long after it was first seen has a clean record: its next failure is retried soon.
const PROBATION: Duration = Duration::from_secs(60);

/// A subscriber lags once more than this is unconfirmed: less than that is the server's own
/// chatter (snapshots of running transactions), which nobody waits for.
const LEVEL_SLACK_BYTES: i64 = 16 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) incoming: BTreeMap<LinkName, InNote>,
    pub(crate) outgoing: BTreeMap<LinkName, OutNote>,
    /// Links whose publisher's end is being opened by a task of its own.
    pub(crate) opening: BTreeMap<LinkName, Pending>,
    /// What each neighbour has and we have not.
    pub(crate) backlogs: BTreeMap<NodeId, Backlog>,
    /// Why links that are behind do not get on.
    pub(crate) hindrances: BTreeMap<LinkName, Reason>,
    /// What is being worked on.
    pub(crate) busy: BTreeSet<Key>,
    /// When which kind of step may be tried again.
    pub(crate) retries: BTreeMap<(Key, &'static str), Retry>,
}

/// About a subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InNote {
    pub(crate) first_seen: Duration,
    /// The generation of the neighbour in which it said that the link is whole, and when.
    pub(crate) verified: Option<(u64, Duration)>,
    /// It is not worth resuming.
    pub(crate) beyond_repair: bool,
    /// Since when it has not streamed; `None` while it streams.
    pub(crate) down_since: Option<Duration>,
    /// How often the publisher found the link whole while nothing streamed.
    pub(crate) fruitless_resumes: u32,
    /// Errors at the start of the present window.
    errors: Option<(i64, Duration)>,
    /// Errors in the present window.
    pub(crate) failures: i64,
    /// It has streamed in this run of the server.
    pub(crate) has_streamed: bool,
    /// How far its worker has got in this run of the server.
    pub(crate) latest_end_lsn: Lsn,
    /// Once all up to here has arrived, we have what the publisher had when it found the link whole.
    pub(crate) caught_up_lsn: Option<Lsn>,
}

/// About a publisher's end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OutNote {
    pub(crate) first_seen: Duration,
    /// Since when nobody streams; `None` while somebody does.
    pub(crate) inactive_since: Option<Duration>,
    /// Since when slot or publication is missing; `None` while both are there.
    pub(crate) half_since: Option<Duration>,
    /// Where the slot stood when it was last seen without a sender.
    idle_at: Option<Lsn>,
    /// It has moved while nobody was seen to stream: what was skipped need not have arrived.
    pub(crate) is_moved: bool,
    /// When the subscriber had last confirmed nearly everything.
    pub(crate) last_level: Duration,
}

/// When a failed action may be tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) failures: u32,
    pub(crate) not_before: Duration,
    /// What went wrong; what is the same is logged once.
    pub(crate) trouble: Option<Reason>,
}

impl Ledger {
    /// Takes note of a look at `now`.
    pub(crate) fn note(&mut self, observed: &Observed, now: Duration) {
        match observed {
            Observed::Known(inventory) => {
                self.note_incoming(inventory, now);
                self.note_outgoing(inventory, now);
            }
            Observed::Unknown => self.forget_volatile(),
        }
    }

    /// A store that was away may have crashed and lost what was applied and not yet durable, or be an
    /// older copy of itself.
    pub(crate) fn forget_volatile(&mut self) {
        for note in self.incoming.values_mut() {
            note.has_streamed = false;
            note.latest_end_lsn = Lsn::default();
        }
    }

    fn note_incoming(&mut self, inventory: &Inventory, now: Duration) {
        self.incoming
            .retain(|name, _| inventory.incoming.contains_key(name));
        for (name, link) in &inventory.incoming {
            let note = self.incoming.entry(*name).or_insert_with(|| InNote {
                first_seen: now,
                ..InNote::default()
            });
            // The server shows it only while a worker runs, and it is needed when none does.
            note.latest_end_lsn = note.latest_end_lsn.max(link.latest_end_lsn);
            if link.streaming {
                note.has_streamed = true;
                note.down_since = None;
                note.fruitless_resumes = 0;
            } else {
                note.down_since.get_or_insert(now);
            }
            let (errors, since) = *note.errors.get_or_insert((link.errors, now));
            // Statistics that were reset, as by a crash, count from nothing.
            note.failures = (link.errors - errors).max(0);
            if link.errors - errors >= CRASHES_MAX {
                note.beyond_repair = true;
            } else if now > since + CRASH_WINDOW || link.errors < errors {
                // Fewer errors than before: the server has reset its statistics.
                note.errors = Some((link.errors, now));
            }
            // Not as soon as it streams: a link that breaks right afterwards would be remade without a pause.
            if let (true, Some(peer)) = (link.streaming, &link.peer)
                && now > note.first_seen + PROBATION
            {
                let key = Key::In(peer.clone());
                self.retries.retain(|(of, _), _| *of != key);
            }
        }
    }

    fn note_outgoing(&mut self, inventory: &Inventory, now: Duration) {
        self.outgoing
            .retain(|name, _| inventory.outgoing.contains_key(name));
        for (name, link) in &inventory.outgoing {
            let note = self.outgoing.entry(*name).or_insert_with(|| OutNote {
                first_seen: now,
                // Whether it was level before is not known: a lag counts from the first look.
                last_level: now,
                ..OutNote::default()
            });
            let slot = link.slot.unwrap_or_default();
            set_since(&mut note.inactive_since, !slot.active, now);
            set_since(
                &mut note.half_since,
                !link.published || link.slot.is_none(),
                now,
            );
            // Only a sender moves a slot. One that came and went between two looks is taken for somebody
            // else, too: the link is made anew, which loses nothing.
            let idle_at = link
                .slot
                .and_then(|slot| (!slot.active).then_some(slot.confirmed));
            note.is_moved |= note
                .idle_at
                .is_some_and(|at| idle_at.is_some_and(|now| now != at));
            note.idle_at = idle_at;
            if slot.active && slot.lag_bytes <= LEVEL_SLACK_BYTES {
                note.last_level = now;
            }
        }
    }

    /// Takes note of what neighbours say that they hold, while we hold `ours`.
    pub(crate) fn compare(
        &mut self,
        heads: &BTreeMap<NodeId, (Duration, Arc<Vector>)>,
        (ours, now): (&Vector, Duration),
        own: Site,
    ) {
        self.backlogs.retain(|peer, _| heads.contains_key(peer));
        for (peer, (at, theirs)) in heads {
            let backlog = self.backlogs.entry(peer.clone()).or_default();
            backlog.note(*at, theirs, (ours, now), own);
        }
    }

    /// Links that stream and do not bring what their publishers have.
    pub(crate) fn stuck(&self, inventory: &Inventory, now: Duration) -> Vec<LinkName> {
        let is_behind = |peer: &NodeId| {
            let backlog = self.backlogs.get(peer);
            backlog.is_some_and(|backlog| backlog.lag(now).is_some())
        };
        // The status says of the others why they do not stream.
        let streaming = inventory.incoming.iter().filter(|(_, link)| link.streaming);
        streaming
            .filter(|(_, link)| link.peer.as_ref().is_some_and(is_behind))
            .map(|(name, _)| *name)
            .collect()
    }

    /// Why the last attempt at something failed.
    pub(crate) fn trouble(&self, key: &Key, step: &'static str) -> Option<&Reason> {
        self.retries.get(&(key.clone(), step))?.trouble.as_ref()
    }

    /// The publisher found the link whole.
    pub(crate) fn verified(&mut self, link: &LinkName, generation: u64, end: Lsn, now: Duration) {
        if let Some(note) = self.incoming.get_mut(link) {
            note.verified = Some((generation, now));
            note.caught_up_lsn = Some(end);
            // One that streams is asked about when its peer comes back: such an answer is not in vain.
            if note.down_since.is_some() {
                note.fruitless_resumes += 1;
            }
        }
    }

    /// We made the link ourselves a moment ago.
    pub(crate) fn opened(&mut self, link: LinkName, generation: u64, now: Duration) {
        // The catch-up has brought all that the publisher had: nothing has to arrive for us to be level.
        let note = InNote {
            first_seen: now,
            verified: Some((generation, now)),
            caught_up_lsn: Some(Lsn::default()),
            ..InNote::default()
        };
        self.incoming.insert(link, note);
    }

    /// Some link has brought all that its publisher had.
    pub(crate) fn is_level(&self, inventory: &Inventory) -> bool {
        let mut all = inventory.incoming.iter();
        all.any(|(name, link)| self.has_brought_all(name, link))
    }

    /// The link has brought all that its publisher had when it was made or resumed.
    pub(crate) fn has_brought_all(&self, name: &LinkName, link: &Incoming) -> bool {
        let end = self.incoming.get(name).and_then(|note| note.caught_up_lsn);
        end.is_some_and(|end| link.received_lsn >= end)
    }

    /// The link is to be replaced.
    pub(crate) fn give_up(&mut self, link: &LinkName) {
        if let Some(note) = self.incoming.get_mut(link) {
            note.beyond_repair = true;
        }
    }

    /// `peer` became a neighbour again: whatever failed for it may be tried at once.
    pub(crate) fn clear_backoff(&mut self, peer: &NodeId) {
        let key = Key::In(peer.clone());
        self.retries.retain(|(of, _), _| *of != key);
    }
}

fn set_since(since: &mut Option<Duration>, holds: bool, now: Duration) {
    if holds {
        since.get_or_insert(now);
    } else {
        *since = None;
    }
}
