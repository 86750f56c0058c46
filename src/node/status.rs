//! What the node shows of itself: the status board behind the HTTP API, and the metrics.

pub(super) mod board;
pub(super) mod metrics;
