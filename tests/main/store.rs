//! The CRDV store on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "store/bad_input.rs"]
mod bad_input;
#[path = "store/catch_up.rs"]
mod catch_up;
#[path = "store/checkpoint.rs"]
mod checkpoint;
#[path = "store/closing.rs"]
mod closing;
#[path = "store/concurrency.rs"]
mod concurrency;
#[path = "store/convergence.rs"]
mod convergence;
#[path = "store/early_cover.rs"]
mod early_cover;
#[path = "store/guard.rs"]
mod guard;
#[path = "store/identity.rs"]
mod identity;
#[path = "store/install.rs"]
mod install;
#[path = "store/interface.rs"]
mod interface;
#[path = "store/isolation.rs"]
mod isolation;
#[path = "store/list.rs"]
mod list;
#[path = "store/model.rs"]
mod model;
#[path = "store/nesting.rs"]
mod nesting;
#[path = "store/operation.rs"]
mod operation;
#[path = "store/session_role.rs"]
mod session_role;
#[path = "store/structures.rs"]
mod structures;
#[path = "store/typed.rs"]
mod typed;
#[path = "store/validity.rs"]
mod validity;
