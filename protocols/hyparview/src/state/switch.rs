//! A four-node switch (R8), as each of the four sees it. The steps are in `remix`.

use crate::Id;

/// The switch that this node takes part in.
#[derive(Debug)]
pub(super) struct Switch<I> {
    /// Names the timer.
    pub(super) serial: u64,
    /// Names the switch, by the initiator.
    pub(super) token: u64,
    pub(super) role: Role<I>,
}

/// Which of the four this node is. The letters i, o, c and d are those of X-BOT.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role<I> {
    /// i: gives up `old` (o, or nobody if that is i itself), wants `new` (c).
    Initiator { old: I, new: I },
    /// c: gives up `old` (d), gets `new` (i), once d has agreed.
    Mediator { old: I, new: I, agreed: bool },
    /// d: gives up `old` (c), gets `new` (o).
    Partner { old: I, new: I },
    /// d, before it agrees to an optimising switch: measures `new` (o).
    Weighing { old: I, new: I },
}

impl<I: Id> Switch<I> {
    /// Whether the connection to `peer` is needed for it.
    pub(super) fn awaits(&self, peer: I) -> bool {
        match self.role {
            Role::Initiator { new, .. }
            | Role::Mediator { new, .. }
            | Role::Weighing { new, .. } => new == peer,
            // o comes by itself, and is not connected with before.
            Role::Partner { .. } => false,
        }
    }

    /// Whom it gives up for whom, once that is settled.
    pub(super) fn exchange(&self) -> Option<(I, I)> {
        match self.role {
            Role::Initiator { .. }
            | Role::Mediator { agreed: false, .. }
            | Role::Weighing { .. } => None,
            Role::Mediator {
                old,
                new,
                agreed: true,
            }
            | Role::Partner { old, new } => Some((old, new)),
        }
    }
}
