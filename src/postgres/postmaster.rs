//! A running server process: our child, or one that an earlier controller left running.

use std::{
    path::PathBuf,
    process::ExitStatus,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child,
    time::{sleep, timeout},
};
use tracing::warn;

use super::{
    error::Error,
    pid_file::{Occupant, PidFile, is_alive, occupant},
};

/// How often an adopted server is looked at. A child's end is told to us at once.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How long a server may take to end after an immediate shutdown, which writes nothing.
const IMMEDIATE_STOP_MAX: Duration = Duration::from_secs(5);

/// How long dropping a server waits for its end. It blocks, so it must be short.
const DROP_STOP_MAX: Duration = Duration::from_secs(2);

/// The server's main process.
#[derive(Debug)]
pub(super) enum Postmaster {
    /// Started by us.
    Child(Child, i32),
    /// Started by an earlier controller, on this data directory.
    Adopted(i32, PathBuf),
}

impl Postmaster {
    /// A child just started.
    pub(super) fn child(child: Child) -> Self {
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or(0);
        Self::Child(child, pid)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        match self {
            Self::Child(_, pid) | Self::Adopted(pid, _) => *pid,
        }
    }

    /// Resolves when the process has ended, with how. Cancel safe.
    pub(super) async fn ended(&mut self) -> String {
        match self {
            Self::Child(child, _) => match child.wait().await {
                Ok(status) => describe(status),
                Err(error) => format!("unknown end: {error}"),
            },
            Self::Adopted(pid, data) => {
                while matches!(
                    occupant(*pid, data),
                    // Who cannot be looked at may still be it, and beside one that runs none must start.
                    Occupant::Postmaster | Occupant::Unknown
                ) {
                    sleep(POLL_INTERVAL).await;
                }
                "adopted process ended".to_owned()
            }
        }
    }

    /// Stops the server: sessions are cut and a checkpoint is written; if that takes longer than
    /// `fast`, without the checkpoint; if that does not help either, with force. Whatever was
    /// committed stays committed in all cases.
    pub(super) async fn stop(&mut self, fast: Duration) -> Result<(), Error> {
        let steps = [
            (Signal::SIGINT, fast),
            (Signal::SIGQUIT, IMMEDIATE_STOP_MAX),
            (Signal::SIGKILL, IMMEDIATE_STOP_MAX),
        ];
        for (signal, patience) in steps {
            send(self.pid(), signal);
            if timeout(patience, self.ended()).await.is_ok() {
                return Ok(());
            }
            warn!(pid = self.pid(), %signal, ?patience, "postgres does not end");
        }
        let seconds = steps.iter().map(|(_, patience)| patience.as_secs()).sum();
        Err(Error::StopTimeout {
            pid: self.pid(),
            seconds,
        })
    }

    /// [`stop`](Self::stop) of a server that `guard` holds, and then no longer does: a stop that is cut short leaves
    /// it to be killed.
    pub(super) async fn stop_held(
        &mut self,
        fast: Duration,
        guard: &KillOnDrop,
    ) -> Result<(), Error> {
        let stopped = self.stop(fast).await;
        guard.release();
        stopped
    }
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}

fn send(pid: i32, signal: Signal) {
    // Zero would be our own group of processes.
    if pid > 0 {
        // The process may have ended meanwhile: that is what we want.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Ends the server when it is dropped, whoever drops it and why: no server is left behind by a
/// failed test, a cancelled start or a panic. A controller killed from outside does leave its
/// server running, and the next one adopts it.
#[derive(Debug)]
pub(super) struct KillOnDrop {
    pid: Mutex<Option<i32>>,
    pid_file: PathBuf,
}

impl KillOnDrop {
    /// Has no process yet; for the server that writes `pid_file`.
    pub(super) fn new(pid_file: PathBuf) -> Self {
        Self {
            pid: Mutex::new(None),
            pid_file,
        }
    }

    /// From now on it is this process that is ended.
    pub(super) fn hold(&self, pid: i32) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
    }

    /// Forgets the process, because it has ended or may go on without us.
    pub(super) fn release(&self) -> Option<i32> {
        self.pid
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Ends the process, without a checkpoint, and waits a moment for it.
    /// Blocks: for `Drop` and for paths that have already failed.
    pub(super) fn end(&self) {
        let Some(pid) = self.release() else { return };
        send(pid, Signal::SIGQUIT);
        let deadline = Instant::now() + DROP_STOP_MAX;
        // It removes its file last. A child that nobody has waited for stays alive by its number.
        let runs =
            || is_alive(pid) && PidFile::read(&self.pid_file).is_some_and(|file| file.pid == pid);
        while runs() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, process::Stdio, time::Duration};

    use tokio::{
        io::{AsyncBufReadExt, BufReader},
        process::Command,
    };

    use super::{KillOnDrop, Postmaster};

    #[tokio::test]
    async fn a_stop_that_is_cut_short_leaves_the_process_to_be_killed() {
        let mut child = Command::new("sh")
            // Like a server that waits for its sessions.
            .args(["-c", "trap '' INT; echo; exec sleep 600"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let guard = KillOnDrop::new(folder.path().join("postmaster.pid"));
        let mut postmaster = Postmaster::child(child);
        let pid = postmaster.pid();
        guard.hold(pid);
        {
            let mut stop = pin!(postmaster.stop_held(Duration::from_secs(600), &guard));
            assert!(futures::poll!(&mut stop).is_pending());
        }
        assert_eq!(guard.release(), Some(pid), "it is still to be killed");
        guard.hold(pid);
        postmaster.stop_held(Duration::ZERO, &guard).await.unwrap();
        assert_eq!(guard.release(), None);
    }
}
