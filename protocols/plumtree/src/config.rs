//! The knobs of the state machine, each with its effect and where its default comes from.

use std::time::Duration;

use substream::{ConfigError, check_nonzero, check_ordered};

/// Along which links messages are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trees {
    /// A tree for each origin (R12): no redundancy, and each message takes the fastest way.
    PerOrigin,
    /// One tree for all, as in the paper. With a root ([`Command::SetRoot`](crate::Command)) it is the
    /// root's messages that shape it, which keeps it shallow (R16).
    Shared,
    /// No tree: every message over every link. For comparison.
    Flood,
}

/// What is wanted of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The newest message. It supersedes older ones, which are neither kept nor asked for.
    Latest,
    /// Every message.
    All,
}

substream::knobs! {
    /// Parameters of [`State`](crate::State).
    Config;

    /// Along which links messages are pushed.
    /// Defaults to a tree per origin (R12).
    trees, with_trees: Trees = Trees::PerOrigin;
    /// What is wanted of one origin.
    /// Defaults to the latest: a node's status supersedes what it said before.
    keep, with_keep: Keep = Keep::Latest;
    /// How many links shorter the way over an announcer must be for it to become the parent. Small: fewer
    /// hops; great: a more stable tree. 0 switches the rule off.
    /// Defaults to 3 (paper 5.2: 3 with one sender, 7 with many on a shared tree).
    optimise_threshold, with_optimise_threshold: u16 = 3;
    /// Shortest time between two such changes of one tree at one node.
    /// Defaults to 1 s (guess: several round trips, so that one change is seen before the next).
    optimise_rest, with_optimise_rest: Duration = Duration::from_secs(1);

    /// How long announcements and prunes wait for company. All of one neighbour's go in one message, so
    /// this also is the shortest time between two prunes to it.
    /// Defaults to 50 ms (memberlist-plumtree's IHAVE period; iroh-gossip 5 ms, episub 100 ms).
    flush_interval, with_flush_interval: Duration = Duration::from_millis(50);
    /// The round trip that is assumed of a neighbour before one was measured.
    /// Defaults to 200 ms (guess: across an ocean).
    round_trip_initial, with_round_trip_initial: Duration = Duration::from_millis(200);
    /// Shortest time that an announced message is waited for before it is asked for. The time itself is
    /// 2.5 times the longest one-way delay to a neighbour, and `flush_interval` (R12: T1). At least `flush_interval`.
    /// Defaults to 100 ms (iroh-gossip 80 ms).
    graft_delay_min, with_graft_delay_min: Duration = Duration::from_millis(100);
    /// Longest such time; also the longest wait for the answer of one announcer before the next is asked
    /// (T2, else 1.5 round trips).
    /// Defaults to 3 s (guess: three times Corrosion's time-out).
    graft_delay_max, with_graft_delay_max: Duration = Duration::from_secs(3);
    /// How long a neighbour whose messages did not come is not preferred for having a short way.
    /// Defaults to 60 s (guess; gossipsub's prune back-off).
    distrust, with_distrust: Duration = Duration::from_secs(60);

    /// Time between two exchanges of positions, with one neighbour in turn (R14).
    /// Defaults to 10 s (Partisan's exchange tick).
    exchange_interval, with_exchange_interval: Duration = Duration::from_secs(10);

    /// Most payloads kept to answer requests. With `Keep::Latest` there is one per origin.
    /// Defaults to 16,384 (Corrosion 8,192).
    cache_messages_max, with_cache_messages_max: usize = 16_384;
    /// Most bytes of them. The oldest go first.
    /// Defaults to 16 MiB (guess: 10,000 nodes with 1.6 KiB of status each).
    cache_bytes_max, with_cache_bytes_max: usize = 16 * 1024 * 1024;
    /// How old a payload may be and still be announced, sent or accepted. An origin that wants
    /// newcomers to know its latest message repeats it within this time.
    /// Defaults to 10 min (guess).
    cache_age, with_cache_age: Duration = Duration::from_secs(600);
    /// An origin silent for longer is forgotten. More than `cache_age`, so that nobody offers a message
    /// that others have forgotten having seen.
    /// Defaults to 20 min (twice `cache_age`).
    origin_age, with_origin_age: Duration = Duration::from_secs(1200);
    /// Most origins known. Further ones are refused as long as all of these are heard of.
    /// Defaults to 16,384 (guess: above 10,000 nodes).
    origins_max, with_origins_max: usize = 16_384;
    /// Longest payload; longer ones are neither sent nor accepted.
    /// Defaults to 32 KiB (half a frame).
    payload_bytes_max, with_payload_bytes_max: usize = 32 * 1024;
    /// Most entries of one message; the rest of a longer one is ignored.
    /// Defaults to 512 (some 40 KiB with the ids of libp2p).
    list_max, with_list_max: usize = 512;
    /// Most announcements that wait for one neighbour. What does not fit is left to the exchange.
    /// Defaults to 4,096 (8 full messages).
    announcements_max, with_announcements_max: usize = 4096;
    /// Most origins with announced messages that did not come. One neighbour has an eighth of them.
    /// Defaults to 8,192 (guess).
    missing_max, with_missing_max: usize = 8192;
    /// How many bytes of payloads one neighbour may ask for per second, and at once.
    /// Defaults to 4 MiB (guess: a newcomer has the status of 10,000 nodes in some seconds).
    serve_bytes_per_second, with_serve_bytes_per_second: usize = 4 * 1024 * 1024;
}

impl Config {
    /// Returns the configuration if its values fit together.
    ///
    /// # Errors
    ///
    /// The first pair of values that does not.
    pub fn validate(self) -> Result<Self, ConfigError> {
        check_nonzero([
            ("flush_interval", self.flush_interval.is_zero()),
            ("round_trip_initial", self.round_trip_initial.is_zero()),
            ("exchange_interval", self.exchange_interval.is_zero()),
            ("cache_messages_max", self.cache_messages_max == 0),
            ("cache_age", self.cache_age.is_zero()),
            ("origins_max", self.origins_max == 0),
            ("payload_bytes_max", self.payload_bytes_max == 0),
            ("list_max", self.list_max == 0),
            ("announcements_max", self.announcements_max == 0),
            // One neighbour may have an eighth: of fewer than eight that is none.
            ("missing_max", self.missing_max < 8),
        ])?;
        check_ordered([
            (
                "flush_interval",
                "graft_delay_min",
                self.flush_interval <= self.graft_delay_min,
            ),
            (
                "graft_delay_min",
                "graft_delay_max",
                self.graft_delay_min <= self.graft_delay_max,
            ),
            (
                "cache_age",
                "half of origin_age",
                self.cache_age * 2 <= self.origin_age,
            ),
            // A longer one would be dropped as soon as it is kept, and all others with it.
            (
                "payload_bytes_max",
                "cache_bytes_max",
                self.payload_bytes_max <= self.cache_bytes_max,
            ),
            // The allowance holds a second's worth at most: a longer one would never be served.
            (
                "payload_bytes_max",
                "serve_bytes_per_second",
                self.payload_bytes_max <= self.serve_bytes_per_second,
            ),
        ])?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(Config::default().validate(), Ok(Config::default()));
    }

    #[test]
    fn values_that_contradict_each_other_are_named() {
        assert_eq!(
            Config::default().with_list_max(0).validate(),
            Err(ConfigError::Zero("list_max"))
        );
        assert_eq!(
            Config::default()
                .with_origin_age(Duration::from_secs(700))
                .validate(),
            Err(ConfigError::Exceeds("cache_age", "half of origin_age"))
        );
    }
}
