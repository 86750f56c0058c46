//! What the overlay says of the peers: who is there, who went and how, and where we are in the tree. What is
//! wanted of the links with each is for [`policy`](super::policy) to say.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::{identity::NodeId, replication::position::TreePlace};

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

/// What the overlay says of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is a neighbour.
    Present {
        neighbor: Neighbor,
        /// Grows whenever a peer, any peer, becomes a neighbour or moves: what was known of its links
        /// before is to be confirmed.
        generation: u64,
        /// Whether it says that it wants to be linked with us; `None` until it has told.
        insists: Option<bool>,
    },
    /// It was one, and has not been heard of since then. What exists stays until the grace period ends.
    Lost { since: Duration },
    /// It is none, by its word or ours: nothing is to be left, at once. Stays on the list until that is so.
    Gone,
}

/// All that the node tells the data plane of its peers and of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Desired {
    pub(crate) peers: BTreeMap<NodeId, Presence>,
    pub(crate) phase: Phase,
    /// Whose clocks are not believed.
    pub(crate) doubts: BTreeMap<NodeId, Doubt>,
    /// Where we are in the tree that is followed.
    pub(crate) place: TreePlace,
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
        // A neighbour that only moved wants what it wanted.
        let insists = self.insists(&neighbor.name);
        let presence = Presence::Present {
            neighbor: neighbor.clone(),
            generation: self.generation,
            insists,
        };
        self.peers.insert(neighbor.name, presence);
    }

    /// Takes in whether a neighbour wants to be linked with us. `true` if that is news.
    pub(crate) fn told(&mut self, peer: &NodeId, insists: bool) -> bool {
        match self.peers.get_mut(peer) {
            Some(Presence::Present { insists: known, .. }) => {
                known.replace(insists) != Some(insists)
            }
            Some(Presence::Lost { .. } | Presence::Gone) | None => false,
        }
    }

    /// Whether a neighbour wants to be linked with us, once it has told.
    pub(crate) fn insists(&self, peer: &NodeId) -> Option<bool> {
        match self.peers.get(peer) {
            Some(Presence::Present { insists, .. }) => *insists,
            Some(Presence::Lost { .. } | Presence::Gone) | None => None,
        }
    }

    pub(crate) fn down(&mut self, peer: &NodeId, departure: Departure, now: Duration) {
        let Some(presence) = self.peers.get_mut(peer) else {
            // A peer that this start has not seen may have left links behind in an earlier one.
            if departure == Departure::Deliberate {
                self.peers.insert(peer.clone(), Presence::Gone);
            }
            return;
        };
        match (departure, &*presence) {
            (Departure::Deliberate, _) => *presence = Presence::Gone,
            (Departure::Lost, Presence::Present { .. }) => {
                *presence = Presence::Lost { since: now }
            }
            // The grace runs from the first loss, and whoever said farewell has none.
            (Departure::Lost, Presence::Lost { .. } | Presence::Gone) => {}
        }
    }

    /// Whether `peer` may open links to us.
    pub(crate) fn admits(&self, peer: &NodeId, now: Duration, grace: Duration) -> bool {
        match self.peers.get(peer) {
            Some(Presence::Present { .. }) => true,
            Some(Presence::Lost { since }) => now < *since + grace,
            Some(Presence::Gone) | None => false,
        }
    }

    pub(crate) fn neighbor(&self, peer: &NodeId) -> Option<(&Neighbor, u64)> {
        match self.peers.get(peer) {
            Some(Presence::Present {
                neighbor,
                generation,
                ..
            }) => Some((neighbor, *generation)),
            Some(Presence::Lost { .. } | Presence::Gone) | None => None,
        }
    }

    /// The neighbours.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Neighbor> {
        self.peers.values().filter_map(|presence| match presence {
            Presence::Present { neighbor, .. } => Some(neighbor),
            Presence::Lost { .. } | Presence::Gone => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Departure, Desired, Neighbor, Presence};
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
            Presence::Lost {
                since: Duration::from_secs(5)
            }
        );
    }

    #[test]
    fn a_deliberate_departure_ends_the_grace() {
        let mut desired = with_neighbor();
        desired.down(&peer(), Departure::Lost, Duration::ZERO);
        desired.down(&peer(), Departure::Deliberate, Duration::ZERO);
        assert_eq!(desired.peers[&peer()], Presence::Gone);
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
        assert_eq!(desired.peers[&peer()], Presence::Gone);
    }
}
