//! The network between the nodes: how long messages take, and what goes wrong on their way.

use std::time::Duration;

use rand::{Rng, RngExt};
use serde::Deserialize;

use crate::NodeId;

/// How far apart nodes are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distances {
    /// Each pair has a latency of its own, drawn from a range of milliseconds.
    Range {
        /// Shortest one-way latency.
        least_ms: f64,
        /// Longest one-way latency.
        most_ms: f64,
    },
    /// Nodes live in turn in the regions of the world; a packet takes 2 ms and 1 ms per 150 km one way (the
    /// model that Corrosion's simulator uses: round trip 4 ms and 1 ms per 75 km).
    World,
}

/// Latitude and longitude in degrees of cities with large data centres.
const REGIONS: [(f64, f64); 19] = [
    (52.4, 4.9),
    (50.1, 8.7),
    (51.5, -0.1),
    (48.9, 2.4),
    (59.3, 18.1),
    (40.4, -3.7),
    (52.2, 21.0),
    (39.0, -77.5),
    (41.9, -87.6),
    (32.8, -96.8),
    (34.1, -118.2),
    (37.4, -121.9),
    (47.6, -122.3),
    (43.7, -79.4),
    (-23.5, -46.6),
    (1.35, 103.8),
    (35.7, 139.7),
    (-33.9, 151.2),
    (19.1, 72.9),
];

/// What the network is like. It may be changed while the world runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// How far apart nodes are.
    pub distances: Distances,
    /// Up to this much is added to each message's latency. Defaults to 5 ms.
    pub jitter: Duration,
    /// Share of messages that never arrive, the connection staying up. Harsher than TCP, which would only
    /// be late. Defaults to 0.
    pub loss: f64,
    /// Share of messages that come once more, up to `echo_late` later: what an old connection still held.
    /// Defaults to 0.
    pub echoes: f64,
    /// Defaults to 5 s.
    pub echo_late: Duration,
    /// Share of dials that are refused although the peer is there. Defaults to 0.
    pub refusal: f64,
    /// Time until a dial into nowhere fails. Defaults to 1.5 s.
    pub dial_timeout: Duration,
    /// How long a connection that nobody needs stays open. Defaults to 1 s.
    pub linger: Duration,
    /// Messages that may wait for a reader before it counts as slow. Defaults to 80: 64 queued frames and
    /// 16 attempts to queue one more, as in the node.
    pub unread_max: u32,
    /// Greatest deviation of a node's clock rate. Defaults to 0.
    pub drift_ppm: u32,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            distances: Distances::Range {
                least_ms: 10.0,
                most_ms: 50.0,
            },
            jitter: Duration::from_millis(5),
            loss: 0.0,
            echoes: 0.0,
            echo_late: Duration::from_secs(5),
            refusal: 0.0,
            dial_timeout: Duration::from_millis(1500),
            linger: Duration::from_secs(1),
            unread_max: 80,
            drift_ppm: 0,
        }
    }
}

impl Network {
    /// One-way latency between two nodes in nanoseconds, the same each time.
    pub(crate) fn distance(&self, seed: u64, a: NodeId, b: NodeId) -> u64 {
        let ms = match self.distances {
            Distances::Range { least_ms, most_ms } => {
                // The same in both directions.
                let pair = (u64::from(a.min(b)) << 32) | u64::from(a.max(b));
                least_ms + (most_ms - least_ms).max(0.0) * unit(mix(seed ^ mix(pair)))
            }
            Distances::World => 2.0 + kilometres(region(a), region(b)) / 150.0,
        };
        nanos(Duration::from_secs_f64(ms.max(0.0) / 1000.0))
    }

    /// What this message takes beyond the distance.
    pub(crate) fn delay<R: Rng>(&self, rng: &mut R) -> u64 {
        match nanos(self.jitter) {
            0 => 0,
            most => rng.random_range(0..=most),
        }
    }

    pub(crate) fn loses<R: Rng>(&self, rng: &mut R) -> bool {
        // Nothing is drawn on a network that loses nothing: it costs no time there, and moves no other choice.
        self.loss > 0.0 && rng.random_bool(self.loss.min(1.0))
    }

    /// How much later this message comes once more, if it does.
    pub(crate) fn echo<R: Rng>(&self, rng: &mut R) -> Option<u64> {
        let comes = self.echoes > 0.0 && rng.random_bool(self.echoes.min(1.0));
        // At any time in this span, for it stands for a connection of the past that drains at last.
        comes.then(|| rng.random_range(0..=nanos(self.echo_late)))
    }

    pub(crate) fn refuses<R: Rng>(&self, rng: &mut R) -> bool {
        self.refusal > 0.0 && rng.random_bool(self.refusal.min(1.0))
    }
}

/// Nanoseconds of a time that fits, that is, of less than 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn region(node: NodeId) -> (f64, f64) {
    REGIONS[node as usize % REGIONS.len()]
}

/// Great-circle distance.
fn kilometres(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (lat_a, lat_b) = (a.0.to_radians(), b.0.to_radians());
    let (across, along) = (
        ((lat_b - lat_a) / 2.0).sin(),
        ((b.1 - a.1).to_radians() / 2.0).sin(),
    );
    let chord = across * across + lat_a.cos() * lat_b.cos() * along * along;
    2.0 * 6371.0 * chord.sqrt().min(1.0).asin()
}

/// Scrambles a number (the finaliser of splitmix64).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A number in [0, 1) from random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::{Distances, Network};

    #[test]
    fn distances_are_symmetric_stable_and_in_range() {
        let network = Network::default();
        for (a, b) in [(0, 1), (7, 3), (100, 20_000)] {
            let there = network.distance(5, a, b);
            assert_eq!(there, network.distance(5, b, a));
            assert!((10_000_000..=50_000_000).contains(&there), "{there}");
        }
        assert_ne!(network.distance(5, 0, 1), network.distance(6, 0, 1));
    }

    #[test]
    fn the_world_is_as_large_as_it_is() {
        let world = Network {
            distances: Distances::World,
            ..Network::default()
        };
        // Amsterdam to Sydney is about 16,650 km; neighbours share a city.
        let far = world.distance(0, 0, 17);
        assert!((110_000_000..=116_000_000).contains(&far), "{far}");
        assert_eq!(world.distance(0, 0, 19), 2_000_000);
    }
}
