//! What `/v1/app-roles` takes and answers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A new application role: the body of `POST /v1/app-roles`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAppRole {
    /// Its name.
    pub name: String,
    /// The SCRAM-SHA-256 verifier of its password, as PostgreSQL writes it.
    pub verifier: String,
}

/// Another password: the body of `PUT /v1/app-roles/{name}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRoleRequest {
    /// The SCRAM-SHA-256 verifier of the password, as PostgreSQL writes it.
    pub verifier: String,
}

// A verifier can be guessed at, and may have been sent as the password itself.
impl fmt::Debug for NewAppRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAppRole")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AppRoleRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppRoleRequest").finish_non_exhaustive()
    }
}

/// An application role as a node knows it: one of `GET /v1/app-roles`, in the order of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRole {
    /// Its name.
    pub name: String,
    /// How it stands on this node's server.
    pub state: AppRoleState,
    /// Why it is refused, and what mends it.
    pub reason: Option<String>,
    /// PeerId of the node on which it was changed last.
    pub changed_by: String,
}

/// How a role stands on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppRoleState {
    /// It can log in.
    Here,
    /// It is known, and not on the server yet.
    Waiting,
    /// The server, or a role of another origin there, is in the way.
    Refused,
    /// It was removed, and is still on the server.
    Removing,
    /// It was removed.
    Removed,
}
