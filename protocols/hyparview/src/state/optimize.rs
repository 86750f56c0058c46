//! Latency-aware neighbours (X-BOT; Leitao, Marques, Pereira, Rodrigues, TPDS 2012): the four-node
//! switch of `remix`, made only when it pays.
//!
//! ```text
//! i --Probe--> some backups; the nearest is c       if c is nearer than o, i's dearest neighbour
//! i --SwitchProposal(o, bid)--> c --SwitchInvite(o, bid)--> d       d is c's dearest neighbour
//! d --Probe--> o                                    and if i-c and d-o together are shorter than
//! d --SwitchConsent--> c, and so on                 i-o and c-d by `optimize_percent`
//! ```
//!
//! All degrees stay the same, and each exchange makes the sum of all links shorter: it comes to an end.
//! Only d knows all four costs, and decides. It has to believe two of them: who lies about them gets a
//! link that it could have had by a random switch as well.
//!
//! `unbiased_min` links of each node are left to chance: they are the ones that re-mixing exchanges, that
//! make room for newcomers, and that newcomers and backups fill. The others are left alone by all
//! these. A node tells its neighbours which ones it keeps, since o is not asked; and where it can choose, it
//! keeps those that the neighbour keeps as well, so that few links are left to chance.
//!
//! Neighbours are measured by their heartbeats, others by a few probes in a row. The shortest round trip
//! counts, since the first holds the time that the connection took.

use std::time::Duration;

use rand::{Rng, seq::IteratorRandom};

use super::{
    State,
    alarms::spread,
    line::{Line, micros},
    relations::Neighbor,
    switch::Role,
};
use crate::{Address, Bid, Contact, Gauge, Id, Message, Timer, message};

/// Round trips measured of a peer that is not a neighbour. The first may hold a dial.
const ROUND_TRIPS: u32 = 3;

/// What is being measured.
#[derive(Debug)]
pub(super) struct Optimizer<I, A> {
    /// As i.
    pub(super) search: Option<Search<I, A>>,
    /// As d.
    weighing: Option<Weighing<I, A>>,
}

impl<I, A> Default for Optimizer<I, A> {
    fn default() -> Self {
        Self {
            search: None,
            weighing: None,
        }
    }
}

/// The backups of one round, measured one after the other.
#[derive(Debug)]
pub(super) struct Search<I, A> {
    /// Names the timer.
    pub(super) serial: u64,
    sounding: Sounding<I, A>,
    rest: Vec<Contact<I, A>>,
    nearest: Option<(Duration, Contact<I, A>)>,
}

/// The exchange that d looks into.
#[derive(Debug)]
struct Weighing<I, A> {
    token: u64,
    gained: Duration,
    lost: Duration,
    sounding: Sounding<I, A>,
}

/// A few probes in a row.
#[derive(Debug)]
struct Sounding<I, A> {
    contact: Contact<I, A>,
    /// Of the probe under way.
    probe: u64,
    sent_at: Duration,
    answers: u32,
    shortest: Duration,
}

impl<I: Id, A> Sounding<I, A> {
    fn asks(&self, peer: I, serial: u64) -> bool {
        self.contact.id == peer && self.probe == serial
    }

    /// Notes an answer. Returns the round trip after the last one.
    fn answered(&mut self, now: Duration) -> Option<Duration> {
        self.shortest = self.shortest.min(now.saturating_sub(self.sent_at));
        self.answers += 1;
        (self.answers >= ROUND_TRIPS).then_some(self.shortest)
    }
}

impl<I: Id, A: Address> Optimizer<I, A> {
    /// Whether the connection to `peer` is needed for measuring as i.
    pub(super) fn needs(&self, peer: I) -> bool {
        self.search.as_ref().is_some_and(|search| {
            let nearest = search.nearest.as_ref().map(|(_, nearest)| nearest.id);
            search.sounding.contact.id == peer || nearest == Some(peer)
        })
    }
}

