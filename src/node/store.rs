//! The node's store: opened, kept to this controller alone, looked after, and known again after a restart.

pub(super) mod continuity;
pub(super) mod examination;
mod hold;
pub(super) mod open;
pub(super) mod record;
