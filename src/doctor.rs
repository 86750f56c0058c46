//! Examines a node: whether it is well, by its own status, and what mends what is not. Whoever has a status can
//! ask: `starling status` and `starling doctor` do. The codes of its findings begin with `SN`, as those about a
//! server ([`crate::postgres::doctor`]) do with `SP`.

mod links;
mod members;

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use crate::{
    api::{
        self, ClockStanding, ClockStatus, ContactState, ContactStatus, LogLevel, LogWarning,
        NodeState, OverlayStatus, Status, timestamp,
    },
    finding::{Finding, Severity},
    terminal::output::{harmless, plural},
};
use links::judge_links;
use members::{judge_admission, judge_members};

/// An error that was not repeated for this long is no finding any more.
const ERRORS_FOR: Duration = Duration::from_mins(10);

/// What a node's own status tells about its health.
pub(crate) fn judge(status: &Status) -> Vec<Finding> {
    let mut findings = vec![judge_state(status), judge_neighbors(status)];
    findings.extend(judge_contacts(&status.overlay));
    findings.extend(judge_identity(status));
    findings.extend(status.findings.iter().map(told));
    findings.extend(judge_members(&status.members));
    findings.extend(judge_admission(&status.overlay, status.members.total));
    if status.node.has_twin {
        findings.push(Finding::of_node(
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
    findings.extend(judge_links(&status.links));
    findings.extend(judge_log(&status.warnings, SystemTime::now()));
    findings
}

/// What the node itself has found.
fn told(finding: &api::Finding) -> Finding {
    let severity = match finding.severity.as_str() {
        "critical" => Severity::Critical,
        "warning" => Severity::Warning,
        // A word of a later version. What it means is not known, so it is not well.
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
            Some(
                "see the node's log and the server's (of a private server: <data-dir>/postgres/server.log)",
            ),
        ),
        NodeState::Starting => (Severity::Warning, "the store is not up yet", None),
        NodeState::Joining => (Severity::Warning, "the node joins and catches up", None),
        NodeState::Leaving => (Severity::Warning, "the node leaves the cluster", None),
    };
    let what = match &status.node.waits_for {
        Some(waits_for) => format!("{what}; it waits for {waits_for}"),
        None => what.to_owned(),
    };
    Finding::of_node("SN001", severity, what, fix)
}

/// `None` for a store that always was what it is.
fn judge_identity(status: &Status) -> Option<Finding> {
    if status.store.unconfirmed {
        let fix = "start another node of the cluster, or wait: after replication.confirm_within the \
                   store goes on as another site by itself";
        return Some(Finding::of_node(
            "SN004",
            Severity::Warning,
            "the store takes no writes until its peers confirm that it is not an older copy",
            Some(fix),
        ));
    }
    let last = status.store.renewals.last()?;
    let what = format!(
        "the store is site {} since {}: {}",
        last.to, last.at, last.why
    );
    Some(Finding::of_node("SN004", Severity::Ok, what, None))
}

fn judge_neighbors(status: &Status) -> Finding {
    let overlay = &status.overlay;
    match (overlay.active.len(), overlay.passive, overlay.remembered) {
        // The contacts tell.
        (0, ..) if failing(overlay).next().is_some() => {
            let what = "no neighbour, and the addresses to join through lead nowhere";
            Finding::of_node("SN002", worst_contact(overlay), what, None)
        }
        // Who never knew anybody has lost nobody.
        (0, 0, 0) => Finding::of_node(
            "SN002",
            Severity::Ok,
            "the node is alone and knows nobody",
            None,
        ),
        // Also the node that has lost its only neighbour: that is not well.
        (0, 0, remembered) => Finding::of_node(
            "SN002",
            Severity::Warning,
            format!("no neighbour; remembered from earlier and being tried: {remembered}"),
            Some(
                "check that they run and can be reached from here; `starling evict PEER` forgets \
                 one that is gone for good",
            ),
        ),
        (0, known, _) => Finding::of_node(
            "SN002",
            Severity::Critical,
            format!(
                "no neighbour left; being tried: {}",
                plural(known, "known peer")
            ),
            Some("check that the peers' addresses in `starling nodes` can be reached from here"),
        ),
        (active, ..) => Finding::of_node("SN002", Severity::Ok, plural(active, "neighbour"), None),
    }
}

fn failing(overlay: &OverlayStatus) -> impl Iterator<Item = &ContactStatus> {
    overlay
        .bootstrap
        .iter()
        .filter(|contact| contact.state == ContactState::Failing)
}

fn severity_of(contact: &ContactStatus) -> Severity {
    if contact.needs_operator {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

fn worst_contact(overlay: &OverlayStatus) -> Severity {
    let severities = failing(overlay).map(severity_of);
    severities.max().unwrap_or(Severity::Warning)
}

/// The addresses to join through that lead nowhere. One that nobody answers at is of no interest once
/// there are neighbours; one that leads to somebody else is a mistake all the same.
fn judge_contacts(overlay: &OverlayStatus) -> Vec<Finding> {
    let is_alone = overlay.active.is_empty();
    failing(overlay)
        .filter(|contact| is_alone || contact.needs_operator)
        .map(|contact| {
            let cause = contact.cause.as_deref().unwrap_or("no reason is known");
            let what = format!(
                "cannot join through {}: {}; since {}, tried {} times, next at {}",
                harmless(&contact.address),
                harmless(cause),
                contact.since.as_deref().unwrap_or("-"),
                contact.attempts,
                contact.next.as_deref().unwrap_or("-"),
            );
            let severity = match is_alone {
                true => severity_of(contact),
                false => Severity::Warning,
            };
            Finding::of_node("SN002", severity, what, contact.fix.as_deref())
        })
        .collect()
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
        ClockStanding::Fair => Finding::of_node(
            "SN006",
            Severity::Ok,
            format!(
                "the store's clock agrees with {}",
                plural(clock.neighbors, "neighbour")
            ),
            None,
        ),
        ClockStanding::Off => Finding::of_node("SN006", Severity::Warning, differs, set),
        ClockStanding::Ahead => {
            let what = format!("{differs}: they take nothing from this node");
            Finding::of_node("SN006", Severity::Critical, what, set)
        }
    })
}

/// What the log has said lately. What lasts has a finding of its own above; so only a recent error is
/// bad in itself. `None` when there was nothing.
fn judge_log(warnings: &[LogWarning], now: SystemTime) -> Option<Finding> {
    // What is over is told in the status, and no reason for anybody to act.
    let warnings: Vec<&LogWarning> = warnings.iter().filter(|it| it.over.is_none()).collect();
    let last = *warnings.last()?;
    // Such texts are in the order of their moments: one length, one zone.
    let recent = timestamp(now.checked_sub(ERRORS_FOR).unwrap_or(now));
    let is_grave =
        |warning: &&LogWarning| warning.level == LogLevel::Error && warning.last >= recent;
    let grave = warnings.iter().copied().rev().find(is_grave);
    let severity = match grave {
        Some(_) => Severity::Warning,
        None => Severity::Ok,
    };
    let shown = grave.unwrap_or(last);
    let what = format!(
        "the log has {} of warnings of the last hour; at {}: {} {}",
        plural(warnings.len(), "kind"),
        shown.last,
        harmless(&shown.message),
        harmless(&shown.detail),
    );
    let fix = "docs/observability.md says what each means; `starling status -o json | jq .warnings` \
               lists them";
    Some(Finding::of_node("SN007", severity, what, Some(fix)))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{ERRORS_FOR, judge, judge_log, judge_neighbors};
    use crate::{
        api::{
            ClockStatus, ContactState, ContactStatus, LogLevel, LogWarning, MembersStatus,
            NodeState, NodeStatus, OverlayStatus, Status, StoreStatus, timestamp,
        },
        finding::Severity,
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
                waits_for: None,
            },
            store: StoreStatus {
                is_private: true,
                url: String::new(),
                version: String::new(),
                ready: true,
                unconfirmed: false,
                off_path: None,
                renewals: Vec::new(),
                requirements: None,
            },
            clock: ClockStatus::default(),
            overlay: OverlayStatus {
                active: Vec::new(),
                passive,
                remembered,
                bootstrap: Vec::new(),
                is_open: false,
            },
            members: MembersStatus::default(),
            links: Vec::new(),
            vector: crate::vector::Vector::default(),
            tree: None,
            findings: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn to_be_alone_is_well_only_for_who_never_knew_anybody() {
        let severity = |passive, remembered| judge_neighbors(&alone(passive, remembered)).severity;
        assert_eq!(severity(0, 0), Severity::Ok);
        assert_eq!(severity(0, 1), Severity::Warning);
        assert_eq!(severity(3, 3), Severity::Critical);
    }

    #[test]
    fn an_address_that_leads_nowhere_is_told_with_its_cause() {
        let contact = |needs_operator| ContactStatus {
            address: "/ip4/192.0.2.1/tcp/7400".to_owned(),
            state: ContactState::Failing,
            peer_id: None,
            cause: Some("nobody answers".to_owned()),
            fix: Some("start it".to_owned()),
            needs_operator,
            since: Some("2026-01-01T00:00:00.000Z".to_owned()),
            attempts: 4,
            next: Some("2026-01-01T00:00:30.000Z".to_owned()),
        };
        for (needs_operator, severity) in [(false, Severity::Warning), (true, Severity::Critical)] {
            let mut status = alone(0, 0);
            status.overlay.bootstrap = vec![contact(needs_operator)];
            let findings = judge(&status);
            let about: Vec<_> = findings.iter().filter(|f| f.code == "SN002").collect();
            assert!(about.iter().all(|f| f.severity == severity), "{about:?}");
            assert!(
                about[1]
                    .summary
                    .contains("192.0.2.1/tcp/7400: nobody answers; since 2026")
            );
            assert_eq!(about[1].fix.as_deref(), Some("start it"));

            let neighbor = serde_json::json!({
                "peer_id": "p", "name": "", "addresses": [], "since": "", "rtt_ms": null
            });
            status.overlay.active = vec![serde_json::from_value(neighbor).unwrap()];
            let count = judge(&status)
                .iter()
                .filter(|f| f.severity != Severity::Ok)
                .count();
            assert_eq!(count, usize::from(needs_operator));
        }
    }

    #[test]
    fn a_recent_error_is_a_finding_and_a_warning_is_told() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let said = |level, ago| LogWarning {
            level,
            message: format!("{level:?} of {ago:?}"),
            detail: String::new(),
            first: String::new(),
            last: timestamp(now - ago),
            count: 1,
            over: None,
        };
        let (new, old) = (Duration::from_secs(5), ERRORS_FOR + Duration::from_secs(5));
        assert_eq!(judge_log(&[], now), None);
        for (said, severity) in [
            (said(LogLevel::Warn, new), Severity::Ok),
            (said(LogLevel::Error, old), Severity::Ok),
            (said(LogLevel::Error, new), Severity::Warning),
        ] {
            let warnings = [said.clone()];
            let finding = judge_log(&warnings, now).unwrap();
            assert_eq!(finding.severity, severity, "{said:?}");
            assert!(finding.summary.contains(&said.message));
        }
        // As soon as it is over, and not only when it has faded.
        let lasting = said(LogLevel::Warn, new);
        let over = LogWarning {
            over: Some(timestamp(now)),
            ..said(LogLevel::Error, new)
        };
        assert_eq!(judge_log(std::slice::from_ref(&over), now), None);
        let finding = judge_log(&[lasting.clone(), over], now).unwrap();
        assert_eq!(finding.severity, Severity::Ok);
        assert!(finding.summary.contains(&lasting.message));
        assert!(finding.summary.contains(" 1 kind of warnings"));
    }
}
