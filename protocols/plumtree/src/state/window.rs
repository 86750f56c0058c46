//! Which messages of one incarnation of an origin were seen: a number and 64 bits, however many they were (R11).

use crate::{Keep, message::Held};

/// How many numbers below the greatest are told apart.
pub(super) const WINDOW: u64 = 64;

/// The numbers seen. Below the window all count as seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Window {
    /// The greatest number seen.
    newest: u64,
    /// Bit `n`: `newest - 1 - n` was not seen.
    gaps: u64,
}

impl Window {
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether `seq` is wanted: not seen, and not superseded.
    pub(super) fn lacks(&self, seq: u64, keep: Keep) -> bool {
        if seq > self.newest {
            return true;
        }
        match keep {
            Keep::Latest => false,
            Keep::All => match self.newest - seq {
                0 => false,
                back => seq > 0 && back <= WINDOW && self.gaps & bit(back) != 0,
            },
        }
    }

    pub(super) fn see(&mut self, seq: u64) {
        if seq > self.newest {
            let step = seq - self.newest;
            // The former newest was seen; what lies between was not.
            let between = if step > WINDOW {
                u64::MAX
            } else {
                bit(step) - 1
            };
            let kept = shifted(self.gaps, step);
            self.gaps = if self.newest == 0 {
                u64::MAX
            } else {
                kept | between
            };
            self.newest = seq;
            self.gaps &= existing(seq);
        } else if (1..=WINDOW).contains(&(self.newest - seq)) {
            self.gaps &= !bit(self.newest - seq);
        }
    }

    pub(super) fn held(&self, incarnation: u64) -> Held {
        Held {
            incarnation,
            seq: self.newest,
            gaps: self.gaps,
        }
    }
}

/// The bit of the number that lies `back` (1 to 64) below the greatest.
fn bit(back: u64) -> u64 {
    1 << (back - 1)
}

/// All gaps, `step` further below the greatest.
fn shifted(gaps: u64, step: u64) -> u64 {
    if step >= WINDOW { 0 } else { gaps << step }
}

/// The bits that stand for numbers from 1.
fn existing(newest: u64) -> u64 {
    if newest > WINDOW {
        u64::MAX
    } else {
        bit(newest) - 1
    }
}

impl Held {
    /// What somebody holds who holds just `seqs` of `incarnation`.
    pub(super) fn of(incarnation: u64, seqs: impl Iterator<Item = u64> + Clone) -> Self {
        let Some(seq) = seqs.clone().max() else {
            return Self::default();
        };
        let gaps = seqs
            .filter(|held| (1..=WINDOW).contains(&(seq - held)))
            .fold(existing(seq), |gaps, held| gaps & !bit(seq - held));
        Self {
            incarnation,
            seq,
            gaps,
        }
    }

    /// Whether the holder has no use for `seq` of `incarnation`.
    pub(super) fn covers(&self, incarnation: u64, seq: u64, keep: Keep) -> bool {
        let window = Window {
            newest: self.seq,
            gaps: self.gaps,
        };
        self.incarnation > incarnation
            || (self.incarnation == incarnation && !window.lacks(seq, keep))
    }

    /// The greatest number that is held here and that `wanted` says yes to.
    pub(super) fn newest_of(&self, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let older = (1..=WINDOW.min(self.seq.saturating_sub(1)))
            .filter(|back| self.gaps & bit(*back) == 0)
            .map(|back| self.seq - back);
        std::iter::once(self.seq)
            .chain(older)
            .find(|seq| *seq > 0 && wanted(*seq))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set that forgets nothing.
        #[test]
        fn a_window_agrees_with_the_set_of_all_numbers_seen(
            seqs in prop::collection::vec(1_u64..200, 1..60),
        ) {
            let mut window = Window::default();
            let mut seen = BTreeSet::new();
            for seq in seqs {
                window.see(seq);
                seen.insert(seq);
                let newest = *seen.last().unwrap();
                prop_assert_eq!(window.newest(), newest);
                for other in 1..220 {
                    let recent = other + WINDOW >= newest;
                    let lacked = !seen.contains(&other) && recent;
                    prop_assert_eq!(window.lacks(other, Keep::All), lacked, "{}", other);
                    prop_assert_eq!(window.lacks(other, Keep::Latest), other > newest);
                    let held = window.held(7);
                    prop_assert_eq!(held.covers(7, other, Keep::All), !lacked);
                    prop_assert!(held.covers(6, other, Keep::All));
                    prop_assert!(!held.covers(8, other, Keep::All));
                }
            }
        }

        #[test]
        fn what_is_said_to_be_held_is_what_is_held(
            seqs in prop::collection::btree_set(1_u64..100, 1..20),
        ) {
            let held = Held::of(3, seqs.iter().copied());
            let newest = *seqs.last().unwrap();
            for seq in 1..=newest {
                if seq + WINDOW >= newest {
                    prop_assert_eq!(held.covers(3, seq, Keep::All), seqs.contains(&seq), "{}", seq);
                }
            }
            let odd = seqs.iter().rev().copied().find(|seq| seq % 2 == 1 && seq + WINDOW >= newest);
            prop_assert_eq!(held.newest_of(|seq| seq % 2 == 1), odd);
        }
    }
}
