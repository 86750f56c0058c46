//! Timers asked for. The runtime cannot cancel one, so each remembers when it is due, and one that
//! comes early (an older request for the same timer) is ignored. So there are never more than a few.

use std::{collections::BTreeMap, time::Duration};

use super::State;
use crate::{Id, Output, Timer};

#[derive(Debug, Clone, Default)]
pub(super) struct Alarms {
    due: BTreeMap<Timer, Duration>,
}

impl Alarms {
    /// Whether `timer` is to be acted upon; if so it is no longer set.
    pub(super) fn ring(&mut self, timer: Timer, now: Duration) -> bool {
        let due = self.due.get(&timer).is_some_and(|due| *due <= now);
        if due {
            self.due.remove(&timer);
        }
        due
    }

    pub(super) fn due(&self, timer: Timer) -> Option<Duration> {
        self.due.get(&timer).copied()
    }
}

impl<I: Id> State<I> {
    /// Asks for `timer`, unless it comes sooner anyway.
    pub(super) fn wake(&mut self, timer: Timer, at: Duration) {
        // What is overdue is due now: a delay cannot be negative.
        let at = at.max(self.now);
        if self.alarms.due(timer).is_some_and(|due| due <= at) {
            return;
        }
        self.alarms.due.insert(timer, at);
        self.outputs.push_back(Output::Schedule {
            after: at - self.now,
            timer,
        });
    }

    /// Sends what was collected, soon.
    pub(super) fn flush_soon(&mut self) {
        self.wake(
            Timer::Flush,
            self.now.saturating_add(self.config.flush_interval()),
        );
    }
}
