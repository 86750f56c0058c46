//! The commands. Each file holds one verb: arguments, what it does, what it prints.

mod app_role;
mod ask;
mod completions;
mod config;
mod demo;
mod detach;
mod doctor;
mod finding;
mod id;
mod links;
mod members;
mod nested;
mod nodes;
mod settings;
mod simulate;
mod status;
mod topology;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{finding::Severity, postgres, terminal::output};

const EXAMPLES: &str = "\
Examples:
  starling demo                      a whole cluster on this machine, to look at
  starling up                        run a node with its own private PostgreSQL
  starling up --pg-listen 0.0.0.0:7432 --bootstrap /ip4/192.0.2.7/tcp/7400
                                     join the cluster of the node at that address; both stores have
                                     to listen where the other machine reaches them
  starling status                    how the running node is
  psql \"$(starling status -o json | jq -r .store.url)\"
                                     open a shell on its store

Every flag of `starling up` is also an environment variable (STARLING_CLUSTER) and a key of
the configuration file (--config); `starling config show` prints them all.";

/// Turns independent PostgreSQL servers into one cluster that takes writes everywhere.
#[derive(Debug, Parser)]
#[command(name = "starling", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(up::Args),
    Demo(demo::Args),
    Status(status::Args),
    Nodes(nodes::Args),
    Topology(topology::Args),
    Links(links::Args),
    Doctor(doctor::Args),
    Id(id::Args),
    Leave(members::LeaveArgs),
    Evict(members::EvictArgs),
    AppRole(app_role::Args),
    Detach(detach::Args),
    Config(config::Args),
    Nested(nested::Args),
    Simulate(simulate::Args),
    Completions(completions::Args),
}

/// Runs the command that this process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    let result = match verb {
        Verb::Up(args) => up::run(args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Nodes(args) => nodes::run(&args),
        Verb::Topology(args) => topology::run(&args),
        Verb::Links(args) => links::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Id(args) => id::run(args),
        Verb::Leave(args) => members::leave(&args),
        Verb::Evict(args) => members::evict(&args),
        Verb::AppRole(args) => app_role::run(&args),
        Verb::Detach(args) => detach::run(args),
        Verb::Config(args) => config::run(args),
        Verb::Nested(args) => nested::run(&args),
        Verb::Simulate(args) => simulate::run(&args),
        Verb::Completions(args) => completions::run(&args),
    };
    match result {
        Ok(code) => code,
        // `starling nodes | head -1` is no failure.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("error: {error:#}"));
            match error.downcast_ref() {
                // As the doctor ends that finds the same.
                Some(postgres::Error::Unfit { .. }) => Severity::Critical.exit_code().into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The command line as a value, for completion scripts and tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}
