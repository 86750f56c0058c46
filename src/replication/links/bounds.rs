//! How much a slot may cost its server, and whose it is.
//!
//! Nothing is lost by dropping a slot: the link is opened again, and a catch-up by vector costs what
//! the subscriber lacks. So a slot is dropped as soon as it costs more than that.

use std::time::Duration;

use super::observed::Slot;

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: u64,
    pub(crate) inactive_max: Duration,
}

/// Which bound was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// The server had to let its WAL go.
    Lost,
    /// It holds too much WAL.
    Bytes,
    /// Nobody streams from it.
    Inactive,
    /// Another role streams from it, or has moved it: what that confirmed is passed over when the link goes on.
    Taken,
}

impl Bounds {
    /// Judges a slot that nobody has streamed from for `inactive` (zero while somebody does).
    ///
    /// While it streams, what counts is the subscriber's lag: a long transaction of a local writer
    /// holds back the restart point of *every* slot, and a new one would have to wait for it.
    pub(crate) fn judge(&self, slot: &Slot, inactive: Duration) -> Option<Excess> {
        let held = if slot.active {
            slot.lag_bytes
        } else {
            // Nobody reads it: all that is kept for it is in the way.
            slot.retained_bytes
        };
        if slot.lost {
            Some(Excess::Lost)
        } else if slot.taken {
            Some(Excess::Taken)
        } else if u64::try_from(held).unwrap_or(0) > self.bytes_max {
            Some(Excess::Bytes)
        } else if !slot.active && inactive > self.inactive_max {
            Some(Excess::Inactive)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Bounds, Excess, Slot};

    const BOUNDS: Bounds = Bounds {
        bytes_max: 1_000,
        inactive_max: Duration::from_secs(600),
    };

    #[test]
    fn each_bound() {
        let long = Duration::from_secs(601);
        let idle = Slot {
            retained_bytes: 1_000,
            ..Slot::default()
        };
        let busy = Slot {
            active: true,
            retained_bytes: 9_999,
            lag_bytes: 1_000,
            ..Slot::default()
        };
        for (slot, inactive, verdict) in [
            (idle, Duration::ZERO, None),
            (idle, long, Some(Excess::Inactive)),
            (
                Slot {
                    retained_bytes: 1_001,
                    ..idle
                },
                Duration::ZERO,
                Some(Excess::Bytes),
            ),
            (
                Slot { lost: true, ..busy },
                Duration::ZERO,
                Some(Excess::Lost),
            ),
            (
                Slot {
                    taken: true,
                    ..busy
                },
                Duration::ZERO,
                Some(Excess::Taken),
            ),
            (busy, Duration::ZERO, None),
            (busy, long, None),
            (
                Slot {
                    lag_bytes: 1_001,
                    ..busy
                },
                Duration::ZERO,
                Some(Excess::Bytes),
            ),
        ] {
            assert_eq!(
                BOUNDS.judge(&slot, inactive),
                verdict,
                "{slot:?} {inactive:?}"
            );
        }
    }
}
