//! `[http]`: the HTTP API.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::check::Check;

/// The HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where it listens. Defaults to `127.0.0.1:7480`. Commands need the token in `http.token` in the
    /// data directory, and so does everything that comes over another address than a loopback one.
    /// Reading on the node's own machine is open.
    pub listen: SocketAddr,
    /// Host names by which those without the token may address this node, beside `localhost` and IP
    /// addresses. Any other name is refused, so that a web page cannot read from the node by pointing
    /// a name of its own at it. Defaults to none.
    pub hosts: Vec<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7480)),
            hosts: Vec::new(),
        }
    }
}

impl Http {
    pub(super) fn check(&self, check: &mut Check<'_>) {
        for host in &self.hosts {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if host.is_empty() || !host.chars().all(plain) {
                check.fail(
                    "http.hosts",
                    format!("`{}` is not a host name", host.escape_default()),
                    "write the bare name, without scheme and port",
                );
            }
        }
    }
}
