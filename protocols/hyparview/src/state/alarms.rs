//! Timers asked for. The runtime cannot cancel one, so each periodic timer remembers when it is
//! due, and one that comes early (an older request for the same timer) is ignored.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, RngExt};

use super::State;
use crate::{Address, Id, Output, Timer};

/// Periodic timers, of which each is set once at most.
pub(super) const ALARMS_MAX: usize = 8;

/// When each periodic timer is due. Request timers are told apart by their serial instead.
#[derive(Debug)]
pub(super) struct Alarms<I> {
    due: BTreeMap<Timer<I>, Duration>,
}

impl<I> Default for Alarms<I> {
    fn default() -> Self {
        Self {
            due: BTreeMap::new(),
        }
    }
}

impl<I: Id> Alarms<I> {
    /// Whether `timer` is to be acted upon; if so it is no longer set.
    pub(super) fn ring(&mut self, timer: Timer<I>, now: Duration) -> bool {
        // Its serial tells whether it is still of interest: whoever waits for it looks.
        if matches!(timer, Timer::Request { .. }) {
            return true;
        }
        let due = self.due.get(&timer).is_some_and(|due| *due <= now);
        if due {
            self.due.remove(&timer);
        }
        due
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether `timer` is set for `at` or earlier; if not it is now.
    fn set(&mut self, timer: Timer<I>, at: Duration) -> bool {
        // A later one is dropped, for what rings earlier asks for the next one itself.
        let earlier = self.due.get(&timer).is_none_or(|due| at < *due);
        if earlier {
            self.due.insert(timer, at);
        }
        earlier
    }
}

#[cfg(test)]
impl<I: Id> Alarms<I> {
    /// As if nothing were set.
    pub(super) fn clear(&mut self) {
        self.due.clear();
    }

    /// As if `timer` had been set for `at`.
    pub(super) fn force(&mut self, timer: Timer<I>, at: Duration) {
        self.due.insert(timer, at);
    }
}

impl<I: Id, A: Address> State<I, A> {
    /// Asks for a periodic `timer`, unless it comes sooner anyway.
    pub(super) fn wake(&mut self, timer: Timer<I>, after: Duration) {
        if self.alarms.set(timer, self.now.saturating_add(after)) {
            self.outputs.push_back(Output::Schedule { after, timer });
        }
    }

    /// Asks for the timer of request `serial`.
    pub(super) fn expect(&mut self, peer: I, serial: u64) {
        self.expect_within(peer, serial, self.config.request_timeout());
    }

    pub(super) fn expect_within(&mut self, peer: I, serial: u64, after: Duration) {
        self.outputs.push_back(Output::Schedule {
            after,
            timer: Timer::Request { peer, serial },
        });
    }
}

/// A time between three and five quarters of `mean`, so that nodes do not march in step.
pub(super) fn spread<R: Rng>(mean: Duration, rng: &mut R) -> Duration {
    (mean / 4 * 3).saturating_add(within(mean / 2, rng))
}

/// A time up to `most`.
pub(super) fn within<R: Rng>(most: Duration, rng: &mut R) -> Duration {
    rng.random_range(Duration::ZERO..=most)
}

/// `first`, doubled `times` times, but `most` at most.
pub(super) fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times)).min(most)
}
