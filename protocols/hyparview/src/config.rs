//! The knobs of the state machine, each with its effect and where its default comes from.

use std::time::Duration;

use substream::{ConfigError, check_nonzero, check_ordered};

substream::knobs! {
    /// Parameters of [`State`](crate::State). [`Config::default`] is the paper's set for ten
    /// thousand nodes, completed where the paper is silent.
    Config;

    /// Size of the active view, log10(n) + 1 for n nodes.
    /// Defaults to 5 (paper 5.1: n = 10,000).
    active_capacity, with_active_capacity: usize = 5;
    /// Size of the passive view, about six times the active one: how many candidates a node has
    /// when its neighbours fail all at once.
    /// Defaults to 30 (paper 5.1).
    passive_capacity, with_passive_capacity: usize = 30;
    /// Hops of the walk that introduces a newcomer (ARWL), and the greatest ttl that is believed.
    /// Defaults to 6 (paper 5.1).
    active_walk, with_active_walk: u8 = 6;
    /// Hops before its end at which that walk leaves the newcomer in a passive view (PRWL). At
    /// most `active_walk`.
    /// Defaults to 3 (paper 5.1).
    passive_walk, with_passive_walk: u8 = 3;
    /// Hops of a shuffle's walk. At most `active_walk`.
    /// Defaults to 6: the paper gives no number, implementations take ARWL.
    shuffle_walk, with_shuffle_walk: u8 = 6;
    /// Neighbours in a shuffle list (ka).
    /// Defaults to 3 (paper 5.1).
    shuffle_active, with_shuffle_active: usize = 3;
    /// Passive peers in a shuffle list (kp).
    /// Defaults to 4 (paper 5.1).
    shuffle_passive, with_shuffle_passive: usize = 4;
    /// Mean time between two shuffles of a node.
    /// Defaults to 10 s (Partisan; the paper gives none, iroh-gossip calls its 60 s a guess).
    shuffle_interval, with_shuffle_interval: Duration = Duration::from_secs(10);

    /// Time between two heartbeats to each neighbour.
    /// Defaults to 1 s (lashup, in production at DC/OS).
    heartbeat_interval, with_heartbeat_interval: Duration = Duration::from_secs(1);
    /// A neighbour that is silent for longer is dropped and its connection cut. At least twice
    /// `heartbeat_interval`; too short a value drops peers in a pause of their runtime.
    /// Defaults to 4 s (guess: three lost heartbeats).
    silence_deadline, with_silence_deadline: Duration = Duration::from_secs(4);
    /// A component tag that has not advanced for longer is forgotten. Greater than the time a tag
    /// needs to cross the overlay: its diameter times `heartbeat_interval`.
    /// Defaults to 15 s (diameter 9 at 10,000 nodes, measured; half as much again).
    tag_timeout, with_tag_timeout: Duration = Duration::from_secs(15);

    /// A request without an answer is given up after this long, dialling included.
    /// Defaults to 3 s (guess: a lost SYN costs 1 s).
    request_timeout, with_request_timeout: Duration = Duration::from_secs(3);
    /// A request without an answer holds its slot for this long; then another candidate is asked
    /// as well. At most `request_timeout`.
    /// Defaults to 500 ms (iroh-gossip's neighbour timeout).
    slot_hold, with_slot_hold: Duration = Duration::from_millis(500);
    /// Candidates asked at the same time while the active view is not full.
    /// Defaults to 3 (R5).
    refill_parallel, with_refill_parallel: usize = 3;
    /// Pause after a pass over the whole passive view that left slots free; doubles with each
    /// pass up to `refill_interval_max`, starts anew with each lost neighbour.
    /// Defaults to 5 s (guess).
    refill_interval, with_refill_interval: Duration = Duration::from_secs(5);
    /// Longest pause between two passes.
    /// Defaults to 30 s (guess; babel-hyparview's connectivity check goes up to 1 min).
    refill_interval_max, with_refill_interval_max: Duration = Duration::from_secs(30);
    /// How long a newcomer leaves its free slots to the walks that its contact has started.
    /// Defaults to 1 s (guess: six hops and a dial).
    walk_grace, with_walk_grace: Duration = Duration::from_secs(1);
    /// How long a peer that dropped us is not asked again (R15).
    /// Defaults to 30 s (guess; gossipsub's prune back-off is 60 s).
    drop_backoff, with_drop_backoff: Duration = Duration::from_secs(30);

    /// How many unreachable peers are remembered and probed (R6).
    /// Defaults to 60 (guess: twice the passive view).
    suspect_capacity, with_suspect_capacity: usize = 60;
    /// How many bootstrap contacts are held for ever.
    /// Defaults to 32 (guess).
    permanent_capacity, with_permanent_capacity: usize = 32;
    /// First pause before an unreachable peer's turn comes again; doubles with each failure.
    /// Defaults to 5 s (guess).
    suspect_backoff, with_suspect_backoff: Duration = Duration::from_secs(5);
    /// Longest such pause.
    /// Defaults to 2 min (guess; foca announces to down members every 65 to 125 s).
    suspect_backoff_max, with_suspect_backoff_max: Duration = Duration::from_secs(120);
    /// Shortest time between two probes of one node (R7).
    /// Defaults to 10 s (R7; lashup: 12 s).
    probe_interval_min, with_probe_interval_min: Duration = Duration::from_secs(10);
    /// Longest such time.
    /// Defaults to 30 s (R7).
    probe_interval_max, with_probe_interval_max: Duration = Duration::from_secs(30);

    /// Mean time between two switches that a node starts in steady state (R8). Each one moves two
    /// links, and a link may be dear to the application.
    /// Defaults to 30 min (guess: with five neighbours a link then stands for over half an hour).
    remix_interval, with_remix_interval: Duration = Duration::from_secs(1800);
    /// Mean time between two switches while the overlay has to be mixed.
    /// Defaults to 3 s (guess: more than a switch takes).
    remix_burst_interval, with_remix_burst_interval: Duration = Duration::from_secs(3);
    /// How long a node counts as new. Each link that it makes meanwhile, but for those that
    /// walks from elsewhere bring, is exchanged once for a random one later, one after the other with about such a
    /// pause between them, so that shuffles bring backups from ever further away: at least some `shuffle_interval`s.
    /// Defaults to 60 s (measured: 10,000 nodes that came through one contact have 27 to 33 triangles with a pause of
    /// 10 s, 14 with 30 s, 12 with 60 s; a random graph has 11).
    settle_time, with_settle_time: Duration = Duration::from_secs(60);
    /// How many switches a node makes when its component has come together with another.
    /// Defaults to 3 (measured: 20, 50 and 100 nodes have 80 % of a random graph's cross links 20 s
    /// after a cut has healed; 5 gains little).
    remix_burst, with_remix_burst: u32 = 3;

    /// Whether the links beyond `unbiased_min` are exchanged for such with a shorter round trip
    /// (X-BOT). Nodes for which it is off take no part. Small networks, in which everybody is
    /// everybody's neighbour, have nothing to exchange.
    /// Defaults to false.
    optimize, with_optimize: bool = false;
    /// Links that are left to chance while others are optimised: they keep the overlay connected and
    /// its paths short. Less than `active_capacity`.
    /// Defaults to 2 (measured, 200 nodes in 8 regions: when half of them crash, none leave a quarter of
    /// the survivors together, 1 or more all; one to spare).
    unbiased_min, with_unbiased_min: usize = 2;
    /// Mean time between two searches for a nearer neighbour, each a few small messages.
    /// Defaults to 1 min (guess: a search in three succeeds at first, and moves one link of four nodes).
    optimize_interval, with_optimize_interval: Duration = Duration::from_secs(60);
    /// Backups measured in one search.
    /// Defaults to 2 (Partisan's passive scan length).
    optimize_candidates, with_optimize_candidates: usize = 2;
    /// How long a link stays at least before it is given up for a nearer one.
    /// Defaults to 2 min (guess: the application has long begun to use it).
    optimize_rest, with_optimize_rest: Duration = Duration::from_secs(120);
    /// What the new links of an exchange may take of the old ones' round trips, in percent. At most
    /// 100.
    /// Defaults to 80 (guess: twice the spread of a good line's round trips).
    optimize_percent, with_optimize_percent: u32 = 80;
    /// What an exchange must save at least, as round trips.
    /// Defaults to 2 ms (guess: more than the noise within one site, less than to the next one).
    optimize_gain, with_optimize_gain: Duration = Duration::from_millis(2);

    /// A neighbour lost (not dropped) sooner than this after it came counts as flapping.
    /// Defaults to 30 s (guess).
    flap_window, with_flap_window: Duration = Duration::from_secs(30);
    /// Flaps in a row that are forgiven.
    /// Defaults to 3 (guess).
    flap_limit, with_flap_limit: u32 = 3;
    /// First quarantine of a flapping, slow or misbehaving peer; doubles with each further offence.
    /// Defaults to 10 s (gossipsub's graft-flood threshold).
    quarantine, with_quarantine: Duration = Duration::from_secs(10);
    /// Longest quarantine.
    /// Defaults to 10 min (guess).
    quarantine_max, with_quarantine_max: Duration = Duration::from_secs(600);

    /// Joins and high-priority requests granted per second over all peers, with as many at once;
    /// the others are sent on with a sample (R9, R11).
    /// Defaults to 25 (lashup).
    admission_rate, with_admission_rate: u32 = 25;
    /// Joins and high-priority requests granted to one peer at once; one more every
    /// `admission_peer_interval`.
    /// Defaults to 3 (guess).
    admission_peer_burst, with_admission_peer_burst: u32 = 3;
    /// See `admission_peer_burst`.
    /// Defaults to 5 s (guess).
    admission_peer_interval, with_admission_peer_interval: Duration = Duration::from_secs(5);
    /// Walk's ends and probes served per second, with as many at once.
    /// Defaults to 50 (guess: two walks' ends per admitted join).
    service_rate, with_service_rate: u32 = 50;
    /// Links that we asked for and that are not evicted for the sake of inbound requests. Less
    /// than `active_capacity`.
    /// Defaults to 2 (gossipsub's outbound minimum).
    outbound_min, with_outbound_min: usize = 2;
    /// A link that has stood for this long, or that a switch has put in the place of another, is not given up
    /// for others who ask; only the latest link is. So whoever asks again and again gets the places of others
    /// who do.
    /// [`Duration::MAX`]: no link is ever safe.
    /// Defaults to 1 min (guess: as `settle_time`, so that a growing network grows as the paper has it).
    tenure_min, with_tenure_min: Duration = Duration::from_secs(60);
    /// How long after it came a neighbour is not evicted that claims to have no other link; an honest
    /// one has found others by then. At least `request_timeout`.
    /// Defaults to 60 s (guess: two passes of refill).
    last_link_protection, with_last_link_protection: Duration = Duration::from_secs(60);
    /// How many times the shuffles of an honest neighbour are taken from one; more are dropped. An honest one
    /// sends, or passes on, `shuffle_walk` / `active_capacity` of them per `shuffle_interval` on average.
    /// Defaults to 4 (guess: three neighbours in four may be missing for a while).
    shuffle_excess, with_shuffle_excess: u32 = 4;
    /// Share of the passive view, in percent, that is a random sample of all the names heard, however often
    /// each was named; the rest is fresh. At most 100.
    /// Defaults to 50 (guess: as many that cannot be pushed out as there are new ones).
    passive_sampled_percent, with_passive_sampled_percent: usize = 50;
    /// Most neighbours of one [`group`](crate::Address::group).
    /// Defaults to none, which suits loopback and private networks.
    group_active_max, with_group_active_max: Option<usize> = None;
    /// Most passive peers of one group.
    /// Defaults to none.
    group_passive_max, with_group_passive_max: Option<usize> = None;
}

