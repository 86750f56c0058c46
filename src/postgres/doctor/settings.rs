//! Checks of the server's settings.

use std::ops::RangeInclusive;

use super::{
    Requirements,
    observed::{Observed, RELOAD},
};
use crate::{
    finding::{Finding, Severity},
    postgres::sizing::Sizing,
};

/// What other changes need to take effect. The end of a fix, so that it can be told from the statement.
pub(crate) const RESTART: &str = "-- then restart the server";

/// All findings about settings.
pub(super) fn check(observed: &Observed, requirements: Requirements) -> Vec<Finding> {
    let mut findings = vec![wal_level(observed)];
    findings.extend(pools(observed, requirements));
    findings.extend([
        slot_bound(observed, requirements),
        pending(observed),
        wal_writer_delay(observed),
    ]);
    findings.extend(timeouts(observed));
    findings.extend(durability(observed));
    findings.extend([
        password_encryption(observed),
        listen_addresses(observed, requirements),
        autovacuum(observed),
        synchronous_standbys(observed),
    ]);
    findings
}

/// A sender of a link goes by the name of its subscription, and the server takes every sender for a
/// standby whose name it is told to wait for.
fn synchronous_standbys(observed: &Observed) -> Finding {
    let value = observed.text("synchronous_standby_names");
    if value.is_empty() {
        return Finding::ok("SP026", "no synchronous standby is asked for");
    }
    let summary = format!("synchronous_standby_names is {value}");
    if !standby_names(value).any(|name| name == "*" || name.starts_with(PREFIX)) {
        return Finding::ok("SP026", summary);
    }
    Finding::bad(
        "SP026",
        Severity::Critical,
        summary,
        "links count as synchronous standbys: commits wait for a peer that is slow, and are \
         acknowledged by a peer in the standby's place",
    )
    // Not a statement to be run as it is: with a name that no standby has, every commit waits.
    .fixed_by(format!(
        "name the standbys by the application_name in their primary_conninfo: {}",
        observed.set("synchronous_standby_names", "NAME", RELOAD)
    ))
}

/// The names in a list of standbys, in small letters, and the words around them.
fn standby_names(list: &str) -> impl Iterator<Item = String> {
    list.split([',', '(', ')', ' '])
        // As the server compares them.
        .map(|word| word.trim().trim_matches('"').to_lowercase())
        .filter(|word| !word.is_empty())
}

/// What our subscriptions' names begin with.
const PREFIX: &str = "starling_";

fn wal_level(observed: &Observed) -> Finding {
    let value = observed.text("wal_level");
    let summary = format!("wal_level is {value}");
    if value == "logical" {
        return Finding::ok("SP002", summary);
    }
    Finding::bad(
        "SP002",
        Severity::Critical,
        summary,
        "peers cannot subscribe: links are logical replication",
    )
    .fixed_by(observed.set("wal_level", "logical", RESTART))
}

/// A number of something that links take from.
struct Pool {
    code: &'static str,
    setting: &'static str,
    /// What one link takes.
    each: &'static str,
    /// Fewer than this and the node cannot keep its neighbours.
    least: u32,
    /// What a private server would be given.
    good: u32,
}

fn pools(observed: &Observed, requirements: Requirements) -> Vec<Finding> {
    let good = Sizing::for_links(requirements.max_links);
    let least = u32::from(requirements.links_min);
    // What others on this server have is asked for on top, because it is taken already.
    let (slots, subscriptions) = (observed.other_slots, observed.other_subscriptions);
    let origins = observed.other_origins;
    // Up to version 17 one setting bounds both, each by itself.
    let has_own_bound = observed.version.major >= 18;
    let slots_or_origins = if has_own_bound {
        slots
    } else {
        slots.max(origins)
    };
    let pool = |code, setting, each, least, good| Pool {
        code,
        setting,
        each,
        least,
        good,
    };
    let mut pools = vec![
        pool(
            "SP003",
            "max_replication_slots",
            "each outgoing link takes a slot, and up to version 17 each incoming one an origin",
            least + slots_or_origins,
            good.slots + slots_or_origins,
        ),
        pool(
            "SP004",
            "max_wal_senders",
            "each outgoing link takes a sender",
            least + slots,
            good.senders + slots,
        ),
        pool(
            "SP005",
            "max_logical_replication_workers",
            "each incoming link takes an apply worker",
            least + subscriptions,
            good.workers + subscriptions,
        ),
        pool(
            "SP006",
            "max_worker_processes",
            "each incoming link takes an apply worker, and the launcher takes one",
            least + subscriptions + 1,
            good.processes + subscriptions,
        ),
    ];
    if has_own_bound {
        pools.push(pool(
            "SP007",
            "max_active_replication_origins",
            "each incoming link takes an origin",
            least + origins,
            good.origins + origins,
        ));
    }
    pools
        .into_iter()
        .map(|pool| check_pool(observed, &pool))
        .collect()
}

