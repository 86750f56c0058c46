//! Examines a server: whether it is fit to carry a store, and which command mends what is not.
//!
//! [`examine`] asks the server once, with reading queries only, and decides without it: each check
//! is a pure function of what was observed. Every check gives a finding, good or bad, under a code
//! that never changes its meaning:
//!
//! | code | looks at |
//! |---|---|
//! | SP000 | the server can be examined at all |
//! | SP001 | version |
//! | SP002 | `wal_level` |
//! | SP003 | `max_replication_slots` |
//! | SP004 | `max_wal_senders` |
//! | SP005 | `max_logical_replication_workers` |
//! | SP006 | `max_worker_processes` |
//! | SP007 | `max_active_replication_origins` (from version 18) |
//! | SP008 | `max_slot_wal_keep_size` |
//! | SP009 | settings that wait for a restart |
//! | SP010 | `wal_writer_delay` |
//! | SP011 | no longer given: links set their own `wal_sender_timeout` |
//! | SP012 | `wal_receiver_timeout` |
//! | SP013 | `wal_retrieve_retry_interval` |
//! | SP014 | `fsync` |
//! | SP015 | `full_page_writes` |
//! | SP016 | `synchronous_commit` |
//! | SP017 | `password_encryption` |
//! | SP018 | `listen_addresses` |
//! | SP019 | `autovacuum` |
//! | SP020 | rights of the role |
//! | SP021 | encoding of the database |
//! | SP022 | the server takes writes |
//! | SP023 | `search_path` of the database |
//! | SP024 | isolation level at which links are applied |
//! | SP025 | role as which links are applied |
//! | SP026 | `synchronous_standby_names` |
//! | SP027 | names of the database's own that the `search_path` gives to Starling |
//! | SP030 | replication slots of ours that nobody reads |
//! | SP031 | replication slots of ours that lost their WAL |
//! | SP040 | clock |
//! | SP041 | data checksums |
//! | SP050 | tables, triggers, sequence and publications of the store |
//! | SP051 | operations of other stores that were refused |

mod debris;
mod names;
mod observed;
mod rights;
mod role;
mod settings;
mod store;

use tokio_postgres::Client;

pub(crate) use self::settings::RESTART;

use self::{observed::Observed, role::Role};
use super::{conninfo::Conninfo, error::Error, sizing::links_max, version::Version};
use crate::{
    driver::DriverError,
    finding::{Finding, Severity},
};

/// What the server is to be fit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirements {
    /// Links in each direction without which the node cannot keep its neighbours: the size of its
    /// active view. Fewer are critical.
    pub links_min: u16,
    /// Links in each direction that it should be sized for. Fewer are a warning.
    pub max_links: u16,
    /// WAL that one link's slot may hold back before the node drops it, in bytes. A server that gives the slot
    /// up sooner is worth a warning.
    pub slot_bytes_max: u64,
    /// Whether peers on other machines connect to it.
    pub remote_peers: bool,
    /// Whether its functions are to be called by their plain names.
    pub plain_names: bool,
    /// Whether a node runs it, and says where it listens.
    pub is_private: bool,
}

impl Default for Requirements {
    /// What a node asks for whose settings are the defaults, with peers elsewhere, plain names, and a server
    /// of the user's.
    fn default() -> Self {
        Self::for_node(5, 1 << 30)
    }
}

impl Requirements {
    /// What a node needs that keeps so many neighbours, and drops a slot that holds back more WAL than this;
    /// the rest as by default.
    #[must_use]
    pub fn for_node(neighbors: u16, slot_bytes_max: u64) -> Self {
        Self {
            links_min: neighbors,
            max_links: links_max(neighbors),
            slot_bytes_max,
            remote_peers: true,
            plain_names: true,
            is_private: false,
        }
    }
}

/// Connects to a server and examines it. One that cannot be reached, or only through a pooler, is a
/// critical finding.
pub async fn inspect(
    connection: &(impl Clone + Into<Conninfo>),
    requirements: Requirements,
) -> Vec<Finding> {
    if let Err(error) = super::attach_to(connection.clone()).await
        // Version and rights are findings of their own.
        && !matches!(error, Error::ServerTooOld { .. } | Error::NotPermitted { .. })
    {
        let what = "the server cannot be connected to";
        let finding = Finding::bad("SP000", Severity::Critical, what, error.to_string());
        return vec![finding];
    }
    // As any client, because links are applied with what is set for all.
    match super::connect_patient(connection).await {
        Ok(client) => examine(&client, requirements).await,
        Err(error) => vec![Finding::bad(
            "SP000",
            Severity::Unknown,
            "the server could not be examined",
            error.to_string(),
        )],
    }
}

