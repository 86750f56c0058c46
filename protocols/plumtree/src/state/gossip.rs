//! Payloads: first receipt, duplicates, and how they are passed on.

use std::time::Duration;

use super::{
    State,
    edges::TreeKey,
    neighbors::{Slot, SlotSet},
    shelf::{Kept, Origin},
    tree::Tree,
    window::Window,
};
use crate::{
    Id, Message, Trees,
    io::Event,
    message::{Announcement, Gossip, MessageId, Payload},
};

impl<I: Id> State<I> {
    /// Sends a message of our own to everybody.
    pub(super) fn broadcast(&mut self, payload: Payload) {
        if payload.len() > self.config.payload_bytes_max() {
            self.counters.refused += 1;
            return;
        }
        let id = self.next_id();
        self.seq += 1;
        self.record(&id, 0, None, self.now_born());
        // Where nobody wants our messages pushed any more, all links are tried again.
        let key = self.key(self.me);
        let all = self.neighbors.all();
        if self.tree(key).is_some_and(|tree| tree.eager.is_empty()) {
            self.change(key, |tree| tree.eager = all);
        }
        let born = self.now_born();
        self.keep(
            id,
            Kept {
                seq: id.seq,
                hops: 0,
                born,
                payload,
            },
        );
        self.pass_on(id, SlotSet::default());
    }

    /// "When a node receives a message for the first time it delivers it and forwards it" (paper 3.3).
    pub(super) fn on_gossip(&mut self, slot: Slot, gossip: Gossip<I>) {
        let Gossip { id, payload, .. } = gossip;
        let age = Duration::from_millis(gossip.age_ms.into());
        // It came over this link at least.
        let hops = gossip.hops.max(1);
        // What is older than the time for which payloads are kept may be forgotten elsewhere, and would go round once more.
        if payload.len() > self.config.payload_bytes_max()
            || age >= self.config.cache_age()
            || id.seq == 0
        {
            self.counters.refused += 1;
            return;
        }
        // A duplicate answers as well, and tells the round trip.
        self.answered(slot, id.origin);
        if !self.lacks(&id) {
            self.counters.duplicates += 1;
            return self.on_duplicate(slot, id.origin);
        }
        let known = self.shelf.origins.contains_key(&id.origin);
        if !known && !self.make_room() {
            self.counters.refused += 1;
            return;
        }
        // Looked up now, for `came` forgets who was asked.
        let asked = self.was_asked(slot, id.origin);
        let born = self.born(age);
        self.record(&id, hops, Some(slot), born);
        if !known && self.config.trees() == Trees::PerOrigin {
            // A message on its way everywhere is flooded, and the later copies cut the tree out of
            // that (paper 3.3). One that we asked for has been everywhere: the others have their trees.
            let eager = if asked {
                SlotSet::single(slot)
            } else {
                self.neighbors.all()
            };
            self.change(TreeKey::Of(id.origin), |tree| tree.eager = eager);
        }
        self.join_tree(slot, &id, hops);
        let announcers = self.came(slot, &id);
        self.keep(
            id,
            Kept {
                seq: id.seq,
                hops,
                born,
                payload: Payload::clone(&payload),
            },
        );
        self.counters.delivered += 1;
        self.emit(Event::Deliver { id, payload, hops });
        let knowing = announcers
            .iter()
            .fold(SlotSet::single(slot), |knowing, (slot, _)| {
                knowing.with(*slot)
            });
        self.pass_on(id, knowing);
        // The nearest first: one change is all that a tree makes at a time.
        let mut nearer: Vec<(u16, Slot)> = announcers
            .into_iter()
            .filter_map(|(slot, hops)| Some((hops?, slot)))
            .collect();
        nearer.sort_unstable();
        for (hops, slot) in nearer {
            self.weigh(slot, &Announcement { id, hops });
        }
    }