fn check_pool(observed: &Observed, pool: &Pool) -> Finding {
    let value = observed.number(pool.setting).unwrap_or(0);
    let summary = format!("{} is {value}", pool.setting);
    let severity = if value >= i64::from(pool.good) {
        return Finding::ok(pool.code, summary);
    } else if value < i64::from(pool.least) {
        Severity::Critical
    } else {
        Severity::Warning
    };
    Finding::bad(
        pool.code,
        severity,
        summary,
        format!(
            "{}: at least {} for this node's neighbours, {} with room for changes",
            pool.each, pool.least, pool.good
        ),
    )
    .fixed_by(observed.set(pool.setting, &pool.good.to_string(), RESTART))
}

/// The greatest size that the server takes, in MB.
const SIZE_MB_MAX: i64 = i32::MAX as i64;

fn slot_bound(observed: &Observed, requirements: Requirements) -> Finding {
    const NAME: &str = "max_slot_wal_keep_size";
    let least = i64::try_from(requirements.slot_bytes_max >> 20)
        .unwrap_or(SIZE_MB_MAX)
        .min(SIZE_MB_MAX);
    // Twice, as a private server has it: the node comes first and drops a slot in order. The server acts at its
    // checkpoints, and also while the node is down.
    let good = least.saturating_mul(2).min(SIZE_MB_MAX);
    let good = match good % 1024 {
        0 => format!("{}GB", good / 1024),
        _ => format!("{good}MB"),
    };
    let (summary, effect) = match observed.number(NAME) {
        Some(size) if size >= least => {
            return Finding::ok("SP008", format!("{NAME} is {size} MB"));
        }
        // -1 stands for no bound.
        Some(size) if size >= 0 => (
            format!("{NAME} is {size} MB"),
            format!(
                "the server gives a slot up before it keeps what the node allows \
                 (replication.slot_bytes_max, {least} MB): the link is made anew, and what is missing \
                 is looked for in both stores"
            ),
        ),
        _ => (
            format!("{NAME} has no bound"),
            "while the node is down, the slot of a peer that is away keeps WAL until the disk is \
             full; a link whose slot was given up catches up without loss"
                .to_owned(),
        ),
    };
    Finding::bad("SP008", Severity::Warning, summary, effect)
        .fixed_by(observed.set(NAME, &good, RELOAD))
}

fn pending(observed: &Observed) -> Finding {
    let waiting: Vec<_> = observed
        .settings
        .iter()
        .filter(|(_, setting)| setting.pending_restart)
        .map(|(name, _)| name.as_str())
        .collect();
    if waiting.is_empty() {
        return Finding::ok("SP009", "no setting waits for a restart");
    }
    Finding::bad(
        "SP009",
        Severity::Warning,
        format!("changed, but not in effect: {}", waiting.join(", ")),
        "these take effect at the next start of the server",
    )
    .fixed_by("pg_ctl restart -D DATADIR  # or: systemctl restart postgresql")
}

/// Above this, a hop takes noticeably longer than the network.
const WAL_WRITER_DELAY_MS_MAX: i64 = 10;

fn wal_writer_delay(observed: &Observed) -> Finding {
    let delay = observed.number("wal_writer_delay").unwrap_or(0);
    let summary = format!("wal_writer_delay is {delay} ms");
    if delay <= WAL_WRITER_DELAY_MS_MAX {
        return Finding::ok("SP010", summary);
    }
    Finding::bad(
        "SP010",
        Severity::Warning,
        summary,
        "what this store passes on waits for the WAL writer: each hop takes up to this long",
    )
    .fixed_by(observed.set("wal_writer_delay", "1ms", RELOAD))
}

