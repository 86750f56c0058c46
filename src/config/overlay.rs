//! `[overlay]`: HyParView's parameters.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{check::Check, duration, layers::Origins};
use crate::directory::Relay;

/// Above this, flooding and slots per store cost more than any cluster gains, and the trees, whose sets of neighbours
/// are machine words, would leave the others out.
const ACTIVE_VIEW_MAX: u32 = 64;
/// A passive view is carried in memory and, in part, in messages.
const PASSIVE_VIEW_MAX: u32 = 10_000;
/// Ten of the slowest heartbeats: whoever is silent for longer is gone, and its links hold back WAL.
const SILENCE_DEADLINE_MAX: Duration = Duration::from_secs(600);
/// Longest walk: the expected diameter of any overlay that fits in memory is below.
const WALK_MAX: u32 = 32;

/// HyParView's parameters. The defaults are the paper's for 10,000 nodes, where it gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Neighbours kept. More makes the overlay sturdier and every write dearer. Defaults to 5.
    pub active_view: u32,
    /// Spare peers known. Several times `active_view`. Defaults to 30.
    pub passive_view: u32,
    /// Active random walk length: hops of a join. Defaults to 6.
    pub arwl: u32,
    /// Passive random walk length: at this many hops before its end a join leaves the newcomer
    /// in the passive view. At most `arwl`. Defaults to 3.
    pub prwl: u32,
    /// How often spare peers are exchanged with a random node. The paper counts in cycles; ten
    /// seconds refresh a passive view in minutes at a negligible cost.
    #[serde(with = "duration")]
    pub shuffle_interval: Duration,
    /// Neighbours named in a shuffle. At most `active_view`. Defaults to 3.
    pub shuffle_active: u32,
    /// Spare peers named in a shuffle. At most `passive_view`. Defaults to 4.
    pub shuffle_passive: u32,
    /// Time between two heartbeats to each neighbour. Shorter finds frozen peers sooner and costs
    /// a small message each time. Defaults to 1 s.
    #[serde(with = "duration")]
    pub heartbeat_interval: Duration,
    /// A neighbour that is silent for longer is given up. At least twice `heartbeat_interval`; on
    /// slow or lossy lines several times. At most 10 minutes. Defaults to 4 s.
    #[serde(with = "duration")]
    pub silence_deadline: Duration,
    /// Mean time between two exchanges of links that keep the overlay random. Each moves two
    /// data links. Defaults to 30 minutes.
    #[serde(with = "duration")]
    pub remix_interval: Duration,
    /// Whether links are exchanged for shorter ones. Nodes that differ in this work together, but
    /// only those that optimise exchange links. Defaults to none.
    pub optimize: Optimize,
    /// How gladly this node passes on what others wrote, with `replication.dissemination = "tree"`. The root
    /// of the tree is a `preferred` node if there is one, and an `avoid` one only if there is no other.
    /// Defaults to normal.
    pub relay: Relay,
}

/// What neighbours are chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimize {
    /// Chance. The overlay is sturdiest, and every link as long as the mean.
    None,
    /// Short round trips, but for two links that are left to chance.
    Latency,
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            active_view: 5,
            passive_view: 30,
            arwl: 6,
            prwl: 3,
            shuffle_interval: Duration::from_secs(10),
            shuffle_active: 3,
            shuffle_passive: 4,
            heartbeat_interval: Duration::from_secs(1),
            silence_deadline: Duration::from_secs(4),
            remix_interval: Duration::from_secs(1800),
            optimize: Optimize::None,
            relay: Relay::Normal,
        }
    }
}

