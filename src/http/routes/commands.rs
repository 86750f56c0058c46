//! What a node can be asked to do, but for application roles.

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Path, State},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc::error::TrySendError, oneshot};

use crate::{
    api::{LeaveReport, LeaveRequest},
    http::{
        error::ApiError,
        guard::BODY_BYTES_MAX,
        limits::BODY_TIMEOUT,
        view::{Command, CommandError, View},
    },
};

/// Longer than anybody waits, and far from the end of the clock.
const TIMEOUT_SECONDS_MAX: f64 = 7.0 * 86_400.0;

pub(super) async fn leave(
    State(view): State<View>,
    body: Body,
) -> Result<Json<LeaveReport>, ApiError> {
    // The command has no limit, its body has.
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX))
        .await
        .map_err(|_| ApiError::Timeout(BODY_TIMEOUT))?
        .map_err(|error| ApiError::BadBody(error.to_string()))?;
    let request = read(&body).map_err(ApiError::BadBody)?;
    send(&view, |reply| Command::Leave { request, reply })
        .await
        .map(Json)
}

/// No body asks for what is usual.
fn read(body: &[u8]) -> Result<LeaveRequest, String> {
    if body.trim_ascii().is_empty() {
        return Ok(LeaveRequest::default());
    }
    let request: LeaveRequest = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match request.timeout_seconds {
        Some(seconds) if !(0.0..=TIMEOUT_SECONDS_MAX).contains(&seconds) => Err(format!(
            "timeout_seconds is a number from 0 to {TIMEOUT_SECONDS_MAX}"
        )),
        _ => Ok(request),
    }
}

pub(super) async fn evict(
    State(view): State<View>,
    Path(peer): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let Ok(id) = peer.parse() else {
        return Err(ApiError::BadPeer(peer));
    };
    send(&view, |reply| Command::Evict { peer: id, reply }).await?;
    Ok(Json(json!({ "evicted": peer })))
}

pub(super) async fn send<T>(
    view: &View,
    command: impl FnOnce(oneshot::Sender<Result<T, CommandError>>) -> Command,
) -> Result<T, ApiError> {
    let (reply, answer) = oneshot::channel();
    view.commands
        .try_send(command(reply))
        .map_err(|error| match error {
            TrySendError::Full(_) => ApiError::Busy,
            TrySendError::Closed(_) => ApiError::Stopping,
        })?;
    answer
        .await
        .map_err(|_| ApiError::Stopping)?
        .map_err(ApiError::from)
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::api::LeaveRequest;

    #[test]
    fn a_body_may_be_missing_and_must_make_sense() {
        for nothing in ["", " \n", "{}"] {
            assert_eq!(read(nothing.as_bytes()), Ok(LeaveRequest::default()));
        }
        let wanted = LeaveRequest {
            timeout_seconds: Some(1.5),
            abandon: true,
        };
        assert_eq!(
            read(br#"{"timeout_seconds":1.5,"abandon":true}"#),
            Ok(wanted)
        );
        for nonsense in [
            "x",
            "[]x",
            r#"{"abandon":"yes"}"#,
            r#"{"force":true}"#,
            r#"{"timeout_seconds":-1}"#,
            r#"{"timeout_seconds":1e9}"#,
        ] {
            assert!(read(nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }
}
