//! What our protocols have in common below their state machines: frames on a substream, a connection
//! handler that never waits for a peer, timers, counters, and the form of a configuration.
//!
//! Nothing here knows what a message means: that is a [`Protocol`]'s.

pub mod cbor;
mod config;
mod counters;
mod frame;
mod handler;
mod knobs;
mod protocol;
mod timers;

pub use config::{ConfigError, check_nonzero, check_ordered};
pub use counters::{Counter, Counters};
pub use frame::{FRAME_BYTES_MAX, Fault};
pub use handler::{Frame, Handler, Order, Report, Shared};
pub use protocol::{Limits, Protocol};
pub use timers::Timers;
