//! Links made in a crowd are exchanged once (R8).
//!
//! When many join at once the walks cannot keep up, and newcomers link up with whom they are told of:
//! with each other, around the same contact. The graph is clustered then, and would stay so. Therefore
//! a node marks the links that it makes while it is new. Only a link that somebody with a full view asked it
//! for is not marked, for that is the end of a walk; the end of a walk marks it if it is new itself, for then the
//! walk has not left the crowd. When a node is new no longer it gives up the marked links one by one, each in a
//! four-node switch in which c gives up a marked link as well if it has one. So a crowd spreads out for about one
//! exchange per link.
//!
//! The exchanges must take their time. Shuffles that walk over a crowd's links stay in the crowd: when a node is new
//! no longer, most of its backups still came when it came. The first links that are exchanged lead shuffles further
//! away, and only then do the others lead anywhere. Hence the pause between two exchanges of a node, which is
//! `settle_time`: several shuffles.

use std::time::Duration;

use rand::Rng;

use super::{State, alarms::within};
use crate::{Address, Id, Timer};

/// Switches that a node proposes for the sake of marked links. In a network of a handful of nodes there is
/// nobody to switch with.
const TRIES_MAX: u32 = 16;

/// What a node knows of the crowd in which it came.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    started_at: Duration,
    tries: u32,
}

impl<I: Id, A: Address> State<I, A> {
    pub(super) fn enter_crowd(&mut self) {
        self.switching.crowd = Crowd {
            started_at: self.now,
            tries: 0,
        };
    }

    /// How long this node still counts as new.
    fn settling_left(&self) -> Duration {
        let end = self
            .switching
            .crowd
            .started_at
            .saturating_add(self.config.settle_time());
        end.saturating_sub(self.now)
    }

    /// Whether a link that is made now is to be marked, unless it is one to a random place.
    pub(super) fn is_new(&self) -> bool {
        // A machine that was not started is not new: so tests drive one without exchanges.
        self.switching.crowd.started_at > Duration::ZERO && !self.settling_left().is_zero()
    }

    /// The oldest marked link, while there is hope to exchange it.
    pub(super) fn crowded(&self) -> Option<I> {
        let marked = self
            .relations
            .active
            .values()
            .filter(|neighbor| neighbor.crowded);
        marked
            .min_by_key(|neighbor| neighbor.since)
            .map(|neighbor| neighbor.contact.id)
            .filter(|_| self.switching.crowd.tries < TRIES_MAX)
    }

    /// The marked link that is to be exchanged now, if any.
    pub(super) fn spread_out(&mut self) -> Option<I> {
        let link = self.crowded().filter(|_| !self.is_new())?;
        // Counted when it is due and not when it succeeds, or it would never end in a small network.
        self.switching.crowd.tries += 1;
        Some(link)
    }

    /// Sees to it that marked links are looked at in time.
    pub(super) fn spread_soon<R: Rng>(&mut self, rng: &mut R) {
        if self.crowded().is_some() {
            let after = within(self.config.settle_time(), rng);
            self.wake(Timer::Remix, self.settling_left().saturating_add(after));
        }
    }
}
