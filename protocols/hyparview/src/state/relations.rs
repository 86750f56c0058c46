//! What this node has with others: its neighbours, requests in either direction, and what has ended (R2, R3).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    ask::{Ask, HalfOpen},
    line::Line,
    request::Pending,
};
use crate::{Address, Config, Contact, Epoch, Id};

/// A peer in the active view.
#[derive(Debug, Clone)]
pub(super) struct Neighbor<I, A> {
    pub(super) contact: Contact<I, A>,
    pub(super) epoch: Epoch<I>,
    /// Its incarnation.
    pub(super) incarnation: u64,
    /// Incarnation and serial of a request of its own that crossed ours and was dropped in favour of it.
    pub(super) crossed: Option<(u64, u64)>,
    /// Size of its active view as it last told.
    pub(super) degree: u8,
    /// When it last proved to hold the relation.
    pub(super) heard: Duration,
    pub(super) since: Duration,
    /// From when on it is not evicted, unless it is the latest.
    pub(super) tenured_from: Duration,
    /// How far away it is.
    pub(super) line: Line,
    /// Made in a crowd: to be exchanged for a random one (R8).
    pub(super) crowded: bool,
}

/// All relations and requests of one node. No peer is in two of the first four (R2).
#[derive(Debug)]
pub(super) struct Relations<I, A> {
    /// The active view.
    pub(super) active: BTreeMap<I, Neighbor<I, A>>,
    /// Requests of ours without an answer.
    pub(super) pending: BTreeMap<I, Pending<I, A>>,
    /// Requests of others that wait for an answer to one of ours.
    pub(super) waiting: Vec<Ask<I, A>>,
    /// Requests of others that are granted, and wait to be confirmed.
    pub(super) half_open: BTreeMap<I, HalfOpen<I, A>>,
    /// Relations that ended lately, the oldest first: heartbeats about them are answered with Disconnect.
    ended: VecDeque<Epoch<I>>,
    ended_max: usize,
}

impl<I: Id, A: Address> Relations<I, A> {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            active: BTreeMap::new(),
            pending: BTreeMap::new(),
            waiting: Vec::new(),
            half_open: BTreeMap::new(),
            ended: VecDeque::new(),
            // Those that may end within a few heartbeats.
            ended_max: 4 * config.active_capacity() + 16,
        }
    }

    /// Whether a relation with `peer` exists, or is being made in either direction.
    pub(super) fn is_engaged(&self, peer: I) -> bool {
        self.active.contains_key(&peer)
            || self.pending.contains_key(&peer)
            || self.half_open.contains_key(&peer)
    }

    /// Whether `peer` is a neighbour in this very relation.
    pub(super) fn holds(&self, peer: I, epoch: Epoch<I>) -> bool {
        let neighbor = self.active.get(&peer);
        neighbor.is_some_and(|neighbor| neighbor.epoch == epoch)
    }

    /// Whether `peer` has yet to answer this very request.
    pub(super) fn awaits(&self, peer: I, epoch: Epoch<I>) -> bool {
        let request = self.pending.get(&peer);
        request.is_some_and(|request| request.epoch == epoch)
    }

    /// Whether a request of `peer` waits for an answer to one of ours.
    pub(super) fn keeps_waiting(&self, peer: I) -> bool {
        self.waiting.iter().any(|ask| ask.contact.id == peer)
    }

    /// The request of `peer`, if one waits, is settled otherwise or void.
    pub(super) fn stop_waiting(&mut self, peer: I) {
        self.waiting.retain(|ask| ask.contact.id != peer);
    }

    /// The name of the relation that is half open with this peer.
    pub(super) fn half_open_with(&self, peer: I) -> Option<Epoch<I>> {
        self.half_open.get(&peer).map(HalfOpen::epoch)
    }

    /// The request under this name, if it is granted and not confirmed; it is forgotten.
    pub(super) fn no_longer_half_open(&mut self, peer: I, epoch: Epoch<I>) -> Option<Ask<I, A>> {
        let same = self.half_open.get(&peer)?.ask.epoch == epoch;
        let known = same.then(|| self.half_open.remove(&peer)).flatten();
        known.map(|granted| granted.ask)
    }

    /// The peer has not confirmed in time: it does not hear us. Returns who it is, if that was waited for.
    pub(super) fn unconfirmed(&mut self, peer: I, serial: u64) -> Option<Contact<I, A>> {
        let same = self.half_open.get(&peer)?.serial == serial;
        let known = same.then(|| self.half_open.remove(&peer)).flatten();
        known.map(|granted| granted.ask.contact)
    }

    /// Relations that `me` asked for.
    pub(super) fn outbound(&self, me: I) -> usize {
        let by_me = |neighbor: &&Neighbor<I, A>| neighbor.epoch.by == me;
        self.active.values().filter(by_me).count()
    }

    /// How many neighbours are in the same part of the network.
    pub(super) fn of_group(&self, group: u64) -> usize {
        let same = |neighbor: &&Neighbor<I, A>| neighbor.contact.record.group() == Some(group);
        self.active.values().filter(same).count()
    }

    /// Takes a peer out of the active view, and remembers that the relation has ended.
    pub(super) fn end(&mut self, peer: I) -> Option<Neighbor<I, A>> {
        let gone = self.active.remove(&peer)?;
        // What the other side has said of it may still be on its way.
        self.ended.push_back(gone.epoch);
        if self.ended.len() > self.ended_max {
            self.ended.pop_front();
        }
        Some(gone)
    }

    pub(super) fn has_ended(&self, epoch: &Epoch<I>) -> bool {
        self.ended.contains(epoch)
    }

    /// How many ended relations are remembered, and how many at most.
    pub(super) fn ended_len(&self) -> (usize, usize) {
        (self.ended.len(), self.ended_max)
    }
}
