//! The CRDV store: the schema `crdv` of a PostgreSQL database.
//!
//! Two kinds of SQL live here. `store/migrations/` holds tables and types and is append only;
//! `store/definitions/` holds functions and views, which are applied again whenever their checksum
//! changes: `core/` makes, takes in and vouches for operations, `structures/` gives them a meaning,
//! `interface/` is what clients of the CRDV interface expect besides. [`install()`] brings a database up
//! to this program's version, [`identify()`] gives it an identity. Everything else happens in SQL: local
//! writers call the functions of schema `crdv`, and logical replication brings what other stores wrote
//! through the trigger `crdv.apply`.
//!
//! A new way to read a structure (a *reading rule*) is a view, its `...tuple` view and its functions in the
//! structure's file, as `setlww` has them; the overload in `interface/typed.sql`; its name in
//! `interface/nested.sql`, `nested.rs` and the help of `starling nested`; a line in `docs/interface.md`; and the
//! model of the tests (`tests/main/store/model.rs`, `convergence/reads.rs`). Writers and the trigger `apply`
//! know nothing of it.
//!
//! What replication builds on:
//!
//! | in schema `crdv` | does |
//! |---|---|
//! | `element` | the table to publish, for INSERT only, with the row filter `via <> <subscriber's site>` |
//! | `vector` | the newest checkpoint of each site that is here |
//! | `checkpoint_begin()`, `checkpoint_finish(upto, horizon)` | make a checkpoint, in two transactions |
//! | `drop_covered()` | deletes what was covered before it was visible |
//! | `missing(sites, seqs)` | what a store with this vector may lack; needs `select` on `element` and `early_cover` |
//! | `close_to_writers()`, `close_in_doubt()`, `open_to_writers()` | refuse local writes, and what links bring as well while the store may be an older copy of itself; an open store is open for one run of its server |
//! | `writers()` | who began to write before that |
//! | `begin_catch_up()`, table `catch_up`, `apply_catch_up(site)` | bring that in, in one transaction |
//!
//! Users get the interface with `grant usage on schema crdv`; everything else in it is closed, whatever
//! the default privileges of the database say (`store/access.rs`).
//!
//! This module knows PostgreSQL and nothing of the network.

mod access;
mod app_roles;
mod error;
mod identity;
mod install;
mod nested;
mod position;
mod removal;
mod schema;
mod search_path;
mod writers;

pub(crate) use access::LINK_SCHEMA;
pub use app_roles::{RoleStanding, WantedRole, scram_verifier, settle_role};
pub use error::Error;
pub use identity::{Doubt, Owner, identify, owner, renew};
pub use install::{Installed, install, install_telling, missing};
pub use nested::{NestedError, nested_query};
pub use position::{Break, Position, position};
pub(crate) use removal::HOLD;
pub use removal::{Dependent, Remains, remains, remove};
pub use schema::{Definition, Migration, Schema};
pub use search_path::{PathStanding, SearchPath, settle_search_path};
pub use writers::{
    Holder, PATIENCE, Pending, Settled, close, close_in_doubt, list, open, settle, writers,
};
