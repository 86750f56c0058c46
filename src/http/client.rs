//! The other side of the API: asks a running node.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::{
    limits::{CLIENT_COMMAND_TIMEOUT, CLIENT_READ_TIMEOUT},
    token,
};
use crate::api::{
    AppRole, AppRoleRequest, LeaveReport, LeaveRequest, NewAppRole, NodeInfo, Problem, Status,
    Topology,
};

/// More than a status of a very large cluster.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "no node answers at {0}: start one with `starling up`, or name another address with \
         --http ADDR:PORT or STARLING_HTTP"
    )]
    NoNode(String),
    /// Somebody listens and says nothing. What was asked for may have been done.
    #[error("the node at {0} does not answer in time")]
    Silent(String),
    /// The node answered with a problem.
    #[error("{} ({}, from {address})", problem.detail, problem.code)]
    Refused {
        /// Where.
        address: String,
        /// What it said.
        problem: Box<Problem>,
    },
    /// The node wants its token, and the file cannot be read.
    #[error(
        "the token in {} cannot be read: {error}; run this as the user that runs the node, or give \
         the file with --token-file",
        path.display()
    )]
    Token {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The answer is not one of ours.
    #[error(
        "what answers at {address} is no Starling node of this version: {reason}; name another \
         address with --http ADDR:PORT"
    )]
    Stranger {
        /// Where.
        address: String,
        /// What is odd about it.
        reason: String,
    },
}

/// A node's HTTP API.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    token_file: Option<PathBuf>,
}

impl Client {
    /// The node at `address`: `HOST:PORT`, with or without `http://`.
    #[must_use]
    pub fn new(address: &str) -> Self {
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        // A node that listens on every address is asked on the loopback one.
        let address = match address.parse::<SocketAddr>() {
            Ok(every) if every.ip().is_unspecified() && every.is_ipv4() => {
                format!("127.0.0.1:{}", every.port())
            }
            Ok(every) if every.ip().is_unspecified() => format!("[::1]:{}", every.port()),
            _ => address.to_owned(),
        };
        Self {
            address,
            token_file: None,
        }
    }

    /// Takes the node's token from `file`. Without that it is looked for where a node on this machine
    /// says that it lies.
    #[must_use]
    pub fn with_token_file(self, file: Option<PathBuf>) -> Self {
        Self {
            token_file: file,
            ..self
        }
    }

    /// What the node says of itself.
    ///
    /// # Errors
    ///
    /// No node, no answer in time, or an answer that is a refusal.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status")
    }

    /// The nodes it knows.
    ///
    /// # Errors
    ///
    /// No node, no answer in time, or an answer that is a refusal.
    pub fn nodes(&self) -> Result<Vec<NodeInfo>, ClientError> {
        self.get("/v1/nodes")
    }

    /// The overlay as it knows it.
    ///
    /// # Errors
    ///
    /// No node, no answer in time, or an answer that is a refusal.
    pub fn topology(&self) -> Result<Topology, ClientError> {
        self.get("/v1/topology")
    }

    /// Makes it leave the cluster; returns when it has, however long that takes.
    ///
    /// # Errors
    ///
    /// No node, no answer in time, or an answer that is a refusal.
    pub fn leave(&self, request: &LeaveRequest) -> Result<LeaveReport, ClientError> {
        self.ask(|token| {
            let asked = agent(None).post(self.url("/v1/leave"));
            authorize(asked, token).send_json(request)
        })
    }

    /// Makes it declare `peer_id` gone for good.
    ///
    /// # Errors
    ///
    /// No node, no answer in time, or an answer that is a refusal.
    pub fn evict(&self, peer_id: &str) -> Result<(), ClientError> {
        self.post(&below("/v1/evict", peer_id))
    }

    /// The application roles that it knows.
    ///
    /// # Errors
    ///
    /// No node, no answer in time, or an answer that is a refusal.
    pub fn app_roles(&self) -> Result<Vec<AppRole>, ClientError> {
        self.get("/v1/app-roles")
    }

    /// Makes it add an application role, on all nodes.
    ///
    /// # Errors
    ///
    /// No node, no answer in time, or an answer that is a refusal.
    pub fn add_app_role(&self, role: &NewAppRole) -> Result<(), ClientError> {
        self.done(|token| {
            let asked = agent(Some(CLIENT_COMMAND_TIMEOUT)).post(self.url("/v1/app-roles"));
            authorize(asked, token).send_json(role)
        })
    }

    /// Makes it give an application role another password, on all nodes.
    ///
    /// # Errors
    ///
    /// No node, no answer in time, or an answer that is a refusal.
    pub fn rotate_app_role(&self, name: &str, role: &AppRoleRequest) -> Result<(), ClientError> {
        self.done(|token| {
            let url = self.url(&below("/v1/app-roles", name));
            authorize(agent(Some(CLIENT_COMMAND_TIMEOUT)).put(url), token).send_json(role)
        })
    }

    /// Makes it remove an application role, on all nodes.
    ///
    /// # Errors
    ///
    /// No node, no answer in time, or an answer that is a refusal.
    pub fn remove_app_role(&self, name: &str) -> Result<(), ClientError> {
        self.done(|token| {
            let url = self.url(&below("/v1/app-roles", name));
            authorize(agent(Some(CLIENT_COMMAND_TIMEOUT)).delete(url), token).call()
        })
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(|token| {
            let request = agent(Some(CLIENT_READ_TIMEOUT)).get(self.url(path));
            authorize(request, token).call()
        })
    }

    fn post(&self, path: &str) -> Result<(), ClientError> {
        self.done(|token| {
            let request = agent(Some(CLIENT_COMMAND_TIMEOUT)).post(self.url(path));
            authorize(request, token).send_empty()
        })
    }

    fn done(
        &self,
        send: impl Fn(Option<&str>) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(), ClientError> {
        // Read all the same: a stranger's `200 OK` is not to pass for done.
        self.ask(send).map(|_: serde_json::Value| ())
    }

    /// Asks once more with the token when the node says where it is.
    fn ask<T: DeserializeOwned>(
        &self,
        send: impl Fn(Option<&str>) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let given = self
            .token_file
            .as_deref()
            .map(|path| token(path, token::read))
            .transpose()?;
        match self.read(send(given.as_deref())) {
            Err(ClientError::Refused { problem, .. })
                if given.is_none() && problem.token_file.is_some() =>
            {
                let path = problem.token_file.unwrap_or_default();
                let token = token(&path, token::read_named_by_node)?;
                self.read(send(Some(&token)))
            }
            answer => answer,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let address = || self.address.clone();
        let stranger = |reason: String| ClientError::Stranger {
            address: address(),
            reason,
        };
        let mut answer = answer.map_err(|error| match error {
            ureq::Error::Timeout(_) => ClientError::Silent(address()),
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                ClientError::Silent(address())
            }
            ureq::Error::Io(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
                ClientError::NoNode(address())
            }
            other => stranger(other.to_string()),
        })?;
        let text = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|error| stranger(error.to_string()))?;
        if answer.status().is_success() {
            return serde_json::from_str(&text).map_err(|error| stranger(error.to_string()));
        }
        // A node refuses with a problem document. Any other refusal is somebody else's.
        match serde_json::from_str(&text) {
            Ok(problem) => Err(ClientError::Refused {
                address: address(),
                problem,
            }),
            Err(_) => Err(stranger(format!("it says {}", answer.status()))),
        }
    }
}

