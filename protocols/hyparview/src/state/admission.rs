//! Limits on what others may make this node do (R9, R11).

use std::{collections::BTreeMap, time::Duration};

use crate::{Config, Id};

/// Peers whose own allowance is remembered. Beyond it the one with most allowance left is
/// forgotten, which errs in that peer's favour.
pub(super) const PEERS_MAX: usize = 1024;

/// Shuffles that a neighbour may send at once.
const SHUFFLE_BURST: u32 = 10;
/// Walks of joins that a neighbour may send at once, in seconds of `admission_rate`.
const JOIN_BURST: u32 = 4;

/// An allowance that fills up by one every `interval` up to `burst`, kept as the time at which it
/// will be full again.
#[derive(Debug, Clone, Copy, Default)]
struct Allowance {
    full_at: Duration,
}

impl Allowance {
    /// Takes one unit, if there is one.
    fn take(&mut self, now: Duration, interval: Duration, burst: u32) -> bool {
        // The time at which it is full again is all the state: no count that would have to be filled by a
        // timer.
        let full_at = self.full_at.max(now).saturating_add(interval);
        let granted = full_at <= now.saturating_add(interval.saturating_mul(burst));
        if granted {
            self.full_at = full_at;
        }
        granted
    }
}

/// The allowances of one node.
#[derive(Debug)]
pub(super) struct Admission<I> {
    rate: u32,
    peer_burst: u32,
    peer_interval: Duration,
    service_rate: u32,
    all: Allowance,
    services: Allowance,
    peers: BTreeMap<I, Allowance>,
    shuffle_interval: Duration,
    shuffles: BTreeMap<I, Allowance>,
    joins: BTreeMap<I, Allowance>,
}

impl<I: Id> Admission<I> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            rate: config.admission_rate().max(1),
            peer_burst: config.admission_peer_burst(),
            peer_interval: config.admission_peer_interval(),
            service_rate: config.service_rate().max(1),
            all: Allowance::default(),
            services: Allowance::default(),
            peers: BTreeMap::new(),
            shuffle_interval: shuffle_interval(config),
            shuffles: BTreeMap::new(),
            joins: BTreeMap::new(),
        }
    }

    /// Whether one more shuffle of this neighbour, or one that it passes on, may be taken now.
    pub(super) fn shuffle(&mut self, neighbor: I, now: Duration) -> bool {
        make_way(&mut self.shuffles, neighbor);
        let allowance = self.shuffles.entry(neighbor).or_default();
        allowance.take(now, self.shuffle_interval, SHUFFLE_BURST)
    }

    /// Whether one more walk of a join may be taken from this neighbour now: an honest one passes on no more
    /// than it lets in.
    pub(super) fn walk(&mut self, neighbor: I, now: Duration) -> bool {
        make_way(&mut self.joins, neighbor);
        let allowance = self.joins.entry(neighbor).or_default();
        let interval = Duration::from_secs(1) / self.rate;
        allowance.take(now, interval, self.rate.saturating_mul(JOIN_BURST))
    }

    /// Whether a join or high-priority request of `peer` may be granted now.
    pub(super) fn admit(&mut self, peer: I, now: Duration) -> bool {
        make_way(&mut self.peers, peer);
        let allowance = self.peers.entry(peer).or_default();
        // First its own: one that asks again and again must not use up what is there for all.
        allowance.take(now, self.peer_interval, self.peer_burst)
            && self
                .all
                .take(now, Duration::from_secs(1) / self.rate, self.rate)
    }

    /// Whether one more walk's end or probe may be served now.
    pub(super) fn serve(&mut self, now: Duration) -> bool {
        self.services.take(
            now,
            Duration::from_secs(1) / self.service_rate,
            self.service_rate,
        )
    }

    /// How many peers have an allowance for requests, for shuffles and for walks.
    pub(super) fn lens(&self) -> [usize; 3] {
        [&self.peers, &self.shuffles, &self.joins].map(BTreeMap::len)
    }
}

/// Time between two shuffles of one neighbour, on average, that are taken.
fn shuffle_interval(config: &Config) -> Duration {
    // Every node starts one shuffle per interval. It passes `hops` nodes, each of which hears it from one of
    // its neighbours: so a neighbour sends `hops / neighbors` per interval.
    let neighbors = u32::try_from(config.active_capacity()).unwrap_or(u32::MAX);
    let hops = u32::from(config.shuffle_walk()).max(1);
    config.shuffle_interval().saturating_mul(neighbors)
        / hops.saturating_mul(config.shuffle_excess().max(1))
}

/// Forgets the one with most allowance left if `peer` would be one too many.
fn make_way<I: Id>(all: &mut BTreeMap<I, Allowance>, peer: I) {
    if !all.contains_key(&peer) && all.len() >= PEERS_MAX {
        let fullest = all.iter().min_by_key(|(_, allowance)| allowance.full_at);
        if let Some(fullest) = fullest.map(|(id, _)| *id) {
            all.remove(&fullest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_spent_at_once_and_filled_with_time() {
        let mut allowance = Allowance::default();
        let (second, start) = (Duration::from_secs(1), Duration::from_secs(100));
        assert!(allowance.take(start, second, 2));
        assert!(allowance.take(start, second, 2));
        assert!(!allowance.take(start, second, 2));
        assert!(!allowance.take(start + second / 2, second, 2));
        assert!(allowance.take(start + second, second, 2));
        assert!(!allowance.take(start + second, second, 2));
    }

    #[test]
    fn one_peer_cannot_spend_the_allowance_of_all() {
        let config = Config::default()
            .with_admission_rate(10)
            .with_admission_peer_burst(2);
        let mut admission = Admission::new(&config);
        let granted = (0..20)
            .filter(|_| admission.admit(1u64, Duration::ZERO))
            .count();
        assert_eq!(granted, 2);
        let granted = (2..20u64)
            .filter(|peer| admission.admit(*peer, Duration::ZERO))
            .count();
        assert_eq!(granted, 8);
    }

    #[test]
    fn peers_beyond_the_bound_are_forgotten() {
        let mut admission = Admission::new(&Config::default());
        for peer in 0..2000u64 {
            let now = Duration::from_secs(peer);
            admission.admit(peer, now);
            admission.shuffle(peer, now);
            admission.walk(peer, now);
        }
        assert_eq!(admission.lens(), [PEERS_MAX; 3]);
    }
}
