//! The JSON of the HTTP API, shared by the server and the commands that read it.
//!
//! Field names are a contract (a change is listed in CHANGELOG.md): scripts rely on them.
//! Sites and numbers of operations are strings.

pub(crate) mod digits;

mod app_role;
mod leave;

use std::{path::PathBuf, time::SystemTime};

use serde::{Deserialize, Serialize};

pub use app_role::{AppRole, AppRoleRequest, AppRoleState, NewAppRole};
pub use leave::{LeaveReport, LeaveRequest, LostOperations};

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

/// Whether a node is there, as another one knows it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// A member that was heard of lately.
    #[default]
    Here,
    /// A member that said that it stops, and comes back.
    Stopped,
    /// A member that has not been heard of for a while, without a word.
    Silent,
    /// It left for good.
    Left,
    /// It was declared gone for good.
    Evicted,
}

impl Presence {
    /// It is no member any more.
    #[must_use]
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Left | Self::Evicted)
    }

    /// As it is written everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Stopped => "stopped",
            Self::Silent => "silent",
            Self::Left => "left",
            Self::Evicted => "evicted",
        }
    }
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
    /// It waits for a peer to confirm that it is not an older copy of itself, and takes no writes.
    #[serde(default)]
    pub unconfirmed: bool,
    /// Why the functions are not on the database's `search_path`, and what to do instead.
    #[serde(default)]
    pub off_path: Option<String>,
    /// The last times that it went on as another site, oldest first.
    #[serde(default)]
    pub renewals: Vec<Renewal>,
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
    /// `ahead_ms` is right within so many milliseconds.
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
    /// `clock_offset_ms` is right within so many milliseconds.
    #[serde(default)]
    pub clock_error_ms: Option<f64>,
}

/// Direction of a data link, seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// We subscribe.
    In,
    /// We publish.
    Out,
}

/// What a data link is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It is wanted, and being made or waited for.
    Opening,
    /// What the subscriber lacked when the link was made is on its way.
    CatchingUp,
    /// Changes flow.
    Streaming,
    /// One of the two ends said no: trying again will not help until somebody acts.
    Refused,
    /// Something that should be there does not answer; it is tried again.
    Down,
    /// It is being taken down.
    Closing,
}

impl LinkState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Opening,
        Self::CatchingUp,
        Self::Streaming,
        Self::Refused,
        Self::Down,
        Self::Closing,
    ];

    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::CatchingUp => "catching_up",
            Self::Streaming => "streaming",
            Self::Refused => "refused",
            Self::Down => "down",
            Self::Closing => "closing",
        }
    }
}

/// An end of a link, seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This node, its store or its machine.
    Here,
    /// The peer, its store or its machine.
    Peer,
}

/// One data link, or one that is wanted and does not exist yet. Each neighbour has one at least in
/// each direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The peer at the other end; empty if unknown (a link found on the server after a restart).
    pub peer_id: String,
    /// Its site; 0 while unknown.
    #[serde(with = "digits")]
    pub site: i64,
    /// In or out.
    pub direction: Direction,
    /// What it is doing.
    pub state: LinkState,
    /// Since when it has been doing that, RFC 3339 UTC.
    #[serde(default)]
    pub since: String,
    /// Why it does not stream, or does not get on, in a sentence; `None` when all is well.
    #[serde(default)]
    pub reason: Option<String>,
    /// What mends it, where that is known.
    #[serde(default)]
    pub fix: Option<String>,
    /// At which end the reason lies, where that is known.
    #[serde(default)]
    pub side: Option<Side>,
    /// Neither this nor another link of that peer in that direction has carried anything for longer
    /// than it takes to make one.
    #[serde(default)]
    pub overdue: bool,
    /// WAL bytes not yet confirmed by the subscriber.
    pub lag_bytes: Option<i64>,
    /// Of an incoming link: seconds for which the peer has known something that has not arrived here,
    /// or for which the link has been down; `None` while it is not known what the peer has. Of an outgoing
    /// one: seconds since the subscriber had confirmed nearly all.
    pub lag_seconds: Option<f64>,
    /// Name of the replication slot on the publisher; empty while there is none.
    pub slot: String,
}

/// One node of the cluster as another knows it: an element of `GET /v1/nodes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// PeerId.
    pub peer_id: String,
    /// Human name.
    pub name: String,
    /// What it said it was doing when last heard of; `None` after it left or was evicted.
    pub state: Option<NodeState>,
    /// Site of its store.
    #[serde(with = "digits")]
    pub site: i64,
    /// `host:port` of its store as it advertises it, without credentials.
    pub store: String,
    /// Its checkpoint vector when last heard of.
    #[serde(with = "digits::vector")]
    pub vector: Vector,
    /// Its neighbours' PeerIds when last heard of.
    pub neighbors: Vec<String>,
    /// When its newest word reached us, RFC 3339 UTC.
    pub last_seen: String,
    /// Heard of recently enough to be counted as present.
    pub alive: bool,
    /// Whether it is there, and if not, why.
    #[serde(default)]
    pub presence: Presence,
}

/// The overlay as this node knows it: `GET /v1/topology`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The nodes.
    pub nodes: Vec<TopologyNode>,
    /// Neighbour relations, each pair once.
    pub edges: Vec<TopologyEdge>,
}

/// A node of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyNode {
    /// PeerId.
    pub peer_id: String,
    /// Human name.
    pub name: String,
    /// Present?
    pub alive: bool,
    /// Whether it is there, and if not, why.
    #[serde(default)]
    pub presence: Presence,
}

/// An edge of the topology.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopologyEdge {
    /// One end (PeerId).
    pub a: String,
    /// The other end (PeerId); `a < b`.
    pub b: String,
    /// Both ends name each other.
    pub symmetric: bool,
}

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

/// A moment as all times in this API are written: RFC 3339, UTC, milliseconds. Moments before
/// 1970 are shown as its first.
#[must_use]
pub fn timestamp(moment: SystemTime) -> String {
    let since = moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years are counted from March, so that the leap day is the last of a year, and in eras of
    // 400 years, which all have the same length.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::timestamp;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_735_689_600_123, "2025-01-01T00:00:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(
                timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)),
                text
            );
        }
        assert_eq!(
            timestamp(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00.000Z"
        );
    }
}
