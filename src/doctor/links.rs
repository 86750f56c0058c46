//! Data links that do not flow, or lag.

use crate::{
    api::{Direction, LinkState, LinkStatus},
    finding::{Finding, Severity},
    terminal::output::{harmless, plural, short},
};

/// WAL held back by one outgoing link that deserves a look, and that is urgent: a segment of it, and a
/// quarter of what `replication.slot_bytes_max` is by default.
const LAG_BYTES: (i64, i64) = (16 << 20, 256 << 20);

/// Seconds behind a peer that deserve a look, and that are urgent.
const LAG_SECONDS: (f64, f64) = (5.0, 300.0);

/// Of a link that nobody has named a cure for.
const CURE: &str = "look at `starling links` on the peer, and at the logs of both nodes: one of the two says why \
                    it cannot go on";

/// What is wrong with each link, or that nothing is.
pub(super) fn judge_links(links: &[LinkStatus]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = links.iter().filter_map(judge_link).collect();
    if findings.is_empty() {
        // Over those that are lazy nothing is to flow.
        let lazy = |link: &&LinkStatus| link.state == LinkState::Lazy;
        let links: Vec<_> = links.iter().filter(|link| !lazy(link)).collect();
        let flowing = links
            .iter()
            .filter(|link| link.state == LinkState::Streaming)
            .count();
        let what = if links.is_empty() {
            "there is no data link yet".to_owned()
        } else if flowing == links.len() {
            let verb = if flowing == 1 { "is" } else { "are" };
            format!("{} {verb} up and level", plural(flowing, "data link"))
        } else {
            let reasons: Vec<String> = links
                .iter()
                .filter(|link| link.state != LinkState::Streaming)
                .filter_map(|link| link.reason.as_deref().map(harmless))
                .collect();
            format!(
                "{flowing} of {} data links are up; the others are being made: {}",
                links.len(),
                reasons.join("; ")
            )
            // Of links that are just being made no reason may be known.
            .trim_end_matches(": ")
            .to_owned()
        };
        findings.push(Finding::of_node("SN003", Severity::Ok, what, None));
    }
    findings
}

/// `None` when nothing is wrong with the link, or it is being made and has had little time for it.
fn judge_link(link: &LinkStatus) -> Option<Finding> {
    let way = match link.direction {
        Direction::In => "from",
        Direction::Out => "to",
    };
    let name = format!("link {way} {}", short(&link.peer_id));
    let is_bad = match link.state {
        LinkState::Refused | LinkState::Down => true,
        LinkState::Opening => link.overdue,
        LinkState::Streaming | LinkState::CatchingUp | LinkState::Closing | LinkState::Lazy => {
            false
        }
    };
    if is_bad {
        let reason = link.reason.as_deref().map(harmless);
        let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let what = format!("{name} is {} since {}{why}", link.state.name(), link.since);
        let fix = link.fix.as_deref().map(harmless);
        let fix = fix.unwrap_or_else(|| CURE.to_owned());
        return Some(Finding::of_node(
            "SN003",
            Severity::Warning,
            what,
            Some(&fix),
        ));
    }
    // How long the peer has had what a link that is being made has yet to bring says nothing of the link.
    if link.state != LinkState::Streaming {
        return None;
    }
    match link.direction {
        Direction::In => judge_lag(&name, link),
        // How many seconds it lags is the subscriber's to tell; here it is the WAL that it holds back.
        Direction::Out => judge_wal(&name, link),
    }
}

/// Of an incoming link that streams.
fn judge_lag(name: &str, link: &LinkStatus) -> Option<Finding> {
    let seconds = link
        .lag_seconds
        .filter(|seconds| *seconds >= LAG_SECONDS.0)?;
    let what = match link.reason.as_deref().map(harmless) {
        // It begins with how far.
        Some(reason) => format!("{name} is {reason}"),
        None => format!("{name} is {seconds:.0} s behind"),
    };
    let severity = graver_from(&LAG_SECONDS.1, &seconds);
    Some(Finding::of_node(
        "SN003",
        severity,
        what,
        link.fix.as_deref(),
    ))
}

/// Of an outgoing link that streams. The bytes of an incoming one are what has come and was not processed.
fn judge_wal(name: &str, link: &LinkStatus) -> Option<Finding> {
    let bytes = link.lag_bytes.filter(|bytes| *bytes >= LAG_BYTES.0)?;
    let fix = "look at the subscriber's load; beyond replication.slot_bytes_max the slot is \
               dropped and the link is caught up anew";
    let what = format!("{name} holds back {} MiB of WAL", bytes >> 20);
    let severity = graver_from(&LAG_BYTES.1, &bytes);
    Some(Finding::of_node("SN003", severity, what, Some(fix)))
}

