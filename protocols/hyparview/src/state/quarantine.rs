//! Peers that are neither dialled, nor learnt from others, nor let in for a while: those that flap,
//! do not drain their queue, break the protocol, or left for good.

use std::{collections::BTreeMap, time::Duration};

use super::alarms::doubled;
use crate::{Config, Id};

#[derive(Debug, Clone, Copy)]
struct Offence {
    strikes: u32,
    /// When the quarantine ends; in the past for a peer with forgiven strikes only.
    until: Duration,
    /// It left by itself: its own word ends the quarantine.
    departed: bool,
}

/// The record of offences, bounded by forgetting those that end first.
#[derive(Debug)]
pub(super) struct Quarantine<I> {
    capacity: usize,
    limit: u32,
    first: Duration,
    most: Duration,
    offences: BTreeMap<I, Offence>,
}

impl<I: Id> Quarantine<I> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            capacity: config.suspect_capacity().max(1),
            limit: config.flap_limit(),
            first: config.quarantine(),
            most: config.quarantine_max(),
            offences: BTreeMap::new(),
        }
    }

    /// `peer` was lost soon after it came.
    pub(super) fn flapped(&mut self, peer: I, now: Duration) {
        let strikes = self.strikes(peer).saturating_add(1);
        self.punish(peer, strikes, now);
    }

    /// `peer` did what is not forgiven even once.
    pub(super) fn offended(&mut self, peer: I, now: Duration) {
        // Beyond what is forgiven at once.
        let strikes = self.strikes(peer).max(self.limit).saturating_add(1);
        self.punish(peer, strikes, now);
    }

    /// `peer` left for good: others may still spread its name for a while.
    pub(super) fn departed(&mut self, peer: I, now: Duration) {
        // As long as its name may be about in passive views.
        let until = now.saturating_add(self.most);
        self.note(
            peer,
            Offence {
                strikes: self.strikes(peer),
                until,
                departed: true,
            },
        );
    }

    /// `peer`, which had left, speaks.
    pub(super) fn returned(&mut self, peer: I) {
        if self
            .offences
            .get(&peer)
            .is_some_and(|offence| offence.departed)
        {
            // Only who left by itself: an offender does not get out by asking.
            self.offences.remove(&peer);
        }
    }

    /// `peer` was a good neighbour for a while.
    pub(super) fn forgive(&mut self, peer: I) {
        self.offences.remove(&peer);
    }

    /// Whether `peer` is to be kept out.
    pub(super) fn holds(&self, peer: I, now: Duration) -> bool {
        self.offences
            .get(&peer)
            .is_some_and(|offence| now < offence.until)
    }

    pub(super) fn len(&self) -> usize {
        self.offences.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    fn strikes(&self, peer: I) -> u32 {
        self.offences
            .get(&peer)
            .map_or(0, |offence| offence.strikes)
    }

    fn punish(&mut self, peer: I, strikes: u32, now: Duration) {
        // The first few are noted only: a peer that is restarted twice is no offender.
        let until = match strikes.checked_sub(self.limit) {
            None | Some(0) => now,
            Some(beyond) => now.saturating_add(doubled(self.first, beyond - 1, self.most)),
        };
        self.note(
            peer,
            Offence {
                strikes,
                until,
                departed: false,
            },
        );
    }

    fn note(&mut self, peer: I, offence: Offence) {
        self.offences.insert(peer, offence);
        if self.offences.len() > self.capacity {
            // The new one must not be the one that goes, even if it ends first.
            let others = self.offences.iter().filter(|(id, _)| **id != peer);
            if let Some(soonest) = others
                .min_by_key(|(_, offence)| offence.until)
                .map(|(id, _)| *id)
            {
                self.offences.remove(&soonest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    fn seconds(after: u64) -> Duration {
        START + Duration::from_secs(after)
    }

    #[test]
    fn flapping_is_forgiven_a_few_times_and_then_costs_twice_as_much_each_time() {
        let mut quarantine = Quarantine::new(&Config::default());
        for _ in 0..3 {
            quarantine.flapped(7u64, START);
            assert!(!quarantine.holds(7, START));
        }
        quarantine.flapped(7, START);
        assert!(quarantine.holds(7, seconds(9)));
        assert!(!quarantine.holds(7, seconds(10)));
        quarantine.flapped(7, START);
        assert!(quarantine.holds(7, seconds(19)));
        assert!(!quarantine.holds(7, seconds(20)));
        quarantine.forgive(7);
        assert!(!quarantine.holds(7, START));
    }

    #[test]
    fn an_offence_is_not_forgiven_but_a_departed_peer_may_return() {
        let mut quarantine = Quarantine::new(&Config::default());
        quarantine.offended(7u64, START);
        quarantine.departed(8, START);
        assert!(quarantine.holds(7, START) && quarantine.holds(8, START));
        quarantine.returned(7);
        quarantine.returned(8);
        assert!(quarantine.holds(7, START));
        assert!(!quarantine.holds(8, START));
    }

    #[test]
    fn the_record_is_bounded() {
        let mut quarantine = Quarantine::new(&Config::default());
        for peer in 0..1000u64 {
            quarantine.offended(peer, START);
        }
        assert_eq!(quarantine.len(), quarantine.capacity());
        assert!(quarantine.holds(999, START));
    }
}
