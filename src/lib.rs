//! Starling turns independent PostgreSQL servers into one self-organising cluster that takes
//! writes everywhere. See `ARCHITECTURE.md` for the map.

pub mod api;
pub mod cli;
pub mod config;
pub mod demo;
pub mod directory;
pub mod discovery;
pub(crate) mod doctor;
pub mod driver;
pub(crate) mod files;
pub mod finding;
pub mod http;
pub mod identity;
pub mod network;
pub mod node;
pub mod postgres;
pub mod replication;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub(crate) mod terminal;
pub(crate) mod unix_time;
pub mod vector;
pub(crate) mod watched;