impl Overlay {
    /// A default never contradicts what somebody set: it is changed to fit.
    pub(super) fn resolve(&mut self, origins: &Origins) {
        let fit = |key: &str, value: &mut u32, bound: u32| {
            if !origins.contains_key(key) {
                *value = (*value).min(bound);
            }
        };
        fit("overlay.prwl", &mut self.prwl, self.arwl);
        fit(
            "overlay.shuffle_active",
            &mut self.shuffle_active,
            self.active_view,
        );
        fit(
            "overlay.shuffle_passive",
            &mut self.shuffle_passive,
            self.passive_view,
        );
        // Raised, where the others are lowered: a slower heartbeat needs a longer deadline.
        if !origins.contains_key("overlay.silence_deadline") {
            self.silence_deadline = self.silence_deadline.max(self.heartbeat_interval * 2);
        }
    }

    /// These parameters as the protocol takes them; what is no setting keeps the protocol's own default, as far as
    /// the settings leave room for it.
    ///
    /// # Errors
    ///
    /// None for a configuration that was loaded: what the protocol refuses was refused before.
    pub fn hyparview(&self) -> Result<hyparview::Config, hyparview::ConfigError> {
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let hops = |n: u32| u8::try_from(n).unwrap_or(u8::MAX);
        let defaults = hyparview::Config::default();
        // `validate` wants both below the size of the view, or would refuse a view of one.
        let spare = size(self.active_view).saturating_sub(1);
        let outbound_min = defaults.outbound_min().min(spare);
        let unbiased_min = defaults.unbiased_min().min(spare);
        let shuffle_walk = defaults.shuffle_walk().min(hops(self.arwl));
        // A tag crosses the overlay one heartbeat a hop; keep the default's proportion.
        let slower = self.silence_deadline.max(self.heartbeat_interval * 4) * 15 / 4;
        let tag_timeout = defaults.tag_timeout().max(slower);
        defaults
            .with_active_capacity(size(self.active_view))
            .with_passive_capacity(size(self.passive_view))
            .with_active_walk(hops(self.arwl))
            .with_passive_walk(hops(self.prwl))
            .with_shuffle_walk(shuffle_walk)
            .with_shuffle_interval(self.shuffle_interval)
            .with_shuffle_active(size(self.shuffle_active))
            .with_shuffle_passive(size(self.shuffle_passive))
            .with_outbound_min(outbound_min)
            .with_unbiased_min(unbiased_min)
            .with_optimize(self.optimize == Optimize::Latency)
            .with_heartbeat_interval(self.heartbeat_interval)
            .with_silence_deadline(self.silence_deadline)
            .with_tag_timeout(tag_timeout)
            .with_remix_interval(self.remix_interval)
            .validate()
    }

