//! The `starling` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    starling::cli::main()
}
