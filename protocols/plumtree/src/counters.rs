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