impl Config {
    /// Longest list in a shuffle or sample: self, ka and kp. Longer ones are cut when received.
    #[must_use]
    pub fn list_max(&self) -> usize {
        1 + self.shuffle_active + self.shuffle_passive
    }

    /// Returns the configuration if its values fit together.
    ///
    /// # Errors
    ///
    /// The first value that is zero and must not be, or the first pair of values that contradict each other.
    pub fn validate(self) -> Result<Self, ConfigError> {
        self.check_zero()?;
        self.check_order()?;
        Ok(self)
    }

    fn check_zero(&self) -> Result<(), ConfigError> {
        check_nonzero([
            ("active_capacity", self.active_capacity == 0),
            ("passive_capacity", self.passive_capacity == 0),
            ("active_walk", self.active_walk == 0),
            ("shuffle_interval", self.shuffle_interval.is_zero()),
            ("heartbeat_interval", self.heartbeat_interval.is_zero()),
            ("request_timeout", self.request_timeout.is_zero()),
            ("slot_hold", self.slot_hold.is_zero()),
            ("refill_parallel", self.refill_parallel == 0),
            ("refill_interval", self.refill_interval.is_zero()),
            ("suspect_backoff", self.suspect_backoff.is_zero()),
            ("probe_interval_min", self.probe_interval_min.is_zero()),
            ("remix_interval", self.remix_interval.is_zero()),
            ("remix_burst_interval", self.remix_burst_interval.is_zero()),
            ("optimize_interval", self.optimize_interval.is_zero()),
            ("admission_rate", self.admission_rate == 0),
            ("service_rate", self.service_rate == 0),
            ("shuffle_excess", self.shuffle_excess == 0),
        ])
    }

