//! Whether the process is up, and whether the node serves.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};

use crate::{
    api::{ClockStanding, Direction, LinkState, LinkStatus, NodeState, Side, Status},
    http::{error::ApiError, view::View},
};

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The query `?lag=SECONDS`: by how much the node may be behind and still be ready.
#[derive(Debug, Deserialize)]
// A misspelt bound would be no bound, and the node always ready.
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
        // `inf` and `NaN` are numbers to whoever reads the query, and no bounds.
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
        let mut reason = reason.to_owned();
        if let Some(why) = obstacle(status).filter(|_| state == NodeState::Joining) {
            reason.push_str(&format!(" ({why})"));
        }
        return Err(ApiError::NotReady { state, reason });
    }
    // What is written here would win against later writes elsewhere, and nobody takes it until the clock is set.
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
    if let Some(link) = cut_off(status) {
        let reason = format!("nothing flows {}", describe(link));
        return Err(ApiError::NotReady { state, reason });
    }
    let (lag_seconds, worst) = lag(status);
    match (bound, worst) {
        (Some(bound), Some(link)) if lag_seconds > bound => {
            let reason = if lag_seconds.is_finite() {
                let link = describe(link);
                format!("a link lags by {lag_seconds:.3} s, which is over {bound} s: {link}")
            } else {
                format!("a link does not stream: {}", describe(link))
            };
            Err(ApiError::NotReady { state, reason })
        }
        _ => Ok(Ready {
            state,
            lag_seconds: Some(lag_seconds).filter(|lag| lag.is_finite()),
        }),
    }
}

/// What stands in the way of joining, as far as it is known.
fn obstacle(status: &Status) -> Option<String> {
    let contacts = &status.overlay.bootstrap;
    let failing = contacts.iter().find_map(|contact| {
        let cause = contact.cause.as_ref()?;
        Some(format!("cannot join through {}: {cause}", contact.address))
    });
    let links = status.links.iter();
    let incoming = links.filter(|link| link.direction == Direction::In && link.reason.is_some());
    let link = incoming.map(describe).next();
    // A link's reason first: whoever has a link has found somebody to join through.
    link.or(failing.filter(|_| status.overlay.active.is_empty()))
}

fn describe(link: &LinkStatus) -> String {
    let way = match link.direction {
        Direction::In => "from",
        Direction::Out => "to",
    };
    let why = link.reason.as_deref().unwrap_or("no reason is known");
    format!("{way} {}, {}: {why}", link.peer_id, link.state.name())
}

/// A link that stands for a direction in which nothing flows although there are neighbours, because of
/// something at this end. What is wrong with the peers does not make this node unfit to serve.
fn cut_off(status: &Status) -> Option<&LinkStatus> {
    [Direction::In, Direction::Out].into_iter().find_map(|way| {
        let links = || {
            status
                .links
                .iter()
                .filter(move |link| link.direction == way)
        };
        let ours = links().find(|link| link.side == Some(Side::Here));
        ours.filter(|_| links().all(|link| link.overdue))
    })
}

/// The incoming link with the largest lag: zero when there is none, because then nobody is ahead of us.
///
/// Not counted are links that bring nothing for a reason that lies at the peer, and those that are still
/// being made while nobody has said what the peer has. A lag that should be known and is not is infinite.
fn lag(status: &Status) -> (f64, Option<&LinkStatus>) {
    let counts = |link: &&LinkStatus| match link.state {
        LinkState::Streaming | LinkState::CatchingUp => link.direction == Direction::In,
        LinkState::Closing | LinkState::Lazy => false,
        LinkState::Opening if !link.overdue && link.lag_seconds.is_none() => false,
        LinkState::Opening | LinkState::Refused | LinkState::Down => {
            link.direction == Direction::In && link.side != Some(Side::Peer)
        }
    };
    let all = status.links.iter().filter(counts);
    all.map(|link| (link.lag_seconds.unwrap_or(f64::INFINITY), Some(link)))
        .fold(
            (0.0, None),
            |worst, next| {
                if next.0 > worst.0 { next } else { worst }
            },
        )
}
