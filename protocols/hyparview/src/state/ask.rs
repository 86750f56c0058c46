//! A request of another peer to become a neighbour.

use crate::{Contact, Epoch, Priority, Pulse};

/// A request of another peer.
#[derive(Debug, Clone)]
pub(super) struct Ask<I, A> {
    pub(super) contact: Contact<I, A>,
    pub(super) epoch: Epoch<I>,
    pub(super) pulse: Pulse<I>,
    pub(super) kind: Kind,
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
