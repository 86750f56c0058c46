//! The processes that speak with one key.
//!
//! A key should be in one place, but machines are cloned with their disks. Each process tells the number
//! of its start to whom it connects with (as a part of what identify carries), so two of them can be told
//! apart.
//!
//! A connection of another start proves nothing: a process that was cut off leaves its connection half
//! open when it comes back. What proves it is a ping that was sent after the one process had been seen,
//! and that the other one answered: it cannot have been an earlier run of the former's node.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

use crate::identity::Run;

/// A process that is alive has answered a ping by then: they are sent every 5 s.
const SILENCE: Duration = Duration::from_secs(8);

/// Another process with a peer's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its start.
    pub run: Run,
    /// Where it was seen.
    pub address: String,
    /// It is alive for certain; if not, it may be what is left of an earlier run.
    pub is_proven: bool,
}

#[derive(Debug)]
struct Process {
    run: Run,
    /// When its first connection that is still open was identified.
    first: Instant,
    /// The newest answered ping was sent then.
    proof: Option<Instant>,
    connections: BTreeMap<ConnectionId, Multiaddr>,
}

/// All that are connected.
#[derive(Debug, Default)]
pub(super) struct Runs {
    peers: BTreeMap<PeerId, Vec<Process>>,
    /// Pings that were answered on connections, identified or not.
    answered: BTreeMap<ConnectionId, Instant>,
}

impl Runs {
    /// `peer` told the number of its start over this connection.
    pub(super) fn identified(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        address: Multiaddr,
        run: Run,
        now: Instant,
    ) {
        // Pings begin with the connection, and one may be answered before identify is.
        let proof = self.answered.get(&connection).copied();
        let processes = self.peers.entry(peer).or_default();
        if let Some(known) = processes.iter_mut().find(|it| it.run == run) {
            // Identify repeats itself every five minutes; when the process was first seen stays as it is.
            known.connections.insert(connection, address);
            known.proof = known.proof.max(proof);
        } else {
            processes.push(Process {
                run,
                first: now,
                proof,
                connections: BTreeMap::from([(connection, address)]),
            });
        }
    }

    /// A ping that was sent over this connection at `sent` was answered.
    pub(super) fn answered(&mut self, peer: PeerId, connection: ConnectionId, sent: Instant) {
        self.answered.insert(connection, sent);
        let processes = self.peers.get_mut(&peer).map(Vec::as_mut_slice);
        for process in processes.unwrap_or_default() {
            if process.connections.contains_key(&connection) {
                process.proof = process.proof.max(Some(sent));
            }
        }
    }

    /// A connection closed.
    pub(super) fn closed(&mut self, peer: PeerId, connection: ConnectionId) {
        self.answered.remove(&connection);
        if let Some(processes) = self.peers.get_mut(&peer) {
            for process in processes.iter_mut() {
                process.connections.remove(&connection);
            }
            processes.retain(|process| !process.connections.is_empty());
            if processes.is_empty() {
                self.peers.remove(&peer);
            }
        }
    }

    /// Peers that are connected and have told.
    pub(super) fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.peers.keys()
    }

    /// The processes with `peer`'s key besides `run`, which is alive: it asks. What was silent for long
    /// although it was asked is left out.
    pub(super) fn others(&self, peer: &PeerId, run: Run, now: Instant) -> Vec<Other> {
        let processes = self.peers.get(peer).map(Vec::as_slice).unwrap_or_default();
        let itself = processes.iter().find(|it| it.run == run);
        // An asker that was not identified yet: no ping can have been sent since it was seen.
        let since = itself.map_or(now, |it| it.first);
        let is_over = now.saturating_duration_since(since) >= SILENCE;
        let others = processes.iter().filter(|it| it.run != run);
        others
            .map(|other| Other {
                run: other.run,
                address: other
                    .connections
                    .values()
                    .next_back()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                is_proven: other.proof.is_some_and(|sent| sent > since),
            })
            .filter(|other| other.is_proven || !is_over)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

    use super::Runs;
    use crate::identity::Run;

    fn run(number: u64) -> Run {
        Run::new(number).unwrap()
    }

    fn address(port: usize) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
    }

    /// The old run was seen at second 0, the new one at second 10.
    fn two() -> (Runs, PeerId, [ConnectionId; 2], impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let at = move |second| start + Duration::from_secs(second);
        let (peer, mut runs) = (PeerId::random(), Runs::default());
        let connections = [1, 2].map(ConnectionId::new_unchecked);
        runs.identified(peer, connections[0], address(1), run(1), at(0));
        runs.answered(peer, connections[0], at(5));
        runs.identified(peer, connections[1], address(2), run(2), at(10));
        (runs, peer, connections, at)
    }

    #[test]
    fn what_an_earlier_run_left_behind_is_no_other_process() {
        let (mut runs, peer, [old, _], at) = two();
        let others = runs.others(&peer, run(2), at(11));
        assert!(others.iter().all(|other| !other.is_proven), "{others:?}");
        assert_eq!(others.len(), 1, "it may be alive");
        // An answer that comes late to a ping of before.
        runs.answered(peer, old, at(9));
        assert!(!runs.others(&peer, run(2), at(12))[0].is_proven);
        assert!(runs.others(&peer, run(2), at(18)).is_empty(), "silent");
        runs.closed(peer, old);
        assert!(runs.others(&peer, run(2), at(11)).is_empty(), "closed");
    }

    #[test]
    fn who_answers_after_the_other_was_seen_is_another_process() {
        let (mut runs, peer, [old, new], at) = two();
        runs.answered(peer, old, at(11));
        runs.answered(peer, new, at(11));
        for (asks, other, port) in [(2, 1, 1), (1, 2, 2)] {
            let others = runs.others(&peer, run(asks), at(30));
            assert_eq!(others.len(), 1);
            assert!(others[0].is_proven);
            assert_eq!(others[0].run, run(other));
            assert!(others[0].address.ends_with(&port.to_string()));
        }
        assert!(runs.others(&PeerId::random(), run(1), at(30)).is_empty());
        for connection in [old, new] {
            runs.closed(peer, connection);
        }
        assert_eq!(runs.peers().count(), 0);
        assert!(runs.answered.is_empty());
    }

    #[test]
    fn a_ping_that_was_answered_before_the_peer_told_counts() {
        let (mut runs, peer, _, at) = two();
        let third = ConnectionId::new_unchecked(3);
        runs.answered(peer, third, at(20));
        runs.identified(peer, third, address(3), run(3), at(21));
        let others = runs.others(&peer, run(2), at(22));
        assert_eq!(others.len(), 1, "the first is silent");
        assert_eq!((others[0].run, others[0].is_proven), (run(3), true));
    }
}
