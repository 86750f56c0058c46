//! Inbound connections that did not get through their handshake, and which of them are worth a word.
//!
//! A peer that knows several addresses of ours may dial more than one and drop those that came
//! in second. Somebody without our swarm key looks the same at first; but no connection of his
//! host comes about.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// A dial that won is a connection by then.
const JUDGED_AFTER: Duration = Duration::from_secs(5);
/// A single failure says nothing: a peer that stops in the middle of a handshake leaves a broken pipe.
/// Somebody with another key comes back at once.
const FAILURES_MIN: u32 = 3;
/// Failures further apart do not belong together.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
/// Most hosts waiting for judgement, and most told of. If there are more, a line for each would
/// not help.
const HOSTS_MAX: usize = 64;

/// Failed handshakes by host.
#[derive(Debug, Default)]
pub(super) struct InboundFailures {
    waiting: BTreeMap<IpAddr, Waiting>,
    told: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Waiting {
    since: Duration,
    what: String,
    count: u32,
}

impl InboundFailures {
    /// A handshake with `host` failed.
    pub(super) fn failed(&mut self, host: IpAddr, what: String, now: Duration) {
        let news = !self.told.contains(&host) && self.told.len() < HOSTS_MAX;
        if !news || (self.waiting.len() >= HOSTS_MAX && !self.waiting.contains_key(&host)) {
            return;
        }
        let waiting = self.waiting.entry(host).or_insert(Waiting {
            since: now,
            what,
            count: 0,
        });
        waiting.count = waiting.count.saturating_add(1);
    }

    /// Hosts that were told of and are connected now. Should they fail again, that is news.
    pub(super) fn recovered(&mut self, connected: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
        self.told.extract_if(.., |host| connected(*host)).collect()
    }

    /// The hosts to tell of, each once: no connection of theirs came about.
    pub(super) fn judge(
        &mut self,
        now: Duration,
        connected: impl Fn(IpAddr) -> bool,
    ) -> Vec<(IpAddr, String)> {
        self.waiting
            .retain(|_, it| it.count >= FAILURES_MIN || it.since + FORGOTTEN_AFTER > now);
        let due = |_: &IpAddr, it: &mut Waiting| {
            it.count >= FAILURES_MIN && it.since + JUDGED_AFTER <= now
        };
        let news: Vec<(IpAddr, String)> = self
            .waiting
            .extract_if(.., due)
            // Who is connected is let go of, too: should its peer leave, it is counted anew.
            .filter(|(host, _)| !connected(*host))
            .map(|(host, it)| (host, it.what))
            .collect();
        self.told.extend(news.iter().map(|(host, _)| *host));
        news
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::{FAILURES_MIN, FORGOTTEN_AFTER, HOSTS_MAX, InboundFailures, JUDGED_AFTER};

    fn fails(failures: &mut InboundFailures, number: u8, times: u32, now: Duration) {
        for _ in 0..times {
            failures.failed(host(number), "it broke".to_owned(), now);
        }
    }

    #[test]
    fn a_connection_that_breaks_once_says_nothing_of_keys() {
        let mut failures = InboundFailures::default();
        fails(&mut failures, 1, FAILURES_MIN - 1, Duration::ZERO);
        assert!(failures.judge(JUDGED_AFTER, |_| false).is_empty());
        failures.judge(FORGOTTEN_AFTER, |_| false);
        fails(&mut failures, 1, FAILURES_MIN - 1, FORGOTTEN_AFTER);
        assert!(failures.judge(FORGOTTEN_AFTER * 2, |_| false).is_empty());
    }

    fn host(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    #[test]
    fn a_host_without_any_connection_is_told_of_once() {
        let mut failures = InboundFailures::default();
        let what = || "it broke".to_owned();
        for number in [1, 2] {
            fails(&mut failures, number, FAILURES_MIN, Duration::ZERO);
        }
        assert!(
            failures.judge(Duration::ZERO, |_| false).is_empty(),
            "too early"
        );
        let told = failures.judge(JUDGED_AFTER, |it| it == host(2));
        assert_eq!(told, [(host(1), what())]);
        for number in [1, 2] {
            fails(&mut failures, number, FAILURES_MIN, JUDGED_AFTER);
        }
        let told = failures.judge(JUDGED_AFTER * 2, |_| false);
        assert_eq!(
            told,
            [(host(2), what())],
            "its peer has gone, and it still comes"
        );
    }

    #[test]
    fn a_host_that_got_through_is_told_of_anew_when_it_fails_again() {
        let mut failures = InboundFailures::default();
        let mut now = Duration::ZERO;
        for _ in 0..2 {
            for number in [1, 2] {
                fails(&mut failures, number, FAILURES_MIN, now);
            }
            now += JUDGED_AFTER;
            let told = failures.judge(now, |_| false);
            assert!(told.iter().any(|(it, _)| *it == host(1)), "{told:?}");
            assert_eq!(failures.recovered(|it| it == host(1)), [host(1)]);
            assert!(failures.recovered(|it| it == host(1)).is_empty(), "once");
        }
    }

    #[test]
    fn many_hosts_are_not_worth_a_line_each() {
        let mut failures = InboundFailures::default();
        for number in 0..=255 {
            fails(&mut failures, number, FAILURES_MIN, Duration::ZERO);
        }
        assert_eq!(failures.judge(JUDGED_AFTER, |_| false).len(), HOSTS_MAX);
        fails(&mut failures, 255, FAILURES_MIN, JUDGED_AFTER);
        assert!(failures.judge(JUDGED_AFTER * 2, |_| false).is_empty());
    }
}
