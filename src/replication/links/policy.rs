//! What is wanted of the links with each neighbour.
//!
//! Any set of links is safe: operations are told apart by their numbers, and a link that is made catches up.
//! What is decided here saves work, and being wrong costs work or time. So nodes need not agree.
//!
//! - *Flood*: links with every neighbour.
//! - *Tree*: each node but the root has a parent, and insists on being linked with it, in both directions. Who
//!   is insisted on obliges. So as many links are left as there are nodes, less one, and it takes the opinion of
//!   one node to have a link, and of both to have none.
//!
//! A parent is left only once the next one brings all that it has and takes all that we have. A way that is lost
//! is replaced at once; one that would only be better has to be so for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{api::Dissemination, identity::NodeId, replication::position::TreePlace};

#[cfg(test)]
mod tests;

/// A better way has to be better for so long. The tree of a root settles with a few of its messages.
const BETTER_AFTER: Duration = Duration::from_secs(5);

/// Between two changes that are not needed.
const CHANGE_PAUSE: Duration = Duration::from_mins(1);

/// The root leaves its former parent, and whoever let it go, only after so long: nothing tells it that the data
/// of these comes by other ways, and until then it would be late.
const ROOT_HOLD: Duration = Duration::from_secs(5);

/// How long a link stays that had to be made because nothing came by the others. It doubles each time: what holds
/// the others up cannot be seen while this one brings everything.
const GRAFT_HOLD: Duration = Duration::from_mins(1);
const GRAFT_HOLD_MAX: Duration = Duration::from_hours(1);

/// What is made out of a graft shows within so long. Until then there is no second one.
const GRAFT_PAUSE: Duration = Duration::from_secs(3);

/// What is wanted of the links with one neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Links in both directions: what is missing is made.
    Linked,
    /// Nothing new; what is there stays.
    Kept,
    /// We take nothing from it. Whether it takes from us is for it to say.
    Lazy,
}

/// What is wanted of the links with all neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    links: BTreeMap<NodeId, Want>,
    /// Whom we want to be linked with, whether or not it wants that.
    pub(crate) insisted: BTreeSet<NodeId>,
}

impl Wants {
    /// What is wanted of the links with `peer`; `None` if it is no neighbour.
    pub(crate) fn of(&self, peer: &NodeId) -> Option<Want> {
        self.links.get(peer).copied()
    }

    /// With whom links are to be made.
    pub(crate) fn linked(&self) -> impl Iterator<Item = &NodeId> {
        let linked = self.links.iter().filter(|(_, want)| **want == Want::Linked);
        linked.map(|(peer, _)| peer)
    }

    /// Some link is kept only until others are there.
    pub(crate) fn is_changing(&self) -> bool {
        self.links.values().any(|want| *want == Want::Kept)
    }
}

/// What is to be known of a neighbour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// It wants to be linked with us; `None` until it has told.
    pub(crate) insists: Option<bool>,
    /// A link from it streams, and has brought all that it had when the link was made or resumed.
    pub(crate) is_level: bool,
    /// It streams from us.
    pub(crate) is_fed: bool,
    /// It has something that we lack, and nothing of that came by other ways for too long.
    pub(crate) is_ahead: bool,
}

/// The neighbours, each with what is to be known of it.
pub(crate) type Sights = BTreeMap<NodeId, Sight>;

/// Which links there are to be, and what has to be remembered for that.
#[derive(Debug)]
pub(crate) struct Policy {
    mode: Dissemination,
    parent: Option<Parent>,
    /// Former parents, until the next one has taken their place.
    former: BTreeSet<NodeId>,
    /// Another parent that would be better, and since when.
    better: Option<(NodeId, Duration)>,
    /// When the parent was last changed without need.
    changed: Option<Duration>,
    root_since: Option<Duration>,
    grafts: BTreeMap<NodeId, Duration>,
    graft: Graft,
}

/// Whom our data comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parent {
    node: NodeId,
    /// The tree has not named it: it was taken because there was nobody else.
    is_makeshift: bool,
}

/// The last link that was made because nothing came by the others.
#[derive(Debug, Clone, Copy, Default)]
struct Graft {
    made: Option<Duration>,
    hold: Duration,
}

impl Policy {
    pub(crate) fn new(mode: Dissemination) -> Self {
        Self {
            mode,
            parent: None,
            former: BTreeSet::new(),
            better: None,
            changed: None,
            root_since: None,
            grafts: BTreeMap::new(),
            graft: Graft::default(),
        }
    }

    /// What is wanted now of the links with each of the neighbours in `sights`.
    pub(crate) fn decide(&mut self, place: &TreePlace, sights: &Sights, now: Duration) -> Wants {
        match self.mode {
            Dissemination::Flood => Wants {
                links: sights
                    .keys()
                    .map(|peer| (peer.clone(), Want::Linked))
                    .collect(),
                insisted: sights.keys().cloned().collect(),
            },
            Dissemination::Tree => self.follow(place, sights, now),
        }
    }

