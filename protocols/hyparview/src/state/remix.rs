//! Four-node switches (R8): links i-o and c-d become i-c and d-o. The letters are those of X-BOT: i the
//! initiator, o its old neighbour, c the candidate, d the one that c gives up (the disconnected). All degrees stay the same, and
//! random switches turn any connected graph into a random one: a crowd that joined through one
//! contact spreads out, and two healed halves grow together.
//!
//! ```text
//! i --SwitchProposal(o)--> c --SwitchInvite(o)--> d       agreement: nothing is cut yet
//! i <--SwitchReady(d)----- c <--SwitchConsent---- d
//! i --Disconnect(Switched to d)--> o --Neighbor(Switch)--> d     each link is made by a plain
//! i --Neighbor(Switch)--> c --Disconnect(Switched)--> d          handshake, cut by a plain Disconnect
//! ```
//!
//! With i standing for o as well the same steps put i between c and d: so a node fills two slots
//! when everybody else is full.
//!
//! The same steps with a bid make links shorter: see `optimize`.
//!
//! A node takes part in one switch at a time, and keeps the slot that it will need. When a step
//! fails, the timer of each participant frees what it keeps, and the refill does the rest: views
//! stay symmetric whatever happens, for no link depends on another.

use std::time::Duration;

use rand::{Rng, seq::IndexedRandom};

use super::{
    State,
    alarms::{spread, within},
    relations::Neighbor,
    request::Purpose,
    switch::{Role, Switch},
};
use crate::{
    Address, Bid, Contact, DisconnectReason, DownReason, Id, Message, Timer,
    message::{SwitchConsent, SwitchDecline, SwitchInvite, SwitchProposal, SwitchReady},
};

/// Mixing ends after this long, whether or not all switches came about.
const MIXING_MOST: Duration = Duration::from_secs(60);

/// Switches that this node is to start at the burst rate.
#[derive(Debug, Default)]
pub(super) struct Mixing {
    wanted: u32,
    until: Duration,
}

impl<I: Id, A: Address> State<I, A> {
    /// Slots kept for a neighbour to come in a switch, the old one having gone.
    pub(super) fn switch_slots(&self) -> usize {
        let exchange = self.switching.switch.as_ref().and_then(Switch::exchange);
        usize::from(exchange.is_some_and(|(old, _)| !self.relations.active.contains_key(&old)))
    }

    /// Makes `switches` soon, if enough others go along.
    pub(super) fn mix<R: Rng>(&mut self, switches: u32, rng: &mut R) {
        self.switching.mixing = Mixing {
            wanted: self.switching.mixing.wanted.max(switches),
            until: self.now.saturating_add(MIXING_MOST),
        };
        self.mix_soon(rng);
    }

    fn mix_soon<R: Rng>(&mut self, rng: &mut R) {
        if self.is_mixing() {
            let after = within(self.config.remix_burst_interval(), rng);
            self.wake(Timer::Remix, after);
        }
    }

    pub(super) fn is_mixing(&self) -> bool {
        self.switching.mixing.wanted > 0 && self.now < self.switching.mixing.until
    }

    /// i: proposes a switch to a random peer outside the view.
    pub(super) fn on_remix_timer<R: Rng>(&mut self, rng: &mut R) {
        let mixing = self.is_mixing();
        let crowded = self.spread_out();
        // Each switch moves two links, and the application has to follow: seldom in steady state, quickly
        // when two halves hang on a few links, and for a crowd slowly enough for shuffles to leave it between
        // two (`crowd`).
        let mean = if mixing {
            self.config.remix_burst_interval()
        } else if crowded.is_some() {
            self.config.settle_time()
        } else {
            self.config.remix_interval()
        };
        let after = spread(mean, rng);
        self.wake(Timer::Remix, after);
        if crowded.is_none() {
            self.spread_soon(rng);
        }
        // Who gives up its only neighbour is alone until d and c have answered.
        if self.relations.active.len() < 2 {
            return;
        }
        let Some(new) = self.switch_candidate(mixing, rng) else {
            return;
        };
        // Both sides give up links made in a crowd first, and then their oldest, so that all links are
        // mixed in turn.
        let oldest = || {
            let all = self
                .relations
                .active
                .values()
                .filter(|neighbor| self.may_mix(neighbor));
            all.min_by_key(|neighbor| neighbor.since)
                .map(|neighbor| neighbor.contact.id)
        };
        if let Some(old) = crowded.or_else(oldest) {
            self.propose(new, old, None);
        }
    }

