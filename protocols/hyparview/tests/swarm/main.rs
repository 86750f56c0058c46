//! The behaviour in real swarms: TCP on the loopback interface, noise, yamux.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod cluster;
mod connections;
mod hostile;
mod membership;
mod raw;
