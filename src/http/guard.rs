//! What every request goes through: a time limit, and a look at who sends it.
//!
//! Commands need the node's token, whoever sends them: any user of this machine reaches a loopback address.
//! What comes over another address needs it for reading, too. Reading on this machine is open to its users,
//! but not to a web page in their browsers that points a name of its own at us: it shows in `Host`. IP
//! addresses and `localhost` cannot be pointed anywhere else.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    connection::Peer,
    error::ApiError,
    limits::{COMMAND_TIMEOUT, READ_TIMEOUT},
    view::Settings,
};

/// The longest body has two short fields.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;

/// A departure has limits of its own.
pub(super) const LEAVE: &str = "/v1/leave";

pub(super) async fn guard(
    State(settings): State<Arc<Settings>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Err(error) = admit(reading, peer.address, request.headers(), &settings) {
        return error.into_response();
    }
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Refused unread. One that names no length is cut where it is read.
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return ApiError::BodyTooLarge(BODY_BYTES_MAX).into_response();
    }
    let limit = if reading {
        READ_TIMEOUT
    } else {
        COMMAND_TIMEOUT
    };
    if request.uri().path() == LEAVE {
        // It lasts as long as peers make progress with what they lack; the status tells how far it is.
        let _awaited = peer.awaits();
        return next.run(request).await;
    }
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout(limit).into_response(),
    }
}

fn admit(
    reading: bool,
    peer: SocketAddr,
    headers: &HeaderMap,
    settings: &Settings,
) -> Result<(), ApiError> {
    // A page that fools a browser does not have the token, under whatever name it came.
    if bearer(headers).is_some_and(|given| settings.token.is(given)) {
        return Ok(());
    }
    // On a socket for both families 127.0.0.1 comes as ::ffff:127.0.0.1.
    let is_local = peer.ip().to_canonical().is_loopback();
    if reading && is_local {
        return check_host(headers, &settings.hosts);
    }
    Err(ApiError::TokenNeeded {
        what: if reading {
            "requests that do not come from this machine"
        } else {
            "commands"
        },
        // By this the command line finds the file, which is on this machine only.
        path: is_local.then(|| settings.token.path().to_path_buf()),
    })
}

/// What the client says is the token.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn check_host(headers: &HeaderMap, hosts: &[String]) -> Result<(), ApiError> {
    let host = headers.get(header::HOST);
    let host = host
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    // Read as a URL is: in `localhost@evil` the host is the second.
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
    if ours {
        Ok(())
    } else {
        Err(ApiError::HostRefused(host.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::{HeaderMap, HeaderValue, header};

    use super::{super::token, admit};
    use crate::http::{ApiError, Settings, Token};

    struct Node {
        settings: Settings,
        token: String,
        _dir: tempfile::TempDir,
    }

    fn node() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::open(dir.path()).unwrap();
        Node {
            token: token::read(token.path()).unwrap(),
            settings: Settings {
                hosts: vec!["node-1".to_owned()],
                token,
            },
            _dir: dir,
        }
    }

    impl Node {
        fn asked(
            &self,
            reading: bool,
            peer: &str,
            host: &str,
            authorization: Option<&str>,
        ) -> Result<(), ApiError> {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            if let Some(value) = authorization {
                let value = HeaderValue::from_str(value).unwrap();
                headers.insert(header::AUTHORIZATION, value);
            }
            let peer: SocketAddr = peer.parse().unwrap();
            admit(reading, peer, &headers, &self.settings)
        }
    }

    const LOCAL: [&str; 3] = ["127.0.0.1:50000", "[::1]:50000", "[::ffff:127.0.0.1]:50000"];
    const REMOTE: [&str; 3] = [
        "10.1.2.3:50000",
        "[2001:db8::1]:50000",
        "[::ffff:10.1.2.3]:1",
    ];

    #[test]
    fn reading_on_this_machine_is_open_under_an_address_or_a_name_that_is_ours() {
        let node = node();
        for peer in LOCAL {
            for host in [
                "localhost",
                "localhost:7480",
                "127.0.0.1:7480",
                "10.1.2.3",
                "[::1]:7480",
                "Node-1:80",
            ] {
                assert_eq!(node.asked(true, peer, host, None), Ok(()), "{host}");
            }
            for host in [
                "",
                "evil.example",
                "evil.example:7480",
                "127.0.0.1.evil.example",
                "node-2",
                "localhost@evil",
            ] {
                let refused = node.asked(true, peer, host, None);
                assert_eq!(refused, Err(ApiError::HostRefused(host.to_owned())));
            }
        }
    }

    #[test]
    fn commands_and_whatever_comes_from_elsewhere_need_the_token() {
        let node = node();
        let right = format!("Bearer {}", node.token);
        let wrong = format!("Bearer {}", "0".repeat(64));
        let basic = format!("Basic {}", node.token);
        for (reading, peers) in [(false, LOCAL), (false, REMOTE), (true, REMOTE)] {
            for peer in peers {
                for given in [None, Some(wrong.as_str()), Some("Bearer "), Some(&basic)] {
                    let refused = node.asked(reading, peer, "127.0.0.1", given);
                    let refused = refused.expect_err("a refusal");
                    let ApiError::TokenNeeded { path, .. } = refused else {
                        panic!("{refused}");
                    };
                    assert_eq!(path.is_some(), LOCAL.contains(&peer), "{peer}");
                }
                // Whoever has it is no page that fools a browser: any name will do.
                let allowed = node.asked(reading, peer, "node.example", Some(&right));
                assert_eq!(allowed, Ok(()));
            }
        }
    }
}
