//! What tests stand on: a server with databases in it, data planes on servers of their own, whole nodes
//! as processes. No tests here.

#[path = "harness/data_plane.rs"]
pub(crate) mod data_plane;
#[path = "harness/process.rs"]
pub(crate) mod process;
#[path = "harness/server.rs"]
pub(crate) mod server;