    /// Takes note that `id` was seen. Its origin may be new.
    fn record(&mut self, id: &MessageId<I>, hops: u16, from: Option<Slot>, born: Duration) {
        let origin = self
            .shelf
            .origins
            .entry(id.origin)
            .or_insert_with(|| Origin {
                incarnation: id.incarnation,
                window: Window::default(),
                hops,
                from,
                born,
                came: self.now,
                tree: Tree::default(),
                kept: Vec::new(),
            });
        let superseded = id.incarnation > origin.incarnation;
        if superseded {
            origin.incarnation = id.incarnation;
            origin.window = Window::default();
        }
        origin.window.see(id.seq);
        // A message that comes late says nothing of how far the root is now.
        if origin.is_newest(id.incarnation, id.seq) {
            origin.hops = hops;
            origin.from = from;
            origin.born = born;
            origin.came = self.now;
        }
        if superseded {
            self.shelf.drop_if(id.origin, |_| true);
        }
    }

    /// The link that brought a message first is eager from now on, and the way to the root.
    fn join_tree(&mut self, slot: Slot, id: &MessageId<I>, hops: u16) {
        if self.config.trees() == Trees::Flood {
            return;
        }
        let newest = self
            .shelf
            .origins
            .get(&id.origin)
            .is_some_and(|origin| origin.is_newest(id.incarnation, id.seq));
        // An older message took the way that there was then.
        let shapes = newest && self.shapes(id.origin);
        let rooted = shapes && self.is_rooted();
        self.change(self.key(id.origin), |tree| {
            tree.eager = tree.eager.with(slot);
            if rooted {
                tree.parent = Some(slot);
            }
            if shapes {
                tree.note(slot, hops - 1);
            }
        });
        self.unprune(slot, id.origin);
    }

    /// "When a node receives a duplicate the sender is moved to the lazy set and told" (paper 3.3).
    ///
    /// Modification from the paper: the last eager link of a tree is never cut, nor the parent's (R12).
    fn on_duplicate(&mut self, slot: Slot, origin: I) {
        if !self.shapes(origin) {
            return;
        }
        let key = self.key(origin);
        let Some(tree) = self.tree(key) else {
            return;
        };
        if tree.parent == Some(slot) {
            return;
        }
        if tree.eager.contains(slot) {
            if tree.eager.len() <= 1 {
                return;
            }
            self.change(key, |tree| {
                tree.eager = tree.eager.without(SlotSet::single(slot));
            });
        }
        // Said also where the edge is lazy here: the other end goes on pushing until it hears of it.
        self.prune(slot, origin);
    }

    /// Pushes a kept message over the links of its tree and announces it over the others. Nothing is
    /// pushed to `knowing`: they have it, but hear how far we are from the root.
    fn pass_on(&mut self, id: MessageId<I>, knowing: SlotSet) {
        let all = self.neighbors.all();
        let others = all.without(knowing);
        let eager = match self.config.trees() {
            Trees::Flood => others,
            Trees::PerOrigin | Trees::Shared => {
                let tree = self.tree(self.key(id.origin));
                let tree = tree.map(|tree| tree.eager).unwrap_or_default();
                others.without(others.without(tree))
            }
        };
        let Some(message) = self.gossip(&id) else {
            return; // Longer than all that may be kept; it was delivered.
        };
        for slot in eager.iter() {
            self.counters.pushed += 1;
            self.send(slot, message.clone());
        }
        if self.config.trees() != Trees::Flood {
            let hops = self
                .shelf
                .origins
                .get(&id.origin)
                .map_or(0, |origin| origin.get(id.seq).map_or(0, |kept| kept.hops));
            let tree = self.tree(self.key(id.origin));
            let lazy = all.without(tree.map(|tree| tree.eager).unwrap_or_default());
            for slot in lazy.iter() {
                self.announce(slot, id, hops);
            }
        }
    }

    /// A kept message as it is sent now.
    pub(super) fn gossip(&self, id: &MessageId<I>) -> Option<Message<I>> {
        let kept = self.shelf.origins.get(&id.origin)?.get(id.seq)?;
        let age = self.age(kept.born);
        (age < self.config.cache_age()).then(|| {
            Message::Gossip(Gossip {
                id: *id,
                hops: kept.hops.saturating_add(1),
                age_ms: u32::try_from(age.as_millis()).unwrap_or(u32::MAX),
                payload: Payload::clone(&kept.payload),
            })
        })
    }

    fn now_born(&self) -> Duration {
        self.born(Duration::ZERO)
    }
}