impl<I: Id, A: Address> State<I, A> {
    /// The line to a neighbour that has just come: the first ones are left to chance.
    pub(super) fn new_line(&self) -> Line {
        Line::new(self.config.optimize() && self.unbiased_len() < self.config.unbiased_min())
    }

    pub(super) fn unbiased_len(&self) -> usize {
        self.relations
            .active
            .values()
            .filter(|neighbor| neighbor.line.unbiased_here)
            .count()
    }

    /// What the next heartbeat to `peer` says of the line.
    pub(super) fn gauge(&mut self, peer: I) -> Option<Gauge> {
        let now = self.now;
        let neighbor = self.relations.active.get_mut(&peer);
        neighbor
            .filter(|_| self.config.optimize())
            .map(|neighbor| neighbor.line.gauge(now))
    }

    /// Keeps a link that the neighbour keeps instead of one that only we keep.
    pub(super) fn align(&mut self) {
        let find = |unbiased: bool| {
            self.relations
                .active
                .values()
                .find(|neighbor| {
                    neighbor.line.unbiased_here == unbiased
                        && neighbor.line.unbiased_there != unbiased
                })
                .map(|neighbor| neighbor.contact.id)
        };
        // One for one: how many are left to chance stays the same.
        let (Some(ours), Some(theirs)) = (find(true), find(false)) else {
            return;
        };
        for (peer, unbiased) in [(ours, false), (theirs, true)] {
            if let Some(neighbor) = self.relations.active.get_mut(&peer) {
                neighbor.line.unbiased_here = unbiased;
            }
        }
    }

    /// Whether chance may take `neighbor` away.
    pub(super) fn may_mix(&self, neighbor: &Neighbor<I, A>) -> bool {
        !self.config.optimize() || neighbor.line.unbiased_here || neighbor.crowded
    }

    /// Whether `neighbor` may be given up for a nearer one.
    pub(super) fn is_movable(&self, neighbor: &Neighbor<I, A>) -> bool {
        let rested = self.now.saturating_sub(neighbor.since) >= self.config.optimize_rest();
        let Line {
            unbiased_here,
            unbiased_there,
            ..
        } = neighbor.line;
        self.config.optimize()
            && rested
            && !unbiased_here
            && !unbiased_there
            && neighbor.line.cost().is_some()
    }

    /// The farthest of the neighbours that may be given up.
    pub(super) fn dearest(&self, able: impl Fn(&Neighbor<I, A>) -> bool) -> Option<I> {
        self.relations
            .active
            .values()
            .filter(|neighbor| self.is_movable(neighbor) && able(neighbor))
            .max_by_key(|neighbor| neighbor.line.cost())
            .map(|neighbor| neighbor.contact.id)
    }

    fn cost(&self, peer: I) -> Option<Duration> {
        self.relations.active.get(&peer)?.line.cost()
    }

    /// Whether links as long as `gained` are worth giving up links as long as `lost`.
    fn pays(&self, gained: Duration, lost: Duration) -> bool {
        // By a share and by an amount: round trips vary by some of both, and an exchange within the noise
        // would be undone by the next one.
        let most = lost.saturating_mul(self.config.optimize_percent()) / 100;
        gained < most && lost.saturating_sub(gained) >= self.config.optimize_gain()
    }

    /// i: measures some backups, if there is something to gain.
    pub(super) fn on_optimize_timer<R: Rng>(&mut self, rng: &mut R) {
        let after = spread(self.config.optimize_interval(), rng);
        self.wake(Timer::Optimize, after);
        let dearest = self.dearest(|_| true).and_then(|peer| self.cost(peer));
        // Were the new links of no length at all: if even that does not pay nobody is asked.
        let worth = dearest.is_some_and(|cost| self.pays(Duration::ZERO, cost));
        if !worth || !self.may_optimize() || self.switching.optimizer.search.is_some() {
            return;
        }
        let count = self.config.optimize_candidates();
        let suitable = self.passive().filter(|contact| self.suits(contact));
        let mut rest: Vec<_> = suitable.cloned().sample(rng, count);
        if let Some(first) = rest.pop() {
            self.search(first, rest, None);
        }
    }

