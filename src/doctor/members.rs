//! Members that are not there.

use crate::{
    api::{AwayMember, MembersStatus, OverlayStatus, Presence},
    finding::{Finding, Severity},
    terminal::output::short,
};

/// `None` for a node that knows no other member.
pub(super) fn judge_members(members: &MembersStatus) -> Option<Finding> {
    let total = members.total;
    if total < 2 {
        return None;
    }
    if members.away.is_empty() {
        let what = format!("all {total} members are there");
        return Some(Finding::of_node("SN008", Severity::Ok, what, None));
    }
    let part = |presence: Presence| {
        let away = || members.away.iter().filter(move |m| m.presence == presence);
        let since = away().map(|member| member.since.as_str()).min()?;
        let names: Vec<String> = away().map(called).collect();
        let (count, name) = (names.len(), presence.name());
        Some(format!(
            "{count} of {total} members {name} since {since}: {}",
            names.join(", ")
        ))
    };
    // First those of whom nobody knows why: who stopped has said so.
    let parts: Vec<String> = [Presence::Silent, Presence::Stopped]
        .into_iter()
        .filter_map(part)
        .collect();
    let fix = "start them again; `starling evict NAME` gives up one that will not come back";
    Some(Finding::of_node(
        "SN008",
        Severity::Warning,
        parts.join("; "),
        Some(fix),
    ))
}

/// Who may become a member; `None` while nobody on another machine has.
pub(super) fn judge_admission(overlay: &OverlayStatus, total: usize) -> Option<Finding> {
    let what = format!(
        "whoever reaches a node's port may join this cluster, read and write: its {total} members have no swarm key"
    );
    let fix = "start all nodes with the same `--swarm-key FILE`; the README says how to make one";
    overlay
        .is_open
        .then(|| Finding::of_node("SN009", Severity::Warning, what, Some(fix)))
}

fn called(member: &AwayMember) -> String {
    if member.name.is_empty() {
        short(&member.peer_id)
    } else {
        member.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{judge_admission, judge_members};
    use crate::{
        api::{AwayMember, MembersStatus, OverlayStatus, Presence},
        finding::Severity,
    };

    #[test]
    fn members_that_are_not_there_are_counted_and_named() {
        let away = |name: &str, presence, since: &str| AwayMember {
            peer_id: "12D3KooWaaaaaaaa".to_owned(),
            name: name.to_owned(),
            presence,
            since: since.to_owned(),
        };
        let judge = |total, away| judge_members(&MembersStatus { total, away });
        assert_eq!(judge(1, Vec::new()), None);
        assert_eq!(judge(5, Vec::new()).unwrap().severity, Severity::Ok);
        let finding = judge(
            5,
            vec![
                away("n4", Presence::Silent, "12:01"),
                away("", Presence::Silent, "12:00"),
                away("n2", Presence::Stopped, "12:02"),
            ],
        )
        .unwrap();
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(
            finding.summary,
            "2 of 5 members silent since 12:00: n4, …aaaaaaaa; \
             1 of 5 members stopped since 12:02: n2"
        );
    }

    #[test]
    fn a_cluster_that_anybody_may_join_is_a_finding() {
        let overlay = |is_open| OverlayStatus {
            is_open,
            ..OverlayStatus::default()
        };
        assert_eq!(judge_admission(&overlay(false), 3), None);
        let finding = judge_admission(&overlay(true), 3).unwrap();
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.summary.contains("3 members"), "{}", finding.summary);
    }
}
