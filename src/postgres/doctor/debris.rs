//! Checks of the replication slots that carry our links.

use super::observed::{Observed, Slot};
use super::{Finding, Severity};

/// All findings about slots.
pub(super) fn check(observed: &Observed) -> Vec<Finding> {
    let lost: Vec<_> = observed.slots.iter().filter(|slot| slot.lost).collect();
    let idle: Vec<_> = observed
        .slots
        .iter()
        .filter(|slot| !slot.active && !slot.lost)
        .collect();
    vec![inactive(&idle), lost_wal(&lost)]
}

fn inactive(slots: &[&Slot]) -> Finding {
    if slots.is_empty() {
        return Finding::ok("SP030", "every slot of a link is being read");
    }
    let retained: i64 = slots.iter().map(|slot| slot.retained_bytes).sum();
    Finding::bad(
        "SP030",
        Severity::Warning,
        format!("slots that nobody reads: {}", names(slots)),
        format!(
            "they keep {retained} bytes of WAL; a running node drops them when their peer stays \
             away, and the peer catches up later without loss"
        ),
    )
    .mend(drops(slots))
}

fn lost_wal(slots: &[&Slot]) -> Finding {
    if slots.is_empty() {
        return Finding::ok("SP031", "no slot has lost WAL");
    }
    Finding::bad(
        "SP031",
        Severity::Warning,
        format!("slots that lost the WAL they need: {}", names(slots)),
        "their links are over; a running node makes new ones, which catch up without loss",
    )
    .mend(drops(slots))
}

fn names(slots: &[&Slot]) -> String {
    slots
        .iter()
        .map(|slot| slot.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn drops(slots: &[&Slot]) -> String {
    let drop = |slot: &&Slot| format!("select pg_drop_replication_slot('{}');", slot.name);
    slots.iter().map(drop).collect::<Vec<_>>().join(" ")
}
