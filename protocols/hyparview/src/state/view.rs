//! The two views: what goes in, what goes out.

use std::time::Duration;

use rand::{Rng, seq::IteratorRandom};

use super::{State, relations::Neighbor, reserve::choose};
use crate::{Address, Contact, DisconnectReason, DownReason, Id, Message, io::Event, message};

impl<I: Id, A: Address> State<I, A> {
    /// Slots that nobody holds: neither a neighbour, nor a request that may yet be accepted, nor
    /// a switch under way.
    pub(super) fn free_slots(&self) -> usize {
        self.unheld_slots().saturating_sub(self.reserved_slots())
    }

    /// As `free_slots`, but requests under way do not count.
    pub(super) fn unheld_slots(&self) -> usize {
        // A capacity of 0 would make a node that can never join; it counts as 1.
        let taken = self.relations.active.len() + self.switch_slots();
        self.config.active_capacity().max(1).saturating_sub(taken)
    }

    /// Whether `neighbor` must not go for the sake of another peer: it is one of the last links
    /// that we chose ourselves (R11). `gained`: how many such links take its place.
    pub(super) fn protected(&self, neighbor: &Neighbor<I, A>, gained: usize) -> bool {
        neighbor.epoch.by == self.me.id
            && self.relations.outbound(self.me.id) + gained <= self.config.outbound_min()
    }

    /// Whether the share of the active view that `record`'s part of the network may have is used
    /// up (R11).
    pub(super) fn share_used_up(&self, record: &A) -> bool {
        // Off by default: on loopback, or behind one router, all peers are of one group.
        let (Some(most), Some(group)) = (self.config.group_active_max(), record.group()) else {
            return false;
        };
        self.relations.of_group(group) >= most
    }

    /// Whether `peer` is in quarantine.
    pub(super) fn is_kept_out(&self, peer: I) -> bool {
        self.guards.quarantine.holds(peer, self.now)
    }

    /// Whether a relation with `peer` could be begun: it is neither a neighbour, nor asked, nor kept out.
    pub(super) fn is_open_to(&self, peer: I) -> bool {
        !self.relations.active.contains_key(&peer)
            && !self.relations.pending.contains_key(&peer)
            && !self.is_kept_out(peer)
    }

    /// The neighbours with tenure, which stay because they have stayed, but for the latest of those that chance may
    /// take (R11). If that one is protected nobody goes: making way with the next one instead gave a third more
    /// of the links away (measured).
    pub(super) fn tenured(&self) -> Vec<I> {
        let order = |neighbor: &&Neighbor<I, A>| (self.may_mix(neighbor), neighbor.tenured_from);
        let latest = self.relations.active.values().max_by_key(order);
        let latest = latest.map(|neighbor| neighbor.contact.id);
        // With the greatest value nobody has tenure, however long the node runs.
        let there_are = self.config.tenure_min() < Duration::MAX;
        let tenured = self.relations.active.values().filter(|neighbor| {
            there_are && neighbor.tenured_from <= self.now && Some(neighbor.contact.id) != latest
        });
        tenured.map(|neighbor| neighbor.contact.id).collect()
    }

    /// From when on a link that is made now has tenure.
    pub(super) fn tenured_from(&self, switched: bool) -> Duration {
        let age = self.config.tenure_min();
        self.now
            .saturating_add(if switched { Duration::ZERO } else { age })
    }

    /// Whether a neighbour claims that this is its only link, and is still believed.
    fn claims_last_link(&self, neighbor: &Neighbor<I, A>) -> bool {
        let stayed = self.now.saturating_sub(neighbor.since);
        neighbor.degree <= 1 && stayed <= self.config.last_link_protection()
    }

    /// Whom to evict for another peer. Never one that would be left without links (R9). Who comes by
    /// chance takes the place of one that came by chance.
    pub(super) fn victim<R: Rng>(&self, gained: usize, rng: &mut R) -> Option<I> {
        let tenured = self.tenured();
        // One with tenure, or that claims to be lost without us, is not given up for a stranger. Who asks
        // often gets the places of others who do.
        let able = || {
            self.relations.active.values().filter(|neighbor| {
                !self.claims_last_link(neighbor)
                    && !self.protected(neighbor, gained)
                    && !tenured.contains(&neighbor.contact.id)
            })
        };
        // First from those that came by chance: the others were chosen for being near, and took effort to
        // find.
        let random = able().filter(|neighbor| self.may_mix(neighbor)).choose(rng);
        random
            .or_else(|| able().choose(rng))
            .map(|neighbor| neighbor.contact.id)
    }

