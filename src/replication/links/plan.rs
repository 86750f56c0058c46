//! What to do next: a pure function of what is wanted, what is there and what is remembered.
//!
//! It is asked again after every event, every finished step and every tick, and never keeps a plan:
//! a step that is no longer needed is not taken, one that failed comes up again by itself.

use std::{collections::BTreeSet, time::Duration};

use super::{
    bounds::{Bounds, Excess},
    desired::{Desired, Doubt, Phase, Presence},
    ledger::{InNote, Ledger, OutNote},
    observed::{Incoming, Inventory, Observed, Outgoing},
    policy::{Want, Wants},
    step::{Step, TeardownReason},
};
use crate::{identity::NodeId, replication::names::LinkName};

#[cfg(test)]
mod tests;

/// A link that has not streamed for this long is looked into; the server restarts a failed apply worker
/// every half second.
pub(crate) const STALL: Duration = Duration::from_secs(5);

/// How often the publisher may find a link whole that does not stream, before it is replaced. Each time
/// it ends a sender that has not noticed yet that its connection is broken, and holds the slot.
const FRUITLESS_RESUMES_MAX: u32 = 4;

/// How long a slot without publication, or the reverse, may take to become whole.
const HALF_MADE_MAX: Duration = Duration::from_secs(10);

/// The planner's limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) grace: Duration,
    pub(crate) bounds: Bounds,
}

/// All that the planner sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) desired: &'a Desired,
    /// What is wanted of the links with each neighbour.
    pub(crate) wants: &'a Wants,
    pub(crate) observed: &'a Observed,
    pub(crate) ledger: &'a Ledger,
    pub(crate) limits: Limits,
    pub(crate) now: Duration,
}

/// All steps that are due, whether or not their key is busy or backing off; at most one per key.
pub(crate) fn plan(view: View<'_>) -> Vec<Step> {
    let inventory = match view.observed {
        Observed::Unknown => return vec![Step::Inspect],
        Observed::Known(inventory) => inventory,
    };
    let mut steps = Vec::new();
    // A node that leaves takes nothing new. What is there stays: others may still fetch what they lack.
    if view.desired.phase == Phase::Serving {
        steps.extend(
            view.wants
                .linked()
                .filter_map(|peer| view.subscribe(inventory, peer))
                .filter(|step| !view.is_doubtful(step)),
        );
    }
    for (name, link) in &inventory.incoming {
        steps.extend(view.unsubscribe(*name, link));
    }
    for (name, link) in &inventory.outgoing {
        let unpublish = |why| Step::Unpublish { link: *name, why };
        steps.extend(view.unpublish(inventory, name, link).map(unpublish));
    }
    // Two steps of one key would change the same subscriptions at once. What is left out comes up again.
    // The first of a key stays: a link is made before another one is dropped.
    let mut planned = BTreeSet::new();
    steps.retain(|step| planned.insert(step.key()));
    steps
}

