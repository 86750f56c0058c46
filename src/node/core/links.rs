//! What the data plane is told: who is a neighbour, where it stands, and whose tree the data follows. And what
//! the neighbours are told of ours.

use std::time::Duration;

use plumtree::EdgeRole;

use super::Core;
use crate::{
    identity::NodeId,
    network,
    node::{
        clock::Judgement,
        positions::{Own, Theirs},
    },
    replication::{self, TreePlace},
};

impl Core {
    /// What is known of a neighbour's clock comes before its link.
    pub(super) fn link(&mut self, neighbor: &network::Neighbor) {
        let Some(serving) = self.stage.serving() else {
            return;
        };
        // On disk before anything is exchanged: from now on a peer may know what this store forgets.
        serving.store.continuity.met_a_peer();
        let plane = &serving.plane.handle;
        plane.doubt(&self.clocks.judge(self.born.elapsed()).doubts);
        plane.neighbor_up(replication::Neighbor {
            name: neighbor.peer.clone(),
            hosts: neighbor.hosts.clone(),
        });
        // It may have told that while there was no data plane.
        self.pass_position(&neighbor.peer);
    }

    /// The data plane hears what is known of a neighbour's position.
    pub(super) fn pass_position(&self, peer: &NodeId) {
        // Without one: the next hears it with the neighbour.
        let Some(plane) = self.stage.plane() else {
            return;
        };
        match self.positions.theirs(peer) {
            Some(Theirs::Told(position) | Theirs::Answered(position)) => {
                plane.handle.position(peer, position);
            }
            Some(Theirs::Floods) => plane.handle.floods(peer),
            None => {}
        }
    }

    /// Brings what the data plane knows of others up to date.
    pub(super) fn tell_plane(&self, clocks: &Judgement, now: Duration) {
        let Some(plane) = self.stage.plane() else {
            return;
        };
        plane.handle.doubt(&clocks.doubts);
        for peer in self.neighbors.seen().peers() {
            // What it says to all is older than what it has told us.
            if self.positions.has_told(peer) {
                continue;
            }
            if let Some(record) = self.members.directory.record(peer) {
                plane.handle.heard(peer, &record.vector);
            }
        }
        plane.handle.follow(&self.place());
        // Only who gets the store confirmed wants to know, and is done with it then.
        if plane.is_unconfirmed() {
            plane.handle.know(self.members.confirmers(plane.site, now));
        }
    }

    /// Our place in the tree that is followed, as far as the broadcasts have shown it.
    fn place(&self) -> TreePlace {
        let is_root = self.tree.is_root();
        let is_parent = |it: &&network::Neighbor| it.role == Some(EdgeRole::Parent);
        let parent = self.neighbors.seen().active.iter().find(is_parent);
        TreePlace {
            is_root,
            // What is left of the tree that was followed before is no way to ourselves.
            parent: parent.filter(|_| !is_root).map(|it| it.peer.clone()),
        }
    }

    /// Chooses whose tree the data follows, by what is known now.
    pub(super) fn look_at_tree(&mut self, now: Duration) {
        let effects = self.tree.look(&self.members.directory, now);
        self.carry_out(effects);
    }

    /// Tells the neighbours what they lack of our position.
    pub(super) fn tell_positions(&mut self, now: Duration) {
        let effects = {
            let plane = self.stage.plane();
            let seen = plane.map(|plane| (plane.vector.borrow(), plane.insisted.borrow()));
            let own = seen
                .as_ref()
                .map(|(vector, insisted)| Own { vector, insisted });
            self.positions.due(own, now)
        };
        self.carry_out(effects);
    }

    /// Has the loop look around again when a part wants that, although nothing happens.
    pub(super) fn set_alarm(&mut self) {
        let wishes = [self.tree.wake(), self.positions.wake()];
        let next = wishes.into_iter().flatten().min();
        self.gossiper.wake_at(next.map(|time| self.born + time));
    }
}