    fn check_order(&self) -> Result<(), ConfigError> {
        check_ordered([
            (
                "passive_walk",
                "active_walk",
                self.passive_walk <= self.active_walk,
            ),
            (
                "shuffle_walk",
                "active_walk",
                self.shuffle_walk <= self.active_walk,
            ),
            (
                "slot_hold",
                "request_timeout",
                self.slot_hold <= self.request_timeout,
            ),
            (
                "twice heartbeat_interval",
                "silence_deadline",
                self.heartbeat_interval * 2 <= self.silence_deadline,
            ),
            // Who has just come needs the time of one request to find another link.
            (
                "request_timeout",
                "last_link_protection",
                self.request_timeout <= self.last_link_protection,
            ),
            (
                "silence_deadline",
                "tag_timeout",
                self.silence_deadline <= self.tag_timeout,
            ),
            (
                "probe_interval_min",
                "probe_interval_max",
                self.probe_interval_min <= self.probe_interval_max,
            ),
            // So many links of ours are kept: were it all that there is room for, nobody else could come in.
            (
                "outbound_min",
                "active_capacity - 1",
                self.outbound_min < self.active_capacity,
            ),
            (
                "unbiased_min",
                "active_capacity - 1",
                // Without optimising, all links are left to chance.
                !self.optimize || self.unbiased_min < self.active_capacity,
            ),
            ("optimize_percent", "100", self.optimize_percent <= 100),
            (
                "passive_sampled_percent",
                "100",
                self.passive_sampled_percent <= 100,
            ),
        ])
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
            Config::default().with_active_capacity(0).validate(),
            Err(ConfigError::Zero("active_capacity"))
        );
        assert_eq!(
            Config::default().with_passive_walk(7).validate(),
            Err(ConfigError::Exceeds("passive_walk", "active_walk"))
        );
        assert_eq!(
            Config::default().with_outbound_min(5).validate(),
            Err(ConfigError::Exceeds("outbound_min", "active_capacity - 1"))
        );
        assert_eq!(
            Config::default().with_shuffle_excess(0).validate(),
            Err(ConfigError::Zero("shuffle_excess"))
        );
        assert_eq!(
            Config::default()
                .with_last_link_protection(Duration::from_secs(2))
                .validate(),
            Err(ConfigError::Exceeds(
                "request_timeout",
                "last_link_protection"
            ))
        );
        assert_eq!(
            Config::default()
                .with_passive_sampled_percent(101)
                .validate(),
            Err(ConfigError::Exceeds("passive_sampled_percent", "100"))
        );
        assert_eq!(
            Config::default().with_optimize_percent(101).validate(),
            Err(ConfigError::Exceeds("optimize_percent", "100"))
        );
    }
}
