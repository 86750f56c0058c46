//! What every request goes through: a time limit, and for commands a look at who sends them.
//!
//! The API has no passwords, so a web page in a browser on this machine must not be able to steer
//! the node: not by a cross-site request (`Origin`), and not by a name of its own that it points at
//! us (`Host`). IP addresses and `localhost` cannot be pointed anywhere else.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{error::ApiError, view::Settings};

/// A read answers from memory; whatever takes longer is stuck.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A clean departure waits for every neighbour.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// No request needs a body.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;

pub(super) async fn guard(
    State(settings): State<Arc<Settings>>,
    request: Request,
    next: Next,
) -> Response {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reading && let Err(error) = check_sender(request.headers(), &settings.hosts) {
        return error.into_response();
    }
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return ApiError::BodyTooLarge(BODY_BYTES_MAX).into_response();
    }
    let limit = if reading {
        READ_TIMEOUT
    } else {
        COMMAND_TIMEOUT
    };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout(limit).into_response(),
    }
}

fn check_sender(headers: &HeaderMap, hosts: &[String]) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let Ok(authority) = host.parse::<Authority>() else {
        return Err(ApiError::HostRefused(host.to_owned()));
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let ours = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
    if !ours {
        return Err(ApiError::HostRefused(host.to_owned()));
    }
    match text(header::ORIGIN) {
        // Our own dashboard; the scheme is http, or https behind somebody's proxy.
        Some(origin)
            if origin
                .split_once("://")
                .is_none_or(|(_, site)| site != host) =>
        {
            Err(ApiError::OriginRefused(origin.to_owned()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::check_sender;

    fn allowed(host: &'static str, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        check_sender(&headers, &["node-1".to_owned()]).is_ok()
    }

    #[test]
    fn commands_come_under_an_address_or_a_name_that_is_ours() {
        for host in [
            "localhost",
            "localhost:7480",
            "127.0.0.1:7480",
            "10.1.2.3",
            "[::1]:7480",
            "Node-1:80",
        ] {
            assert!(allowed(host, None), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:7480",
            "127.0.0.1.evil.example",
            "node-2",
            "localhost@evil",
        ] {
            assert!(!allowed(host, None), "{host}");
        }
    }

    #[test]
    fn commands_of_a_page_come_from_our_own() {
        assert!(allowed("127.0.0.1:7480", Some("http://127.0.0.1:7480")));
        for origin in [
            "http://evil.example",
            "http://127.0.0.1:80",
            "null",
            "http://localhost:7480",
        ] {
            assert!(!allowed("127.0.0.1:7480", Some(origin)), "{origin}");
        }
    }
}
