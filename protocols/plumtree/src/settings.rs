//! Settings of the libp2p side. The protocol's own are in [`Config`](crate::Config).

use std::time::Duration;

use substream::Limits;

/// How the behaviour uses connections. The defaults suit a node on any network.
#[derive(Debug, Clone)]
pub struct Settings {
    incarnation: u64,
    seed: Option<u64>,
    limits: Limits,
}

impl Settings {
    /// `incarnation` orders the starts of one identity: unix milliseconds at start. It must grow from one start
    /// to the next, else others take what we say for old.
    #[must_use]
    pub fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            seed: None,
            limits: Limits {
                frame_timeout: Duration::from_secs(20),
                linger: Duration::from_secs(5),
                queue_frames_max: 128,
                full_pushes_max: 64,
                frames_per_second_max: 2000,
            },
        }
    }

    /// Makes the phase of the periodic exchange reproducible. Defaults to a seed from the operating
    /// system.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Bounds and time-outs of connections. Default to those of the membership, with twice the time for a
    /// frame (20 s: to find out that a peer is frozen is the membership's business), longer queues (128
    /// frames, 64 too many in a row) and four times the frames per second (2,000: the status of 10,000
    /// nodes every 5 s over one link).
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// See [`Settings::new`].
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// See [`Settings::with_seed`].
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// See [`Settings::with_limits`].
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }
}
