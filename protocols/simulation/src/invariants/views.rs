//! The active and the passive view are disjoint, hold neither the node itself nor more than they may, and
//! requests are pending only for peers that are not neighbours (R2).

use hyparview::Config;

use crate::Member;

/// `config` is what the node should have been given.
pub(super) fn check(member: &Member, config: &Config) -> Result<(), String> {
    let state = member.state();
    state.check().map_err(|broken| format!("views: {broken}"))?;
    // Against the configuration that is meant: the machine's own check goes by the one that it was given.
    let sizes = [
        (
            "neighbours",
            state.active().count(),
            config.active_capacity(),
        ),
        (
            "backups",
            state.passive().count(),
            config.passive_capacity(),
        ),
        (
            "suspects",
            state.suspects().count(),
            config.suspect_capacity(),
        ),
    ];
    match sizes.into_iter().find(|(_, len, most)| len > most) {
        Some((what, len, most)) => Err(format!(
            "views: {} has {len} {what}, more than {most}",
            state.me().id
        )),
        None => Ok(()),
    }
}
