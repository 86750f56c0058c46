//! A request of ours to become a neighbour.

use std::time::Duration;

use crate::{Contact, Epoch};

/// A request of ours without an answer.
#[derive(Debug, Clone)]
pub(super) struct Pending<I, A> {
    pub(super) contact: Contact<I, A>,
    pub(super) epoch: Epoch<I>,
    pub(super) since: Duration,
    pub(super) purpose: Purpose,
    /// The other side may make room for us, once we have confirmed.
    pub(super) pressing: bool,
    /// Incarnation and serial of a request by which the peer asked us as well, dropped in favour of ours.
    pub(super) crossed: Option<(u64, u64)>,
}

/// Why we ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// We are new.
    Join,
    /// A slot is free.
    Refill,
    /// A newcomer's walk has ended here.
    Walk,
    /// The peer lives in another component.
    Heal,
    /// The peer believes to be our neighbour.
    Repair,
    /// The peer waits for us under this token.
    Switch(u64),
}

impl Purpose {
    /// Whether a neighbour goes if there is no slot when the peer accepts.
    pub(super) fn evicts(self) -> bool {
        matches!(self, Self::Walk | Self::Heal)
    }

    /// Whether a slot waits for the answer, but not for long.
    pub(super) fn waits(self) -> bool {
        matches!(self, Self::Join | Self::Refill | Self::Repair)
    }
}