    /// Puts a peer into the active view, both sides having agreed. There must be a slot.
    pub(super) fn admit(&mut self, mut neighbor: Neighbor<I, A>) {
        let id = neighbor.contact.id;
        neighbor.line = self.new_line();
        debug_assert!(self.relations.active.len() < self.config.active_capacity().max(1));
        // A neighbour is nothing else beside (R2); what it had asked, or was asked, is settled by this.
        self.reserve.passive.remove(&id);
        self.reserve.suspects.remove(id);
        self.relations.pending.remove(&id);
        self.relations.stop_waiting(id);
        self.relations.half_open.remove(&id);
        self.refill.found();
        self.emit(Event::NeighborUp(neighbor.contact.clone()));
        self.relations.active.insert(id, neighbor);
    }

    /// Takes a peer out of the active view. Where it goes instead is up to the caller.
    pub(super) fn dismiss(&mut self, peer: I, reason: DownReason) -> Option<Neighbor<I, A>> {
        let gone = self.relations.end(peer)?;
        // Whom the refill has asked in vain may have a free slot by now: a new pass begins.
        self.refill.lost(self.relations.active.is_empty());
        self.emit(Event::NeighborDown { peer, reason });
        Some(gone)
    }

    /// Ends the relation with `peer` in good order: it is told why and whom it may turn to, and
    /// stays known.
    pub(super) fn part<R: Rng>(
        &mut self,
        peer: I,
        told: DisconnectReason<I, A>,
        reason: DownReason,
        rng: &mut R,
    ) {
        let sample = self.sample(peer, rng);
        if let Some(gone) = self.dismiss(peer, reason) {
            self.tell(
                peer,
                Message::Disconnect(message::Disconnect {
                    epoch: gone.epoch,
                    reason: told,
                    sample,
                }),
            );
            // After Disconnect is queued: what is queued is still sent.
            self.release(peer);
            self.set_aside(gone.contact, rng);
        }
    }

    /// Keeps a former neighbour as a backup that is not asked again for a while (R15).
    pub(super) fn set_aside<R: Rng>(&mut self, contact: Contact<I, A>, rng: &mut R) {
        let id = contact.id;
        // Two full nodes would otherwise evict each other's neighbours in turn for ever.
        let rest_until = self.now.saturating_add(self.config.drop_backoff());
        self.learn(contact, &[], rng);
        if let Some(backup) = self.reserve.passive.get_mut(&id) {
            backup.rest_until = rest_until;
        }
    }

    /// Heard of a peer that is neither a neighbour nor kept out.
    pub(super) fn learn<R: Rng>(&mut self, contact: Contact<I, A>, sent: &[I], rng: &mut R) {
        let id = contact.id;
        if self.left
            || id == self.me.id
            || self.relations.active.contains_key(&id)
            || self.is_kept_out(id)
        {
            return;
        }
        self.reserve.learn(contact, sent, self.now, rng);
    }

    /// Learns a list that another peer sent, no longer than an honest one would be.
    pub(super) fn learn_all<R: Rng>(&mut self, list: Vec<Contact<I, A>>, sent: &[I], rng: &mut R) {
        // An honest list is no longer. Cut rather than refused: a later version may send more.
        for contact in list.into_iter().take(self.config.list_max()) {
            self.learn(contact, sent, rng);
        }
    }

    /// Some passive peers to tell `peer` of, and neighbours as well if there are too few.
    pub(super) fn sample<R: Rng>(&self, peer: I, rng: &mut R) -> Vec<Contact<I, A>> {
        let mut sample = self.reserve.sample(peer, self.config.list_max(), rng);
        // Neighbours only if there is nothing else: who asks our neighbours closes triangles.
        let lacking = self.config.list_max() - sample.len();
        sample.extend(self.active_sample(peer, lacking, rng));
        sample
    }

    pub(super) fn active_sample<R: Rng>(
        &self,
        peer: I,
        count: usize,
        rng: &mut R,
    ) -> Vec<Contact<I, A>> {
        let neighbors = self.relations.active.values();
        choose(
            neighbors.map(|neighbor| &neighbor.contact),
            peer,
            count,
            rng,
        )
    }
}
