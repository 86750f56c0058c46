//! What `POST /v1/leave` takes and answers.

use serde::{Deserialize, Serialize};

use super::digits;

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
    /// What no member that stays is known to have, after `abandon`.
    #[serde(default)]
    pub lost: Vec<LostOperations>,
    /// PeerIds of neighbours that could not be told: they have what was written here, and list the node as
    /// silent unless another one tells them.
    #[serde(default)]
    pub untold: Vec<String>,
}

/// Operations of one site that only the store has that has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostOperations {
    /// Whose.
    #[serde(with = "digits")]
    pub site: i64,
    /// How many.
    pub operations: i64,
    /// The lowest of their numbers.
    #[serde(with = "digits")]
    pub from: i64,
    /// The highest.
    #[serde(with = "digits")]
    pub upto: i64,
}

#[cfg(test)]
mod tests {
    use super::LostOperations;

    #[test]
    fn what_is_lost_is_told_to_the_last_digit_and_read_from_earlier_versions() {
        let lost = LostOperations {
            site: i64::MAX,
            operations: 2,
            from: (1 << 53) + 1,
            upto: (1 << 53) + 3,
        };
        let json = r#"{"site":"9223372036854775807","operations":2,"from":"9007199254740993","upto":"9007199254740995"}"#;
        assert_eq!(serde_json::to_string(&lost).unwrap(), json);
        assert_eq!(serde_json::from_str::<LostOperations>(json).unwrap(), lost);
        let earlier = r#"{"site":9223372036854775807,"operations":2,"from":9007199254740993,"upto":9007199254740995}"#;
        assert_eq!(
            serde_json::from_str::<LostOperations>(earlier).unwrap(),
            lost
        );
    }
}
