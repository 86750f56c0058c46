//! Settings of the libp2p side: bounds and time-outs. The protocol's own are in [`Config`](crate::Config).

use std::time::Duration;

/// How the [`Behaviour`](crate::Behaviour) uses connections: time-outs, and bounds on queues, rates and dials. Each setter
/// gives the default and where it is from; a bound below 1 counts as 1.
#[derive(Debug, Clone)]
pub struct Settings {
    incarnation: u64,
    seed: Option<u64>,
    frame_timeout: Duration,
    linger: Duration,
    queue_frames_max: usize,
    full_pushes_max: u32,
    frames_per_second_max: u32,
    dials_max: usize,
    waiting_peers_max: usize,
}

impl Settings {
    /// `incarnation` orders the starts of one identity and the records it signs: unix milliseconds at
    /// start. It must grow from one start to the next, else peers keep to our previous addresses.
    #[must_use]
    pub fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            seed: None,
            frame_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(5),
            queue_frames_max: 64,
            full_pushes_max: 16,
            frames_per_second_max: 500,
            dials_max: 16,
            waiting_peers_max: 64,
        }
    }

    /// Makes all random choices reproducible. Defaults to a seed from the operating system.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// How long one frame may take to be written, or to arrive once it has begun, and how long a stream
    /// may take to open. A peer that exceeds it counts as slow. Defaults to 10 s: a tenth
    /// of the patience of TCP, and far above the time of 64 KiB over a bad mobile link.
    #[must_use]
    pub fn with_frame_timeout(mut self, timeout: Duration) -> Self {
        self.frame_timeout = timeout;
        self
    }

    /// How long a connection that is not a neighbour's is held after its last frame, so that an answer
    /// can come back on it. Then the swarm's own idle time-out begins. Defaults to 5 s, longer than any
    /// request of the protocol waits.
    #[must_use]
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Most frames queued for one peer. Defaults to 64, several rounds of everything the protocol says to
    /// one neighbour; at most 4 MiB for a peer that stopped reading, in practice some 30 KiB.
    #[must_use]
    pub fn with_queue_frames_max(mut self, frames: usize) -> Self {
        self.queue_frames_max = frames.max(1);
        self
    }

    /// How many frames in a row may find the queue full before the peer counts as slow. Defaults to 16.
    #[must_use]
    pub fn with_full_pushes_max(mut self, pushes: u32) -> Self {
        self.full_pushes_max = pushes.max(1);
        self
    }

    /// How fast one peer may send, in frames per second with a burst of twice that; each new signature
    /// counts as another frame. Beyond it the peer counts as flooding. Defaults to 500, which a
    /// contact in a join storm does not reach, and which costs a tenth of a core to refuse.
    #[must_use]
    pub fn with_frames_per_second_max(mut self, frames: u32) -> Self {
        self.frames_per_second_max = frames.max(1);
        self
    }

    /// Most dials of ours under way at once. Defaults to 16.
    #[must_use]
    pub fn with_dials_max(mut self, dials: usize) -> Self {
        self.dials_max = dials.max(1);
        self
    }

    /// Most peers that messages wait for because they are not connected yet. A message to
    /// one more is refused as if the peer were unreachable. Defaults to 64.
    #[must_use]
    pub fn with_waiting_peers_max(mut self, peers: usize) -> Self {
        self.waiting_peers_max = peers.max(1);
        self
    }

    /// Orders the starts of this identity: Unix milliseconds at start.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The seed of all random choices; `None` if it is to come from the operating system.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Longest time for one frame to be written, or to arrive once it has begun.
    #[must_use]
    pub fn frame_timeout(&self) -> Duration {
        self.frame_timeout
    }

    /// How long a connection that is not a neighbour's is held after its last frame.
    #[must_use]
    pub fn linger(&self) -> Duration {
        self.linger
    }

    /// Most frames queued for one peer.
    #[must_use]
    pub fn queue_frames_max(&self) -> usize {
        self.queue_frames_max
    }

    /// Frames in a row that may find the queue full.
    #[must_use]
    pub fn full_pushes_max(&self) -> u32 {
        self.full_pushes_max
    }

    /// Most frames per second from one peer.
    #[must_use]
    pub fn frames_per_second_max(&self) -> u32 {
        self.frames_per_second_max
    }

    /// Most dials under way at once.
    #[must_use]
    pub fn dials_max(&self) -> usize {
        self.dials_max
    }

    /// Most peers that messages wait for.
    #[must_use]
    pub fn waiting_peers_max(&self) -> usize {
        self.waiting_peers_max
    }

    pub(crate) fn limits(&self) -> substream::Limits {
        substream::Limits {
            frame_timeout: self.frame_timeout,
            linger: self.linger,
            queue_frames_max: self.queue_frames_max,
            full_pushes_max: self.full_pushes_max,
            frames_per_second_max: self.frames_per_second_max,
        }
    }
}
