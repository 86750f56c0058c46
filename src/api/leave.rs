//! What `POST /v1/leave` takes and answers.

use serde::{Deserialize, Serialize};

/// How a node is to leave: the body of `POST /v1/leave`. Each part may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequest {
    /// How long open transactions that write may go on, and how long peers may make no progress.
    pub timeout_seconds: Option<f64>,
    /// Leave even if nobody else has what is written here.
    #[serde(default)]
    pub abandon: bool,
}

/// The node has left: the answer to `POST /v1/leave`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveReport {
    /// It has.
    pub left: bool,
    /// How many sessions were ended because they held a transaction that wrote open for too long.
    #[serde(default)]
    pub ended_sessions: usize,
    /// Transactions that go on in the store and will not reach the others.
    #[serde(default)]
    pub open_transactions: Vec<String>,
    /// What no other member is known to have, after `abandon`.
    #[serde(default)]
    pub lost: Vec<LostOperations>,
}

/// Operations of one site that only the store has that has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostOperations {
    /// Whose.
    pub site: i64,
    /// How many.
    pub operations: i64,
    /// The lowest of their numbers.
    pub from: i64,
    /// The highest.
    pub upto: i64,
}
