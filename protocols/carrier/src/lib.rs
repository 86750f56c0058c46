//! What our protocols have in common below their state machines.

mod knobs;
