//! `[replication]`: the data plane.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{check::Check, duration, layers::Origins, size};
use crate::{api::Dissemination, replication::Settings};

/// Less would drop a slot for a burst of writes.
const SLOT_BYTES_MIN: u64 = 16 << 20;

/// The data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// Which neighbours carry data: all of them (`flood`), or a parent and those that have this node for theirs
    /// (`tree`). Nodes that differ in this work together: links are kept wherever one of two wants them.
    /// Defaults to `flood`.
    pub dissemination: Dissemination,
    /// Host names and addresses at which the stores of other nodes may be, beside the addresses of the
    /// nodes themselves: what they give as `--pg-advertise`. One `*` stands for any letters, digits, dots
    /// and hyphens. A store that a node names elsewhere is not connected to. Defaults to none.
    pub store_hosts: Vec<String>,
    /// How long the link to a lost neighbour is kept, so that a short break costs nothing.
    /// At most `slot_inactive_max`. Defaults to 30 s.
    #[serde(with = "duration")]
    pub link_grace: Duration,
    /// WAL that one link may hold back; beyond it the slot is dropped and the link is later caught
    /// up by vector. Nothing is lost. Defaults to 1 GiB: size it to the free disk divided by the
    /// neighbours.
    #[serde(with = "size")]
    pub slot_bytes_max: u64,
    /// How long a slot may go unused before it is dropped. Defaults to 10 minutes.
    #[serde(with = "duration")]
    pub slot_inactive_max: Duration,
    /// How often the node states up to where its writes are complete; also how finely lag is
    /// measured. An idle store writes none. Defaults to 1 s.
    #[serde(with = "duration")]
    pub checkpoint_interval: Duration,
    /// How long a store that was started again waits until all peers that are known to be alive have
    /// confirmed that it is not an older copy of itself, before it goes on as another site. It takes no
    /// writes meanwhile. Only a node that has had neighbours waits. Defaults to 15 s: where all answer it
    /// takes about one.
    #[serde(with = "duration")]
    pub confirm_within: Duration,
    /// A difference between this store's clock and those of its neighbours that is worth a warning.
    /// Defaults to 500 ms; clocks that are kept by NTP differ by some milliseconds.
    #[serde(with = "duration")]
    pub clock_warn: Duration,
    /// No data is taken from a neighbour whose clock is ahead of the others' by more: its writes
    /// would win against later ones. The link comes back once the clock is set. 0 takes it from
    /// everybody. Defaults to 10 s.
    #[serde(with = "duration")]
    pub max_clock_ahead: Duration,
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            dissemination: Dissemination::default(),
            store_hosts: Vec::new(),
            link_grace: Settings::LINK_GRACE,
            slot_bytes_max: Settings::SLOT_BYTES_MAX,
            slot_inactive_max: Settings::SLOT_INACTIVE_MAX,
            checkpoint_interval: Settings::CHECKPOINT_INTERVAL,
            confirm_within: Duration::from_secs(15),
            clock_warn: Duration::from_millis(500),
            max_clock_ahead: Duration::from_secs(10),
        }
    }
}

impl Replication {
    /// A default never contradicts what somebody set: it is lowered to fit.
    pub(super) fn resolve(&mut self, origins: &Origins) {
        if !origins.contains_key("replication.link_grace") {
            self.link_grace = self.link_grace.min(self.slot_inactive_max);
        }
    }

    pub(super) fn check(&self, check: &mut Check<'_>) {
        for host in &self.store_hosts {
            // No socket, and no list: the server's own client takes both for a host.
            let plain =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '*');
            if host.is_empty() || !host.chars().all(plain) || host.matches('*').count() > 1 {
                check.fail(
                    "replication.store_hosts",
                    format!("`{}` is no host name or address", host.escape_default()),
                    "write a bare name or IP address, without port and with at most one `*`; repeat the flag for several",
                );
            }
        }
        let day = Duration::from_secs(86_400);
        // 0: the links of who is lost go at once. What is kept holds a slot and its WAL; after a day to catch up by
        // vector costs no more than that (guess).
        check.lasting(
            "replication.link_grace",
            self.link_grace,
            Duration::ZERO..=day,
        );
        // 0 would drop a slot before anybody can stream from it. Whoever is away for a month has gone (guess).
        check.lasting(
            "replication.slot_inactive_max",
            self.slot_inactive_max,
            Duration::from_secs(1)..=day * 30,
        );
        if self.link_grace > self.slot_inactive_max {
            check.fail(
                "replication.link_grace",
                "a link cannot be kept longer than its slot",
                "make it at most replication.slot_inactive_max",
            );
        }
        // Below, a store that is written to would do little else: each is a transaction, and travels. Above, peers
        // would have to name ever more operations when they confirm the store (those since the last one), and
        // lag would be measured in minutes.
        check.lasting(
            "replication.checkpoint_interval",
            self.checkpoint_interval,
            Duration::from_millis(10)..=Duration::from_secs(60),
        );
        // 0: one round of questions decides. The store takes no writes meanwhile: nobody wants to wait for longer
        // than an hour (guess).
        check.lasting(
            "replication.confirm_within",
            self.confirm_within,
            Duration::ZERO..=Duration::from_secs(3_600),
        );
        // 0 warns of every difference. From an hour on a clock is in another time zone, and that is worth a warning.
        let hour = Duration::from_secs(3_600);
        check.lasting(
            "replication.clock_warn",
            self.clock_warn,
            Duration::ZERO..=hour,
        );
        // 0 is no short time here: it means that nobody is refused, as would more than a year. Below a tenth of a
        // second clocks are refused that NTP keeps over a slow line.
        if self.max_clock_ahead != Duration::ZERO {
            check.lasting(
                "replication.max_clock_ahead",
                self.max_clock_ahead,
                Duration::from_millis(100)..=day * 365,
            );
        }
        if self.slot_bytes_max < SLOT_BYTES_MIN {
            check.fail(
                "replication.slot_bytes_max",
                "a slot needs at least 16MiB, or a burst of writes would drop it",
                "give a size such as 1GiB",
            );
        }
    }
}
