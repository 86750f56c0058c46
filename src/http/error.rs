//! Errors as problem documents (RFC 9457), each with a stable code.

use std::{path::PathBuf, time::Duration};

use axum::{
    extract::rejection::QueryRejection,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::view::CommandError;
use crate::api::{NodeState, Problem};

/// Why a request was not answered with what it asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// There is no such path.
    #[error("there is nothing at {0}; see /, /healthz, /readyz, /metrics and /v1/status")]
    NotFound(String),
    /// The path exists, for another method.
    #[error("{path} does not take {method}")]
    MethodNotAllowed {
        /// The method tried.
        method: String,
        /// The path.
        path: String,
    },
    /// The query string cannot be read.
    #[error("{0}")]
    BadQuery(String),
    /// The text in the path is no PeerId.
    #[error("`{0}` is not a PeerId; `starling nodes` lists them")]
    BadPeer(String),
    /// A role, or what is to be its verifier, is none.
    #[error("{0}")]
    BadRole(String),
    /// The body cannot be read.
    #[error(
        "the body cannot be read: {0}; give none, or for example {{\"timeout_seconds\": 60, \"abandon\": false}}"
    )]
    BadBody(String),
    /// The body is larger than any that we read.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// A request without the token came under a host name that is not known to be ours.
    #[error(
        "requests without the node's token are not answered under the host name `{0}`: address \
         the node as localhost or by its IP address, or add the name to http.hosts"
    )]
    HostRefused(String),
    /// The request needs the node's token, and came with none or another one.
    #[error(
        "{what} need the node's token, as `Authorization: Bearer TOKEN`; it is in {}",
        path.as_ref().map_or("http.token in the node's data directory".into(), |path| path.display().to_string())
    )]
    TokenNeeded {
        /// Which requests.
        what: &'static str,
        /// Where it lies; told on the node's own machine only.
        path: Option<PathBuf>,
    },
    /// The node is up and not ready to serve.
    #[error("{reason}")]
    NotReady {
        /// What it is doing instead.
        state: NodeState,
        /// What it waits for.
        reason: String,
    },
    /// Too many commands wait already.
    #[error("too many commands are waiting; try again in a moment")]
    Busy,
    /// The node is stopping and takes no more commands.
    #[error("the node is stopping")]
    Stopping,
    /// The answer did not come in time. A command goes on, and may be asked for again.
    #[error("no answer within {} s; `starling status` shows how far it is", .0.as_secs())]
    Timeout(Duration),
    /// The node refused or failed to do what it was asked.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Our own fault.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// Status, stable code and title of this kind of error.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", "Not found"),
            Self::MethodNotAllowed { .. } => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Method not allowed",
            ),
            Self::BadQuery(_) => (StatusCode::BAD_REQUEST, "bad_query", "Bad query"),
            Self::BadPeer(_) => (StatusCode::BAD_REQUEST, "bad_peer", "Bad PeerId"),
            Self::BadRole(_) => (StatusCode::BAD_REQUEST, "bad_role", "Bad role"),
            Self::BadBody(_) => (StatusCode::BAD_REQUEST, "bad_body", "Bad body"),
            Self::BodyTooLarge(_) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "Body too large",
            ),
            Self::HostRefused(_) => (StatusCode::FORBIDDEN, "host_refused", "Host refused"),
            Self::TokenNeeded { .. } => (StatusCode::UNAUTHORIZED, "token_needed", "Token needed"),
            Self::NotReady { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping", "Stopping"),
            Self::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "timeout", "Timed out"),
            Self::Command(error) => command_kind(error),
            Self::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Internal error",
            ),
        }
    }

    /// The document that describes it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (status, code, title) = self.kind();
        Problem {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.to_string(),
            code: code.to_owned(),
            token_file: match self {
                Self::TokenNeeded { path, .. } => path.clone(),
                _ => None,
            },
        }
    }
}

fn command_kind(error: &CommandError) -> (StatusCode, &'static str, &'static str) {
    match error {
        CommandError::UnknownPeer(_) => (StatusCode::NOT_FOUND, "unknown_peer", "Unknown peer"),
        CommandError::Myself(_) => (StatusCode::CONFLICT, "myself", "That is this node"),
        CommandError::Alive(_) => (StatusCode::CONFLICT, "peer_alive", "The peer is alive"),
        CommandError::RoleExists(_) => (StatusCode::CONFLICT, "role_exists", "The role exists"),
        CommandError::UnknownRole(_) => (StatusCode::NOT_FOUND, "unknown_role", "Unknown role"),
        CommandError::NotNow(_) => (StatusCode::CONFLICT, "not_now", "Not now"),
        CommandError::OpenTransactions(_) => (
            StatusCode::CONFLICT,
            "open_transactions",
            "Open transactions",
        ),
        CommandError::NotHandedOver(_) => {
            (StatusCode::CONFLICT, "not_handed_over", "Not handed over")
        }
        CommandError::Failed(_) => (StatusCode::BAD_GATEWAY, "failed", "Failed"),
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::BadQuery(rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, ..) = self.kind();
        let mut response = (status, axum::Json(self.problem())).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        // RFC 9110 demands this header with every 401.
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
