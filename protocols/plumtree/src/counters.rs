//! Counters of the libp2p side, for whoever exports metrics.

use crate::Totals;

/// A reading of all counters. Each counts from the start of the behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Those of the state machine.
    pub machine: Totals,
    /// Frames read and accepted.
    pub frames_in: u64,
    /// Frames handed to the network completely.
    pub frames_out: u64,
    /// Frames that broke the protocol and were refused.
    pub frames_refused: u64,
    /// Frames of ours that were given up because a queue was full.
    pub frames_shed: u64,
    /// Peers dropped because they did not read what was sent to them.
    pub slow_peers: u64,
    /// Peers dropped because they broke the protocol.
    pub misbehaved_peers: u64,
}

impl Counters {
    /// Each with its name, for metrics: the machine's first.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        // All fields, so that none is forgotten.
        let Self {
            machine,
            frames_in,
            frames_out,
            frames_refused,
            frames_shed,
            slow_peers,
            misbehaved_peers,
        } = *self;
        machine.named().into_iter().chain([
            ("frames_in", frames_in),
            ("frames_out", frames_out),
            ("frames_refused", frames_refused),
            ("frames_shed", frames_shed),
            ("slow_peers", slow_peers),
            ("misbehaved_peers", misbehaved_peers),
        ])
    }
}
