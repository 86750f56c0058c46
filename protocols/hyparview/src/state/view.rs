//! The two views: what goes in, what goes out.

use std::time::Duration;

use rand::{
    Rng,
    seq::{IndexedRandom, IteratorRandom},
};

use super::{State, line::Line};
use crate::{Address, Contact, DownReason, Epoch, Farewell, Id, Message, io::Event, message};

/// A peer in the active view.
#[derive(Debug, Clone)]
pub(super) struct Neighbor<I, A> {
    pub(super) contact: Contact<I, A>,
    pub(super) epoch: Epoch<I>,
    /// Its incarnation.
    pub(super) life: u64,
    /// Life and serial of a request of its own that crossed ours and was dropped in favour of it.
    pub(super) crossed: Option<(u64, u64)>,
    /// Size of its active view as it last told.
    pub(super) degree: u8,
    /// When it last proved to hold the relation.
    pub(super) heard: Duration,
    pub(super) since: Duration,
    /// From when on it is not evicted, unless it is the latest.
    pub(super) elder_from: Duration,
    /// How far away it is.
    pub(super) link: Line,
    /// Made in a crowd: to be exchanged for a random one (R8).
    pub(super) crowded: bool,
}

/// A peer in the passive view.
#[derive(Debug, Clone)]
pub(super) struct Backup<I, A> {
    pub(super) contact: Contact<I, A>,
    /// It dropped us, or we dropped it: not to be asked before (R15).
    pub(super) rest_until: Duration,
    /// Those with the lowest ranks stay.
    pub(super) rank: u64,
}

impl<I: Id, A: Address> State<I, A> {
    /// Slots that nobody holds: neither a neighbour, nor a request that may yet be accepted, nor
    /// a switch under way.
    pub(super) fn free_slots(&self) -> usize {
        self.unheld_slots().saturating_sub(self.reserved_slots())
    }

    /// As `free_slots`, but requests under way do not count.
    pub(super) fn unheld_slots(&self) -> usize {
        let taken = self.active.len() + self.switch_slots();
        self.config.active_capacity().max(1).saturating_sub(taken)
    }

    /// Links that this node asked for.
    pub(super) fn outbound_links(&self) -> usize {
        self.active
            .values()
            .filter(|neighbor| neighbor.epoch.by == self.me.id)
            .count()
    }

    /// Whether `neighbor` must not go for the sake of another peer: it is one of the last links
    /// that we chose ourselves (R11). `gained`: how many such links take its place.
    pub(super) fn protected(&self, neighbor: &Neighbor<I, A>, gained: usize) -> bool {
        neighbor.epoch.by == self.me.id
            && self.outbound_links() + gained <= self.config.outbound_min()
    }

    /// Whether the share of the active view that `record`'s part of the network may have is used
    /// up (R11).
    pub(super) fn share_used_up(&self, record: &A) -> bool {
        let (Some(most), Some(group)) = (self.config.group_active_max(), record.group()) else {
            return false;
        };
        let same = |neighbor: &&Neighbor<I, A>| neighbor.contact.record.group() == Some(group);
        self.active.values().filter(same).count() >= most
    }

    /// The neighbours that have stayed so long that they stay, but for the latest of those that chance may
    /// take (R11). If that one is protected nobody goes: making way with the next one instead gave a third more
    /// of the links away (measured).
    pub(super) fn elders(&self) -> Vec<I> {
        let order = |one: &&Neighbor<I, A>| (self.may_mix(one), one.elder_from);
        let latest = self.active.values().max_by_key(order);
        let latest = latest.map(|one| one.contact.id);
        let there_are = self.config.elder_age() < Duration::MAX;
        let elders = self.active.values().filter(|one| {
            there_are && one.elder_from <= self.now && Some(one.contact.id) != latest
        });
        elders.map(|one| one.contact.id).collect()
    }

    /// From when on a link that is made now is an elder.
    pub(super) fn elder_from(&self, switched: bool) -> Duration {
        let age = self.config.elder_age();
        self.now
            .saturating_add(if switched { Duration::ZERO } else { age })
    }

    /// Whether the word of a neighbour that this is its only link still counts.
    fn at_mercy(&self, neighbor: &Neighbor<I, A>) -> bool {
        let stayed = self.now.saturating_sub(neighbor.since);
        neighbor.degree <= 1 && stayed <= self.config.mercy()
    }

    /// Whom to evict for another peer. Never one that would be left without links (R9). Who comes by
    /// chance takes the place of one that came by chance.
    pub(super) fn victim<R: Rng>(&self, gained: usize, rng: &mut R) -> Option<I> {
        let elders = self.elders();
        let able = || {
            self.active.values().filter(|neighbor| {
                !self.at_mercy(neighbor)
                    && !self.protected(neighbor, gained)
                    && !elders.contains(&neighbor.contact.id)
            })
        };
        let random = able().filter(|neighbor| self.may_mix(neighbor)).choose(rng);
        random
            .or_else(|| able().choose(rng))
            .map(|neighbor| neighbor.contact.id)
    }

    /// Puts a peer into the active view, both sides having agreed. There must be a slot.
    pub(super) fn admit(&mut self, mut neighbor: Neighbor<I, A>) {
        let id = neighbor.contact.id;
        neighbor.link = self.new_link();
        debug_assert!(self.active.len() < self.config.active_capacity().max(1));
        self.passive.remove(&id);
        self.suspects.remove(id);
        self.pending.remove(&id);
        self.stop_waiting(id);
        self.half_open.remove(&id);
        self.refill.found();
        self.emit(Event::NeighborUp(neighbor.contact.clone()));
        self.active.insert(id, neighbor);
    }

