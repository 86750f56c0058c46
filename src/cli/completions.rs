//! `starling completions`

use std::process::ExitCode;

use clap_complete::Shell;

use crate::terminal::output::print;

const EXAMPLES: &str = "\
Examples:
  starling completions bash > /etc/bash_completion.d/starling
  starling completions zsh > \"${fpath[1]}/_starling\"
  starling completions fish > ~/.config/fish/completions/starling.fish";

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    shell: Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "starling", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
