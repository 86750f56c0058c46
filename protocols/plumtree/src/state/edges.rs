//! How edges enter and leave a tree.

use std::collections::BTreeMap;

use super::{
    State,
    neighbors::{NEIGHBORS_MAX, Slot, SlotSet},
    shelf::Origin,
    tree::Tree,
};
use crate::{
    EdgeRole, Id, Message, Timer, Trees,
    io::Event,
    message::{Graft, MessageId, Position, Prune},
};

/// Names a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TreeKey<I> {
    /// That of one origin.
    Of(I),
    /// That of all.
    Shared,
}

/// The role of each neighbour's edge in a tree, by slot, as the application sees it.
type Roles = [Option<EdgeRole>; NEIGHBORS_MAX];

impl<I: Id> State<I> {
    /// The tree that messages of `origin` travel on.
    pub(super) fn key(&self, origin: I) -> TreeKey<I> {
        match self.config.trees() {
            Trees::PerOrigin | Trees::Flood => TreeKey::Of(origin),
            Trees::Shared => TreeKey::Shared,
        }
    }

    pub(super) fn tree(&self, key: TreeKey<I>) -> Option<&Tree> {
        match key {
            TreeKey::Of(origin) => self.shelf.origins.get(&origin).map(|origin| &origin.tree),
            TreeKey::Shared => Some(&self.shared),
        }
    }

    fn tree_mut(&mut self, key: TreeKey<I>) -> Option<&mut Tree> {
        match key {
            TreeKey::Of(origin) => self
                .shelf
                .origins
                .get_mut(&origin)
                .map(|origin| &mut origin.tree),
            TreeKey::Shared => Some(&mut self.shared),
        }
    }

    /// Whether messages of `origin` decide which links their tree has. On a shared tree with a root
    /// it is the root's alone (R16).
    pub(super) fn shapes(&self, origin: I) -> bool {
        match self.config.trees() {
            Trees::PerOrigin => true,
            Trees::Shared => self.root.is_none_or(|root| root == origin),
            Trees::Flood => false,
        }
    }

    /// Whether trees have a direction.
    pub(super) fn is_rooted(&self) -> bool {
        match self.config.trees() {
            Trees::PerOrigin => true,
            Trees::Shared => self.root.is_some(),
            Trees::Flood => false,
        }
    }

    /// Changes a tree, and tells the application if it follows that one.
    pub(super) fn change(&mut self, key: TreeKey<I>, change: impl FnOnce(&mut Tree)) {
        // Finding changes takes a look at every neighbour, and one tree of thousands is followed.
        if Some(key) != self.followed() {
            if let Some(tree) = self.tree_mut(key) {
                change(tree);
            }
            return;
        }
        let before = self.roles();
        if let Some(tree) = self.tree_mut(key) {
            change(tree);
        }
        self.report_changes(&before);
    }

    pub(super) fn set_root(&mut self, root: Option<I>) {
        if self.root == root {
            return;
        }
        let before = self.roles();
        self.root = root;
        if self.config.trees() == Trees::Shared {
            // Nobody knows yet from where the new root's messages come.
            self.shared.parent = None;
        }
        self.report_changes(&before);
    }

    /// The tree of `origin` is about to be forgotten.
    pub(super) fn report_tree_gone(&mut self, origin: I) {
        self.change(TreeKey::Of(origin), |tree| *tree = Tree::default());
    }

    /// The tree whose links the application hears of (R16).
    fn followed(&self) -> Option<TreeKey<I>> {
        match self.config.trees() {
            Trees::PerOrigin => self.root.map(TreeKey::Of),
            Trees::Shared => Some(TreeKey::Shared),
            Trees::Flood => None,
        }
    }

    fn roles(&self) -> Roles {
        let mut roles = [None; NEIGHBORS_MAX];
        let tree = self.followed().and_then(|key| self.tree(key));
        for slot in self.neighbors.all().iter() {
            roles[slot.index()] = Some(match tree {
                Some(tree) if tree.parent == Some(slot) => EdgeRole::Parent,
                Some(tree) if tree.eager.contains(slot) => EdgeRole::Eager,
                // Of a tree that is not known yet nothing comes over any edge.
                _ => EdgeRole::Lazy,
            });
        }
        roles
    }

    fn report_changes(&mut self, before: &Roles) {
        let after = self.roles();
        for slot in self.neighbors.all().iter() {
            let (Some(role), Some(neighbor)) = (after[slot.index()], self.neighbors.get(slot))
            else {
                continue;
            };
            if before[slot.index()] != Some(role) {
                let peer = neighbor.id;
                self.emit(Event::EdgeChanged { peer, role });
            }
        }
    }

