//! What can go wrong with a store.

use thiserror::Error as ThisError;
use tokio_postgres::error::SqlState;

use crate::{driver::DriverError, identity::InvalidNodeId};

/// Why a store could not be installed or identified.
///
/// Every step is one transaction, so after any of these the store is as the last finished step left
/// it, and calling again is safe.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The server is older than the oldest that logical replication with row filters exists in.
    #[error("the server runs PostgreSQL {found}; 15 is the oldest that works")]
    OldServer {
        /// The server's own name for its version.
        found: String,
    },

    /// Stores exchange text as it is, so all of them must hold it in one encoding.
    #[error("the database has the encoding {found}; create one with encoding UTF8")]
    Encoding {
        /// The database's encoding.
        found: String,
    },

    /// A newer program has been here; this one does not know what it changed.
    #[error("the store has schema version {found}, this program knows up to {known}: upgrade it")]
    NewerStore {
        /// The store's version.
        found: i32,
        /// The last version that this program knows.
        known: i32,
    },

    /// The database has a schema `crdv` that was not made by this program. Nothing was touched.
    #[error("the database has a schema crdv that is not Starling's; use another database")]
    ForeignSchema,

    /// Somebody removes the schema between the steps of its installation.
    #[error(
        "the schema crdv was removed while it was being installed: see who does that (`starling detach`, a \
         restore), and start again"
    )]
    Removed,

    /// The role may not do what installing needs.
    #[error("the role may not {attempt}; use the owner of the database or a superuser: {cause}")]
    Privilege {
        /// What was attempted.
        attempt: &'static str,
        /// The server's refusal.
        cause: DriverError,
    },

    /// The store has no tables yet: it is identified only after it was installed.
    #[error("the store is not installed")]
    NotInstalled,

    /// The store belongs to another node: one store cannot serve two.
    #[error(
        "the store belongs to node {found}, not to {expected}; if it is a copy that nobody else uses, \
         take it over with --adopt-store on"
    )]
    OtherNode {
        /// Whose store it is.
        found: String,
        /// Who asked.
        expected: String,
    },

    /// The store holds the data of another cluster.
    #[error("the store belongs to cluster {found:?}, not to {expected:?}")]
    OtherCluster {
        /// The store's cluster.
        found: String,
        /// The cluster of the node that asked.
        expected: String,
    },

    /// The store's record of its own identity makes no sense.
    #[error("the store's own site is {found}, which is not a site")]
    BadSite {
        /// What the record says.
        found: i64,
    },

    /// The store names an owner that is no node.
    #[error("the store's record of its owner makes no sense: {0}")]
    BadNode(#[from] InvalidNodeId),

    /// A statement failed, or the connection did. If it was the commit, it may have happened.
    #[error("cannot {attempt}: {cause}")]
    Database {
        /// What was attempted.
        attempt: &'static str,
        /// The server's or the connection's error.
        cause: DriverError,
    },

    /// Others have built upon the store, or put something into its schema, so it cannot be removed.
    #[error("others depend on the store: {by}; change that, and try again")]
    Occupied {
        /// Who, or what.
        by: String,
    },

    /// Others hold locks on the store for too long.
    #[error(
        "the store's schema is locked by others: {holders}. End these transactions, for example by \
         select pg_terminate_backend(PID), and start again"
    )]
    Locked {
        /// Who.
        holders: String,
        /// What was refused.
        #[source]
        source: Box<Error>,
    },

    /// A migration failed and left nothing behind.
    #[error("migration {id} ({name}) failed: {cause}")]
    Migration {
        /// The migration's number.
        id: i32,
        /// The migration's name.
        name: String,
        /// The server's error.
        cause: DriverError,
    },

    /// A file of functions and views failed; all of them are as they were.
    #[error("definitions {name} failed: {cause}")]
    Definition {
        /// The file's name.
        name: String,
        /// The server's error.
        cause: DriverError,
    },
}

impl Error {
    /// Whether a lock was not to be had at once.
    pub(super) fn is_locked(&self) -> bool {
        let (Self::Database { cause, .. }
        | Self::Migration { cause, .. }
        | Self::Definition { cause, .. }) = self
        else {
            return false;
        };
        cause.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// For `map_err`: names what was attempted.
    pub(super) fn attempt(attempt: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| {
            let cause = DriverError::from(source);
            // Its cure is a grant, whatever was attempted.
            if cause.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
                Self::Privilege { attempt, cause }
            } else {
                Self::Database { attempt, cause }
            }
        }
    }
}
