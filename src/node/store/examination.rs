//! Whether the server below the store is fit to carry it, at the start and while the node runs.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval_at},
};
use tracing::{debug, info, warn};

use crate::{
    api,
    finding::{Finding, Severity},
    postgres::{
        self, Conninfo,
        doctor::{Requirements, inspect},
    },
    store, watched,
};

/// Settings change while a node runs.
const INTERVAL: Duration = Duration::from_secs(30);

/// What was found, as others are told: all that is not well.
pub(in crate::node) fn tell(findings: &[Finding]) -> Vec<api::Finding> {
    let bad = findings
        .iter()
        .filter(|finding| finding.severity != Severity::Ok);
    bad.map(|finding| api::Finding {
        code: finding.code.to_string(),
        severity: match finding.severity {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Ok | Severity::Unknown => "unknown",
        }
        .to_owned(),
        text: finding.text(),
        cure: finding.fix.clone().unwrap_or_default(),
    })
    .collect()
}

/// Logs what is new since `before`, and what is over.
pub(in crate::node) fn log(before: &[api::Finding], now: &[api::Finding]) {
    let among = |all: &[api::Finding], one: &api::Finding| {
        all.iter()
            .any(|other| other.code == one.code && other.severity == one.severity)
    };
    for finding in now.iter().filter(|finding| !among(before, finding)) {
        let api::Finding {
            code,
            severity,
            text,
            cure,
        } = finding;
        warn!(code, severity, cure, "{text}");
    }
    for finding in before.iter().filter(|finding| !among(now, finding)) {
        info!(
            code = finding.code,
            over = finding.text,
            "a finding is over"
        );
    }
}

/// Examines a server again and again until it is dropped.
#[derive(Debug)]
pub(in crate::node) struct Examination {
    server: watch::Sender<Conninfo>,
    findings: watch::Receiver<Vec<api::Finding>>,
    task: JoinHandle<()>,
}

impl Examination {
    /// Goes on from what was found at the start.
    pub(in crate::node) fn start(
        server: Conninfo,
        requirements: Requirements,
        found: Vec<api::Finding>,
    ) -> Self {
        let (server, where_it_is) = watch::channel(server);
        let (teller, findings) = watch::channel(found);
        let task = tokio::spawn(examine(where_it_is, requirements, teller));
        Self {
            server,
            findings,
            task,
        }
    }

    /// The server is to be found elsewhere from now on.
    pub(in crate::node) fn store_moved(&self, server: Conninfo) {
        self.server.send_replace(server);
    }

    /// Returns what is wrong now, once that has changed.
    pub(in crate::node) async fn changed(&mut self) -> Vec<api::Finding> {
        if self.findings.changed().await.is_err() {
            // Nobody looks any more: nothing will change.
            std::future::pending::<()>().await;
        }
        self.findings.borrow_and_update().clone()
    }
}

impl Drop for Examination {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What somebody has dropped of the store below the node. It is not made again while the node runs: whoever
/// restores a dump drops the schema first.
async fn dropped(server: &Conninfo) -> Option<api::Finding> {
    const TOLD_MAX: usize = 3;
    let looked = async {
        let client = postgres::open(server).await?;
        anyhow::Ok(store::missing(&client).await?)
    };
    let missing = looked
        .await
        .inspect_err(|error| debug!(%error, "the store was not looked through"))
        .ok()?;
    let first = missing.first()?;
    let cure = if first.starts_with("table ") {
        "drop schema crdv cascade; then restart the node: it makes the store anew, and its peers bring what they have"
    } else {
        "if a dump is being restored, let that end; else restart the node: it makes again what is missing, and \
         its peers bring what they have"
    };
    let others = match missing.len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let told = missing.iter().take(TOLD_MAX).map(String::as_str);
    let told = told.collect::<Vec<_>>().join(", ");
    Some(api::Finding {
        code: "SN010".to_owned(),
        severity: "critical".to_owned(),
        text: format!("somebody has dropped what the store is made of: {told}{others}"),
        cure: cure.to_owned(),
    })
}

async fn examine(
    server: watch::Receiver<Conninfo>,
    requirements: Requirements,
    teller: watch::Sender<Vec<api::Finding>>,
) {
    let mut turns = interval_at(tokio::time::Instant::now() + INTERVAL, INTERVAL);
    // A look that took long is not followed by several at once.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let connection = server.borrow().clone();
        let found = inspect(&connection, requirements).await;
        // A server that is down is told of by the node's state.
        if found.iter().any(|finding| finding.code == "SP000") {
            continue;
        }
        let mut found = tell(&found);
        found.extend(dropped(&connection).await);
        log(&teller.borrow(), &found);
        watched::set(&teller, found);
    }
}