/// A warning, or worse from `bound` on.
fn graver_from<V: PartialOrd>(bound: &V, value: &V) -> Severity {
    if value >= bound {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

#[cfg(test)]
mod tests {
    use super::judge_links;
    use crate::{
        api::{Direction, LinkState, LinkStatus, Side},
        finding::{Finding, Severity},
    };

    fn link(state: LinkState, overdue: bool) -> LinkStatus {
        LinkStatus {
            peer_id: "p".to_owned(),
            site: 2,
            direction: Direction::In,
            state,
            since: "2026-01-01T00:00:00.000Z".to_owned(),
            reason: Some("the peer's store says no".to_owned()),
            fix: Some("say yes".to_owned()),
            side: Some(Side::Peer),
            overdue,
            lag_bytes: None,
            lag_seconds: Some(0.0),
            slot: String::new(),
        }
    }

    #[test]
    fn only_links_that_stream_are_called_up_and_level() {
        let summary = |links: &[LinkStatus]| judge_links(links).remove(0).summary;
        let streaming = || LinkStatus {
            reason: None,
            ..link(LinkState::Streaming, false)
        };
        assert_eq!(summary(&[streaming()]), "1 data link is up and level");
        let lazy = link(LinkState::Lazy, false);
        assert_eq!(summary(&[streaming(), lazy]), "1 data link is up and level");
        for state in [
            LinkState::Opening,
            LinkState::CatchingUp,
            LinkState::Closing,
        ] {
            let findings = judge_links(&[streaming(), link(state, false)]);
            assert_eq!(findings[0].severity, Severity::Ok);
            let summary = &findings[0].summary;
            assert!(
                summary.starts_with("1 of 2 data links are up;"),
                "{summary}"
            );
            assert!(summary.ends_with("the peer's store says no"), "{summary}");
        }
    }

    #[test]
    fn what_does_not_flow_is_a_finding_with_its_reason_and_its_fix() {
        for (state, overdue) in [
            (LinkState::Opening, true),
            (LinkState::Refused, false),
            (LinkState::Down, false),
        ] {
            let finding = judge_links(&[link(state, overdue)]).remove(0);
            assert_eq!(finding.severity, Severity::Warning, "{state:?}");
            assert!(finding.summary.contains("the peer's store says no"));
            assert_eq!(finding.fix.as_deref(), Some("say yes"));
        }
        let behind = |seconds| LinkStatus {
            lag_seconds: Some(seconds),
            ..link(LinkState::Streaming, false)
        };
        for (seconds, severity) in [
            (4.9, Severity::Ok),
            (5.0, Severity::Warning),
            (300.0, Severity::Critical),
        ] {
            assert_eq!(judge_links(&[behind(seconds)])[0].severity, severity);
        }
    }

    #[test]
    fn a_link_without_a_cure_of_its_own_is_looked_at_from_the_other_side() {
        let down = LinkStatus {
            fix: None,
            ..link(LinkState::Down, false)
        };
        let fix = judge_links(&[down]).remove(0).fix.unwrap();
        for place in ["`starling links` on the peer", "logs of both nodes"] {
            assert!(fix.contains(place), "{fix}");
        }
    }

    #[test]
    fn what_a_link_that_is_being_made_or_taken_down_has_yet_to_bring_is_no_finding() {
        for state in [
            LinkState::Opening,
            LinkState::CatchingUp,
            LinkState::Closing,
            LinkState::Lazy,
        ] {
            for direction in [Direction::In, Direction::Out] {
                let link = LinkStatus {
                    direction,
                    lag_seconds: Some(3_600.0),
                    lag_bytes: Some(1 << 30),
                    ..link(state, false)
                };
                let finding = judge_links(&[link]).remove(0);
                assert_eq!(finding.severity, Severity::Ok, "{state:?} {direction:?}");
            }
        }
    }

    #[test]
    fn only_an_outgoing_link_holds_wal_back() {
        for (direction, mib, severity) in [
            (Direction::Out, 15, Severity::Ok),
            (Direction::Out, 16, Severity::Warning),
            (Direction::Out, 256, Severity::Critical),
            // What has come and was not processed: nothing is held back by it.
            (Direction::In, 256, Severity::Ok),
        ] {
            let link = LinkStatus {
                direction,
                lag_bytes: Some(mib << 20),
                ..link(LinkState::Streaming, false)
            };
            let Finding {
                severity: found,
                summary,
                ..
            } = judge_links(&[link]).remove(0);
            assert_eq!(found, severity, "{direction:?} {mib}");
            let tells = summary.ends_with(&format!("holds back {mib} MiB of WAL"));
            assert_eq!(tells, severity != Severity::Ok, "{summary}");
        }
        let behind = LinkStatus {
            direction: Direction::Out,
            lag_seconds: Some(600.0),
            ..link(LinkState::Streaming, false)
        };
        let finding = judge_links(&[behind]).remove(0);
        assert_eq!(finding.severity, Severity::Ok, "the subscriber tells");
    }
}