impl View<'_> {
    /// What a neighbour's link to us needs.
    fn subscribe(&self, inventory: &Inventory, peer: &NodeId) -> Option<Step> {
        let (_, generation) = self.desired.neighbor(peer)?;
        let usable = |(name, link): &(&LinkName, &Incoming)| {
            // Slot and publication are named and filtered for the site that we had then. As another site we need
            // others.
            let ours = Some(LinkName::new(inventory.own, name.epoch));
            link.enabled
                && !link.is_stale
                && link.slot == ours
                && !self.about(name).is_some_and(|n| n.beyond_repair)
        };
        // Make before break leaves two for a while: the newer one is to stay.
        let newest = inventory
            .incoming_of(peer)
            .filter(usable)
            .max_by_key(|(name, _)| name.epoch);
        let Some((name, link)) = newest else {
            return Some(Step::Open { peer: peer.clone() });
        };
        let resume = Step::Resume {
            peer: peer.clone(),
            link: *name,
        };
        // Found, not made by this start of ours: only the publisher knows whether its slot has passed over anything.
        let Some(verified) = self.about(name).and_then(|note| note.verified) else {
            return Some(resume);
        };
        let note = self.about(name)?;
        // While the peer was no neighbour it may have dropped its end, or it has moved.
        if verified.0 != generation || self.is_stalled(note, verified.1) {
            return Some(resume);
        }
        // Asking has ended whatever sender held the slot, time after time, and nothing streams: it lies elsewhere.
        if note.fruitless_resumes >= FRUITLESS_RESUMES_MAX {
            return Some(Step::Open { peer: peer.clone() });
        }
        let other = inventory
            .incoming_of(peer)
            .map(|(other, _)| *other)
            .find(|o| o != name)?;
        let why = TeardownReason::Superseded;
        // Until the newer one streams, the older one still carries what it can.
        link.streaming.then(|| Step::Unsubscribe {
            peer: Some(peer.clone()),
            link: other,
            why,
        })
    }

    fn about(&self, link: &LinkName) -> Option<&InNote> {
        self.ledger.incoming.get(link)
    }

    /// Whether the link has been down for a while, and was not asked about for a while.
    fn is_stalled(&self, note: &InNote, verified_at: Duration) -> bool {
        note.fruitless_resumes < FRUITLESS_RESUMES_MAX
            && note
                .down_since
                // From the last answer on: it may have ended a sender, and the worker has yet to come back.
                .is_some_and(|since| self.now >= since.max(verified_at) + STALL)
    }

    fn unsubscribe(&self, name: LinkName, link: &Incoming) -> Option<Step> {
        let note = self.about(&name)?;
        let why = self
            .unwanted(link.peer.as_ref(), note.first_seen)
            .or_else(|| {
                self.is_dead(link.peer.as_ref()?, note)
                    .then_some(TeardownReason::Dead)
            })
            .or_else(|| {
                self.is_ahead(link.peer.as_ref()?)
                    .then_some(TeardownReason::Clock)
            })
            .or_else(|| {
                self.is_lazy(link.peer.as_ref()?)
                    .then_some(TeardownReason::Lazy)
            })?;
        Some(Step::Unsubscribe {
            peer: link.peer.clone(),
            link: name,
            why,
        })
    }

    /// The grace period of a lost peer is there for links that can go on.
    fn is_dead(&self, peer: &NodeId, note: &InNote) -> bool {
        note.beyond_repair && matches!(self.desired.peers.get(peer), Some(Presence::Lost { .. }))
    }

    /// Data comes and goes by other ways.
    fn is_lazy(&self, peer: &NodeId) -> bool {
        self.wants.of(peer) == Some(Want::Lazy)
    }

    fn is_ahead(&self, peer: &NodeId) -> bool {
        self.desired.doubts.get(peer) == Some(&Doubt::Ahead)
    }

    /// Whether the step would take something from a clock that is not believed.
    fn is_doubtful(&self, step: &Step) -> bool {
        match step {
            Step::Open { peer } => self.desired.doubts.contains_key(peer),
            // It stays while the clock is only unread: after a restart of ours all clocks are.
            Step::Resume { peer, .. } => self.is_ahead(peer),
            Step::Inspect | Step::Unsubscribe { .. } | Step::Unpublish { .. } => false,
        }
    }

    fn unpublish(
        &self,
        inventory: &Inventory,
        name: &LinkName,
        link: &Outgoing,
    ) -> Option<TeardownReason> {
        // It has no slot yet, perhaps for minutes: a slot waits for every transaction that writes.
        if self.ledger.opening.contains_key(name) {
            return None;
        }
        let note = self.ledger.outgoing.get(name)?;
        self.unwanted(link.peer.as_ref(), note.first_seen)
            .or_else(|| self.out_of_bounds(note, link))
            .or_else(|| self.half_made(note))
            .or_else(|| self.superseded(inventory, name, note, link))
            .or_else(|| {
                self.is_left_behind(note, link)
                    .then_some(TeardownReason::Lazy)
            })
    }

    /// Why no link with this peer should be, if so.
    fn unwanted(&self, peer: Option<&NodeId>, first_seen: Duration) -> Option<TeardownReason> {
        if self.desired.phase == Phase::Gone {
            return Some(TeardownReason::Leaving);
        }
        let over = |since: Duration| self.now >= since + self.limits.grace;
        match peer.and_then(|peer| self.desired.peers.get(peer)) {
            Some(Presence::Present { .. }) => None,
            Some(Presence::Lost { since }) => over(*since).then_some(TeardownReason::GraceOver),
            Some(Presence::Gone) => Some(TeardownReason::Departed),
            // After a restart of ours nobody is a neighbour yet: whoever comes back finds its links.
            None => over(first_seen).then_some(TeardownReason::Debris),
        }
    }

    fn out_of_bounds(&self, note: &OutNote, link: &Outgoing) -> Option<TeardownReason> {
        let inactive = note
            .inactive_since
            .map_or(Duration::ZERO, |since| self.now - since);
        // At once, whatever it costs: a worker that comes back would go on behind what was skipped.
        if note.is_moved {
            return Some(TeardownReason::Bounds(Excess::Taken));
        }
        self.limits
            .bounds
            .judge(&link.slot?, inactive)
            .map(TeardownReason::Bounds)
    }

    fn half_made(&self, note: &OutNote) -> Option<TeardownReason> {
        let longest = HALF_MADE_MAX.min(self.limits.grace);
        note.half_since
            .filter(|since| self.now >= *since + longest)
            .map(|_| TeardownReason::HalfMade)
    }

    /// A subscriber that does not want the link any more says so. This one was not heard, and WAL is kept for it.
    fn is_left_behind(&self, note: &OutNote, link: &Outgoing) -> bool {
        let idle = note
            .inactive_since
            .is_some_and(|since| self.now >= since + self.limits.grace);
        idle && link.peer.as_ref().is_some_and(|peer| self.is_lazy(peer))
    }

    /// Nobody streams from this end, while the same peer has a newer one.
    fn superseded(
        &self,
        inventory: &Inventory,
        name: &LinkName,
        note: &OutNote,
        link: &Outgoing,
    ) -> Option<TeardownReason> {
        let peer = link.peer.as_ref()?;
        // That there is a newer one is not enough: its subscriber may be catching up while this one streams.
        let idle = note
            .inactive_since
            .is_some_and(|since| self.now >= since + self.limits.grace);
        let newer = inventory
            .outgoing_of(peer)
            .any(|(other, _)| other.epoch > name.epoch);
        (idle && newer).then_some(TeardownReason::Superseded)
    }
}
