//! How long anything may take. The asker's limits are made of the answerer's, so that whoever waits hears why
//! it waited in vain.

use std::time::Duration;

/// A read answers from memory; whatever takes longer is stuck.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// Commands ask our own parts, and the store at most.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// A body is short and sent at once.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A request comes whole within this time: a head is sent at once as well.
pub(super) const REQUEST_MAX: Duration = BODY_TIMEOUT.saturating_mul(2);

/// The way there and back.
const MARGIN: Duration = Duration::from_secs(1);

/// How long a client waits for the answer to a read.
pub(super) const CLIENT_READ_TIMEOUT: Duration = READ_TIMEOUT.saturating_add(MARGIN);

/// How long a client waits for the answer to a command other than to leave, which has no limit here.
pub(super) const CLIENT_COMMAND_TIMEOUT: Duration = COMMAND_TIMEOUT
    .saturating_add(BODY_TIMEOUT)
    .saturating_add(MARGIN);

/// A connection on which nothing moves for this long is closed: longer than the longest command. A departure, which
/// is silent until its answer, suspends it.
pub(super) const SILENCE_MAX: Duration =
    CLIENT_COMMAND_TIMEOUT.saturating_add(Duration::from_secs(20));