    pub(super) fn check(&self, check: &mut Check<'_>) {
        check.within("overlay.active_view", self.active_view, 1..=ACTIVE_VIEW_MAX);
        check.within(
            "overlay.passive_view",
            self.passive_view,
            1..=PASSIVE_VIEW_MAX,
        );
        // A walk without a hop would end at the contact, and a crowd at one node.
        check.within("overlay.arwl", self.arwl, 1..=WALK_MAX);
        check.within("overlay.prwl", self.prwl, 0..=WALK_MAX);
        check.at_most("overlay.prwl", self.prwl, ("overlay.arwl", self.arwl));
        // No least number of either: a shuffle always names the node itself.
        check.at_most(
            "overlay.shuffle_active",
            self.shuffle_active,
            ("overlay.active_view", self.active_view),
        );
        check.at_most(
            "overlay.shuffle_passive",
            self.shuffle_passive,
            ("overlay.passive_view", self.passive_view),
        );
        // Most replies cost a connection of their own: more often, a node would do little but connect. More seldom than
        // once an hour a passive view is of the dead.
        check.lasting(
            "overlay.shuffle_interval",
            self.shuffle_interval,
            Duration::from_millis(100)..=Duration::from_secs(3600),
        );
        // Below, a pause of the process, or a round trip across an ocean, is longer than two heartbeats. Above, the
        // longest deadline would be a few of them.
        check.lasting(
            "overlay.heartbeat_interval",
            self.heartbeat_interval,
            Duration::from_millis(50)..=Duration::from_secs(60),
        );
        // What it must be at least follows from the heartbeat, below.
        check.lasting(
            "overlay.silence_deadline",
            self.silence_deadline,
            Duration::ZERO..=SILENCE_DEADLINE_MAX,
        );
        if self.silence_deadline < self.heartbeat_interval * 2 {
            check.fail(
                "overlay.silence_deadline",
                "one lost heartbeat would cost a neighbour",
                "make it at least twice overlay.heartbeat_interval",
            );
        }
        // Each exchange moves two data links: below, they go before they have caught up. Above a day the links that
        // nodes happened to begin with would stay for good.
        check.lasting(
            "overlay.remix_interval",
            self.remix_interval,
            Duration::from_secs(1)..=Duration::from_secs(86_400),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{Overlay, Relay};
    use crate::config::{Sources, load};

    #[test]
    fn the_protocol_takes_the_defaults_as_its_own() {
        let protocol = Overlay::default().hyparview().unwrap();
        assert_eq!(protocol, hyparview::Config::default());
    }

    #[test]
    fn links_are_optimised_only_on_request() {
        let optimizes = |value: &str| {
            let flags = [("optimize".to_owned(), vec![value.to_owned()])];
            let loaded = load(&Sources {
                flags: flags.into(),
                ..Sources::default()
            });
            loaded.map(|loaded| loaded.config.overlay.hyparview().unwrap().optimize())
        };
        assert!(!Overlay::default().hyparview().unwrap().optimize());
        assert!(optimizes("latency").unwrap());
        assert!(!optimizes("none").unwrap());
        let problem = optimizes("price").unwrap_err().to_string();
        assert!(problem.contains("overlay.optimize"), "{problem}");
    }

    #[test]
    fn a_node_is_as_glad_to_relay_as_it_is_told() {
        let relay = |value: &str| {
            let flags = [("relay".to_owned(), vec![value.to_owned()])];
            let loaded = load(&Sources {
                flags: flags.into(),
                ..Sources::default()
            });
            loaded.map(|loaded| loaded.config.overlay.relay)
        };
        assert_eq!(Overlay::default().relay, Relay::Normal);
        for (value, expected) in [
            ("preferred", Relay::Preferred),
            ("normal", Relay::Normal),
            ("avoid", Relay::Avoid),
        ] {
            assert_eq!(relay(value).unwrap(), expected);
        }
        let problem = relay("never").unwrap_err().to_string();
        assert!(problem.contains("overlay.relay"), "{problem}");
    }

    #[test]
    fn a_silence_that_has_no_end_is_refused() {
        let with = |deadline: &str| {
            let flags = [("silence-deadline".to_owned(), vec![deadline.to_owned()])];
            load(&Sources {
                flags: flags.into(),
                ..Sources::default()
            })
        };
        assert!(with("10m").is_ok());
        for deadline in ["11m", "200000000000d"] {
            let problems = with(deadline).unwrap_err().problems;
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].key, "overlay.silence_deadline");
        }
    }

    #[test]
    fn the_protocol_takes_every_extreme_that_is_not_refused() {
        let extremes: [&[(&str, &str)]; 4] = [
            &[
                ("active-view", "1"),
                ("passive-view", "1"),
                ("arwl", "1"),
                ("optimize", "latency"),
            ],
            &[
                ("active-view", "64"),
                ("passive-view", "10000"),
                ("arwl", "32"),
                ("prwl", "32"),
            ],
            &[("heartbeat-interval", "60s"), ("silence-deadline", "120s")],
            &[
                ("heartbeat-interval", "50ms"),
                ("silence-deadline", "100ms"),
                ("prwl", "0"),
            ],
        ];
        for flags in extremes {
            let flags = flags
                .iter()
                .map(|(flag, value)| ((*flag).to_owned(), vec![(*value).to_owned()]))
                .collect();
            let loaded = load(&Sources {
                flags,
                ..Sources::default()
            })
            .unwrap();
            loaded.config.overlay.hyparview().unwrap();
        }
    }
}
