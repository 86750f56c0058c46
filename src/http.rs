//! The HTTP API: what a node says of itself, and the commands it takes.
//!
//! A resource is a route in `routes.rs`, a handler below `routes/`, and a type of [`crate::api`]. What is read
//! comes from a watch in [`View`], which `node::status` feeds; but for metrics, which are collected when they are
//! asked for, and `GET /v1/app-roles`, which asks the node's loop, the only one that holds them. Such a question and
//! whatever is to be done is a [`Command`], which `node::core::commands` carries out. [`Client`] is the other side.
//! The guard needs no word of it: `GET` is a read, everything else needs the token.
//!
//! Knows nothing of libp2p or PostgreSQL: the server reads a [`View`] and sends [`Command`]s, a
//! [`Client`] asks it.

mod client;
mod connection;
mod dashboard;
mod error;
mod exposition;
mod guard;
mod limits;
mod metrics;
mod routes;
mod server;
mod token;
mod view;

pub use self::{
    client::{Client, ClientError},
    error::ApiError,
    metrics::StatusCollector,
    server::{BindError, bind, serve},
    token::Token,
    view::{Command, CommandError, Settings, View},
};
