//! What a check found, in one form for everything that is checked.

use std::{borrow::Cow, process::ExitCode};

use super::table::{Cell, Table, Tone};
use crate::{
    api::{self, ClockStanding, ClockStatus, Direction, LinkStatus, NodeState, Status},
    postgres::doctor::{Finding, Severity, worst},
};

/// WAL held back by one link that deserves a look, and that is urgent.
const LAG_BYTES: (i64, i64) = (16 << 20, 256 << 20);

/// 0 ok, 1 warning, 2 critical, 3 unknown.
pub(super) fn exit_code(findings: &[Finding]) -> ExitCode {
    ExitCode::from(worst(findings).exit_code())
}

/// A finding about a node; its codes begin with `SN` as those about a server do with `SP`.
pub(super) fn finding(
    code: &'static str,
    severity: Severity,
    summary: impl Into<String>,
    fix: Option<&str>,
) -> Finding {
    Finding {
        code: Cow::Borrowed(code),
        severity,
        summary: summary.into(),
        detail: String::new(),
        fix: fix.map(str::to_owned),
    }
}

/// The findings as a table; below it, why the bad ones matter and what mends them.
pub(super) fn render(findings: &[Finding]) -> String {
    let mut table = Table::new(&["code", "result", "what"]);
    for finding in findings {
        let (name, tone) = match finding.severity {
            Severity::Ok => ("ok", Tone::Good),
            Severity::Unknown => ("unknown", Tone::Warning),
            Severity::Warning => ("warning", Tone::Warning),
            Severity::Critical => ("critical", Tone::Bad),
        };
        table.row([
            Cell::from(&*finding.code),
            Cell::new(name, tone),
            Cell::from(finding.summary.as_str()),
        ]);
    }
    let mut text = table.for_stdout();
    for finding in findings
        .iter()
        .filter(|finding| finding.severity != Severity::Ok)
    {
        let mut lines = Vec::new();
        if !finding.detail.is_empty() {
            lines.push(finding.detail.clone());
        }
        if let Some(fix) = &finding.fix {
            lines.push(format!("mend: {fix}"));
        }
        if !lines.is_empty() {
            let advice = lines.join("\n").replace('\n', "\n  ");
            text.push_str(&format!(
                "\n{}: {}\n  {advice}\n",
                finding.code, finding.summary
            ));
        }
    }
    text
}

/// What a node's own status tells about its health.
pub(super) fn judge(status: &Status) -> Vec<Finding> {
    let mut findings = vec![judge_state(status), judge_neighbors(status)];
    findings.extend(judge_identity(status));
    findings.extend(status.findings.iter().map(told));
    if status.node.has_twin {
        findings.push(finding(
            "SN005",
            Severity::Critical,
            format!(
                "another process runs with a copy of this node's key, seen {}: the overlay takes only one \
                 of the two, and the other is shut out",
                status.node.twin_at
            ),
            Some("stop one of the two, remove identity.key from its data directory, and start it again"),
        ));
    }
    findings.extend(judge_clock(&status.clock));
    findings.extend(status.links.iter().filter_map(judge_link));
    if status.links.iter().all(|link| judge_link(link).is_none()) {
        let what = format!("{} data links are up and level", status.links.len());
        findings.push(finding("SN003", Severity::Ok, what, None));
    }
    findings
}

/// What the node itself has found.
fn told(finding: &api::Finding) -> Finding {
    let severity = match finding.severity.as_str() {
        "critical" => Severity::Critical,
        "warning" => Severity::Warning,
        _ => Severity::Unknown,
    };
    Finding {
        code: Cow::Owned(finding.code.clone()),
        severity,
        summary: finding.text.clone(),
        detail: String::new(),
        fix: Some(finding.cure.clone()).filter(|cure| !cure.is_empty()),
    }
}

fn judge_state(status: &Status) -> Finding {
    let (severity, what, fix) = match status.node.state {
        NodeState::Ready if status.store.ready => (Severity::Ok, "the node serves", None),
        NodeState::Ready | NodeState::Degraded => (
            Severity::Critical,
            "the store is down; the node stays in the overlay",
            Some("see the node's log and <data-dir>/postgres/server.log"),
        ),
        NodeState::Starting => (Severity::Warning, "the store is not up yet", None),
        NodeState::Joining => (Severity::Warning, "the node joins and catches up", None),
        NodeState::Leaving => (Severity::Warning, "the node leaves the cluster", None),
    };
    finding("SN001", severity, what, fix)
}

/// `None` for a store that always was what it is.
fn judge_identity(status: &Status) -> Option<Finding> {
    if status.store.unconfirmed {
        let fix = "start another node of the cluster, or wait: after replication.confirm_within the \
                   store goes on as another site by itself";
        return Some(finding(
            "SN004",
            Severity::Warning,
            "the store takes no writes until a peer confirms that it is not an older copy",
            Some(fix),
        ));
    }
    let last = status.store.renewals.last()?;
    let what = format!(
        "the store is site {} since {}: {}",
        last.to, last.at, last.why
    );
    Some(finding("SN004", Severity::Ok, what, None))
}

