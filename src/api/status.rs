//! What a node says of itself.

use serde::{Deserialize, Serialize};

use super::{LinkStatus, Presence, digits};
use crate::vector::Vector;

/// What a node says of itself: `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Who it is and what it does.
    pub node: NodeStatus,
    /// Its store.
    pub store: StoreStatus,
    /// Its store's clock, beside those of its neighbours.
    #[serde(default)]
    pub clock: ClockStatus,
    /// Its overlay views.
    pub overlay: OverlayStatus,
    /// The members of the cluster, as it knows them.
    #[serde(default)]
    pub members: MembersStatus,
    /// Its data links, both directions.
    pub links: Vec<LinkStatus>,
    /// Checkpoint per site: everything of that site up to the number is here.
    #[serde(with = "digits::vector")]
    pub vector: Vector,
    /// How data goes through the overlay; `None` from a version that does not tell.
    #[serde(default)]
    pub tree: Option<TreeStatus>,
    /// What is wrong with the store's server.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What the log has warned of within the last hour, the newest last; the last 32 at most.
    #[serde(default)]
    pub warnings: Vec<LogWarning>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code, as `starling doctor` gives it.
    pub code: String,
    /// `warning`, `critical` or `unknown`.
    pub severity: String,
    /// What is the case and why it matters.
    pub text: String,
    /// What mends it; empty when nothing simple does.
    pub cure: String,
}

/// A warning or an error of the log; the same one about the same thing is here once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogWarning {
    /// How grave.
    pub level: LogLevel,
    /// What it says; the table in docs/observability.md has all of them.
    pub message: String,
    /// Its fields, when it was said last.
    pub detail: String,
    /// When it was said first, RFC 3339 UTC.
    pub first: String,
    /// When it was said last, RFC 3339 UTC.
    pub last: String,
    /// How often.
    pub count: u64,
    /// When what it warned of was over, RFC 3339 UTC; `None` while it lasts, and where nothing tells.
    #[serde(default)]
    pub over: Option<String>,
}

/// How grave a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// It works, or will, but somebody should know.
    Warn,
    /// Something does not work.
    Error,
}

impl LogLevel {
    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Identity and state of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// PeerId.
    pub peer_id: String,
    /// Site number of its store; 0 while the store has never been up.
    #[serde(with = "digits")]
    pub site: i64,
    /// Human name.
    pub name: String,
    /// Cluster name.
    pub cluster: String,
    /// Version of the program.
    pub version: String,
    /// What it is doing.
    pub state: NodeState,
    /// Addresses it listens on.
    pub listen: Vec<String>,
    /// Another process runs with a copy of its key.
    #[serde(default)]
    pub has_twin: bool,
    /// Where that was seen, and by whom; empty when there is none.
    #[serde(default)]
    pub twin_at: String,
    /// What it waits for at the moment, in words.
    #[serde(default)]
    pub waits_for: Option<String>,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// The store is not up yet.
    Starting,
    /// Store up; joining the cluster or catching up with its first neighbour.
    Joining,
    /// Serving.
    Ready,
    /// The store is down; the node stays in the overlay.
    Degraded,
    /// Leaving for good.
    Leaving,
}

/// The members of the cluster, as a node knows them: neither left nor evicted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersStatus {
    /// How many there are, this node included.
    pub total: usize,
    /// Those that are not there.
    pub away: Vec<AwayMember>,
}

/// A member that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwayMember {
    /// PeerId.
    pub peer_id: String,
    /// Human name.
    pub name: String,
    /// Stopped or silent.
    pub presence: Presence,
    /// When its last word reached us, RFC 3339 UTC.
    pub since: String,
}

/// A node's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The node runs the store's server itself.
    #[serde(default)]
    pub is_private: bool,
    /// Where a local client opens a shell on it; no password in it.
    pub url: String,
    /// PostgreSQL's version, for example `15.18`; empty while it has never been up.
    pub version: String,
    /// Accepts connections and is migrated.
    pub ready: bool,
    /// It takes no writes until all peers that are known to be alive have confirmed that it is not an older
    /// copy of itself.
    #[serde(default)]
    pub unconfirmed: bool,
    /// Why the functions are not on the database's `search_path`, and what to do instead.
    #[serde(default)]
    pub off_path: Option<String>,
    /// The last times that it went on as another site, oldest first.
    #[serde(default)]
    pub renewals: Vec<Renewal>,
    /// What its server has to be fit for; `None` while it has never been up.
    #[serde(default)]
    pub requirements: Option<StoreRequirements>,
}

