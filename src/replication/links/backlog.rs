//! How long a peer has known something that has not arrived here.
//!
//! A link's own figures tell how much of what *came* was applied; of a worker that hangs, or of a
//! sender that does, they tell nothing. What tells is the peer's vector, which it says to everybody by
//! another way: as long as it names a checkpoint that this store does not hold, this store is behind.

use std::{collections::VecDeque, time::Duration};

use crate::{identity::Site, vector::Vector};

/// Below this nothing is said: vectors are told every few seconds, and a write takes its time.
pub(crate) const BEHIND_AFTER: Duration = Duration::from_secs(3);

/// Of what a peer has, nothing came for so long, by whatever way: the ways that there are bring it no more. A
/// checkpoint is a second behind what it vouches for, and is told up to a second later.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(2);

/// The most words of a peer that are waited for. Beyond, every second one is forgotten, but not the
/// oldest: the lag is exact to a part of itself.
const WORDS_MAX: usize = 16;

/// What one peer had and we had not, by when we heard of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    heard: Option<Duration>,
    /// What is held of what is waited for, and since when that is so.
    held: Vector,
    unmoved_since: Duration,
    waiting: VecDeque<(Duration, Vector)>,
}

impl Backlog {
    /// The peer's vector was `theirs` at `at`; ours is `ours` now. What it knows of `own` we wrote ourselves.
    pub(crate) fn note(
        &mut self,
        at: Duration,
        theirs: &Vector,
        (ours, now): (&Vector, Duration),
        own: Site,
    ) {
        // The same word comes with every look: only a new one names something new.
        if self.heard != Some(at) {
            self.heard = Some(at);
            let ahead: Vector = theirs
                .missing_from(ours)
                .iter()
                .filter(|(site, _)| *site != own)
                .collect();
            if !ahead.is_empty() {
                self.waiting.push_back((at, ahead));
            }
        }
        let arrived = |(_, ahead): &mut (Duration, Vector)| ahead.missing_from(ours).is_empty();
        while self.waiting.pop_front_if(arrived).is_some() {}
        let sites = self.waiting.iter().flat_map(|(_, ahead)| ahead.iter());
        let held: Vector = sites.map(|(site, _)| (site, ours.get(site))).collect();
        if held != self.held {
            self.held = held;
            self.unmoved_since = now;
        }
        if self.waiting.len() > WORDS_MAX {
            let mut place = 0_usize;
            self.waiting.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
    }

    /// Since when something that the peer has is missing here.
    pub(crate) fn since(&self) -> Option<Duration> {
        self.waiting.front().map(|(since, _)| *since)
    }

    /// Whether nothing of what the peer has and we lack came for too long.
    pub(crate) fn is_stuck(&self, now: Duration) -> bool {
        let since = self.since().map(|since| since.max(self.unmoved_since));
        since.is_some_and(|since| now >= since + STUCK_AFTER)
    }

    /// How long, if that is long enough to speak of.
    pub(crate) fn lag(&self, now: Duration) -> Option<Duration> {
        self.since()
            .map(|since| now.saturating_sub(since))
            .filter(|lag| *lag >= BEHIND_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backlog, WORDS_MAX};
    use crate::identity::Site;
    use crate::vector::tests::vector;

    fn own() -> Site {
        Site::new(1).unwrap()
    }

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn the_oldest_word_that_has_not_arrived_counts() {
        let mut backlog = Backlog::default();
        for at in 0..5 {
            let theirs = vector(&[(2, i64::try_from(at).unwrap() + 1)]);
            backlog.note(second(at), &theirs, (&vector(&[(2, 1)]), second(at)), own());
        }
        assert_eq!(
            backlog.since(),
            Some(second(1)),
            "what was here at once does not count"
        );
        backlog.note(
            second(4),
            &vector(&[(2, 5)]),
            (&vector(&[(2, 3)]), second(4)),
            own(),
        );
        assert_eq!(backlog.since(), Some(second(3)));
        assert_eq!(backlog.lag(second(5)), None, "too short to speak of");
        assert_eq!(backlog.lag(second(13)), Some(second(10)));
        backlog.note(
            second(4),
            &vector(&[(2, 5)]),
            (&vector(&[(2, 5)]), second(4)),
            own(),
        );
        assert_eq!(backlog.since(), None);
    }

    #[test]
    fn what_a_peer_holds_of_others_counts_and_what_it_holds_of_us_does_not() {
        let mut backlog = Backlog::default();
        backlog.note(
            second(1),
            &vector(&[(1, 9)]),
            (&vector(&[]), second(1)),
            own(),
        );
        assert_eq!(backlog.since(), None);
        backlog.note(
            second(2),
            &vector(&[(1, 9), (3, 4)]),
            (&vector(&[]), second(2)),
            own(),
        );
        assert_eq!(backlog.since(), Some(second(2)));
    }

    #[test]
    fn a_stand_still_of_hours_is_remembered_in_a_few_words() {
        let mut backlog = Backlog::default();
        for at in 1..1_000_u32 {
            let theirs = vector(&[(2, i64::from(at))]);
            backlog.note(
                second(at.into()),
                &theirs,
                (&vector(&[]), second(at.into())),
                own(),
            );
        }
        assert!(backlog.waiting.len() <= WORDS_MAX);
        assert_eq!(backlog.since(), Some(second(1)));
    }

    #[test]
    fn nothing_that_comes_is_told_from_little_that_comes() {
        let mut backlog = Backlog::default();
        let theirs = vector(&[(2, 100), (3, 7)]);
        let mut look = |at: u64, ours: &[(i64, i64)]| {
            backlog.note(second(1), &theirs, (&vector(ours), second(at)), own());
            backlog.is_stuck(second(at))
        };
        assert!(!look(1, &[]));
        assert!(!look(2, &[]), "not yet");
        assert!(look(3, &[]), "nothing came");
        assert!(!look(4, &[(2, 10)]), "something came");
        assert!(!look(5, &[(2, 10)]));
        assert!(!look(6, &[(2, 20)]), "little by little");
        assert!(
            !look(7, &[(2, 20), (4, 9)]),
            "what was not waited for is none of it"
        );
        assert!(look(8, &[(2, 20), (4, 9)]));
        assert!(!look(9, &[(2, 100), (3, 7)]), "all is here");
        assert!(!look(99, &[(2, 100), (3, 7)]));
    }
}
