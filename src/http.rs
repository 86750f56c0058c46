//! The HTTP API: what a node says of itself, and the two commands it takes.
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