    /// What either side lacks comes out when positions are compared, and a tree that has lost its way to the
    /// root takes the new link for it.
    ///
    /// Modification from the paper, where a new neighbour is eager (3.5): it is lazy for every tree that has a
    /// way already. Otherwise each link that moves costs a duplicate per origin, and the membership moves
    /// links all the time. Whether the way over it is better is seen from its announcements.
    pub(super) fn on_neighbor_up(&mut self, peer: I) {
        let allowance = self.config.serve_bytes_per_second();
        if peer == self.me {
            return;
        }
        let Some(slot) = self.neighbors.add(peer, self.now, allowance) else {
            return;
        };
        // An exchange of positions is the first thing that neighbours say (R14): one may have what the other
        // lacks.
        self.wake(Timer::Flush, self.now);
        let orphans = match self.config.trees() {
            Trees::PerOrigin => {
                let wayless = |(id, origin): (&I, &Origin)| {
                    let rootless = *id != self.me && origin.tree.parent.is_none();
                    rootless.then_some(TreeKey::Of(*id))
                };
                self.shelf.origins.iter().filter_map(wayless).collect()
            }
            Trees::Shared if self.shared.eager.is_empty() => vec![TreeKey::Shared],
            Trees::Shared | Trees::Flood => Vec::new(),
        };
        // The others were asked when the way was lost.
        let others = self.neighbors.all().without(SlotSet::single(slot));
        self.adopt(orphans, others);
    }

    /// "When a neighbour is gone it is removed from both sets" (paper 3.5).
    ///
    /// Modification from the paper: where it was the way to a root, another neighbour takes its place at
    /// once, not when the next message is missed (R12; an option of episub's).
    pub(super) fn on_neighbor_down(&mut self, peer: I) {
        let Some(slot) = self.neighbors.remove(peer) else {
            return;
        };
        let mut orphans = Vec::new();
        for (id, origin) in &mut self.shelf.origins {
            // The slot may soon be another neighbour's.
            if origin.from == Some(slot) {
                origin.from = None;
            }
            let (was_parent, _) = origin.tree.forget(slot);
            if was_parent {
                orphans.push(TreeKey::Of(*id));
            }
        }
        let (was_parent, was_eager) = self.shared.forget(slot);
        // Without a root each eager edge may have been the way of somebody's messages.
        if was_parent || (was_eager && !self.is_rooted()) {
            orphans.push(TreeKey::Shared);
        }
        self.unclaim(slot);
        self.adopt(orphans, SlotSet::default());
    }

    /// Finds each of these trees a neighbour to get its messages from; not one of `excluded`.
    pub(super) fn adopt(&mut self, orphans: Vec<TreeKey<I>>, excluded: SlotSet) {
        self.adopt_nearer(orphans, excluded, 0);
    }

    /// The same, where a neighbour that is not nearer to the root than we are by `lead` may be below whoever
    /// needs the way.
    fn adopt_nearer(&mut self, orphans: Vec<TreeKey<I>>, excluded: SlotSet, lead: u16) {
        let mut grafts: BTreeMap<Slot, Vec<Position<I>>> = BTreeMap::new();
        let candidates = self.neighbors.all().without(excluded);
        let rooted = self.is_rooted();
        for key in orphans {
            let ways = self.ways(key, candidates, lead);
            let Some(nearest) = self.tree(key).and_then(|tree| tree.nearest(ways)) else {
                continue;
            };
            self.change(key, |tree| {
                // The others push to us until we know better; they need nothing of us.
                tree.eager = tree.eager.with(nearest);
                tree.parent = rooted.then_some(nearest);
            });
            // Without a root there is no position to tell: the graft asks for what comes from now on.
            let origin = match key {
                TreeKey::Of(origin) => Some(origin),
                TreeKey::Shared => self.root,
            };
            for slot in ways.iter() {
                let list = grafts.entry(slot).or_default();
                if let Some(origin) = origin {
                    self.unprune(slot, origin);
                    list.push(self.position(origin));
                }
            }
        }
        self.graft(grafts);
    }

    /// The neighbours to get a tree's messages from: the one that is nearest to its root, if it is near enough
    /// to be no descendant of ours. Otherwise all that are lazy: one of them may be outside of what was cut off
    /// with us, and the next message shows which. Where all are below us, one of them has to look for a way in
    /// our stead, see `let_in`.
    fn ways(&self, key: TreeKey<I>, candidates: SlotSet, lead: u16) -> SlotSet {
        let Some(tree) = self.tree(key) else {
            return SlotSet::default();
        };
        let lazy = candidates.without(tree.eager);
        let doubtful = |slot: &Slot| {
            let neighbor = self.neighbors.get(*slot);
            neighbor.is_some_and(|neighbor| neighbor.distrusted_until > self.now)
        };
        // Whose messages did not come is asked only where there is nobody else.
        let trusted = lazy
            .iter()
            .filter(|slot| !doubtful(slot))
            .fold(SlotSet::default(), SlotSet::with);
        let nearest = tree.nearest(trusted).or_else(|| tree.nearest(lazy));
        let root = match key {
            TreeKey::Of(origin) => Some(origin),
            TreeKey::Shared => self.root,
        };
        // Before a message of the root has come, our distance is not known and nobody can be ruled out.
        let Some(own) = root.and_then(|root| self.shelf.origins.get(&root)) else {
            return nearest.map(SlotSet::single).unwrap_or_default();
        };
        // Whoever is as near to the root as we are is not below us: its way does not lead through us.
        let outside = |slot: &Slot| {
            tree.hops(*slot)
                .is_some_and(|hops| u16::from(hops).saturating_add(lead) <= own.hops)
        };
        match nearest {
            Some(slot) if outside(&slot) => SlotSet::single(slot),
            Some(_) => lazy,
            None => tree
                .nearest(candidates)
                .map(SlotSet::single)
                .unwrap_or_default(),
        }
    }