    /// Only with a full view: free slots are filled first.
    fn may_optimize(&self) -> bool {
        !self.left
            && self.switching.switch.is_none()
            && !self.is_mixing()
            && self.unheld_slots() == 0
    }

    fn suits(&self, contact: &Contact<I, A>) -> bool {
        self.is_open_to(contact.id) && !self.share_used_up(&contact.record)
    }

    fn search(
        &mut self,
        next: Contact<I, A>,
        rest: Vec<Contact<I, A>>,
        nearest: Option<(Duration, Contact<I, A>)>,
    ) {
        let serial = self.next_serial();
        self.expect(next.id, serial);
        let sounding = self.sound(next);
        self.switching.optimizer.search = Some(Search {
            serial,
            sounding,
            rest,
            nearest,
        });
    }

    fn sound(&mut self, contact: Contact<I, A>) -> Sounding<I, A> {
        let probe = self.send_sounding(contact.clone());
        Sounding {
            contact,
            probe,
            sent_at: self.now,
            answers: 0,
            shortest: Duration::MAX,
        }
    }

    fn send_sounding(&mut self, to: Contact<I, A>) -> u64 {
        let (serial, record) = (self.next_serial(), self.me.record.clone());
        self.send(to, Message::Probe(message::Probe { serial, record }));
        serial
    }

    /// i or d: a probe was answered.
    pub(super) fn on_sounded(&mut self, contact: &Contact<I, A>, serial: u64) {
        self.set_record_of(contact);
        let optimizer = &mut self.switching.optimizer;
        // The serial tells the two apart: a node may measure a backup as i while it measures o as d.
        let search = optimizer
            .search
            .take_if(|measured| measured.sounding.asks(contact.id, serial));
        if let Some(mut search) = search {
            match search.sounding.answered(self.now) {
                Some(cost) => self.searched(search, cost),
                None => {
                    self.sound_again(&mut search.sounding);
                    self.switching.optimizer.search = Some(search);
                }
            }
            return;
        }
        let weighing = optimizer
            .weighing
            .take_if(|measured| measured.sounding.asks(contact.id, serial));
        if let Some(mut weighing) = weighing
            && self.weighed_by(&weighing).is_some()
        {
            match weighing.sounding.answered(self.now) {
                Some(cost) => self.weighed(&weighing, cost),
                None => {
                    self.sound_again(&mut weighing.sounding);
                    self.switching.optimizer.weighing = Some(weighing);
                }
            }
        }
    }

    fn sound_again(&mut self, sounding: &mut Sounding<I, A>) {
        sounding.probe = self.send_sounding(sounding.contact.clone());
        sounding.sent_at = self.now;
    }

    /// i: one backup is measured.
    fn searched(&mut self, search: Search<I, A>, cost: Duration) {
        let Search {
            sounding,
            rest,
            nearest,
            ..
        } = search;
        let contact = sounding.contact;
        // Of two the nearer stays; the connection to the other is of no use any more.
        let (nearest, other) = match nearest {
            Some((best, nearest)) if best <= cost => ((best, nearest), Some(contact.id)),
            farther => ((cost, contact), farther.map(|(_, farther)| farther.id)),
        };
        self.search_on(rest, Some(nearest));
        if let Some(other) = other {
            self.release(other);
        }
    }

    /// i: the next backup, or the move.
    fn search_on(
        &mut self,
        mut rest: Vec<Contact<I, A>>,
        nearest: Option<(Duration, Contact<I, A>)>,
    ) {
        // While one was measured others may have become neighbours.
        rest.retain(|contact| self.suits(contact));
        if self.left {
            return;
        }
        match (rest.pop(), nearest) {
            (Some(next), nearest) => self.search(next, rest, nearest),
            (None, Some((cost, nearest))) => self.bid(nearest, cost),
            (None, None) => {}
        }
    }

