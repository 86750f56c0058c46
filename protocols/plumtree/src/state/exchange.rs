//! Positions compared with neighbours, one after the other and with each new one (R14). What one side
//! lacks is announced to it, or asked for as if it had been announced.

use std::{collections::BTreeMap, ops::Bound};

use super::{
    State,
    neighbors::{Pass, Slot},
};
use crate::{
    Id, Message, Timer,
    message::{Digest, Held, MessageId, Position},
};

impl<I: Id> State<I> {
    pub(super) fn on_exchange_timer(&mut self) {
        // Also without a neighbour: there may be one by then.
        let next = self.now.saturating_add(self.config.exchange_interval());
        self.wake(Timer::Exchange, next);
        let Some((id, slot)) = self.neighbors.after(self.exchanged) else {
            return;
        };
        self.exchanged = Some(id);
        if let Some(neighbor) = self.neighbors.get_mut(slot)
            // A pass that is under way goes on: one that always began anew would never come to the last
            // origins.
            && neighbor.pass == Pass::Idle
        {
            neighbor.pass = Pass::After(None);
            self.flush_soon();
        }
    }

    /// Sends the next part of a pass: one message at a time, so that many origins do not stop a queue.
    pub(super) fn flush_digest(&mut self, slot: Slot) {
        let pass = self.neighbors.get(slot).map(|neighbor| neighbor.pass);
        let Some(Pass::After(after)) = pass else {
            return;
        };
        let most = self.config.list_max();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let list: Vec<Position<I>> = self
            .shelf
            .origins
            .range((from, Bound::Unbounded))
            // What was seen and is not kept any more would be asked for in vain.
            .filter(|(_, origin)| !origin.kept.is_empty())
            .map(|(id, origin)| Position {
                origin: *id,
                held: origin.supply(),
            })
            .take(most)
            .collect();
        // The last part has no upper bound, so that the other side tells of all origins that come after it.
        let upto = if list.len() < most {
            None
        } else {
            list.last().map(|position| position.origin)
        };
        if let Some(neighbor) = self.neighbors.get_mut(slot) {
            neighbor.pass = upto.map_or(Pass::Idle, |last| Pass::After(Some(last)));
        }
        if upto.is_some() {
            self.flush_soon();
        }
        self.counters.digests += 1;
        self.send(slot, Message::Digest(Digest { after, upto, list }));
    }

    pub(super) fn on_digest(&mut self, slot: Slot, digest: Digest<I>) {
        let Digest {
            after,
            upto,
            mut list,
        } = digest;
        list.truncate(self.config.list_max());
        let theirs: BTreeMap<I, Held> = list
            .into_iter()
            .map(|position| (position.origin, position.held))
            .collect();
        for (origin, held) in &theirs {
            let id = |seq| MessageId {
                origin: *origin,
                incarnation: held.incarnation,
                seq,
            };
            // One claim will do: the graft that follows tells all that we hold, and all that we lack is sent.
            if let Some(seq) = held.newest_of(|seq| self.lacks(&id(seq))) {
                self.claim(slot, &id(seq), None);
            }
        }
        for (id, hops) in self.unknown_to(&theirs, after, upto) {
            self.announce(slot, id, hops);
        }
    }

    /// What we can supply of the origins after `after` up to `upto` that is not in `theirs`.
    fn unknown_to(
        &self,
        theirs: &BTreeMap<I, Held>,
        after: Option<I>,
        upto: Option<I>,
    ) -> Vec<(MessageId<I>, u16)> {
        let keep = self.config.keep();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.shelf
            .origins
            .range((from, Bound::Unbounded))
            .take_while(|(id, _)| upto.is_none_or(|upto| **id <= upto))
            .flat_map(|(id, origin)| {
                // Within the bounds, what is not listed is not there.
                let held = theirs.get(id).copied().unwrap_or_default();
                origin
                    .kept
                    .iter()
                    .filter(move |kept| !held.covers(origin.incarnation, kept.seq, keep))
                    .map(|kept| {
                        let id = MessageId {
                            origin: *id,
                            incarnation: origin.incarnation,
                            seq: kept.seq,
                        };
                        (id, kept.hops)
                    })
            })
            .take(self.config.announcements_max())
            .collect()
    }
}
