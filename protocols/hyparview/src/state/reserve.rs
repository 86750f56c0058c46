//! Whom this node knows beyond its neighbours: the passive view, peers out of reach, bootstrap contacts.

use std::{collections::BTreeMap, time::Duration};

use rand::{
    Rng,
    seq::{IndexedRandom, IteratorRandom},
};

use super::{sampler::Sampler, suspects::Suspects};
use crate::{Address, Config, Contact, Id};

/// A peer in the passive view.
#[derive(Debug, Clone)]
pub(super) struct Backup<I, A> {
    pub(super) contact: Contact<I, A>,
    /// It dropped us, or we dropped it: not to be asked before (R15).
    pub(super) rest_until: Duration,
    /// Those with the lowest ranks stay.
    pub(super) rank: u64,
}

/// All peers that a node could turn to. None of them is a neighbour, but for bootstrap contacts.
#[derive(Debug)]
pub(super) struct Reserve<I, A> {
    /// The passive view.
    pub(super) passive: BTreeMap<I, Backup<I, A>>,
    /// Which part of the passive view nobody can push out.
    pub(super) sampler: Sampler,
    /// Peers out of reach, which are not in the passive view.
    pub(super) suspects: Suspects<I, A>,
    /// Bootstrap contacts, whatever else they are.
    pub(super) permanent: BTreeMap<I, Contact<I, A>>,
    capacity: usize,
    group_max: Option<usize>,
}

impl<I: Id, A: Address> Reserve<I, A> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            passive: BTreeMap::new(),
            sampler: Sampler::new(config),
            suspects: Suspects::new(config),
            permanent: BTreeMap::new(),
            capacity: config.passive_capacity(),
            group_max: config.group_passive_max(),
        }
    }

    /// What is known of how to reach `peer`.
    pub(super) fn contact(&self, peer: I) -> Option<&Contact<I, A>> {
        // Bootstrap contacts last: their addresses are those of the configuration, the others are newer.
        let backup = self.passive.get(&peer).map(|backup| &backup.contact);
        backup
            .or_else(|| self.suspects.get(peer))
            .or_else(|| self.permanent.get(&peer))
    }

    /// A record that its owner told us itself, wherever the owner is known from.
    pub(super) fn set_record_of(&mut self, contact: &Contact<I, A>) {
        let id = contact.id;
        let known = [
            self.passive.get_mut(&id).map(|backup| &mut backup.contact),
            self.suspects.get_mut(id),
            self.permanent.get_mut(&id),
        ];
        for known in known.into_iter().flatten() {
            known.record = contact.record.clone();
        }
    }

    /// Puts a peer into the passive view, or takes over what is newer about it. "If the passive view is
    /// full, first those that were sent to the peer go, then random ones" (paper 4.4).
    pub(super) fn learn<R: Rng>(
        &mut self,
        contact: Contact<I, A>,
        sent: &[I],
        now: Duration,
        rng: &mut R,
    ) {
        let id = contact.id;
        // Hearsay does not make it reachable; a newer record may.
        if self.suspects.contains(id) {
            self.suspects.hear(&contact, now);
            return;
        }
        if let Some(known) = self.passive.get_mut(&id) {
            // Records relayed by others may be old.
            if contact.record.supersedes(&known.contact.record) {
                known.contact = contact;
            }
            return;
        }
        let rank = self.sampler.rank(id);
        if !self.make_room(&contact.record, rank, sent, rng) {
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

    /// Makes room for one more passive peer. No peer can be sent more of one group than its share
    /// in exchange for others: the newcomer takes the place of one of its own.
    fn make_room<R: Rng>(&mut self, record: &A, rank: u64, sent: &[I], rng: &mut R) -> bool {
        let group = record.group();
        // Whoever knows a whole subnet could otherwise push out all others.
        let same: Vec<I> = self
            .passive
            .values()
            .filter(|backup| group.is_some() && backup.contact.record.group() == group)
            .map(|backup| backup.contact.id)
            .collect();
        let used_up = self.group_max.is_some_and(|most| same.len() >= most);
        let victim = if used_up && group.is_some() {
            same.choose(rng).copied()
        } else if self.passive.len() < self.capacity {
            return true;
        } else {
            // The sample is not pushed out; a newcomer belongs to it if its rank is among the lowest.
            let last = self.last_sampled(Some(rank));
            let fleeting = || self.passive.iter().filter(|(_, backup)| backup.rank > last);
            let sent = fleeting().filter(|(id, _)| sent.contains(id)).choose(rng);
            let victim = sent.or_else(|| fleeting().choose(rng));
            victim.map(|(id, _)| *id)
        };
        victim.is_some_and(|victim| self.passive.remove(&victim).is_some())
    }

    /// Some of the passive view, to tell `peer` of.
    pub(super) fn sample<R: Rng>(&self, peer: I, count: usize, rng: &mut R) -> Vec<Contact<I, A>> {
        let contacts = self.passive.values().map(|backup| &backup.contact);
        choose(contacts, peer, count, rng)
    }

    /// A random backup, of the sample if there is one that suits.
    pub(super) fn backup<R: Rng>(
        &self,
        suits: impl Fn(&Backup<I, A>) -> bool,
        rng: &mut R,
    ) -> Option<&Backup<I, A>> {
        let last = self.last_sampled(None);
        let suitable: Vec<_> = self
            .passive
            .values()
            .filter(|backup| suits(backup))
            .collect();
        let sampled = suitable
            .iter()
            .filter(|backup| backup.rank <= last)
            .choose(rng);
        sampled.or_else(|| suitable.choose(rng)).copied()
    }

    /// The highest rank in the sample, with one more name in view if a rank is given; 0 without a sample.
    pub(super) fn last_sampled(&self, more: Option<u64>) -> u64 {
        let ranks = self.passive.values().map(|backup| backup.rank);
        self.sampler.last(ranks.chain(more).collect())
    }

    /// Nobody is known any more.
    pub(super) fn clear(&mut self) {
        self.passive.clear();
        self.suspects.clear();
        self.permanent.clear();
    }
}

/// Up to `count` of `contacts` that may be told to `peer`.
pub(super) fn choose<'a, I: Id + 'a, A: Address + 'a, R: Rng>(
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
