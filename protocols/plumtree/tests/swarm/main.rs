//! The behaviour on real sockets.
#![expect(
    clippy::unwrap_used,
    reason = "these are tests, though not every function is one"
)]

mod cluster;
mod hostile;
mod spreading;
