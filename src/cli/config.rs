//! `starling config`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::settings::SettingFlags;
use crate::{
    config,
    terminal::output::{Format, complain, print, print_json},
};

const EXAMPLES: &str = "\
Examples:
  starling config show > starling.toml      a file with every setting, to edit
  starling config check --config starling.toml
  STARLING_CLUSTER=flock starling config show -o json | jq .origins

Exit code: 0 good; of check 1 good, but with warnings; 2 something cannot be used.";

/// Check or print the configuration that `starling up` would use
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what is wrong, where it was set and what mends it; exit code 2 if anything is, 1 with warnings alone
    Check(Sources),
    /// Print every setting with its origin, secrets masked
    Show(Sources),
}

#[derive(Debug, clap::Args)]
struct Sources {
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
    #[command(flatten)]
    settings: SettingFlags,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (sources, show) = match args.verb {
        Verb::Check(sources) => (sources, false),
        Verb::Show(sources) => (sources, true),
    };
    let loaded = match sources.settings.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            // For both verbs: of what cannot be used there is nothing to show, but why.
            match sources.output {
                Format::Json => print_json(&problems(&error))?,
                Format::Table => complain(&format!("error: {error}")),
            }
            return Ok(ExitCode::from(2));
        }
    };
    // Not on standard output, which becomes a configuration file.
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    match (show, sources.output) {
        (true, Format::Table) => print(&config::to_toml(&loaded))?,
        (true, Format::Json) => print_json(&config::to_json(&loaded))?,
        (false, Format::Table) => print("the configuration is good")?,
        (false, Format::Json) => {
            print_json(&json!({ "problems": [], "warnings": loaded.warnings }))?;
        }
    }
    // A check's verdict includes what it only remarks on. Whoever wants the values has got them.
    Ok(ExitCode::from(u8::from(
        !show && !loaded.warnings.is_empty(),
    )))
}

fn problems(error: &config::Error) -> serde_json::Value {
    let problems: Vec<_> = error
        .problems
        .iter()
        .map(|problem| {
            json!({
                "key": problem.key,
                "origin": problem.origin.to_string(),
                "message": problem.message,
                "fix": problem.fix,
            })
        })
        .collect();
    json!({ "problems": problems })
}