    /// i, with free slots that nobody could fill: with two it proposes to stand between two others. With one
    /// it gives up a neighbour that has one as well: neither of them could fill it but with the other.
    pub(super) fn insert_self<R: Rng>(&mut self, rng: &mut R) {
        let lacks = |neighbor: &&Neighbor<I, A>| {
            usize::from(neighbor.degree) < self.config.active_capacity() && self.may_mix(neighbor)
        };
        // With one slot it cannot stand between two others, who each need one. With a neighbour that lacks
        // one, too, it can exchange this link for two others.
        let old = match self.free_slots() {
            0 => None,
            1 => self
                .relations
                .active
                .values()
                .find(lacks)
                .map(|neighbor| neighbor.contact.id),
            _ => Some(self.me.id),
        };
        if let Some(old) = old
            && let Some(new) = self.switch_candidate(false, rng)
        {
            self.propose(new, old, None);
        }
    }

    pub(super) fn propose(&mut self, new: Contact<I, A>, old: I, bid: Option<Bid<A>>) {
        // One at a time: two would count on the same slot.
        if self.left || self.switching.switch.is_some() {
            return;
        }
        let token = self.next_serial();
        let role = Role::Initiator { old, new: new.id };
        self.switching.switch = Some(Switch {
            serial: token,
            token,
            role,
        });
        let (peer, record) = (new.id, self.me.record.clone());
        let timeout = self.switch_timeout(bid.is_some());
        let message = Message::SwitchProposal(SwitchProposal {
            token,
            record,
            old,
            bid,
        });
        self.send(new, message);
        self.expect_within(peer, token, timeout);
    }

    /// How long i and c wait for the others. With a `bid` d has to measure o first.
    fn switch_timeout(&self, bid: bool) -> Duration {
        self.config.request_timeout() * if bid { 2 } else { 1 }
    }

    /// A random peer; after a partition one from the other side.
    fn switch_candidate<R: Rng>(&self, burst: bool, rng: &mut R) -> Option<Contact<I, A>> {
        let suits = |peer: I| self.is_open_to(peer);
        // Suspects that answer again are the other side of a cut: what is to be mixed is the two sides. In
        // steady state they would only make switches fail.
        let across = self
            .reserve
            .suspects
            .next(Some(self.now), suits)
            .filter(|_| burst);
        let random = self.reserve.backup(|backup| suits(backup.contact.id), rng);
        across.or(random.map(|backup| &backup.contact)).cloned()
    }

    /// c: asks a neighbour to give way.
    pub(super) fn on_switch_proposal<R: Rng>(
        &mut self,
        new: I,
        proposal: SwitchProposal<I, A>,
        rng: &mut R,
    ) {
        let SwitchProposal {
            token,
            record,
            old,
            bid,
        } = proposal;
        let initiator = Contact { id: new, record };
        let leaving = self.give_way(&initiator, old, bid.is_some(), rng);
        // Whatever comes of it, i is alive: a backup.
        self.set_record_of(&initiator);
        self.learn(initiator, &[], rng);
        match leaving {
            Some(leaving) => {
                self.engage(
                    new,
                    token,
                    Role::Mediator {
                        old: leaving,
                        new,
                        agreed: false,
                    },
                    self.switch_timeout(bid.is_some()),
                );
                self.tell(
                    leaving,
                    Message::SwitchInvite(SwitchInvite {
                        token,
                        partner: old,
                        bid,
                    }),
                );
            }
            None => self.switch_off(new, token),
        }
    }

