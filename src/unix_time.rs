//! Time since 1970, as it is written down and told to others. A clock that is set before that counts as
//! standing at its start.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When `moment` was.
pub(crate) fn of(moment: SystemTime) -> Duration {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What this machine's clock says.
pub(crate) fn now() -> Duration {
    of(SystemTime::now())
}

/// The same in milliseconds; the greatest number for a clock beyond all of them.
pub(crate) fn now_milliseconds() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::of;

    #[test]
    fn a_clock_before_1970_stands_at_its_start() {
        let second = Duration::from_secs(1);
        assert_eq!(of(UNIX_EPOCH + second), second);
        assert_eq!(of(UNIX_EPOCH - second), Duration::ZERO);
    }
}