    /// Takes a peer out of the active view. Where it goes instead is up to the caller.
    pub(super) fn dismiss(&mut self, peer: I, reason: DownReason) -> Option<Neighbor<I, A>> {
        let gone = self.active.remove(&peer)?;
        self.ended.push_back(gone.epoch);
        if self.ended.len() > self.ended_max() {
            self.ended.pop_front();
        }
        self.refill.lost(self.active.is_empty());
        self.emit(Event::NeighborDown { peer, reason });
        Some(gone)
    }

    /// How many ended relations are remembered: those that may end within a few heartbeats.
    pub(super) fn ended_max(&self) -> usize {
        4 * self.config.active_capacity() + 16
    }

    /// Ends the relation with `peer` in good order: it is told why and whom it may turn to, and
    /// stays known.
    pub(super) fn part<R: Rng>(
        &mut self,
        peer: I,
        farewell: Farewell<I, A>,
        reason: DownReason,
        rng: &mut R,
    ) {
        let sample = self.sample(peer, rng);
        if let Some(gone) = self.dismiss(peer, reason) {
            self.tell(
                peer,
                Message::Disconnect(message::Disconnect {
                    epoch: gone.epoch,
                    farewell,
                    sample,
                }),
            );
            self.release(peer);
            self.set_aside(gone.contact, rng);
        }
    }

    /// Keeps a former neighbour as a backup that is not asked again for a while (R15).
    pub(super) fn set_aside<R: Rng>(&mut self, contact: Contact<I, A>, rng: &mut R) {
        let id = contact.id;
        let rest_until = self.now.saturating_add(self.config.drop_rest());
        self.learn(contact, &[], rng);
        if let Some(backup) = self.passive.get_mut(&id) {
            backup.rest_until = rest_until;
        }
    }

    /// Heard of a peer. "If the passive view is full, first those that were sent to the peer go,
    /// then random ones" (paper 4.4).
    pub(super) fn learn<R: Rng>(&mut self, contact: Contact<I, A>, sent: &[I], rng: &mut R) {
        let id = contact.id;
        if self.left
            || id == self.me.id
            || self.active.contains_key(&id)
            || self.quarantine.holds(id, self.now)
        {
            return;
        }
        if self.suspects.contains(id) {
            self.suspects.hear(&contact, self.now);
            return;
        }
        if let Some(known) = self.passive.get_mut(&id) {
            if contact.record.supersedes(&known.contact.record) {
                known.contact = contact;
            }
            return;
        }
        let rank = self.sampler.rank(id);
        if !self.make_passive_room(&contact.record, rank, sent, rng) {
            return;
        }
        self.passive.insert(
            id,
            Backup {
                contact,
                rest_until: Duration::ZERO,
                rank,
            },
        );
    }

    /// Learns a list that another peer sent, no longer than an honest one would be.
    pub(super) fn learn_all<R: Rng>(&mut self, list: Vec<Contact<I, A>>, sent: &[I], rng: &mut R) {
        for contact in list.into_iter().take(self.config.list_max()) {
            self.learn(contact, sent, rng);
        }
    }

    /// Some passive peers to tell `peer` of, and neighbours as well if there are too few.
    pub(super) fn sample<R: Rng>(&self, peer: I, rng: &mut R) -> Vec<Contact<I, A>> {
        let mut sample = self.passive_sample(peer, self.config.list_max(), rng);
        let lacking = self.config.list_max() - sample.len();
        sample.extend(self.active_sample(peer, lacking, rng));
        sample
    }

    pub(super) fn passive_sample<R: Rng>(
        &self,
        peer: I,
        count: usize,
        rng: &mut R,
    ) -> Vec<Contact<I, A>> {
        choose(self.passive(), peer, count, rng)
    }

    pub(super) fn active_sample<R: Rng>(
        &self,
        peer: I,
        count: usize,
        rng: &mut R,
    ) -> Vec<Contact<I, A>> {
        choose(
            self.active.values().map(|neighbor| &neighbor.contact),
            peer,
            count,
            rng,
        )
    }

    /// Makes room for one more passive peer. No peer can be sent more of one group than its share
    /// in exchange for others: the newcomer takes the place of one of its own.
    fn make_passive_room<R: Rng>(
        &mut self,
        record: &A,
        rank: u64,
        sent: &[I],
        rng: &mut R,
    ) -> bool {
        let group = record.group();
        let same: Vec<I> = self
            .passive
            .values()
            .filter(|backup| group.is_some() && backup.contact.record.group() == group)
            .map(|backup| backup.contact.id)
            .collect();
        let used_up = self
            .config
            .group_passive_max()
            .is_some_and(|most| same.len() >= most);
        let victim = if used_up && group.is_some() {
            same.choose(rng).copied()
        } else if self.passive.len() < self.config.passive_capacity() {
            return true;
        } else {
            let last = self.last_sampled(Some(rank));
            let fleeting = || self.passive.iter().filter(|(_, one)| one.rank > last);
            let sent = fleeting().filter(|(id, _)| sent.contains(id)).choose(rng);
            let victim = sent.or_else(|| fleeting().choose(rng));
            victim.map(|(id, _)| *id)
        };
        victim.is_some_and(|victim| self.passive.remove(&victim).is_some())
    }
}

/// Up to `count` of `contacts` that may be told to `peer`.
fn choose<'a, I: Id + 'a, A: Address + 'a, R: Rng>(
    contacts: impl Iterator<Item = &'a Contact<I, A>>,
    peer: I,
    count: usize,
    rng: &mut R,
) -> Vec<Contact<I, A>> {
    contacts
        .filter(|contact| contact.id != peer && contact.record.shareable())
        .sample(rng, count)
        .into_iter()
        .cloned()
        .collect()
}
