//! The behaviour on real sockets.

mod cluster;
mod hostile;
mod spreading;