fn judge_neighbors(status: &Status) -> Finding {
    let overlay = &status.overlay;
    match (overlay.active.len(), overlay.passive, overlay.remembered) {
        (0, 0, 0) => finding(
            "SN002",
            Severity::Ok,
            "the node is alone and knows nobody",
            None,
        ),
        (0, 0, remembered) => finding(
            "SN002",
            Severity::Warning,
            format!("no neighbour; remembered from earlier and being tried: {remembered}"),
            Some(
                "check that they run and can be reached from here; `starling evict PEER` forgets \
                 one that is gone for good",
            ),
        ),
        (0, known, _) => finding(
            "SN002",
            Severity::Critical,
            format!("no neighbour left; {known} known peers are being tried"),
            Some("check that the peers' addresses in `starling nodes` can be reached from here"),
        ),
        (active, ..) => finding("SN002", Severity::Ok, format!("{active} neighbours"), None),
    }
}

/// `None` while there is nothing to compare with.
fn judge_clock(clock: &ClockStatus) -> Option<Finding> {
    let ahead_s = clock.ahead_ms? / 1e3;
    let way = if ahead_s < 0.0 { "behind" } else { "ahead of" };
    let differs = format!(
        "the store's clock is {:.3} s {way} its neighbours'",
        ahead_s.abs()
    );
    let set = Some("chronyc makestep  # or: timedatectl set-ntp true; on the store's machine");
    Some(match clock.standing {
        ClockStanding::Unknown => return None,
        ClockStanding::Fair => finding(
            "SN006",
            Severity::Ok,
            format!(
                "the store's clock agrees with {} neighbours",
                clock.neighbors
            ),
            None,
        ),
        ClockStanding::Off => finding("SN006", Severity::Warning, differs, set),
        ClockStanding::Ahead => {
            let what = format!("{differs}: they take nothing from this node");
            finding("SN006", Severity::Critical, what, set)
        }
    })
}

/// `None` when nothing is wrong with the link.
fn judge_link(link: &LinkStatus) -> Option<Finding> {
    let way = match link.direction {
        Direction::In => "from",
        Direction::Out => "to",
    };
    let name = format!("link {way} {}", super::output::short(&link.peer_id));
    let lag = link.lag_bytes.unwrap_or(0);
    let (severity, what, fix) = if link.state == "down" {
        let fix = "`starling links` shows it again in a moment; if it stays, run `starling doctor` \
                   on both nodes";
        (Severity::Warning, format!("{name} is down"), fix)
    } else if link.state == "refused" {
        let fix = "chronyc makestep  # or: timedatectl set-ntp true; on the machine of the peer's \
                   store, then the link comes back by itself";
        let what = format!("{name} is refused: the peer's clock is too far ahead");
        (Severity::Warning, what, fix)
    } else if lag >= LAG_BYTES.0 {
        let severity = if lag >= LAG_BYTES.1 {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let fix = "look at the subscriber's load; beyond replication.slot_bytes_max the slot is \
                   dropped and the link is caught up anew";
        (
            severity,
            format!("{name} holds back {} MiB of WAL", lag >> 20),
            fix,
        )
    } else {
        return None;
    };
    Some(finding("SN003", severity, what, Some(fix)))
}

#[cfg(test)]
mod tests {
    use super::judge_neighbors;
    use crate::{
        api::{ClockStatus, NodeState, NodeStatus, OverlayStatus, Status, StoreStatus},
        postgres::doctor::Severity,
    };

    fn alone(passive: usize, remembered: usize) -> Status {
        Status {
            node: NodeStatus {
                peer_id: String::new(),
                site: 1,
                name: String::new(),
                cluster: String::new(),
                version: String::new(),
                state: NodeState::Ready,
                listen: Vec::new(),
                has_twin: false,
                twin_at: String::new(),
            },
            store: StoreStatus {
                url: String::new(),
                version: String::new(),
                ready: true,
                unconfirmed: false,
                renewals: Vec::new(),
            },
            clock: ClockStatus::default(),
            overlay: OverlayStatus {
                active: Vec::new(),
                passive,
                remembered,
            },
            links: Vec::new(),
            vector: std::collections::BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn to_be_alone_is_well_only_for_who_never_knew_anybody() {
        let severity = |passive, remembered| judge_neighbors(&alone(passive, remembered)).severity;
        assert_eq!(severity(0, 0), Severity::Ok);
        assert_eq!(severity(0, 1), Severity::Warning);
        assert_eq!(severity(3, 3), Severity::Critical);
    }
}