/// A sender of a link that sends nothing answers no ping for five minutes. Zero is no limit: the network
/// notices a publisher that is gone.
const WAL_RECEIVER_TIMEOUT_MS: RangeInclusive<i64> = 330_000..=i64::MAX;

/// Settings in milliseconds that bound how long a dead peer or a broken link stays unnoticed.
fn timeouts(observed: &Observed) -> Vec<Finding> {
    // Code, setting, good values, value to set, what happens beyond them.
    let rules = [
        (
            "SP012",
            "wal_receiver_timeout",
            WAL_RECEIVER_TIMEOUT_MS,
            "10min",
            "a publisher that decodes a big transaction of others, or is slow, is silent for longer: \
             its link starts again from the transaction's beginning, time after time",
        ),
        (
            "SP013",
            "wal_retrieve_retry_interval",
            1..=1_000,
            "500ms",
            "a broken link is tried again only after this long",
        ),
    ];
    let check = |(code, name, good, value_to_set, effect): (_, _, RangeInclusive<i64>, _, &str)| {
        let value = observed.number(name).unwrap_or(0);
        let summary = format!("{name} is {value} ms");
        let limit = if value == 0 { i64::MAX } else { value };
        if good.contains(&limit) {
            return Finding::ok(code, summary);
        }
        let fix = observed.set(name, value_to_set, RELOAD);
        Finding::bad(code, Severity::Warning, summary, effect).fixed_by(fix)
    };
    rules.into_iter().map(check).collect()
}

/// An operation that has left its store must be on that store's disk: its number would be given
/// out a second time otherwise.
fn durability(observed: &Observed) -> Vec<Finding> {
    let rules = [
        (
            "SP014",
            "fsync",
            Severity::Critical,
            "a power failure may destroy or rewind the store",
        ),
        (
            "SP015",
            "full_page_writes",
            Severity::Critical,
            "a power failure may destroy the store",
        ),
        (
            "SP016",
            "synchronous_commit",
            Severity::Warning,
            "a crash loses the last commits that clients were told of",
        ),
    ];
    let check = |(code, name, severity, effect): (_, &str, Severity, &str)| {
        let value = observed.text(name);
        let summary = format!("{name} is {value}");
        // Each other level of `synchronous_commit` waits for the local disk at least, which is what counts here.
        if value != "off" {
            return Finding::ok(code, summary);
        }
        Finding::bad(code, severity, summary, effect).fixed_by(observed.set(name, "on", RELOAD))
    };
    rules.into_iter().map(check).collect()
}

fn password_encryption(observed: &Observed) -> Finding {
    let value = observed.text("password_encryption");
    let summary = format!("password_encryption is {value}");
    if value == "scram-sha-256" {
        return Finding::ok("SP017", summary);
    }
    Finding::bad(
        "SP017",
        Severity::Warning,
        summary,
        "the password of the replication role would be kept as a weak hash",
    )
    .fixed_by(observed.set("password_encryption", "scram-sha-256", RELOAD))
}

fn listen_addresses(observed: &Observed, requirements: Requirements) -> Finding {
    let value = observed.text("listen_addresses");
    let summary = format!("listen_addresses is '{value}'");
    let mut addresses = value
        .split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty());
    let is_local =
        |address: &str| address == "localhost" || address == "::1" || address.starts_with("127.");
    // Any other name counts as reachable: what it stands for only the server's machine knows.
    if !requirements.remote_peers || addresses.any(|address| !is_local(address)) {
        return Finding::ok("SP018", summary);
    }
    Finding::bad(
        "SP018",
        Severity::Warning,
        summary,
        "peers on other machines cannot reach this store, so it gets their writes and they do not \
         get its own",
    )
    .fixed_by(if requirements.is_private {
        "start the node with --pg-listen 0.0.0.0:PORT".to_owned()
    } else {
        observed.set("listen_addresses", "*", RESTART)
    })
}

fn autovacuum(observed: &Observed) -> Finding {
    let summary = format!("autovacuum is {}", observed.text("autovacuum"));
    if observed.is_on("autovacuum") {
        return Finding::ok("SP019", summary);
    }
    Finding::bad(
        "SP019",
        Severity::Warning,
        summary,
        "covered operations are deleted all the time: the store grows without bound",
    )
    .fixed_by(observed.set("autovacuum", "on", RELOAD))
}
