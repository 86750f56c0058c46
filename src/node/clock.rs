//! Whose clock is right.
//!
//! Of two writes that did not see each other the one with the later stamp wins, everywhere and for
//! ever. A store whose clock is ahead wins although it wrote first; one that is far ahead takes the
//! others' writes away from them. So neighbours compare the clocks of their stores: with each round of
//! gossip one asks the other for its time, and what is known of it is kept with its error.
//!
//! Reference is the median of all that is known here, our own clock included; of two in the middle
//! the earlier one, because only a clock that is ahead does harm. Clocks that are ahead of it for
//! certain by more than the bound are not believed: no data is taken from such a neighbour until its
//! clock is set. Nothing is lost by that: the link comes back then, and catches up. A new neighbour is
//! asked for its time before the first link is opened from it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tracing::{info, warn};

use super::part::{ClockAnswer, Context, Effect, Event, Part};
use crate::{
    api::{ClockStanding, ClockStatus},
    identity::NodeId,
    replication::{Doubt, Reading},
};

/// Readings kept of a neighbour. The one with the least error counts, as in NTP's clock filter: that
/// of the shortest round trip.
const READINGS_MAX: usize = 8;

/// A reading older than this says nothing: clocks drift apart by up to 50 us in a second.
const AGE_MAX: Duration = Duration::from_secs(60);

/// Mistrust begins above the bound and ends below this part of it, so that a clock at the bound does
/// not make and break links without end.
const FORGIVEN: i64 = 2;

/// A neighbour that has not told its time is asked again after this pause: its store, or ours, may be up by
/// then, and no link is opened before.
const ASK_PAUSE: Duration = Duration::from_millis(250);

/// Where mistrust begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// A difference that is worth a warning.
    pub(super) warn: Duration,
    /// A clock that is ahead by more is not believed; zero: every clock is.
    pub(super) max_ahead: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    reading: Reading,
    at: Duration,
}

/// All that is known of the clocks around.
#[derive(Debug)]
pub(super) struct Clocks {
    bounds: Bounds,
    samples: BTreeMap<NodeId, VecDeque<Sample>>,
    /// New neighbours that have not told their time yet.
    unread: BTreeSet<NodeId>,
    ahead: BTreeSet<NodeId>,
    /// Who is being asked, or will be after a pause: one question at a time, however often a peer comes and
    /// goes meanwhile.
    asking: BTreeSet<NodeId>,
    standing: ClockStanding,
}

/// What follows from it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Judgement {
    /// Each neighbour's clock minus ours.
    pub(super) neighbors: BTreeMap<NodeId, Reading>,
    /// Whose clocks are not believed.
    pub(super) doubts: BTreeMap<NodeId, Doubt>,
    /// Our own clock.
    pub(super) own: ClockStatus,
}