/// What a store's server has to be fit for by its node's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRequirements {
    /// Links in each direction: the size of the node's active view.
    pub links_min: u16,
    /// WAL that one link's slot may hold back before the node drops it, in bytes.
    pub slot_bytes_max: u64,
}

/// A store went on as another site: it was restored, cloned or wiped, or its node was evicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// When, RFC 3339 UTC.
    pub at: String,
    /// The site before; 0 if unknown.
    #[serde(with = "digits")]
    pub from: i64,
    /// The site since.
    #[serde(with = "digits")]
    pub to: i64,
    /// What showed that it had to.
    pub why: String,
}

/// A store's clock beside those of the neighbours' stores. Operations are stamped with it: of two that
/// did not see each other the later one wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// How it stands.
    pub standing: ClockStanding,
    /// Milliseconds that it is ahead of the median; negative when it is behind, `None` while unknown.
    pub ahead_ms: Option<f64>,
    /// How far `ahead_ms` may be off, in milliseconds.
    pub error_ms: Option<f64>,
    /// The number of neighbours whose clocks are known.
    pub neighbors: usize,
    /// Nothing is taken from a neighbour that is ahead by more milliseconds; 0: everything is.
    pub max_ahead_ms: f64,
}

/// How a clock stands among its neighbours'.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockStanding {
    /// There is nothing to compare it with.
    #[default]
    Unknown,
    /// As theirs.
    Fair,
    /// It differs by more than `replication.clock_warn`.
    Off,
    /// It is ahead by more than `replication.max_clock_ahead`: neighbours take nothing from this node.
    Ahead,
}

/// A node's overlay views.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OverlayStatus {
    /// The active view.
    pub active: Vec<NeighborStatus>,
    /// The number of peers in the passive view.
    pub passive: usize,
    /// The number of peers known from earlier, on disk, that are members as far as we know.
    #[serde(default)]
    pub remembered: usize,
    /// The addresses that the node was given to join through, and what came of it.
    #[serde(default)]
    pub bootstrap: Vec<ContactStatus>,
    /// It spans machines and has no swarm key, so whoever reaches a node's port may join it.
    #[serde(default)]
    pub is_open: bool,
}

/// How data goes through the overlay, and a node's place in the tree that it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeStatus {
    /// `flood`: to and from every neighbour. `tree`: to and from a parent, and those that this node is the
    /// parent of.
    pub mode: super::Dissemination,
    /// PeerId of the root. `None` where data floods, or while no member can be the root.
    pub root: Option<String>,
    /// PeerId of the neighbour that this node takes data from: the first that it insists on being linked with.
    pub parent: Option<String>,
    /// This node is the root itself.
    pub is_root: bool,
}

/// An address that the node was given to join through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactStatus {
    /// The address.
    pub address: String,
    /// How it fares.
    pub state: ContactState,
    /// PeerId of who was found there last, if it was a peer of the cluster.
    pub peer_id: Option<String>,
    /// Why it leads nowhere.
    pub cause: Option<String>,
    /// What mends that.
    pub fix: Option<String>,
    /// Trying again will not help until somebody acts.
    // Earlier versions wrote it so.
    #[serde(alias = "needs_a_hand")]
    pub needs_operator: bool,
    /// When it failed first, RFC 3339 UTC.
    pub since: Option<String>,
    /// Attempts in vain since then.
    pub attempts: u32,
    /// When it is tried next, RFC 3339 UTC.
    pub next: Option<String>,
}

/// How a configured address fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContactState {
    /// Nothing has come of it so far.
    Trying,
    /// It has led to a peer of the cluster.
    Reached,
    /// It leads nowhere.
    Failing,
    /// It is our own.
    Ourselves,
}

/// One neighbour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeighborStatus {
    /// PeerId.
    pub peer_id: String,
    /// Human name; empty while unknown.
    pub name: String,
    /// Addresses it can be reached at.
    pub addresses: Vec<String>,
    /// Neighbour since, RFC 3339 UTC.
    pub since: String,
    /// Last measured round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Milliseconds that its store's clock is ahead of ours; negative when it is behind.
    #[serde(default)]
    pub clock_offset_ms: Option<f64>,
    /// How far `clock_offset_ms` may be off, in milliseconds.
    #[serde(default)]
    pub clock_error_ms: Option<f64>,
}
