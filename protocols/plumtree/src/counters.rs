//! What is counted, for whoever exports metrics.

/// What a machine counts from its start on. [`State::counters`](crate::State::counters) shows it as it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Messages of others delivered.
    pub delivered: u64,
    /// Payloads that came again.
    pub duplicates: u64,
    /// Payloads pushed to neighbours.
    pub pushed: u64,
    /// Payloads sent because a neighbour asked.
    pub served: u64,
    /// Messages announced.
    pub announcements: u64,
    /// Batches that they went in.
    pub announcement_batches: u64,
    /// Grafts sent.
    pub grafts: u64,
    /// Prunes sent.
    pub prunes: u64,
    /// Digests sent.
    pub digests: u64,
    /// Parents exchanged for nearer ones.
    pub optimised: u64,
    /// Messages that no announcer sent, so far.
    pub missing: u64,
    /// Things left out because a bound was reached.
    pub shed: u64,
    /// Messages refused: too long, too old, from a stranger, or of one origin too many.
    pub refused: u64,
}

impl Counters {
    /// Each with its name, for metrics.
    pub(crate) fn named(self) -> [(&'static str, u64); 13] {
        // All fields, so that none is forgotten.
        let Self {
            delivered,
            duplicates,
            pushed,
            served,
            announcements,
            announcement_batches,
            grafts,
            prunes,
            digests,
            optimised,
            missing,
            shed,
            refused,
        } = self;
        [
            ("delivered", delivered),
            ("duplicates", duplicates),
            ("pushed", pushed),
            ("served", served),
            ("announcements", announcements),
            ("announcement_batches", announcement_batches),
            ("grafts", grafts),
            ("prunes", prunes),
            ("digests", digests),
            ("optimised", optimised),
            ("missing", missing),
            ("shed", shed),
            ("refused", refused),
        ]
    }
}

/// All counters at one moment: the machine's, and those of the libp2p side. Each counts from the start of the
/// behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CountersSnapshot {
    /// Those of the state machine.
    pub machine: Counters,
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

impl CountersSnapshot {
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