/// The path of what is called `name`: all of it, whatever is in it.
fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

fn token(path: &Path, read: fn(&Path) -> io::Result<String>) -> Result<String, ClientError> {
    read(path).map_err(|error| ClientError::Token {
        path: path.to_path_buf(),
        error,
    })
}

fn authorize<B>(request: ureq::RequestBuilder<B>, token: Option<&str>) -> ureq::RequestBuilder<B> {
    match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    }
}

fn agent(timeout: Option<Duration>) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(timeout)
        // A refusal is an answer: its body says why.
        .http_status_as_error(false)
        // The API sends nobody elsewhere; who does so is no node, and gets no token.
        .max_redirects(0)
        // The node is near; a proxy of the environment is for the web.
        .proxy(None)
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
    };

    use super::{Client, ClientError};
    use crate::api::AppRoleRequest;

    /// The first line of what `ask` sends.
    fn asked(ask: impl FnOnce(Client) -> Result<(), ClientError>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(&listener.local_addr().unwrap().to_string());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnull";
            stream.write_all(answer.as_bytes()).unwrap();
            first
        });
        ask(client).unwrap();
        server.join().unwrap()
    }

    #[test]
    fn a_name_is_one_segment_of_a_path_whatever_is_in_it() {
        let role = AppRoleRequest {
            verifier: String::new(),
        };
        for (name, segment) in [
            ("shop", "shop"),
            ("shop?x", "shop%3Fx"),
            ("a/../b#c", "a%2F%2E%2E%2Fb%23c"),
            ("ü %", "%C3%BC%20%25"),
        ] {
            let roles = format!("/v1/app-roles/{segment} HTTP/1.1");
            let removal = asked(|client| client.remove_app_role(name));
            assert_eq!(removal, format!("DELETE {roles}"));
            let rotation = asked(|client| client.rotate_app_role(name, &role));
            assert_eq!(rotation, format!("PUT {roles}"));
            let eviction = asked(|client| client.evict(name));
            assert_eq!(eviction, format!("POST /v1/evict/{segment} HTTP/1.1"));
        }
    }

    #[test]
    fn a_node_on_every_address_is_asked_on_the_loopback_one() {
        for (given, asked) in [
            ("0.0.0.0:7480", "127.0.0.1:7480"),
            ("[::]:7480", "[::1]:7480"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("node-1:7480", "node-1:7480"),
            ("http://127.0.0.1:7480/", "127.0.0.1:7480"),
        ] {
            assert_eq!(Client::new(given).address, asked);
        }
    }
}