/// [`inspect()`] before a node starts.
///
/// # Errors
///
/// [`Error::Unfit`] with what [forbids](Finding::forbids) it.
pub async fn require_fit(
    connection: &(impl Clone + Into<Conninfo>),
    requirements: Requirements,
) -> Result<Vec<Finding>, Error> {
    let all = inspect(connection, requirements).await;
    let (findings, all): (Vec<_>, Vec<_>) = all.into_iter().partition(Finding::forbids);
    if findings.is_empty() {
        return Ok(all);
    }
    let address = super::conninfo::address(&connection.clone().into());
    Err(Error::Unfit { address, findings })
}

/// Examines the server that `client` is connected to, as the role and in the database that it is
/// connected with. Changes nothing. Findings come in the order of their codes.
pub async fn examine(client: &Client, requirements: Requirements) -> Vec<Finding> {
    match observed::observe(client).await {
        Ok(observed) => judge(&observed, requirements),
        Err(error) => vec![Finding::bad(
            "SP000",
            Severity::Unknown,
            "the server could not be examined",
            DriverError::from(error).to_string(),
        )],
    }
}

/// Fails unless the server and the role can carry a store at all.
pub(super) async fn require(client: &Client, address: &str) -> Result<Version, Error> {
    let failed = |error: tokio_postgres::Error| Error::Query {
        what: "examining the server",
        cause: error.into(),
    };
    let found = observed::version(client).await.map_err(failed)?;
    if found.major < Version::OLDEST_MAJOR {
        return Err(Error::ServerTooOld {
            found,
            address: address.to_owned(),
        });
    }
    // After the version, which says what rights there are to be asked for.
    let role = Role::observe(client, found).await.map_err(failed)?;
    let missing = rights::missing(&role, found);
    if missing.is_empty() {
        return Ok(found);
    }
    Err(Error::NotPermitted {
        fix: rights::grants(&missing),
        missing: missing
            .into_iter()
            .map(|right| right.name.to_owned())
            .collect(),
        role: role.name,
        database: role.database,
    })
}

fn judge(observed: &Observed, requirements: Requirements) -> Vec<Finding> {
    let mut findings = vec![version(observed.version)];
    findings.extend(settings::check(observed, requirements));
    findings.extend(rights::check(observed));
    findings.extend(names::check(
        observed.names.as_ref(),
        &observed.role,
        requirements,
    ));
    findings.extend(debris::check(observed));
    findings.extend(store::check(&observed.store));
    findings.push(clock(observed.clock_skew_seconds));
    findings.push(checksums(observed));
    findings.sort_by(|a, b| a.code.cmp(&b.code));
    findings
}

fn version(version: Version) -> Finding {
    let summary = format!("PostgreSQL {version}");
    if version.major >= Version::OLDEST_MAJOR {
        return Finding::ok("SP001", summary);
    }
    Finding::bad(
        "SP001",
        Severity::Critical,
        summary,
        format!(
            "links need row filters, which came with version {}",
            Version::OLDEST_MAJOR
        ),
    )
    .fixed_by("pg_upgrade")
}

/// A difference that clocks synchronised over a network do not reach.
const SKEW_SECONDS_WARNING: f64 = 1.0;

/// A difference that only an unset clock has.
const SKEW_SECONDS_CRITICAL: f64 = 60.0;

fn clock(skew_seconds: f64) -> Finding {
    let summary = format!("the server's clock differs from ours by {skew_seconds:.3} s");
    let severity = match skew_seconds.abs() {
        skew if skew >= SKEW_SECONDS_CRITICAL => Severity::Critical,
        skew if skew >= SKEW_SECONDS_WARNING => Severity::Warning,
        _ => return Finding::ok("SP040", summary),
    };
    Finding::bad(
        "SP040",
        severity,
        summary,
        "of two concurrent writes the one with the later clock wins: a node whose clock is ahead \
         wins against later writes of others",
    )
    .fixed_by("timedatectl set-ntp true  # on the machine of the server and on this one")
}

fn checksums(observed: &Observed) -> Finding {
    match observed.is_on("data_checksums") {
        true => Finding::ok("SP041", "data checksums are on"),
        // Not worth stopping a server for, so no warning.
        false => Finding {
            detail: "a page that the disk has damaged goes unnoticed".to_owned(),
            fix: Some("pg_checksums --enable -D DATADIR  # with the server stopped".to_owned()),
            ..Finding::ok("SP041", "data checksums are off")
        },
    }
}

#[cfg(test)]
mod tests;
