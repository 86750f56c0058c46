//! Timers in order of expiry, on one `Delay`.

use std::{
    collections::BTreeMap,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures::FutureExt;
use futures_timer::Delay;

/// What is to be handed back, and when.
#[derive(Debug)]
pub struct Timers<T> {
    start: Instant,
    /// By due time, then by order of scheduling.
    queue: BTreeMap<(Duration, u64), T>,
    scheduled: u64,
    /// Runs until the first of the queue, whose due time it remembers.
    delay: Option<(Duration, Delay)>,
}

impl<T> Timers<T> {
    /// No timers, and a clock that starts at `start`.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            queue: BTreeMap::new(),
            scheduled: 0,
            delay: None,
        }
    }

    /// Time since start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Hands `value` back after `after`.
    pub fn schedule(&mut self, after: Duration, value: T) {
        self.scheduled += 1;
        self.queue
            .insert((self.now().saturating_add(after), self.scheduled), value);
    }

    /// The next expired value. When pending, the task wakes at the next due time.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        loop {
            let now = self.now();
            let Some(entry) = self.queue.first_entry() else {
                self.delay = None;
                return Poll::Pending;
            };
            let due = entry.key().0;
            if due <= now {
                return Poll::Ready(entry.remove());
            }
            match &mut self.delay {
                Some((until, delay)) if *until == due => {
                    ready!(delay.poll_unpin(cx));
                    // A delay may be a little early; look at the clock again with a new one.
                    self.delay = None;
                }
                stale => *stale = Some((due, Delay::new(due - now))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, future::poll_fn};

    use super::*;

    #[test]
    fn expire_in_order_of_time_then_of_scheduling() {
        let mut timers = Timers::new(Instant::now());
        let ms = Duration::from_millis;
        for (after, name) in [(ms(30), "c"), (ms(10), "a"), (ms(0), "now"), (ms(20), "b")] {
            timers.schedule(after, name);
        }
        let mut next = || block_on(poll_fn(|cx| timers.poll(cx)));
        assert_eq!([next(), next(), next(), next()], ["now", "a", "b", "c"]);
    }

    #[test]
    fn earlier_one_scheduled_later_comes_first_and_on_time() {
        let mut timers = Timers::new(Instant::now());
        timers.schedule(Duration::from_secs(3600), "late");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(timers.poll(&mut cx).is_pending());
        timers.schedule(Duration::from_millis(20), "early");
        assert_eq!(block_on(poll_fn(|cx| timers.poll(cx))), "early");
        assert!(timers.now() < Duration::from_secs(60));
    }
}
