//! The two things a node can be asked to do.

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc::error::TrySendError, oneshot};

use crate::{
    http::{
        error::ApiError,
        view::{Command, CommandError, View},
    },
    identity::NodeName,
};

pub(super) async fn leave(State(view): State<View>) -> Result<Json<Value>, ApiError> {
    send(&view, |reply| Command::Leave { reply }).await?;
    Ok(Json(json!({ "left": true })))
}

pub(super) async fn evict(
    State(view): State<View>,
    Path(peer): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if !is_peer_id(&peer) {
        return Err(ApiError::BadPeer(peer));
    }
    send(&view, |reply| Command::Evict {
        peer: NodeName(peer.clone()),
        reply,
    })
    .await?;
    Ok(Json(json!({ "evicted": peer })))
}

async fn send(
    view: &View,
    command: impl FnOnce(oneshot::Sender<Result<(), CommandError>>) -> Command,
) -> Result<(), ApiError> {
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

/// The shape of a PeerId: base58 of a multihash. Whether anybody bears it, the node decides.
fn is_peer_id(text: &str) -> bool {
    let base58 = |c: char| c.is_ascii_alphanumeric() && !matches!(c, '0' | 'O' | 'I' | 'l');
    (40..=64).contains(&text.len()) && text.chars().all(base58)
}
