//! What holds after every input (R2).

use super::{
    State, admission::PEERS_MAX, alarms::ALARMS_MAX, asked::WAITING_MAX, half_open::HALF_OPEN_MAX,
    neighbor::PENDING_MAX,
};
use crate::{Address, Id};

/// A broken invariant (R2), found by [`State::check`]. Peers are given as their ids print for people who look for a
/// defect; what is over its bound, by the name of the view or list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The node is in one of its own views: which.
    #[error("the node is in its own {0}")]
    Own(&'static str),
    /// A peer is in two views at once: which two, and the peer.
    #[error("{1} is both {0}")]
    Twice(&'static str, String),
    /// A view or list is longer than it may be: which, and its length.
    #[error("{0} is over its capacity with {1} entries")]
    Full(&'static str, usize),
    /// A relation or request bears the name of other peers than its own: with whom it is.
    #[error("the epoch of {0} does not belong to it")]
    Epoch(String),
}

impl<I: Id, A: Address> State<I, A> {
    /// Whether all invariants hold (R2): the views are disjoint, none holds this node, none is
    /// over its capacity; requests are pending only for peers that are not active; each relation
    /// is named by one of its two peers.
    ///
    /// # Errors
    ///
    /// The first invariant that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_own()?;
        self.check_disjoint()?;
        self.check_sizes()?;
        for (peer, neighbor) in &self.relations.active {
            if neighbor.epoch.by != *peer && neighbor.epoch.by != self.me.id {
                return Err(Violation::Epoch(format!("{peer:?}")));
            }
        }
        // Only we name our requests: an answer to another name is not ours.
        for (peer, ours) in &self.relations.pending {
            if ours.epoch.by != self.me.id || ours.contact.id != *peer {
                return Err(Violation::Epoch(format!("{peer:?}")));
            }
        }
        Ok(())
    }

    fn check_own(&self) -> Result<(), Violation> {
        let me = &self.me.id;
        let views = [
            ("active view", self.relations.active.contains_key(me)),
            ("passive view", self.reserve.passive.contains_key(me)),
            ("requests", self.relations.pending.contains_key(me)),
            ("suspects", self.reserve.suspects.contains(*me)),
            (
                "permanent contacts",
                self.reserve.permanent.contains_key(me),
            ),
        ];
        match views.into_iter().find(|(_, own)| *own) {
            Some((view, _)) => Err(Violation::Own(view)),
            None => Ok(()),
        }
    }

    fn check_disjoint(&self) -> Result<(), Violation> {
        let twice = |what, peer: &I| Err(Violation::Twice(what, format!("{peer:?}")));
        for peer in self.relations.active.keys() {
            if self.reserve.passive.contains_key(peer) {
                return twice("active and passive", peer);
            }
            if self.relations.pending.contains_key(peer) {
                return twice("active and asked", peer);
            }
            if self.reserve.suspects.contains(*peer) {
                return twice("active and a suspect", peer);
            }
            if self.relations.keeps_waiting(*peer) {
                return twice("active and waiting", peer);
            }
            if self.relations.half_open.contains_key(peer) {
                return twice("active and half open", peer);
            }
        }
        for peer in self.reserve.passive.keys() {
            if self.reserve.suspects.contains(*peer) {
                return twice("passive and a suspect", peer);
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), Violation> {
        match self.sizes().into_iter().find(|(_, len, most)| len > most) {
            Some((what, len, _)) => Err(Violation::Full(what, len)),
            None => Ok(()),
        }
    }

    /// How many entries all collections of this node hold together: what its memory grows with.
    pub fn entries(&self) -> usize {
        self.sizes().into_iter().map(|(_, len, _)| len).sum()
    }

    /// Every collection that others have a hand in: what it is, its length, and the most that it may be.
    fn sizes(&self) -> [(&'static str, usize, usize); 15] {
        let config = &self.config;
        let (ended, ended_max) = self.relations.ended_len();
        let [requests, shuffles, walks] = self.guards.admission.lens();
        [
            (
                "active view",
                self.relations.active.len(),
                config.active_capacity().max(1),
            ),
            (
                "passive view",
                self.reserve.passive.len(),
                config.passive_capacity().max(1),
            ),
            (
                "list of suspects",
                self.reserve.suspects.len(),
                config.suspect_capacity().max(1),
            ),
            (
                "list of contacts",
                self.reserve.permanent.len(),
                config.permanent_capacity(),
            ),
            (
                "list of requests",
                self.relations.pending.len(),
                PENDING_MAX,
            ),
            (
                "list of waiting requests",
                self.relations.waiting.len(),
                WAITING_MAX,
            ),
            (
                "list of half-open relations",
                self.relations.half_open.len(),
                HALF_OPEN_MAX,
            ),
            ("list of ended relations", ended, ended_max),
            (
                "pass of the refill",
                self.refill.tried_len(),
                self.tried_max(),
            ),
            (
                "quarantine",
                self.guards.quarantine.len(),
                self.guards.quarantine.capacity(),
            ),
            (
                "set of links left to chance",
                self.unbiased_len(),
                config.unbiased_min(),
            ),
            ("list of allowances for requests", requests, PEERS_MAX),
            ("list of allowances for shuffles", shuffles, PEERS_MAX),
            ("list of allowances for walks", walks, PEERS_MAX),
            ("list of alarms", self.alarms.len(), ALARMS_MAX),
        ]
    }
}
