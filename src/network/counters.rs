//! What happened on the network, counted for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the protocols between nodes count since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProtocolCounters {
    /// HyParView's.
    pub overlay: hyparview::CountersSnapshot,
    /// Plumtree's.
    pub broadcast: plumtree::CountersSnapshot,
}

/// One thing that is counted since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Counter {
    /// Connections that were established.
    ConnectionsOpened,
    /// Connections that ended.
    ConnectionsClosed,
    /// Dials of ours that led to no connection.
    DialsFailed,
    /// Connections of others that did not get through the handshake. Some are dials that came in
    /// second at another of our addresses.
    InboundFailed,
    /// Connections refused because of a limit.
    ConnectionsDenied,
    /// Meetings with a peer of another cluster.
    Strangers,
    /// Somebody else than the expected peer answered.
    WrongPeers,
    /// The encrypted handshake failed: not our protocol, or another swarm key.
    HandshakesFailed,
    /// Attempts to join through a configured address.
    BootstrapAttempts,
    /// Configured addresses whose name could not be resolved.
    NamesUnresolved,
    /// Connections closed because pings were not answered.
    PingsFailed,
    /// Peers that became neighbours.
    NeighborsUp,
    /// Neighbours lost.
    NeighborsDown,
    /// Times that we had no neighbour and nobody to try.
    Isolated,
    /// Peers cut off because they broke the overlay's protocol.
    Misbehaved,
    /// Broadcasts of ours.
    BroadcastsSent,
    /// Broadcasts of others, each counted once.
    BroadcastsReceived,
    /// Of these, those that the node had no time for.
    BroadcastsShed,
    /// Requests of ours.
    RequestsSent,
    /// Requests of ours without an answer.
    RequestsFailed,
    /// Requests of peers handed to the node.
    RequestsServed,
    /// Requests of peers dropped because too many were waiting.
    RequestsRefused,
    /// Requests and replies above the size bound, sent by peers or by us.
    Oversized,
    /// Times the address book could not be written.
    BookFailures,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::ConnectionsOpened,
        Self::ConnectionsClosed,
        Self::DialsFailed,
        Self::InboundFailed,
        Self::ConnectionsDenied,
        Self::Strangers,
        Self::WrongPeers,
        Self::HandshakesFailed,
        Self::BootstrapAttempts,
        Self::NamesUnresolved,
        Self::PingsFailed,
        Self::NeighborsUp,
        Self::NeighborsDown,
        Self::Isolated,
        Self::Misbehaved,
        Self::BroadcastsSent,
        Self::BroadcastsReceived,
        Self::BroadcastsShed,
        Self::RequestsSent,
        Self::RequestsFailed,
        Self::RequestsServed,
        Self::RequestsRefused,
        Self::Oversized,
        Self::BookFailures,
    ];

    /// A stable name in the way of metrics: lower case, words joined by `_`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectionsOpened => "connections_opened",
            Self::ConnectionsClosed => "connections_closed",
            Self::DialsFailed => "dials_failed",
            Self::InboundFailed => "inbound_failed",
            Self::ConnectionsDenied => "connections_denied",
            Self::Strangers => "strangers",
            Self::WrongPeers => "wrong_peers",
            Self::HandshakesFailed => "handshakes_failed",
            Self::BootstrapAttempts => "bootstrap_attempts",
            Self::NamesUnresolved => "names_unresolved",
            Self::PingsFailed => "pings_failed",
            Self::NeighborsUp => "neighbors_up",
            Self::NeighborsDown => "neighbors_down",
            Self::Isolated => "isolated",
            Self::Misbehaved => "misbehaved",
            Self::BroadcastsSent => "broadcasts_sent",
            Self::BroadcastsReceived => "broadcasts_received",
            Self::BroadcastsShed => "broadcasts_shed",
            Self::RequestsSent => "requests_sent",
            Self::RequestsFailed => "requests_failed",
            Self::RequestsServed => "requests_served",
            Self::RequestsRefused => "requests_refused",
            Self::Oversized => "oversized",
            Self::BookFailures => "book_failures",
        }
    }
}

/// The counts of one node.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Counter::ALL.len()]);

impl Counters {
    /// How often it happened since start.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, counter: Counter) {
        self.0[counter as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Counter, Counters};

    #[test]
    fn each_counter_has_its_own_place_and_name() {
        let counters = Counters::default();
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place);
            counters.count(counter);
            assert_eq!(counters.get(counter), 1);
        }
        let names: BTreeSet<_> = Counter::ALL.into_iter().map(Counter::name).collect();
        assert_eq!(names.len(), Counter::ALL.len());
    }
}
