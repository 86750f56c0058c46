//! `starling demo`

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;

use crate::demo::{self, Plan};

const EXAMPLES: &str = "\
Examples:
  starling demo                      five nodes; look around, then Ctrl-C
  starling demo --nodes 8 --once     for scripts: exit code 0 only if everything worked
  starling demo --keep /tmp/flock    keep data and logs of the nodes

Every node is a `starling up` of its own, with its own private PostgreSQL, on free ports of the
loopback interface. Everything is removed at the end.";

/// Run a whole cluster on this machine: write everywhere, lose a node, get it back
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=32))]
    nodes: u16,
    /// End after the last phase instead of staying up
    #[arg(long)]
    once: bool,
    /// Keep the nodes' data and logs in this new or empty directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Where initdb and postgres are
    #[arg(long, value_name = "DIR")]
    pg_bin: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let plan = Plan {
        nodes: usize::from(args.nodes),
        stay: !args.once,
        keep: args.keep.clone(),
        pg_bin: args.pg_bin.clone(),
        program: std::env::current_exe().context("cannot find this program's own file")?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(Box::pin(demo::run(plan)))?;
    Ok(ExitCode::SUCCESS)
}
