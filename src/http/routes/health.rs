//! Is the process up, and does the node serve?

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};

use crate::{
    api::{ClockStanding, Direction, NodeState, Status},
    http::{error::ApiError, view::View},
};

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `?lag=SECONDS`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bound {
    lag: Option<f64>,
}

/// What a ready node answers.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    state: NodeState,
    /// Absent when an incoming link does not stream, and nothing asked for a bound.
    lag_seconds: Option<f64>,
}

pub(super) async fn readyz(
    State(view): State<View>,
    bound: Result<Query<Bound>, QueryRejection>,
) -> Result<Json<Ready>, ApiError> {
    let Query(bound) = bound?;
    let bound = match bound.lag {
        Some(lag) if !lag.is_finite() || lag < 0.0 => {
            return Err(ApiError::BadQuery(
                "lag is a number of seconds, not below 0".to_owned(),
            ));
        }
        lag => lag,
    };
    readiness(&view.status.borrow(), bound).map(Json)
}

fn readiness(status: &Status, bound: Option<f64>) -> Result<Ready, ApiError> {
    let state = status.node.state;
    let waiting = match state {
        NodeState::Ready if status.store.ready => None,
        NodeState::Ready | NodeState::Degraded => Some("the store is down"),
        NodeState::Starting => Some("the store is not up yet"),
        NodeState::Joining => Some("joining the cluster and catching up"),
        NodeState::Leaving => Some("leaving the cluster"),
    };
    if let Some(reason) = waiting {
        return Err(ApiError::NotReady {
            state,
            reason: reason.to_owned(),
        });
    }
    if status.clock.standing == ClockStanding::Ahead {
        let ahead_ms = status.clock.ahead_ms.unwrap_or_default();
        return Err(ApiError::NotReady {
            state,
            reason: format!(
                "the store's clock is {:.3} s ahead of its neighbours', who take nothing from it: \
                 set it (chronyc makestep)",
                ahead_ms / 1e3
            ),
        });
    }
    let lag_seconds = lag(status);
    match bound {
        Some(bound) if lag_seconds > bound => {
            let reason = if lag_seconds.is_finite() {
                format!("a link lags by {lag_seconds:.3} s, which is over {bound} s")
            } else {
                "a link does not stream".to_owned()
            };
            Err(ApiError::NotReady { state, reason })
        }
        _ => Ok(Ready {
            state,
            lag_seconds: Some(lag_seconds).filter(|lag| lag.is_finite()),
        }),
    }
}

/// The largest lag of an incoming link; infinite when one of them does not stream, zero when there
/// is none: then nobody is ahead of us.
fn lag(status: &Status) -> f64 {
    status
        .links
        .iter()
        .filter(|link| link.direction == Direction::In && link.state != "closing")
        .map(|link| link.lag_seconds.unwrap_or(f64::INFINITY))
        .fold(0.0, f64::max)
}
