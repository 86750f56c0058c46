//! The store's clock, which stamps operations, as this process's clock sees it.
//!
//! The store may be on another machine than the controller, so its clock is read like that of a
//! stranger: ask, and take the middle between question and answer for the moment of the reading.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep};
use tracing::debug;

use super::{
    context::Context,
    database::{Database, refused},
    error::Error,
};
use crate::unix_time;

/// Pause between two looks at the store's clock. Clocks drift by microseconds in this time; what matters is
/// that one that was set is noticed soon.
const PAUSE: Duration = Duration::from_secs(5);

/// Beyond this no difference means anything, and sums of two stay in range.
const MICROS_MAX: i64 = i64::MAX / 4;

/// How far another clock is from this process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The other's time minus ours, in microseconds: positive when the other is ahead.
    pub offset: i64,
    /// `offset` is right within this many microseconds either way, however the round trip was divided.
    pub error: i64,
}

impl Reading {
    /// What is known of a clock that said `said` between two moments of ours, when it is itself right
    /// within `error` microseconds only.
    #[must_use]
    pub fn of(asked: &Asked, said: i64, error: i64) -> Self {
        // A machine that slept meanwhile, or whose clock was set forward, knows by this one only.
        let slept = wall().saturating_sub(asked.wall);
        let took = micros(asked.begun.elapsed()).max(slept);
        Self::between(asked.wall, took, said, error)
    }

    fn between(asked: i64, took: i64, said: i64, error: i64) -> Self {
        let clamp = |micros: i64| micros.clamp(-MICROS_MAX, MICROS_MAX);
        Self {
            offset: clamp(said.saturating_sub(asked.saturating_add(took / 2))),
            // One more for what the division leaves out.
            error: clamp((took / 2).saturating_add(1).saturating_add(error.max(0))),
        }
    }

    /// The other clock's time at this moment: Unix time in microseconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        wall().saturating_add(self.offset)
    }

    /// `offset` in milliseconds, for people.
    #[must_use]
    pub fn offset_ms(&self) -> f64 {
        milliseconds(self.offset)
    }

    /// `error` in milliseconds, for people.
    #[must_use]
    pub fn error_ms(&self) -> f64 {
        milliseconds(self.error)
    }

    /// Whether both can be right about the same clock.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        self.offset.abs_diff(other.offset) <= self.error.saturating_add(other.error).unsigned_abs()
    }

    /// The clock that `self` reads, as the one that `base` reads would see it.
    #[must_use]
    pub fn against(&self, base: &Self) -> Self {
        Self {
            offset: self.offset.saturating_sub(base.offset),
            error: self.error.saturating_add(base.error).min(MICROS_MAX),
        }
    }
}

/// The moment of a question.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    wall: i64,
    begun: Instant,
}

impl Asked {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            wall: wall(),
            begun: Instant::now(),
        }
    }
}

/// This process's Unix time in microseconds.
fn wall() -> i64 {
    micros(unix_time::now())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(MICROS_MAX)
}

#[expect(clippy::cast_precision_loss, reason = "exact for 285 years")]
fn milliseconds(micros: i64) -> f64 {
    micros as f64 / 1e3
}

/// Reads the store's clock again and again until the data plane ends.
pub(crate) async fn run(context: Arc<Context>, clock: watch::Sender<Option<Reading>>) {
    let stopped = context.cancel.clone();
    let work = async {
        loop {
            if let Err(error) = watch_clock(&context.database, &clock).await {
                debug!(%error, "the store's clock cannot be read");
            }
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = stopped.cancelled() => {}
        () = work => {}
    }
}

/// Reads it until something goes wrong. A store that is away keeps the clock that it had.
async fn watch_clock(
    database: &Database,
    clock: &watch::Sender<Option<Reading>>,
) -> Result<(), Error> {
    const WHAT: &str = "read the clock";
    let session = database.session().await?;
    let sql = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
    let time = session.prepare(sql).await.map_err(refused(WHAT))?;
    loop {
        let asked = Asked::now();
        let row = session.query_one(&time, &[]).await.map_err(refused(WHAT))?;
        // No error of its own: it is the clock that stamps, right or wrong.
        clock.send_replace(Some(Reading::of(&asked, row.get(0), 0)));
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, MICROS_MAX, Reading};

    #[test]
    fn a_reading_is_right_within_its_error_however_slow_one_of_the_ways_is() {
        // Asked at 1,000, the other 500 ahead, 80 under way in all.
        for there in 0..=80 {
            let said = 1_000 + there + 500;
            let reading = Reading::between(1_000, 80, said, 0);
            assert!((reading.offset - 500).abs() <= reading.error, "{there}");
            assert!(reading.error <= 41);
        }
    }

    #[test]
    fn what_the_other_does_not_know_of_its_own_clock_counts_as_well() {
        assert_eq!(Reading::between(0, 20, 10, 7).error, 18);
        assert_eq!(Reading::between(0, 20, 10, -7).error, 11);
    }

    #[test]
    fn a_question_that_a_machine_slept_over_proves_nothing() {
        const HOUR: i64 = 3_600_000_000;
        let mut asked = Asked::now();
        let said = asked.wall;
        asked.wall -= HOUR;
        let reading = Reading::of(&asked, said, 0);
        assert!(reading.offset <= reading.error, "{reading:?}");
    }

    #[test]
    fn nonsense_stays_within_range() {
        for said in [i64::MIN, i64::MAX] {
            let reading = Reading::between(5, i64::MAX, said, i64::MAX);
            assert!(reading.offset.abs() <= MICROS_MAX && reading.error <= MICROS_MAX);
            let _ = reading.against(&reading);
            assert!(reading.agrees(&reading));
        }
    }

    #[test]
    fn readings_agree_while_one_clock_can_explain_both() {
        let reading = |offset, error| Reading { offset, error };
        assert!(reading(0, 5).agrees(&reading(9, 5)));
        assert!(!reading(0, 5).agrees(&reading(11, 5)));
    }
}
