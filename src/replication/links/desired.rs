//! What the overlay wants: which peers are to be linked with.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::identity::NodeId;

/// A peer in the active view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Its name.
    pub name: NodeId,
    /// Its addresses, the best first.
    pub hosts: Vec<IpAddr>,
}

/// Why a peer is no neighbour any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// One of the two said so: the links go at once.
    Deliberate,
    /// It crashed, froze or is cut off: the links stay for the grace period, and the stores go on
    /// replicating as far as they can.
    Lost,
}

/// Why a peer's clock is not believed. In either case the peer may take data from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It was not read yet: no new link is opened from the peer, and those that exist stay.
    Unread,
    /// It is ahead: nothing is taken from the peer.
    Ahead,
}

/// What is wanted of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Links in both directions.
    Linked {
        neighbor: Neighbor,
        /// Grows whenever a peer, any peer, becomes a neighbour or moves: what was known of its links
        /// before is to be confirmed.
        generation: u64,
    },
    /// Nothing new; what exists stays until the grace period ends.
    Lingering { since: Duration },
    /// Nothing, at once. Stays on the list until nothing is left.
    Unwanted,
}

/// What is wanted of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Desired {
    pub(crate) peers: BTreeMap<NodeId, Wish>,
    pub(crate) phase: Phase,
    /// Whose clocks are not believed.
    pub(crate) doubts: BTreeMap<NodeId, Doubt>,
    generation: u64,
}

/// The node's own intentions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Links come and go with the neighbours.
    #[default]
    Serving,
    /// We take nothing new; others may still fetch what they lack.
    Leaving,
    /// No links.
    Gone,
}

impl Desired {
    pub(crate) fn up(&mut self, neighbor: Neighbor) {
        self.generation += 1;
        let wish = Wish::Linked {
            neighbor: neighbor.clone(),
            generation: self.generation,
        };
        self.peers.insert(neighbor.name, wish);
    }

    pub(crate) fn down(&mut self, peer: &NodeId, departure: Departure, now: Duration) {
        let Some(wish) = self.peers.get_mut(peer) else {
            return self.unwant(peer, departure);
        };
        match (departure, &*wish) {
            (Departure::Deliberate, _) => *wish = Wish::Unwanted,
            (Departure::Lost, Wish::Linked { .. }) => *wish = Wish::Lingering { since: now },
            // The grace runs from the first loss, and whoever said farewell has none.
            (Departure::Lost, Wish::Lingering { .. } | Wish::Unwanted) => {}
        }
    }

    /// A peer that this start has not seen may have left links behind in an earlier one.
    fn unwant(&mut self, peer: &NodeId, departure: Departure) {
        if departure == Departure::Deliberate {
            self.peers.insert(peer.clone(), Wish::Unwanted);
        }
    }

    /// Whether `peer` may open links to us.
    pub(crate) fn admits(&self, peer: &NodeId, now: Duration, grace: Duration) -> bool {
        match self.peers.get(peer) {
            Some(Wish::Linked { .. }) => true,
            Some(Wish::Lingering { since }) => now < *since + grace,
            Some(Wish::Unwanted) | None => false,
        }
    }

    pub(crate) fn neighbor(&self, peer: &NodeId) -> Option<(&Neighbor, u64)> {
        match self.peers.get(peer) {
            Some(Wish::Linked {
                neighbor,
                generation,
            }) => Some((neighbor, *generation)),
            Some(Wish::Lingering { .. } | Wish::Unwanted) | None => None,
        }
    }

    pub(crate) fn linked(&self) -> impl Iterator<Item = &Neighbor> {
        self.peers.values().filter_map(|wish| match wish {
            Wish::Linked { neighbor, .. } => Some(neighbor),
            Wish::Lingering { .. } | Wish::Unwanted => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Departure, Desired, Neighbor, Wish};
    use crate::identity::NodeId;

    const GRACE: Duration = Duration::from_secs(30);

    fn peer() -> NodeId {
        "p".parse::<NodeId>().unwrap()
    }

    fn with_neighbor() -> Desired {
        let mut desired = Desired::default();
        desired.up(Neighbor {
            name: peer(),
            hosts: Vec::new(),
        });
        desired
    }

    #[test]
    fn a_lost_peer_is_admitted_until_its_grace_ends() {
        let mut desired = with_neighbor();
        let lost = Duration::from_secs(5);
        desired.down(&peer(), Departure::Lost, lost);
        assert!(desired.admits(&peer(), lost + GRACE - Duration::from_millis(1), GRACE));
        assert!(!desired.admits(&peer(), lost + GRACE, GRACE));
    }

    #[test]
    fn hearing_twice_of_a_loss_does_not_prolong_the_grace() {
        let mut desired = with_neighbor();
        desired.down(&peer(), Departure::Lost, Duration::from_secs(5));
        desired.down(&peer(), Departure::Lost, Duration::from_secs(9));
        assert_eq!(
            desired.peers[&peer()],
            Wish::Lingering {
                since: Duration::from_secs(5)
            }
        );
    }

    #[test]
    fn a_deliberate_departure_ends_the_grace() {
        let mut desired = with_neighbor();
        desired.down(&peer(), Departure::Lost, Duration::ZERO);
        desired.down(&peer(), Departure::Deliberate, Duration::ZERO);
        assert_eq!(desired.peers[&peer()], Wish::Unwanted);
    }

    #[test]
    fn each_return_is_a_new_generation() {
        let mut desired = with_neighbor();
        let (_, first) = desired.neighbor(&peer()).unwrap();
        desired.up(Neighbor {
            name: peer(),
            hosts: Vec::new(),
        });
        assert!(desired.neighbor(&peer()).unwrap().1 > first);
    }

    #[test]
    fn a_stranger_that_departs_on_purpose_leaves_nothing_behind() {
        let mut desired = Desired::default();
        desired.down(&peer(), Departure::Lost, Duration::ZERO);
        assert!(desired.peers.is_empty());
        desired.down(&peer(), Departure::Deliberate, Duration::ZERO);
        assert_eq!(desired.peers[&peer()], Wish::Unwanted);
    }
}
