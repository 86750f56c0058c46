//! Integration tests: one binary, a module per topic.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on says so by panicking, and what it measured by printing"
)]

#[path = "main/alone.rs"]
mod alone;
#[path = "main/app_roles.rs"]
mod app_roles;
#[path = "main/application.rs"]
mod application;
#[path = "main/chaos.rs"]
mod chaos;
#[path = "main/chaos_nodes.rs"]
mod chaos_nodes;
#[path = "main/cli.rs"]
mod cli;
#[path = "main/clocks.rs"]
mod clocks;
#[path = "main/cluster.rs"]
mod cluster;
#[path = "main/config.rs"]
mod config;
#[path = "main/data_tree.rs"]
mod data_tree;
#[path = "main/detach.rs"]
mod detach;
#[path = "main/exhausted.rs"]
mod exhausted;
#[path = "main/foreign.rs"]
mod foreign;
#[path = "main/harness.rs"]
mod harness;
#[path = "main/hostile.rs"]
mod hostile;
#[path = "main/http.rs"]
mod http;
#[path = "main/leave.rs"]
mod leave;
#[path = "main/network.rs"]
mod network;
#[path = "main/observability.rs"]
mod observability;
#[path = "main/postgres.rs"]
mod postgres;
#[path = "main/postgres_doctor.rs"]
mod postgres_doctor;
#[path = "main/postgres_trouble.rs"]
mod postgres_trouble;
#[path = "main/privileges.rs"]
mod privileges;
#[path = "main/replication.rs"]
mod replication;
#[path = "main/replication_answers.rs"]
mod replication_answers;
#[path = "main/replication_crash.rs"]
mod replication_crash;
#[path = "main/restore.rs"]
mod restore;
#[path = "main/senders.rs"]
mod senders;
#[path = "main/sessions.rs"]
mod sessions;
#[path = "main/sockets.rs"]
mod sockets;
#[path = "main/store.rs"]
mod store;
#[path = "main/tls.rs"]
mod tls;
#[path = "main/upgrade.rs"]
mod upgrade;
#[path = "main/versions.rs"]
mod versions;
