//! A request of another peer to become a neighbour.

use crate::{
    Contact, Epoch, Priority, Pulse,
    message::{Join, Neighbor},
};

/// A request of another peer.
#[derive(Debug, Clone)]
pub(super) struct Ask<I, A> {
    pub(super) contact: Contact<I, A>,
    pub(super) epoch: Epoch<I>,
    pub(super) pulse: Pulse<I>,
    pub(super) kind: Kind,
}

impl<I, A> Ask<I, A> {
    pub(super) fn from_join(from: I, join: Join<I, A>) -> Self {
        Self {
            contact: Contact {
                id: from,
                record: join.record,
            },
            epoch: join.epoch,
            pulse: join.pulse,
            kind: Kind::Join,
        }
    }

    pub(super) fn from_neighbor(from: I, request: Neighbor<I, A>) -> Self {
        Self {
            contact: Contact {
                id: from,
                record: request.record,
            },
            epoch: request.epoch,
            pulse: request.pulse,
            kind: request.priority.into(),
        }
    }
}

/// What kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Join,
    Low,
    High,
    Switch(u64),
}

impl From<Priority> for Kind {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self::Low,
            Priority::High => Self::High,
            Priority::Switch(token) => Self::Switch(token),
        }
    }
}

/// A request that was granted on condition.
#[derive(Debug)]
pub(super) struct HalfOpen<I, A> {
    pub(super) ask: Ask<I, A>,
    /// Names the timer.
    pub(super) serial: u64,
}

impl<I: Copy, A> HalfOpen<I, A> {
    pub(super) fn epoch(&self) -> Epoch<I> {
        self.ask.epoch
    }
}
