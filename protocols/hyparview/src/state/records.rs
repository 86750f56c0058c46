//! How peers are reached: records from their owners, from others, and from the application.

use rand::Rng;

use super::State;
use crate::{Address, Contact, Id, Message, io::Event, message::Moved};

impl<I: Id, A: Address> State<I, A> {
    pub(super) fn on_moved(&mut self, from: I, moved: Moved<A>) {
        self.set_record_of(&Contact {
            id: from,
            record: moved.record,
        });
    }

    /// Our own record changed: neighbours are told at once, and those who were sent the old one with
    /// a request; others hear of it by shuffles.
    pub(super) fn set_record(&mut self, record: A) {
        self.me.record = record;
        let asked = self
            .relations
            .active
            .keys()
            .chain(self.relations.pending.keys());
        let peers: Vec<I> = asked.copied().collect();
        for peer in peers {
            let record = self.me.record.clone();
            self.tell(peer, Message::Moved(Moved { record }));
        }
    }

    /// A peer to remember, from the application.
    pub(super) fn on_learn<R: Rng>(
        &mut self,
        contact: Contact<I, A>,
        permanent: bool,
        rng: &mut R,
    ) {
        if contact.id == self.me.id || self.left {
            return;
        }
        let room = self.reserve.permanent.len() < self.config.permanent_capacity();
        // Known ones are taken beyond the bound: it is an update.
        if permanent && (room || self.reserve.permanent.contains_key(&contact.id)) {
            self.reserve.permanent.insert(contact.id, contact.clone());
        }
        self.learn(contact, &[], rng);
    }

    /// A record that its owner told us itself, wherever we know the owner from.
    pub(super) fn set_record_of(&mut self, contact: &Contact<I, A>) {
        let id = contact.id;
        if let Some(neighbor) = self.relations.active.get_mut(&id)
            // Each request and probe brings a record, mostly the same: the application hears of changes only.
            && neighbor.contact.record != contact.record
        {
            neighbor.contact = contact.clone();
            self.emit(Event::NeighborMoved(contact.clone()));
        }
        self.reserve.set_record_of(contact);
    }

    /// What we know of how to reach `peer`.
    pub(super) fn contact_of(&self, peer: I) -> Option<Contact<I, A>> {
        let neighbor = self.relations.active.get(&peer);
        neighbor
            .map(|neighbor| &neighbor.contact)
            .or_else(|| self.reserve.contact(peer))
            .cloned()
    }
}