    fn follow(&mut self, place: &TreePlace, sights: &Sights, now: Duration) -> Wants {
        self.forget_absent(sights);
        self.choose(place, sights, now);
        self.graft(sights, now);
        let is_settled = self.is_settled(sights, now);
        if is_settled {
            self.former.clear();
        }
        let parent = self.parent.iter().map(|parent| &parent.node);
        let insisted: BTreeSet<NodeId> = parent
            .chain(&self.former)
            .chain(self.grafts.keys())
            .cloned()
            .collect();
        let want = |peer: &NodeId, sight: &Sight| {
            if self.former.contains(peer) && sight.insists != Some(true) {
                // It may be lost in all but name: then nothing new is to be waited for.
                Want::Kept
            } else if insisted.contains(peer) || sight.insists == Some(true) {
                Want::Linked
            } else if is_settled {
                Want::Lazy
            } else {
                // Also what an earlier run has left: it may be all that there is.
                Want::Kept
            }
        };
        let links = sights
            .iter()
            .map(|(peer, sight)| (peer.clone(), want(peer, sight)))
            .collect();
        Wants { links, insisted }
    }

    fn forget_absent(&mut self, sights: &Sights) {
        self.parent = self
            .parent
            .take()
            .filter(|parent| sights.contains_key(&parent.node));
        self.former.retain(|peer| sights.contains_key(peer));
        self.grafts.retain(|peer, _| sights.contains_key(peer));
    }

    /// Finds the parent: whom the tree names, at once if there is none, else when it is worth it.
    fn choose(&mut self, place: &TreePlace, sights: &Sights, now: Duration) {
        if place.is_root {
            self.root_since.get_or_insert(now);
            self.better = None;
            if let Some(parent) = self.parent.take() {
                self.former.insert(parent.node);
            }
            return;
        }
        self.root_since = None;
        let named = place
            .parent
            .as_ref()
            .filter(|parent| sights.contains_key(parent));
        let (Some(parent), Some(named)) = (&mut self.parent, named) else {
            if self.parent.is_none() {
                self.better = None;
                self.parent = named
                    .map(|node| Parent {
                        node: node.clone(),
                        is_makeshift: false,
                    })
                    .or_else(|| makeshift(sights));
            }
            return;
        };
        if parent.node == *named {
            parent.is_makeshift = false;
            self.better = None;
            return;
        }
        // Two that are each other's parents are cut off from the rest.
        let is_mutual = sights.get(&parent.node).and_then(|it| it.insists) == Some(true);
        let is_needed = parent.is_makeshift || is_mutual;
        let since = match &self.better {
            Some((node, since)) if node == named => *since,
            _ => now,
        };
        self.better = Some((named.clone(), since));
        let rests = self
            .changed
            .is_some_and(|changed| now < changed + CHANGE_PAUSE);
        if !is_needed {
            if rests || now < since + BETTER_AFTER {
                return;
            }
            self.changed = Some(now);
        }
        let former = std::mem::replace(&mut parent.node, named.clone());
        parent.is_makeshift = false;
        self.former.remove(named);
        self.former.insert(former);
        self.better = None;
    }

    /// A link that is up and brings nothing is as good as none: whoever has what we lack is linked with.
    fn graft(&mut self, sights: &Sights, now: Duration) {
        self.grafts.retain(|_, until| now < *until);
        let made = self.graft.made;
        if made.is_some_and(|made| now < made + GRAFT_PAUSE) {
            return;
        }
        let is_linked = |peer: &NodeId, sight: &Sight| {
            let is_parent = self.parent.as_ref().is_some_and(|it| it.node == *peer);
            is_parent || sight.insists == Some(true) || self.grafts.contains_key(peer)
        };
        let ahead = sights
            .iter()
            .find(|(peer, sight)| sight.is_ahead && !is_linked(peer, sight));
        let Some((peer, _)) = ahead else { return };
        // One that comes soon after the last was over has the same cause.
        let is_again = made.is_some_and(|made| now < made + self.graft.hold * 2);
        let hold = if is_again {
            (self.graft.hold * 2).min(GRAFT_HOLD_MAX)
        } else {
            GRAFT_HOLD
        };
        self.graft = Graft {
            made: Some(now),
            hold,
        };
        self.grafts.insert(peer.clone(), now + hold);
    }

    /// Data comes and goes by the way that is wanted: no other is needed.
    fn is_settled(&self, sights: &Sights, now: Duration) -> bool {
        match &self.parent {
            Some(parent) => sights
                .get(&parent.node)
                .is_some_and(|sight| sight.is_level && sight.is_fed),
            None => self
                .root_since
                .is_some_and(|since| now >= since + ROOT_HOLD),
        }
    }
}

/// Somebody to take data from before the tree has named anybody: rather one that does not take it from us.
fn makeshift(sights: &Sights) -> Option<Parent> {
    let is_child = |sight: &Sight| sight.insists == Some(true);
    let best = sights.iter().min_by_key(|(_, sight)| is_child(sight))?;
    Some(Parent {
        node: best.0.clone(),
        is_makeshift: true,
    })
}