    /// Which neighbour is to give way to `initiator`.
    fn give_way<R: Rng>(
        &mut self,
        initiator: &Contact<I, A>,
        old: I,
        bid: bool,
        rng: &mut R,
    ) -> Option<I> {
        let new = initiator.id;
        let willing = !self.left
            && self.switching.switch.is_none()
            && old != self.me.id
            && self.is_open_to(new)
            && !self.share_used_up(&initiator.record)
            // Last, so that only a proposal that could be followed costs something of the allowance.
            && self.guards.admission.serve(self.now);
        let able = |neighbor: &Neighbor<I, A>| {
            willing && neighbor.contact.id != old && !self.protected(neighbor, 0)
        };
        // The dearest is what shortens the sum of all links most; d judges whether that is enough.
        if bid {
            return self.dearest(able);
        }
        // Who steps in between two others gains two links, and gives none: no more than by asking (R11).
        let spared = if old == new {
            self.tenured()
        } else {
            Vec::new()
        };
        let mut able: Vec<_> = self
            .relations
            .active
            .values()
            .filter(|neighbor| {
                able(neighbor) && self.may_mix(neighbor) && !spared.contains(&neighbor.contact.id)
            })
            .map(|neighbor| (!neighbor.crowded, neighbor.since, neighbor.contact.id))
            .collect();
        // Links made in a crowd first: for them alone i may be asking. Then the oldest, so that all are mixed
        // in turn.
        able.sort_unstable();
        // A marked one, or one of the older half: another one than last time, should that have declined.
        let marked = able.iter().filter(|(unmarked, ..)| !unmarked).count();
        let older = if marked > 0 {
            marked
        } else {
            able.len().div_ceil(2)
        };
        able[..older].choose(rng).map(|(.., id)| *id)
    }

    /// d: agrees to part with c, if o is not a neighbour already.
    pub(super) fn on_switch_invite(&mut self, from: I, invite: SwitchInvite<I, A>) {
        let SwitchInvite {
            token,
            partner,
            bid,
        } = invite;
        // Only a neighbour can be parted with. c waits for nobody else and gives up in time.
        let Some(neighbor) = self.relations.active.get(&from) else {
            return;
        };
        let willing = self.switching.switch.is_none()
            && partner != self.me.id
            && self.is_open_to(partner)
            && !self.is_last_chosen(neighbor)
            && match &bid {
                // A link that is optimised goes only for a shorter one. One that either end leaves to chance
                // may be mixed, whatever its length.
                Some(bid) => self.is_movable(neighbor) && !self.share_used_up(&bid.record),
                None => self.may_mix(neighbor) || neighbor.line.unbiased_there,
            };
        match bid {
            _ if !willing => self.tell(from, Message::SwitchDecline(SwitchDecline { token })),
            Some(bid) => self.weigh(from, token, partner, bid),
            None => self.consent(from, token, partner),
        }
    }

    /// d: is ready for o.
    pub(super) fn consent(&mut self, old: I, token: u64, new: I) {
        let timeout = self.config.request_timeout();
        // From now on d keeps a slot for o: c may part with it at any moment.
        self.engage(new, token, Role::Partner { old, new }, timeout);
        self.tell(old, Message::SwitchConsent(SwitchConsent { token }));
    }

    /// Whether `neighbor` is the last one that we chose ourselves. Less is at stake here than in an
    /// eviction: c was not chosen by the peer that comes.
    fn is_last_chosen(&self, neighbor: &Neighbor<I, A>) -> bool {
        neighbor.epoch.by == self.me.id
            && self.relations.outbound(self.me.id) <= self.config.outbound_min().div_ceil(2)
    }

    /// c: tells i to go ahead.
    pub(super) fn on_switch_consent(&mut self, from: I, consent: SwitchConsent) {
        let SwitchConsent { token } = consent;
        let partner = self
            .relations
            .active
            .get(&from)
            .map(|neighbor| neighbor.contact.clone());
        let switch = self
            .switching
            .switch
            .as_mut()
            .filter(|switch| switch.token == token);
        // Consent counts from the neighbour that was asked, once, in the switch under way. Anything else is
        // late.
        if let (Some(partner), Some(switch)) = (partner, switch)
            && let Role::Mediator {
                old,
                new,
                agreed: false,
            } = switch.role
            && old == from
        {
            switch.role = Role::Mediator {
                old,
                new,
                agreed: true,
            };
            self.tell(new, Message::SwitchReady(SwitchReady { token, partner }));
        }
    }

