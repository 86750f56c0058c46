//! A whole cluster on this machine: every node a `starling up` of its own, on free ports of the
//! loopback interface, each with its own private PostgreSQL.

mod flock;
mod member;
mod phases;
mod progress;
mod story;
mod watch;

use std::path::PathBuf;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use self::{flock::Flock, progress::Progress};
use crate::terminal::output::plural;

/// What the demo is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many nodes.
    pub nodes: usize,
    /// Stay up after the last phase, until Ctrl-C.
    pub stay: bool,
    /// Keep data and logs here; a temporary directory that is removed otherwise.
    pub keep: Option<PathBuf>,
    /// Where `initdb` and `postgres` are.
    pub pg_bin: Option<PathBuf>,
    /// The `starling` executable.
    pub program: PathBuf,
}

/// Plays the demo. Whatever happens, no process and, unless it is to be kept, no file is left.
///
/// # Errors
///
/// Says which phase did not work; also when it was interrupted before the end.
pub async fn run(plan: Plan) -> anyhow::Result<()> {
    // Before there is anything that would have to be removed.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let progress = Progress::new();
    let mut flock = Flock::prepare(&plan)?;
    let played = tokio::select! {
        biased;
        _ = interrupt.recv() => Err(Interrupted.into()),
        _ = terminate.recv() => Err(Interrupted.into()),
        played = Box::pin(phases::play(&mut flock, &plan, &progress)) => played,
    };
    let stayed = match played {
        Ok(()) if plan.stay => {
            progress.say("The cluster stays up; Ctrl-C ends it.");
            tokio::select! {
                biased;
                _ = interrupt.recv() => Ok(()),
                _ = terminate.recv() => Ok(()),
                name = flock.first_death() => Err(anyhow::anyhow!("{name} ended by itself")),
            }
        }
        played => played,
    };
    // Whatever came of it; what it was is said at the end.
    let stopping = progress.begin("stop the nodes", 0);
    let cut = flock.stop().await;
    stopping.done(&format!("{} stopped", plural(plan.nodes, "node")));
    if let Some(dir) = &plan.keep {
        progress.say(&format!("Data and logs are in {}", dir.display()));
    }
    stayed?;
    if cut > 0 {
        bail!("{} did not stop in time, killed", plural(cut, "node"));
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;
