//! How much work a peer may cause.

use std::time::Duration;

/// A token bucket: `rate` per second, twice that at once.
#[derive(Debug)]
pub(crate) struct Meter {
    rate: u32,
    /// In thousandths, so that short intervals count.
    tokens_milli: u64,
    filled: Duration,
}

impl Meter {
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate,
            tokens_milli: Self::burst_milli(rate),
            filled: Duration::ZERO,
        }
    }

    /// Takes `cost` tokens at `now` (any origin, never going back). `false` when they are not there.
    pub(crate) fn charge(&mut self, now: Duration, cost: u32) -> bool {
        let elapsed = now.saturating_sub(self.filled).as_millis();
        // Charges within one millisecond leave the rest for the next one: rounding it off would starve a peer
        // that is charged often.
        if elapsed > 0 {
            let gained = u64::try_from(elapsed)
                .unwrap_or(u64::MAX)
                .saturating_mul(self.rate.into());
            self.tokens_milli = self
                .tokens_milli
                .saturating_add(gained)
                .min(Self::burst_milli(self.rate));
            self.filled = now;
        }
        let cost_milli = u64::from(cost) * 1000;
        // Taken even if it does not suffice: it is over with this peer then anyway.
        let enough = self.tokens_milli >= cost_milli;
        self.tokens_milli = self.tokens_milli.saturating_sub(cost_milli);
        enough
    }

    fn burst_milli(rate: u32) -> u64 {
        u64::from(rate) * 2 * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate() {
        let mut meter = Meter::new(10);
        let mut now = Duration::ZERO;
        assert!((0..20).all(|_| meter.charge(now, 1)));
        assert!(!meter.charge(now, 1));
        now += Duration::from_millis(500);
        assert!((0..5).all(|_| meter.charge(now, 1)));
        assert!(!meter.charge(now, 1));
    }

    #[test]
    fn frequent_charges_do_not_starve_the_refill() {
        let mut meter = Meter::new(100);
        // 50 frames per second for 100 seconds, looked at in small steps.
        let allowed =
            (0..5000).all(|step: u64| meter.charge(Duration::from_micros(step * 20_000 + 7), 1));
        assert!(allowed);
    }

    #[test]
    fn never_more_than_the_burst() {
        let mut meter = Meter::new(10);
        let later = Duration::from_secs(3600);
        assert!(meter.charge(later, 20));
        assert!(!meter.charge(later, 1));
    }
}