    /// i: sends o to d, and turns to c.
    pub(super) fn on_switch_ready<R: Rng>(
        &mut self,
        from: I,
        ready: SwitchReady<I, A>,
        rng: &mut R,
    ) {
        let SwitchReady { token, partner } = ready;
        let asked = |switch: &mut Switch<I>| {
            switch.token == token
                && matches!(switch.role, Role::Initiator { new, .. } if new == from)
        };
        let Some(Switch {
            role: Role::Initiator { old, new },
            ..
        }) = self.switching.switch.take_if(asked)
        else {
            return;
        };
        let inserts = old == self.me.id;
        // While the others agreed c may have become a neighbour otherwise, o may have gone, or a slot may
        // have been filled. Nothing has been cut yet, so nothing is lost.
        let possible = !self.relations.active.contains_key(&new)
            && !self.relations.pending.contains_key(&new)
            && partner.id != self.me.id
            && partner.id != old
            && if inserts {
                self.free_slots() >= 2
            } else {
                self.relations.active.contains_key(&old)
            };
        let Some(contact) = self.contact_of(new).filter(|_| possible) else {
            return self.switch_off(from, token);
        };
        if inserts {
            // i stands in the place of o: it turns to d itself.
            self.request(partner, Purpose::Switch(token));
        } else {
            // o is told of d together with the end: it loses no time without a neighbour.
            let told = DisconnectReason::Switched {
                successor: Some((token, partner)),
            };
            self.part(old, told, DownReason::Switched, rng);
            self.switching.mixing.wanted = self.switching.mixing.wanted.saturating_sub(1);
            self.mix_soon(rng);
        }
        self.request(contact, Purpose::Switch(token));
    }

    /// Nothing comes of the switch: whoever waits for its next step need wait no longer.
    pub(super) fn on_switch_decline<R: Rng>(
        &mut self,
        from: I,
        decline: SwitchDecline,
        rng: &mut R,
    ) {
        let SwitchDecline { token } = decline;
        let concerned = |switch: &mut Switch<I>| {
            switch.token == token
                && match switch.role {
                    Role::Initiator { new, .. } => new == from,
                    Role::Mediator { old, new, .. } => old == from || new == from,
                    Role::Partner { old, .. } | Role::Weighing { old, .. } => old == from,
                }
        };
        match self
            .switching
            .switch
            .take_if(concerned)
            .map(|switch| switch.role)
        {
            // In the middle: the one who has not declined is told.
            Some(Role::Mediator { old, new, .. }) => {
                self.switch_off(if from == old { new } else { old }, token);
                self.release(from);
            }
            Some(Role::Initiator { .. }) => {
                self.release(from);
                self.mix_soon(rng);
            }
            Some(Role::Weighing { new, .. }) => self.release(new),
            // d has lost nobody and keeps c; its slot is free again with the switch.
            Some(Role::Partner { .. }) | None => {}
        }
    }

    fn switch_off(&mut self, peer: I, token: u64) {
        self.tell(peer, Message::SwitchDecline(SwitchDecline { token }));
        self.release(peer);
    }

    /// c and d: the new neighbour has come; the old one goes, if it has not gone yet. Returns
    /// whether there is a slot for the new one.
    pub(super) fn complete_switch<R: Rng>(&mut self, peer: I, token: u64, rng: &mut R) -> bool {
        let agreed = |switch: &mut Switch<I>| {
            switch.token == token && switch.exchange().is_some_and(|(_, new)| new == peer)
        };
        let switch = self.switching.switch.take_if(agreed);
        let Some((old, _)) = switch.and_then(|switch| switch.exchange()) else {
            return false;
        };
        let told = DisconnectReason::Switched { successor: None };
        // c and d let go of each other only now that the first new neighbour is here: a switch that fails
        // earlier has cut nothing.
        self.part(old, told, DownReason::Switched, rng);
        self.unheld_slots() > 0
    }

    pub(super) fn engage(&mut self, peer: I, token: u64, role: Role<I>, timeout: Duration) {
        let serial = self.next_serial();
        self.switching.switch = Some(Switch {
            serial,
            token,
            role,
        });
        self.expect_within(peer, serial, timeout);
    }
}
