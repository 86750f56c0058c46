//! What is only announced: collected, sent in batches, heard, and used for shorter ways.

use std::collections::BTreeMap;

use super::{
    State,
    neighbors::{Neighbor, Slot, SlotSet},
};
use crate::{
    Id, Keep, Message, Trees,
    message::{Announcement, IHave, MessageId, Prune},
};

impl<I: Id> State<I> {
    /// Has `slot` told of a message with the next batch.
    pub(super) fn announce(&mut self, slot: Slot, id: MessageId<I>, hops: u16) {
        let latest = self.config.keep() == Keep::Latest;
        let most = self.config.announcements_max();
        let Some(neighbor) = self.neighbors.get_mut(slot) else {
            return;
        };
        if latest {
            // What is superseded would not be asked for.
            while let Some(older) = announced_of(neighbor, id.origin) {
                neighbor.announcements.remove(&older);
            }
        }
        // What does not fit comes out when positions are exchanged (R14).
        if neighbor.announcements.len() >= most {
            self.counters.shed += 1;
            return;
        }
        neighbor.announcements.insert(id, hops);
        self.flush_soon();
    }

    /// Has `slot` told with the next batch that its copies come late.
    pub(super) fn prune(&mut self, slot: Slot, origin: I) {
        let most = self.config.announcements_max();
        if let Some(neighbor) = self.neighbors.get_mut(slot)
            // What does not fit is said at the next duplicate.
            && neighbor.prunes.len() < most
        {
            neighbor.prunes.insert(origin);
            self.flush_soon();
        }
    }

    /// The link is wanted after all.
    pub(super) fn unprune(&mut self, slot: Slot, origin: I) {
        if let Some(neighbor) = self.neighbors.get_mut(slot) {
            match self.config.trees() {
                // There any entry means the one tree.
                Trees::Shared => neighbor.prunes.clear(),
                Trees::PerOrigin | Trees::Flood => {
                    neighbor.prunes.remove(&origin);
                }
            }
        }
    }

    pub(super) fn on_flush_timer(&mut self) {
        for slot in self.neighbors.all().iter() {
            self.flush_prunes(slot);
            self.flush_announcements(slot);
            self.flush_digest(slot);
        }
    }

    fn flush_prunes(&mut self, slot: Slot) {
        let Some(neighbor) = self.neighbors.get_mut(slot) else {
            return;
        };
        let origins: Vec<I> = std::mem::take(&mut neighbor.prunes).into_iter().collect();
        if origins.is_empty() {
            return;
        }
        if self.config.trees() == Trees::Shared {
            self.counters.prunes += 1;
            // Nobody is named: the origins only stand for the one tree.
            let origins = Vec::new();
            return self.send(slot, Message::Prune(Prune { origins }));
        }
        for part in origins.chunks(self.config.list_max()) {
            self.counters.prunes += 1;
            let origins = part.to_vec();
            self.send(slot, Message::Prune(Prune { origins }));
        }
    }

    fn flush_announcements(&mut self, slot: Slot) {
        let Some(neighbor) = self.neighbors.get_mut(slot) else {
            return;
        };
        let list: Vec<Announcement<I>> = std::mem::take(&mut neighbor.announcements)
            .into_iter()
            .map(|(id, hops)| Announcement { id, hops })
            .collect();
        for part in list.chunks(self.config.list_max()) {
            self.counters.announcement_batches += 1;
            self.counters.announcements += u64::try_from(part.len()).unwrap_or(u64::MAX);
            let list = part.to_vec();
            self.send(slot, Message::IHave(IHave { list }));
        }
    }

    pub(super) fn on_ihave(&mut self, slot: Slot, IHave { mut list }: IHave<I>) {
        // We send no longer lists; whoever does must not cost more than others.
        list.truncate(self.config.list_max());
        for heard in list {
            if self.lacks(&heard.id) {
                self.claim(slot, &heard.id, Some(heard.hops));
                continue;
            }
            self.weigh(slot, &heard);
        }
    }

    /// Takes note of how far an announcer of a message that we have is from its root, and goes over to
    /// it if that is much nearer than we are.
    pub(super) fn weigh(&mut self, slot: Slot, heard: &Announcement<I>) {
        let id = heard.id;
        // Our own distance is known for the newest message only; no other can be compared.
        let newest = self
            .shelf
            .origins
            .get(&id.origin)
            .is_some_and(|origin| origin.is_newest(id.incarnation, id.seq));
        if newest && self.shapes(id.origin) {
            let key = self.key(id.origin);
            self.change(key, |tree| tree.note(slot, heard.hops));
            self.optimise(slot, heard);
        }
    }

    /// "If the announcer is nearer to the source than the eager sender by a threshold, they change
    /// places" (paper 3.8).
    ///
    /// Modification from the paper: not if the message would come later over it, for few long links are
    /// slower than many short ones; not again within a while; and not for a neighbour whose messages failed
    /// to come, so that a liar gains little by claiming to be near.
    fn optimise(&mut self, slot: Slot, heard: &Announcement<I>) {
        let id = heard.id;
        let key = self.key(id.origin);
        let (Some(origin), Some(tree)) = (self.shelf.origins.get(&id.origin), self.tree(key))
        else {
            return;
        };
        let threshold = self.config.optimise_threshold();
        let over_it = heard.hops.saturating_add(1);
        let shorter = threshold > 0 && origin.hops >= over_it.saturating_add(threshold);
        // The announcement itself has waited for company.
        let timely = origin.came.saturating_add(self.config.flush_interval()) >= self.now;
        let rested = tree
            .optimised
            .is_none_or(|last| last + self.config.optimise_rest() <= self.now);
        let trusted = self
            .neighbors
            .get(slot)
            .is_some_and(|neighbor| neighbor.distrusted_until <= self.now);
        // While older messages are on their way, asking another would bring them twice.
        let complete = !self.missing.contains_key(&id.origin);
        if !shorter || !timely || !complete || !rested || !trusted || tree.eager.contains(slot) {
            return;
        }
        // Without a root the edge that brought the newest message takes the parent's place.
        let former = tree.parent.or(origin.from);
        let rooted = self.is_rooted();
        let now = self.now;
        self.change(key, |tree| {
            tree.eager = tree.eager.with(slot);
            if let Some(former) = former {
                tree.eager = tree.eager.without(SlotSet::single(former));
            }
            tree.parent = rooted.then_some(slot);
            tree.optimised = Some(now);
        });
        self.counters.optimised += 1;
        if let Some(former) = former {
            self.prune(former, id.origin);
        }
        self.unprune(slot, id.origin);
        // With our position, so that what the former parent does not push any more is sent as well.
        self.graft(BTreeMap::from([(slot, vec![self.position(id.origin)])]));
    }
}

/// Some message of `origin` that waits to be announced.
fn announced_of<I: Id>(neighbor: &Neighbor<I>, origin: I) -> Option<MessageId<I>> {
    let first = MessageId {
        origin,
        incarnation: 0,
        seq: 0,
    };
    neighbor
        .announcements
        .range(first..)
        .next()
        .map(|(id, _)| *id)
        .filter(|id| id.origin == origin)
}
