//! Growing, jittered delays.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Doubles from `first` to `most`, each delay varied by a quarter so that nodes that failed
/// together do not try together.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next delay.
    pub(super) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let delay = self
            .first
            // Long beyond any `most` by then, and a shift by 32 would overflow.
            .saturating_mul(1 << self.failures.min(16))
            .min(self.most);
        self.failures = self.failures.saturating_add(1);
        jittered(delay, rng)
    }
}

/// `delay`, up to a quarter shorter or longer.
pub(super) fn jittered(delay: Duration, rng: &mut impl Rng) -> Duration {
    delay.mul_f64(rng.random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn it_doubles_up_to_its_bound_and_starts_over() {
        let mut rng = rand::rng();
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let delay = backoff.next(&mut rng).as_secs_f64();
            assert!(
                (delay / expected - 1.0).abs() <= 0.25,
                "{delay} for {expected}"
            );
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= Duration::from_millis(1250));
    }
}
