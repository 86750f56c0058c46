//! The active and the passive view are disjoint, hold neither the node itself nor more than they may, and
//! requests are pending only for peers that are not neighbours (R2).

use crate::Member;

pub(super) fn check(member: &Member) -> Result<(), String> {
    member
        .state()
        .check()
        .map_err(|broken| format!("views: {broken}"))
}