    /// Asks to be pushed these origins' messages, and to be sent what is lacking of them.
    pub(super) fn graft(&mut self, grafts: BTreeMap<Slot, Vec<Position<I>>>) {
        for (slot, list) in grafts {
            if let Some(neighbor) = self.neighbors.get_mut(slot) {
                // The oldest request that is open counts, or its answer would look faster than the line is.
                neighbor.asked_at.get_or_insert(self.now);
            }
            // On the shared tree it has a meaning without any position.
            if list.is_empty() {
                self.counters.grafts += 1;
                self.send(slot, Message::Graft(Graft { list }));
                continue;
            }
            for part in list.chunks(self.config.list_max()) {
                self.counters.grafts += 1;
                let list = part.to_vec();
                self.send(slot, Message::Graft(Graft { list }));
            }
        }
    }

    /// What we have seen of `origin`.
    pub(super) fn position(&self, origin: I) -> Position<I> {
        let held = self.shelf.origins.get(&origin);
        Position {
            origin,
            held: held
                .map(|origin| origin.window.held(origin.incarnation))
                .unwrap_or_default(),
        }
    }

    /// A neighbour wants to be pushed messages, and to have what it lacks.
    pub(super) fn on_graft(&mut self, slot: Slot, Graft { mut list }: Graft<I>) {
        list.truncate(self.config.list_max());
        if self.config.trees() == Trees::Shared {
            self.let_in(slot, TreeKey::Shared);
        }
        for position in list {
            if self.config.trees() == Trees::PerOrigin {
                self.let_in(slot, TreeKey::Of(position.origin));
            }
            // A prune that still waits for company would take back what is granted here.
            self.unprune(slot, position.origin);
            self.serve(slot, &position);
        }
    }

    fn let_in(&mut self, slot: Slot, key: TreeKey<I>) {
        let Some(tree) = self.tree(key) else { return };
        // Our own way to the root asks us for one: it has lost its own. So have we.
        let orphaned = tree.parent == Some(slot);
        self.change(key, |tree| {
            tree.eager = tree.eager.with(slot);
            if orphaned {
                tree.parent = None;
            }
        });
        if orphaned {
            // It was one link nearer to the root than we are: who is not nearer than that may be below it.
            self.adopt_nearer(vec![key], SlotSet::single(slot), 1);
        }
    }

    fn serve(&mut self, slot: Slot, position: &Position<I>) {
        let Some(origin) = self.shelf.origins.get(&position.origin) else {
            return;
        };
        let keep = self.config.keep();
        let wanted: Vec<(MessageId<I>, usize)> = origin
            .kept
            .iter()
            .filter(|kept| !position.held.covers(origin.incarnation, kept.seq, keep))
            .map(|kept| {
                let id = MessageId {
                    origin: position.origin,
                    incarnation: origin.incarnation,
                    seq: kept.seq,
                };
                (id, kept.payload.len())
            })
            .collect();
        let rate = self.config.serve_bytes_per_second();
        for (id, bytes) in wanted {
            let neighbor = self.neighbors.get_mut(slot);
            if !neighbor.is_some_and(|neighbor| neighbor.spend(bytes, rate, self.now)) {
                // A smaller one may fit; this one is asked for again.
                self.counters.shed += 1;
                continue;
            }
            if let Some(message) = self.gossip(&id) {
                self.counters.served += 1;
                self.send(slot, message);
            }
        }
    }

    /// A neighbour has another way to these roots.
    pub(super) fn on_prune(&mut self, slot: Slot, Prune { mut origins }: Prune<I>) {
        origins.truncate(self.config.list_max());
        let keys = match self.config.trees() {
            Trees::Shared => vec![TreeKey::Shared],
            Trees::PerOrigin => origins.into_iter().map(TreeKey::Of).collect(),
            Trees::Flood => return,
        };
        let mut orphans = Vec::new();
        for key in keys {
            let Some(tree) = self.tree(key) else { continue };
            // Both ends may have cut the edge at the same time.
            if !tree.eager.contains(slot) {
                continue;
            }
            if tree.parent == Some(slot) {
                // Nothing more comes from there, and the next message should not be the first to miss its way.
                orphans.push(key);
            }
            self.change(key, |tree| {
                tree.eager = tree.eager.without(SlotSet::single(slot));
                if tree.parent == Some(slot) {
                    tree.parent = None;
                }
            });
        }
        self.adopt(orphans, SlotSet::single(slot));
    }
}
