//! How far a neighbour is, measured by heartbeats.

use std::time::Duration;

use crate::{Echo, Gauge};

/// A measured round trip counts for this long, and at most twice as long.
const WINDOW: Duration = Duration::from_secs(30);

/// What is known of the line to a neighbour.
///
/// Its cost is the shortest round trip of late: messages that waited in a queue, at either end, do not
/// make a neighbour seem farther than it is. A repeated or late message does not make it seem nearer.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    /// We leave it to chance.
    pub(super) unbiased_here: bool,
    /// The neighbour leaves it to chance.
    pub(super) unbiased_there: bool,
    /// The neighbour's clock, and when we heard it.
    heard: Option<(u64, Duration)>,
    recent: Option<Duration>,
    before: Option<Duration>,
    window_end: Duration,
}

impl Line {
    pub(super) fn new(unbiased_here: bool) -> Self {
        Self {
            unbiased_here,
            ..Self::default()
        }
    }

    /// The shortest round trip of late.
    pub(super) fn cost(&self) -> Option<Duration> {
        self.recent.into_iter().chain(self.before).min()
    }

    /// What to say with the next heartbeat.
    pub(super) fn gauge(&mut self, now: Duration) -> Gauge {
        // Each clock is echoed once: echoed again, an old round trip would pass for one of late.
        let echo = self.heard.take().map(|(sent, at)| Echo {
            sent,
            held: micros(now.saturating_sub(at)),
        });
        Gauge {
            sent: micros(now),
            echo,
            unbiased: self.unbiased_here,
        }
    }

    /// A heartbeat came.
    pub(super) fn hear(&mut self, gauge: Option<Gauge>, now: Duration) {
        // One that does not optimise takes no part.
        let Some(Gauge {
            sent,
            echo,
            unbiased,
        }) = gauge
        else {
            *self = Self::new(self.unbiased_here);
            return;
        };
        self.unbiased_there = unbiased;
        self.heard = Some((sent, now));
        // An echo from the future is a lie, or a clock that jumped.
        let round_trip = echo.and_then(|Echo { sent, held }| {
            let away = micros(now).checked_sub(sent)?.checked_sub(held)?;
            Some(Duration::from_micros(away))
        });
        if let Some(round_trip) = round_trip {
            self.measured(round_trip, now);
        }
    }

    fn measured(&mut self, round_trip: Duration, now: Duration) {
        // Two windows: the older one serves until the new one has seen enough, and what is older than both is
        // forgotten.
        if now >= self.window_end {
            self.before = self.recent.take();
            self.window_end = now.saturating_add(WINDOW);
        }
        self.recent = Some(self.recent.map_or(round_trip, |best| best.min(round_trip)));
    }
}

/// In whole microseconds. Enough for half a million years.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Two ends whose clocks have nothing to do with each other, beating in turn.
    fn beat(line: &mut Line, now: Duration, away: Duration, held: Duration) {
        let ours = line.gauge(now);
        let theirs = Gauge {
            sent: 77,
            echo: Some(Echo {
                sent: ours.sent,
                held: micros(held),
            }),
            unbiased: false,
        };
        line.hear(Some(theirs), now + away + held);
    }

    #[test]
    fn the_cost_is_the_shortest_round_trip_of_late() {
        let mut line = Line::default();
        assert_eq!(line.cost(), None);
        for (second, away) in [(0, 90), (1, 40), (2, 55)] {
            beat(&mut line, ms(1000 * second), ms(away), ms(700));
        }
        assert_eq!(line.cost(), Some(ms(40)));
        // The line has become longer: known after two windows at the latest.
        for second in 3..75 {
            beat(&mut line, ms(1000 * second), ms(80), ms(700));
        }
        assert_eq!(line.cost(), Some(ms(80)));
    }

    #[test]
    fn the_echo_tells_how_long_it_was_held_and_is_sent_once() {
        let mut line = Line::default();
        let gauge = Gauge {
            sent: 1234,
            echo: None,
            unbiased: true,
        };
        line.hear(Some(gauge), ms(10));
        assert!(line.unbiased_there);
        let echo = Some(Echo {
            sent: 1234,
            held: 500_000,
        });
        assert_eq!(line.gauge(ms(510)).echo, echo);
        assert_eq!(line.gauge(ms(1510)).echo, None);
    }

    #[test]
    fn an_echo_from_the_future_measures_nothing() {
        let mut line = Line::default();
        for (sent, held) in [(u64::MAX, 0), (0, u64::MAX), (20_000, 0)] {
            let gauge = Gauge {
                sent: 0,
                echo: Some(Echo { sent, held }),
                unbiased: false,
            };
            line.hear(Some(gauge), ms(10));
        }
        assert_eq!(line.cost(), None);
    }

    #[test]
    fn a_neighbour_that_stops_measuring_has_no_cost() {
        let mut line = Line::default();
        beat(&mut line, ms(0), ms(20), ms(5));
        assert_eq!(line.cost(), Some(ms(20)));
        line.hear(None, ms(2000));
        assert_eq!(line.cost(), None);
    }
}
