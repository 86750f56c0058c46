//! Checks of the replication slots that carry our links.

use super::observed::{Observed, Slot};
use crate::{
    finding::{Finding, Severity},
    postgres::quote::literal,
};

/// Links are made and lose their connection now and then: a slot that keeps less than this is nothing to
/// speak of.
const RETAINED_MAX: i64 = 64 * 1024 * 1024;

/// All findings about slots.
pub(super) fn check(observed: &Observed) -> Vec<Finding> {
    let lost: Vec<_> = observed.slots.iter().filter(|slot| slot.lost).collect();
    // Those that lost their WAL have a finding of their own.
    let idle: Vec<_> = observed
        .slots
        .iter()
        .filter(|slot| !slot.active && !slot.lost)
        .collect();
    vec![inactive(&idle), lost_wal(&lost)]
}

fn inactive(slots: &[&Slot]) -> Finding {
    let retained: i64 = slots.iter().map(|slot| slot.retained_bytes).sum();
    if retained < RETAINED_MAX {
        return Finding::ok("SP030", "no slot of a link keeps WAL for nobody");
    }
    Finding::bad(
        "SP030",
        Severity::Warning,
        format!("slots that nobody reads: {}", names(slots)),
        format!(
            "they keep {retained} bytes of WAL; a running node drops them when their peer stays \
             away, and the peer catches up later without loss"
        ),
    )
    // Not a statement to be run as it is: the peer of such a slot may be about to come back.
    .fixed_by(format!(
        "start the peers or the node again; where no node runs on this store: {}",
        drops(slots)
    ))
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
    .fixed_by(drops(slots))
}

fn names(slots: &[&Slot]) -> String {
    slots
        .iter()
        .map(|slot| slot.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn drops(slots: &[&Slot]) -> String {
    let drop = |slot: &&Slot| format!("select pg_drop_replication_slot({});", literal(&slot.name));
    slots.iter().map(drop).collect::<Vec<_>>().join(" ")
}