    /// i: `peer` is out of reach.
    pub(super) fn search_without(&mut self, peer: I) {
        let search = &mut self.switching.optimizer.search;
        if let Some(search) = search {
            // It may be the best so far instead of the one being measured.
            search.nearest.take_if(|(_, nearest)| nearest.id == peer);
        }
        if let Some(search) = search.take_if(|search| search.sounding.contact.id == peer) {
            self.search_on(search.rest, search.nearest);
        }
    }

    /// i: the timer of a search has expired.
    pub(super) fn search_overdue(&mut self, serial: u64) {
        let search = &mut self.switching.optimizer.search;
        if let Some(search) = search.take_if(|search| search.serial == serial) {
            self.search_on(search.rest, search.nearest);
            self.release(search.sounding.contact.id);
        }
    }

    /// i: proposes to give up the dearest neighbour for `nearest`.
    fn bid(&mut self, nearest: Contact<I, A>, cost: Duration) {
        let peer = nearest.id;
        // Looked up again: measuring took seconds, in which the dearest may have gone.
        let old = self
            .dearest(|_| true)
            .and_then(|old| self.relations.active.get(&old));
        if self.may_optimize()
            && self.suits(&nearest)
            && let Some(old) = old
            && let Some(lost) = old.line.cost()
            && self.pays(cost, lost)
        {
            let bid = Bid {
                record: old.contact.record.clone(),
                gained_micros: micros(cost),
                lost_micros: micros(lost),
            };
            self.propose(nearest, old.contact.id, Some(bid));
        }
        // A proposal that was made holds the connection until it is answered.
        self.release(peer);
    }

    /// d: measures o.
    pub(super) fn weigh(&mut self, mediator: I, token: u64, partner: I, bid: Bid<A>) {
        // As a switch of its own kind: d takes part in no other while it measures, but keeps no slot yet, for
        // nothing is agreed.
        let role = Role::Weighing {
            old: mediator,
            new: partner,
        };
        self.engage(partner, token, role, self.config.request_timeout());
        let contact = Contact {
            id: partner,
            record: bid.record,
        };
        let sounding = self.sound(contact);
        self.switching.optimizer.weighing = Some(Weighing {
            token,
            gained: Duration::from_micros(bid.gained_micros),
            lost: Duration::from_micros(bid.lost_micros),
            sounding,
        });
    }

    /// d: who is c and who o, if the switch is not over yet.
    fn weighed_by(&self, weighing: &Weighing<I, A>) -> Option<(I, I)> {
        let switch = self.switching.switch.as_ref();
        match switch.filter(|switch| switch.token == weighing.token)?.role {
            Role::Weighing { old, new } if new == weighing.sounding.contact.id => Some((old, new)),
            _ => None,
        }
    }

    /// d: knows all four costs.
    fn weighed(&mut self, weighing: &Weighing<I, A>, cost: Duration) {
        let Some((old, new)) = self.weighed_by(weighing) else {
            return;
        };
        self.switching.switch = None;
        let gained = weighing.gained.saturating_add(cost);
        // c was movable when it asked; by now it may have gone, or may be left to chance.
        let mediator = self
            .relations
            .active
            .get(&old)
            .filter(|neighbor| self.is_movable(neighbor));
        let pays = mediator
            .and_then(|neighbor| neighbor.line.cost())
            .is_some_and(|here| self.pays(gained, weighing.lost.saturating_add(here)));
        if pays && self.suits(&weighing.sounding.contact) {
            self.consent(old, weighing.token, new);
        } else {
            let token = weighing.token;
            self.tell(
                old,
                Message::SwitchDecline(message::SwitchDecline { token }),
            );
            self.release(new);
        }
    }
}
