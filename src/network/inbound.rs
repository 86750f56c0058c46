//! Inbound connections that did not get through their handshake: which are worth a word?
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
/// Most hosts waiting for judgement, and most told of. If there are more, a line for each would
/// not help.
const HOSTS_MAX: usize = 64;

/// Failed handshakes by host.
#[derive(Debug, Default)]
pub(super) struct InboundFailures {
    waiting: BTreeMap<IpAddr, (Duration, String)>,
    told: BTreeSet<IpAddr>,
}

impl InboundFailures {
    /// A handshake with `host` failed.
    pub(super) fn failed(&mut self, host: IpAddr, what: String, now: Duration) {
        let news = !self.told.contains(&host) && self.told.len() < HOSTS_MAX;
        if news && self.waiting.len() < HOSTS_MAX {
            self.waiting.entry(host).or_insert((now, what));
        }
    }

    /// The hosts to tell of, each once: no connection of theirs came about.
    pub(super) fn judge(
        &mut self,
        now: Duration,
        connected: impl Fn(IpAddr) -> bool,
    ) -> Vec<(IpAddr, String)> {
        let due = |_: &IpAddr, (since, _): &mut (Duration, String)| *since + JUDGED_AFTER <= now;
        let news: Vec<(IpAddr, String)> = self
            .waiting
            .extract_if(.., due)
            .filter(|(host, _)| !connected(*host))
            .map(|(host, (_, what))| (host, what))
            .collect();
        self.told.extend(news.iter().map(|(host, _)| *host));
        news
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::{HOSTS_MAX, InboundFailures, JUDGED_AFTER};

    fn host(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    #[test]
    fn a_host_without_any_connection_is_told_of_once() {
        let mut failures = InboundFailures::default();
        let what = || "it broke".to_owned();
        failures.failed(host(1), what(), Duration::ZERO);
        failures.failed(host(2), what(), Duration::ZERO);
        assert!(
            failures.judge(Duration::ZERO, |_| false).is_empty(),
            "too early"
        );
        let told = failures.judge(JUDGED_AFTER, |it| it == host(2));
        assert_eq!(told, [(host(1), what())]);
        for number in [1, 2] {
            failures.failed(host(number), what(), JUDGED_AFTER);
        }
        let told = failures.judge(JUDGED_AFTER * 2, |_| false);
        assert_eq!(
            told,
            [(host(2), what())],
            "its peer has gone, and it still comes"
        );
    }

    #[test]
    fn many_hosts_are_not_worth_a_line_each() {
        let mut failures = InboundFailures::default();
        for number in 0..=255 {
            failures.failed(host(number), String::new(), Duration::ZERO);
        }
        assert_eq!(failures.judge(JUDGED_AFTER, |_| false).len(), HOSTS_MAX);
        failures.failed(host(255), String::new(), JUDGED_AFTER);
        assert!(failures.judge(JUDGED_AFTER * 2, |_| false).is_empty());
    }
}
