//! `starling doctor`

use std::{net::IpAddr, process::ExitCode, time::Duration};

use anyhow::Context;

use super::{
    ask::AskArgs,
    finding::{exit_code, finding, judge, render},
    output::{Format, print, print_json},
};
use crate::{
    config::{self, PasswordSources, PostgresUrl, Sources, Store},
    http::ClientError,
    postgres::{
        self,
        doctor::{Finding, Requirements, Severity, examine},
    },
};

/// A server that is there answers within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  starling doctor                                  the node that runs on this machine
  starling doctor postgresql://me@db.example.org/starling
                                                   a server, before attaching to it

Exit code: 0 ok, 1 warning, 2 critical, 3 unknown.";

/// Check a PostgreSQL server or a running node; say what mends each finding
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The server to check; without it the running node and its store
    #[arg(value_name = "URL")]
    postgres: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let findings = match &args.postgres {
        Some(url) => {
            let url = url.parse().map_err(anyhow::Error::msg)?;
            examine_server(url, Requirements::default())?
        }
        None => examine_node(args)?,
    };
    match args.ask.output {
        Format::Json => print_json(&findings)?,
        Format::Table => print(&render(&findings))?,
    }
    Ok(exit_code(&findings))
}

/// The node, and then the server that it names as its store.
fn examine_node(args: &Args) -> anyhow::Result<Vec<Finding>> {
    let status = match args.ask.node.client().status() {
        Ok(status) => status,
        Err(error) => {
            let severity = match error {
                ClientError::NoNode(_) | ClientError::Silent(_) => Severity::Critical,
                ClientError::Refused { .. }
                | ClientError::Stranger { .. }
                | ClientError::Token { .. } => Severity::Unknown,
            };
            return Ok(vec![finding("SN000", severity, error.to_string(), None)]);
        }
    };
    let mut findings = judge(&status);
    if let Ok(url) = status.store.url.parse() {
        let remote_peers = !status
            .node
            .listen
            .iter()
            .all(|address| is_loopback(address));
        findings.extend(examine_server(
            url,
            Requirements {
                remote_peers,
                ..Requirements::default()
            },
        )?);
    }
    Ok(findings)
}

/// Whether nobody but this machine reaches a multiaddr.
fn is_loopback(address: &str) -> bool {
    let host = address
        .split('/')
        .nth(2)
        .and_then(|host| host.parse::<IpAddr>().ok());
    host.is_some_and(|host| host.is_loopback())
}

fn examine_server(url: PostgresUrl, requirements: Requirements) -> anyhow::Result<Vec<Finding>> {
    // The password that a node would use, if this environment has it.
    let password = config::load(&Sources::from_environment())
        .ok()
        .and_then(|loaded| loaded.config.store.password);
    let store = Store {
        postgres: Some(url),
        password,
        ..Store::default()
    };
    let Some(mut connection) = store.connection(&PasswordSources::from_environment()) else {
        return Ok(Vec::new());
    };
    connection.connect_timeout(CONNECT_TIMEOUT);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(async {
        match postgres::connect(&connection).await {
            Ok(client) => examine(&client, requirements).await,
            Err(error) => {
                let summary = "the server cannot be connected to".to_owned();
                let detail = reasons(&error);
                vec![Finding {
                    detail,
                    ..finding("SP000", Severity::Critical, summary, None)
                }]
            }
        }
    }))
}

/// An error with its causes, as one line.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors say their cause themselves.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