impl Clocks {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            samples: BTreeMap::new(),
            unread: BTreeSet::new(),
            ahead: BTreeSet::new(),
            asking: BTreeSet::new(),
            standing: ClockStanding::Unknown,
        }
    }

    /// A neighbour is new, or has new addresses.
    fn met(&mut self, peer: &NodeId) {
        // A clock that is known stays so when addresses change. Without a bound none is doubted.
        if !self.samples.contains_key(peer) && self.bounds.max_ahead != Duration::ZERO {
            self.unread.insert(peer.clone());
        }
    }

    /// A neighbour told its time, or what it did instead.
    fn told(&mut self, peer: &NodeId, told: ClockAnswer, now: Duration) {
        match told {
            ClockAnswer::Time(reading) => self.heard(peer.clone(), reading, now),
            // It stays unread, and is asked again.
            ClockAnswer::NotYet => {}
            ClockAnswer::Never => {
                self.unread.remove(peer);
            }
        }
    }

    /// A question, unless one is under way.
    fn ask(&mut self, peer: &NodeId, after: Duration) -> Option<Effect> {
        let peer = peer.clone();
        let is_new = self.asking.insert(peer.clone());
        is_new.then_some(Effect::AskClock { peer, after })
    }

    /// Whether it has not told its time yet.
    fn is_unread(&self, peer: &NodeId) -> bool {
        self.unread.contains(peer)
    }

    /// A neighbour's clock was read, against our store's.
    fn heard(&mut self, peer: NodeId, reading: Reading, now: Duration) {
        self.unread.remove(&peer);
        let samples = self.samples.entry(peer).or_default();
        // What contradicts the newest reading was before a clock was set: theirs or ours.
        samples.retain(|sample| sample.reading.agrees(&reading));
        samples.push_back(Sample { reading, at: now });
        if samples.len() > READINGS_MAX {
            samples.pop_front();
        }
    }

    /// A neighbour is none any more.
    fn forget(&mut self, peer: &NodeId) {
        self.samples.remove(peer);
        self.unread.remove(peer);
        self.ahead.remove(peer);
    }

    /// Draws the conclusions, and says in the log what is new about them.
    pub(super) fn judge(&mut self, now: Duration) -> Judgement {
        let neighbors: BTreeMap<NodeId, Reading> = self
            .samples
            .iter()
            .filter_map(|(peer, samples)| Some((peer.clone(), best(samples, now)?)))
            .collect();
        let reference = median(neighbors.values());
        let max = micros(self.bounds.max_ahead);
        for (peer, reading) in &neighbors {
            let ahead = reading.against(&reference);
            let is_known = self.ahead.contains(peer);
            if !is_known && is_beyond(&ahead, max) {
                warn!(%peer, ahead_ms = ahead.offset_ms(), "a neighbour's clock is ahead of the \
                    others': nothing is taken from it until its clock is set");
                self.ahead.insert(peer.clone());
            } else if is_known && (max == 0 || ahead.offset <= max / FORGIVEN) {
                info!(
                    %peer,
                    over = "a neighbour's clock is ahead",
                    "a neighbour's clock is right again"
                );
                self.ahead.remove(peer);
            }
        }
        let own = Reading {
            offset: 0,
            error: 0,
        }
        .against(&reference);
        self.stand(&own, neighbors.is_empty());
        // Alone we are the reference ourselves: a difference of zero would look like a measured one.
        let own = (!neighbors.is_empty()).then_some(own);
        Judgement {
            doubts: self.doubts(),
            own: ClockStatus {
                standing: self.standing,
                ahead_ms: own.map(|own| own.offset_ms()),
                error_ms: own.map(|own| own.error_ms()),
                neighbors: neighbors.len(),
                max_ahead_ms: self.bounds.max_ahead.as_secs_f64() * 1e3,
            },
            neighbors,
        }
    }

    fn doubts(&self) -> BTreeMap<NodeId, Doubt> {
        let unread = self.unread.iter().map(|peer| (peer, Doubt::Unread));
        let ahead = self.ahead.iter().map(|peer| (peer, Doubt::Ahead));
        unread
            .chain(ahead)
            .map(|(peer, doubt)| (peer.clone(), doubt))
            .collect()
    }

    fn stand(&mut self, own: &Reading, is_alone: bool) {
        let (warn_at, max) = (micros(self.bounds.warn), micros(self.bounds.max_ahead));
        let was_ahead = self.standing == ClockStanding::Ahead;
        let standing = if is_alone {
            ClockStanding::Unknown
        } else if is_beyond(own, max) || (was_ahead && max > 0 && own.offset > max / FORGIVEN) {
            ClockStanding::Ahead
        } else if warn_at > 0 && own.offset.abs().saturating_sub(own.error) > warn_at {
            ClockStanding::Off
        } else {
            ClockStanding::Fair
        };
        if standing == self.standing {
            return;
        }
        let ahead_ms = own.offset_ms();
        match (self.standing, standing) {
            (_, ClockStanding::Ahead) => warn!(
                ahead_ms,
                over = "the store's clock differs",
                "the store's clock is ahead of the \
                neighbours': they take nothing from it until it is set (chronyc makestep)"
            ),
            (_, ClockStanding::Off) => warn!(
                ahead_ms,
                over = "the store's clock is ahead",
                "the store's clock differs from the \
                neighbours': set it (chronyc makestep)"
            ),
            (ClockStanding::Ahead | ClockStanding::Off, ClockStanding::Fair) => {
                info!(
                    ahead_ms,
                    over = "the store's clock",
                    "the store's clock is right again"
                );
            }
            // To be right, or alone, from the beginning is no news.
            _ => {}
        }
        self.standing = standing;
    }
}

impl Part for Clocks {
    fn on(&mut self, event: &Event, context: &Context<'_>) -> Vec<Effect> {
        match event {
            Event::NeighborUp(peer) => {
                self.met(peer);
                self.ask(peer, Duration::ZERO).into_iter().collect()
            }
            Event::NeighborDown(peer, _) => {
                self.forget(peer);
                Vec::new()
            }
            Event::Clock {
                peer,
                answer,
                in_round,
            } => {
                if !in_round {
                    self.asking.remove(peer);
                }
                // It may come after its neighbour has gone; nobody would forget it then.
                if !context.overlay.is_neighbor(peer) {
                    return Vec::new();
                }
                self.told(peer, *answer, context.now);
                let again = self.is_unread(peer);
                let question = again.then(|| self.ask(peer, ASK_PAUSE)).flatten();
                question.into_iter().collect()
            }
            // Between two rounds, which ask on the way.
            Event::Heartbeat {
                is_round: false, ..
            } => {
                let peers = context.overlay.peers();
                peers
                    .filter_map(|peer| self.ask(peer, Duration::ZERO))
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Ahead for certain by more than `max`, if there is such a bound.
fn is_beyond(ahead: &Reading, max: i64) -> bool {
    // Over a slow network readings are inexact: nobody is mistrusted for that.
    max > 0 && ahead.offset.saturating_sub(ahead.error) > max
}

fn best(samples: &VecDeque<Sample>, now: Duration) -> Option<Reading> {
    samples
        .iter()
        .filter(|sample| sample.at + AGE_MAX >= now)
        .map(|sample| sample.reading)
        .min_by_key(|reading| reading.error)
}

/// The clock in the middle of the neighbours' and our own, the earlier of two.
fn median<'a>(neighbors: impl Iterator<Item = &'a Reading>) -> Reading {
    let ours = Reading {
        offset: 0,
        error: 0,
    };
    let mut all: Vec<Reading> = neighbors.copied().chain([ours]).collect();
    all.sort_by_key(|reading| reading.offset);
    all[(all.len() - 1) / 2]
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
