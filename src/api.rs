//! The JSON of the HTTP API, shared by the server and the commands that read it.
//!
//! Field names are a contract (a change is listed in CHANGELOG.md): scripts rely on them.
//! Sites and numbers of operations are strings.

pub(crate) mod digits;

mod app_role;
mod cluster;
mod leave;
mod link;
mod presence;
mod status;
mod time;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use app_role::{AppRole, AppRoleRequest, AppRoleState, NewAppRole};
pub use cluster::{NodeInfo, Topology, TopologyEdge, TopologyNode};
pub use leave::{LeaveReport, LeaveRequest, LostOperations};
pub use link::{Direction, Dissemination, LinkState, LinkStatus, Side};
pub use presence::Presence;
pub use status::{
    AwayMember, ClockStanding, ClockStatus, ContactState, ContactStatus, Finding, LogLevel,
    LogWarning, MembersStatus, NeighborStatus, NodeState, NodeStatus, OverlayStatus, Renewal,
    Status, StoreRequirements, StoreStatus, TreeStatus,
};
pub use time::timestamp;

/// An error as RFC 9457 describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI for the kind; `about:blank` when `code` says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short and the same for every occurrence.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened here, and what mends it.
    pub detail: String,
    /// Stable machine-readable code.
    pub code: String,
    /// With `token_needed`: the file on the node's machine that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}
