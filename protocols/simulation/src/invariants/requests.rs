//! Every pending request has a timer (R2): none is older than its timer allows.

use std::time::Duration;

use crate::Member;

/// A slow node comes to its timers late.
const SLACK: Duration = Duration::from_secs(2);

pub(super) fn check(member: &Member, now: Duration) -> Result<(), String> {
    let state = member.state();
    let most = state.config().request_timeout() + SLACK;
    let overdue = |since: Duration| now.saturating_sub(since) > most;
    match state.requests().find(|(_, since)| overdue(*since)) {
        Some((peer, since)) => Err(format!(
            "requests: {} waits for {peer} since {since:?}, longer than {most:?}",
            state.me().id
        )),
        None => Ok(()),
    }
}
