//! How relations end, and what becomes of the peer: a backup, a suspect, or nothing.

use rand::Rng;

use super::{State, relations::Neighbor, request::Purpose};
use crate::{
    Address, DisconnectReason, DownReason, Id, Loss,
    message::{Disconnect, Refuse},
};

impl<I: Id, A: Address> State<I, A> {
    /// The other side ends the relation. A Disconnect of a relation of the past is ignored (R3).
    pub(super) fn on_disconnect<R: Rng>(
        &mut self,
        from: I,
        disconnect: Disconnect<I, A>,
        rng: &mut R,
    ) {
        let Disconnect {
            epoch,
            reason: told,
            sample,
        } = disconnect;
        // A request that was withdrawn is not answered; without a slot it may still wait here.
        self.relations.waiting.retain(|ask| ask.epoch != epoch);
        if self.relations.no_longer_half_open(from, epoch).is_some() {
            // The peer has given up before it has confirmed. Nobody had gone for it.
            return self.release(from);
        }
        // It had granted our request and takes that back, before we heard of it: as good as a refusal.
        if self.relations.awaits(from, epoch) {
            return self.on_refuse(from, Refuse { epoch, sample }, rng);
        }
        // It is about a relation of the past: the one of today is not ended by it (R3).
        if !self.relations.holds(from, epoch) {
            return;
        }
        let reason = match told {
            DisconnectReason::Evicted | DisconnectReason::Unwanted => DownReason::Dropped,
            DisconnectReason::Leaving => DownReason::Left,
            DisconnectReason::Switched { .. } => DownReason::Switched,
        };
        let Some(gone) = self.dismiss(from, reason) else {
            return;
        };
        self.learn_all(sample, &[], rng);
        self.release(from);
        match told {
            // Others will name it for a while. Nobody would be served by our asking it.
            DisconnectReason::Leaving => self.guards.quarantine.departed(from, self.now),
            DisconnectReason::Evicted | DisconnectReason::Unwanted => {
                self.set_aside(gone.contact, rng);
            }
            DisconnectReason::Switched { successor } => {
                self.set_aside(gone.contact, rng);
                // d waits for us and keeps a slot. Without a successor we have lost one neighbour, as in any
                // other way.
                if let Some((token, successor)) = successor
                    && !self.is_kept_out(successor.id)
                {
                    self.request(successor, Purpose::Switch(token));
                }
            }
        }
    }

    /// No connection to `peer` is left.
    pub(super) fn on_connection_lost<R: Rng>(&mut self, peer: I, cause: Loss, rng: &mut R) {
        let reason = match cause {
            Loss::Closed => DownReason::Closed,
            Loss::Slow => DownReason::Slow,
            Loss::Misbehaved => DownReason::Misbehaved,
        };
        if cause != Loss::Closed {
            // Paper 5.5: a peer that does not drain its queue must not come straight back.
            self.guards.quarantine.offended(peer, self.now);
        }
        if let Some(gone) = self.dismiss(peer, reason) {
            // Slow and misbehaving peers were punished above, whenever they came.
            if cause == Loss::Closed {
                self.judge(&gone);
            }
            self.suspect(gone.contact, true, rng);
        // Not asked at once from the passive view; as a suspect it comes back with back-off.
        } else if cause != Loss::Closed
            && let Some(backup) = self.reserve.passive.remove(&peer)
        {
            self.suspect(backup.contact, true, rng);
        }
        // A request may have met a connection that was just closing: the peer is as good as before.
        if let Some(ours) = self.relations.pending.remove(&peer) {
            self.learn(ours.contact, &[], rng);
        }
        self.abandon(peer);
    }

    /// `peer` could not be reached.
    pub(super) fn on_unreachable<R: Rng>(&mut self, peer: I, rng: &mut R) {
        if self.relations.active.contains_key(&peer) {
            // A neighbour to which nothing could be sent is lost, whatever was tried.
            return self.on_connection_lost(peer, Loss::Closed, rng);
        }
        let asked = self
            .relations
            .pending
            .remove(&peer)
            .map(|ours| ours.contact);
        if let Some(contact) = asked.or_else(|| self.contact_of(peer)) {
            self.suspect(contact, false, rng);
        }
        self.abandon(peer);
    }

    /// Whatever else we waited for from `peer` will not come.
    fn abandon(&mut self, peer: I) {
        self.relations.stop_waiting(peer);
        // Of all these steps none comes without a connection; the timers would only say so later.
        self.relations.half_open.remove(&peer);
        self.healing.probe.take_if(|probe| probe.peer == peer);
        self.switching.switch.take_if(|switch| switch.awaits(peer));
        self.search_without(peer);
    }

    /// Counts the loss of a neighbour against it if it came only just now.
    pub(super) fn judge(&mut self, gone: &Neighbor<I, A>) {
        let stayed = self.now.saturating_sub(gone.since);
        if stayed < self.config.flap_window() {
            self.guards.quarantine.flapped(gone.contact.id, self.now);
        } else {
            self.guards.quarantine.forgive(gone.contact.id);
        }
    }
}
