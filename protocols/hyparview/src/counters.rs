//! Counters of the libp2p side, for whoever exports metrics.

use substream::Counter;

/// All counters at one moment. Each counts from the start of the behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CountersSnapshot {
    /// Frames read and accepted.
    pub frames_in: u64,
    /// Frames handed to the network completely.
    pub frames_out: u64,
    /// Frames that broke the protocol and were refused.
    pub frames_refused: u64,
    /// Frames of ours that were given up because a queue was full.
    pub frames_shed: u64,
    /// Signatures of peer records checked.
    pub records_verified: u64,
    /// Peers dropped because they did not read what was sent to them.
    pub slow_peers: u64,
    /// Peers dropped because they broke the protocol.
    pub misbehaved_peers: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that failed.
    pub dial_failures: u64,
}

impl CountersSnapshot {
    /// Each with its name, for metrics.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 9] {
        // All fields, so that none is forgotten.
        let Self {
            frames_in,
            frames_out,
            frames_refused,
            frames_shed,
            records_verified,
            slow_peers,
            misbehaved_peers,
            dials,
            dial_failures,
        } = *self;
        [
            ("frames_in", frames_in),
            ("frames_out", frames_out),
            ("frames_refused", frames_refused),
            ("frames_shed", frames_shed),
            ("records_verified", records_verified),
            ("slow_peers", slow_peers),
            ("misbehaved_peers", misbehaved_peers),
            ("dials", dials),
            ("dial_failures", dial_failures),
        ]
    }
}

/// The live counters, shared with every connection: clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) frames: substream::Counters,
    pub(crate) records_verified: Counter,
    pub(crate) slow_peers: Counter,
    pub(crate) misbehaved_peers: Counter,
    pub(crate) dials: Counter,
    pub(crate) dial_failures: Counter,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> CountersSnapshot {
        CountersSnapshot {
            frames_in: self.frames.frames_in.get(),
            frames_out: self.frames.frames_out.get(),
            frames_refused: self.frames.frames_refused.get(),
            frames_shed: self.frames.frames_shed.get(),
            records_verified: self.records_verified.get(),
            slow_peers: self.slow_peers.get(),
            misbehaved_peers: self.misbehaved_peers.get(),
            dials: self.dials.get(),
            dial_failures: self.dial_failures.get(),
        }
    }
}
