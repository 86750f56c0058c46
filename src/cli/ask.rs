//! Which node a command asks.

use std::path::PathBuf;

use crate::{config::Config, http::Client, terminal::output::Format};

/// Which node to ask.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct NodeArgs {
    #[arg(
        long,
        value_name = "ADDR:PORT",
        value_parser = with_port,
        help = "HTTP API of the running node [env: STARLING_HTTP] [default: 127.0.0.1:7480]"
    )]
    pub(super) http: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "File with the node's token, http.token in its data directory; on the node's own machine \
                it is found without this [env: STARLING_HTTP_TOKEN_FILE]"
    )]
    token_file: Option<PathBuf>,
}

/// Which node to ask, and how to print its answer.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AskArgs {
    #[command(flatten)]
    pub(super) node: NodeArgs,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(super) output: Format,
}

/// Takes what has a port. A URL needs none: it stands for the port of its scheme.
fn with_port(text: &str) -> Result<String, String> {
    let has_port = text
        .trim_end_matches('/')
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if has_port || text.starts_with("http://") {
        Ok(text.to_owned())
    } else {
        Err("it has no port: give ADDR:PORT, for example 127.0.0.1:7480".to_owned())
    }
}

impl NodeArgs {
    /// The node that the flag, the environment or the default names.
    pub(super) fn client(&self) -> Client {
        // An empty variable is an unset one, as it is for `starling up`.
        let variable = |name| {
            std::env::var(name)
                .ok()
                .filter(|text: &String| !text.is_empty())
        };
        // The longer name first, as in `Setting::variables`: what is set for a node is right for its users.
        let address = self
            .http
            .clone()
            .or_else(|| variable("STARLING_HTTP__LISTEN"))
            .or_else(|| variable("STARLING_HTTP"))
            .unwrap_or_else(|| Config::default().http.listen.to_string());
        let token_file = self
            .token_file
            .clone()
            .or_else(|| variable("STARLING_HTTP_TOKEN_FILE").map(PathBuf::from));
        Client::new(&address).with_token_file(token_file)
    }
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn an_address_without_a_port_is_refused_with_the_form_that_is_wanted() {
        for bad in ["foo", "127.0.0.1", "foo:", ":7480", "foo:bar", ""] {
            let error = with_port(bad).unwrap_err();
            assert!(error.contains("ADDR:PORT"), "{bad}: {error}");
        }
        for good in [
            "foo:1",
            "[::1]:7480",
            "127.0.0.1:7480",
            "http://127.0.0.1:7480/",
            "http://foo/",
        ] {
            assert_eq!(with_port(good).unwrap(), good);
        }
    }
}
