//! Time limits that nest. How long a peer waits on purpose before it answers is made of its parts, and whoever
//! asks waits longer than that, so that it hears the reason and not only silence.

use std::time::Duration;

/// The two ends of a new relation learn of it at different moments. A request from a peer that is not our
/// neighbour yet waits this long for our own news of it.
pub(crate) const ACQUAINTANCE_LIMIT: Duration = Duration::from_secs(1);

/// Each of two that become neighbours asks the other about itself first; a request to open a link waits
/// this long for that.
pub(crate) const CONFIRM_LIMIT: Duration = Duration::from_secs(2);

/// An `Open` is answered within this, with "ask again" and what it waits for if need be; sooner, once that
/// is known, because the subscriber has nothing to tell before.
pub(crate) const OPEN_REPLY_LIMIT: Duration = Duration::from_secs(3);

/// A peer that leaves is answered within this, whether its links are down by then or not: what takes longer
/// goes on, and it has others to tell.
pub(crate) const PARTING_LIMIT: Duration = Duration::from_secs(10);

/// Taking down the links with one peer: a walsender to end, a worker to stop, a peer to tell. Nobody waits for
/// an answer.
pub(crate) const CLEARING_LIMIT: Duration = Duration::from_secs(40);

/// The way there and back.
const MARGIN: Duration = Duration::from_secs(2);

/// The longest that a peer waits on purpose before it answers an `Open` or a `Leave`. Other answers take as
/// long as its store does.
const ANSWER_MAX: Duration = {
    let open = ACQUAINTANCE_LIMIT
        .saturating_add(CONFIRM_LIMIT)
        .saturating_add(OPEN_REPLY_LIMIT);
    if open.as_millis() > PARTING_LIMIT.as_millis() {
        open
    } else {
        PARTING_LIMIT
    }
};

/// How long a peer's answer is waited for.
pub const REQUEST_LIMIT: Duration = ANSWER_MAX.saturating_add(MARGIN);
