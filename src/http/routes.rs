//! The paths of the API.

mod app_roles;
mod commands;
mod health;
mod state;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware,
    routing::{get, post, put},
};

use super::{
    dashboard,
    error::ApiError,
    guard::{BODY_BYTES_MAX, LEAVE, guard},
    metrics,
    view::{Settings, View},
};

/// All paths, each behind the guard.
pub(super) fn router(view: View, settings: Settings) -> Router {
    Router::new()
        .route("/", get(dashboard::page))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::text))
        .route("/v1/status", get(state::status))
        .route("/v1/nodes", get(state::nodes))
        .route("/v1/topology", get(state::topology))
        .route(LEAVE, post(commands::leave))
        .route("/v1/evict/{peer}", post(commands::evict))
        .route("/v1/app-roles", get(app_roles::list).post(app_roles::add))
        .route(
            "/v1/app-roles/{name}",
            put(app_roles::rotate).delete(app_roles::remove),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(view)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        // The last layer is the outermost: before the guard no body is read and no path denied.
        .layer(middleware::from_fn_with_state(Arc::new(settings), guard))
}

async fn not_found(request: Request) -> ApiError {
    ApiError::NotFound(request.uri().path().to_owned())
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError::MethodNotAllowed {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
    }
}
