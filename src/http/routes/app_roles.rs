//! The login roles of applications.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::commands::send;
use crate::{
    api::{AppRole, AppRoleRequest, NewAppRole},
    directory::roles::{RoleChange, RoleName, Verifier},
    http::{
        error::ApiError,
        view::{Command, View},
    },
};

pub(super) async fn list(State(view): State<View>) -> Result<Json<Vec<AppRole>>, ApiError> {
    send(&view, |reply| Command::ListRoles { reply })
        .await
        .map(Json)
}

pub(super) async fn add(
    State(view): State<View>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let wanted: NewAppRole = read(&body)?;
    let verifier = verifier(&wanted.verifier)?;
    change(&view, &wanted.name, RoleChange::Add(verifier))
        .await
        .map(|done| (StatusCode::CREATED, done))
}

pub(super) async fn rotate(
    State(view): State<View>,
    Path(name): Path<String>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    let wanted: AppRoleRequest = read(&body)?;
    let verifier = verifier(&wanted.verifier)?;
    change(&view, &name, RoleChange::Rotate(verifier)).await
}

pub(super) async fn remove(
    State(view): State<View>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    change(&view, &name, RoleChange::Remove).await
}

async fn change(view: &View, name: &str, change: RoleChange) -> Result<Json<Value>, ApiError> {
    let wanted: RoleName = name.parse().map_err(bad)?;
    send(view, |reply| Command::ChangeRole {
        name: wanted,
        change,
        reply,
    })
    .await?;
    Ok(Json(json!({ "name": name })))
}

/// The error repeats nothing of what was sent: it may be a password.
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::BadRole(format!(
            "the body cannot be read (line {}, column {}): it is {{\"name\": \"shop\", \"verifier\": \
             \"SCRAM-SHA-256$..\"}}; in a PUT without the name",
            error.line(),
            error.column()
        ))
    })
}

fn verifier(text: &str) -> Result<Verifier, ApiError> {
    text.parse().map_err(bad)
}

fn bad(error: impl std::fmt::Display) -> ApiError {
    ApiError::BadRole(error.to_string())
}
