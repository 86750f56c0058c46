//! Programs that are run to their end, each with all that it starts in a process group of its own: whoever wanted
//! that may give it up first.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Between two looks at a process that says nothing any more. It ends in that moment.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Shared by the thread that waits for a program, which cannot be called off, and by who can be.
#[derive(Debug, Clone, Default)]
pub(super) struct ProcessGroup(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    /// No program runs.
    #[default]
    Idle,
    /// This one does. It leads a group of processes, with all that it has started.
    Running(u32),
    /// None is to run any more.
    Cancelled,
}

/// Kills what runs, and lets nothing begin, when it is dropped.
#[derive(Debug)]
pub(super) struct CancelOnDrop(ProcessGroup);

impl ProcessGroup {
    /// Ends with the result.
    pub(super) fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    /// Runs a program to its end, and the end of all that it has started: how it ended, and what was said on
    /// standard error. Blocks.
    ///
    /// # Errors
    ///
    /// It cannot be run. [`io::ErrorKind::Interrupted`]: none is to run any more.
    pub(super) fn run(&self, command: &mut Command) -> io::Result<(ExitStatus, String)> {
        let mut child = self.begin(command)?;
        let mut words = Vec::new();
        if let Some(mut errors) = child.stderr.take() {
            // What was said until it broke off is all that there is to know.
            let _ = errors.read_to_end(&mut words);
        }
        let status = self.reap(&mut child)?;
        Ok((status, String::from_utf8_lossy(&words).into_owned()))
    }

    fn begin(&self, command: &mut Command) -> io::Result<Child> {
        let mut state = self.state();
        if matches!(*state, State::Cancelled) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        *state = State::Running(child.id());
        Ok(child)
    }

    fn reap(&self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            // Nobody may kill it at the same time: once it was waited for, its number may be another's.
            let mut state = self.state();
            let ended = child.try_wait();
            if !matches!(ended, Ok(None)) && matches!(*state, State::Running(_)) {
                *state = State::Idle;
            }
            drop(state);
            match ended? {
                Some(status) => return Ok(status),
                None => thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    fn cancel(&self) {
        let mut state = self.state();
        if let State::Running(leader) = *state
            && let Ok(group) = i32::try_from(leader)
        {
            // They may have ended in this moment: that is what we want.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        *state = State::Cancelled;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        os::unix::process::ExitStatusExt,
        process::Command,
        sync::mpsc::sync_channel,
        thread,
        time::{Duration, Instant},
    };

    use super::ProcessGroup;

    /// Far more than it takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_runs_to_its_end_and_tells_what_was_wrong() {
        let group = ProcessGroup::default();
        for code in [0, 3] {
            let script = format!("echo nothing; echo trouble >&2; exit {code}");
            let (status, words) = group.run(&mut shell(&script)).unwrap();
            assert_eq!((status.code(), words.as_str()), (Some(code), "trouble\n"));
        }
        assert!(group.run(&mut Command::new("/no/such/program")).is_err());
    }

    #[test]
    fn what_is_cancelled_ends_with_all_that_it_has_started_and_nothing_begins() {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let group = ProcessGroup::default();
        let cancelling = group.cancel_on_drop();
        let runner = group.clone();
        let mut command = shell(&format!("sleep 600 & : >'{}'; wait", ready.display()));
        let (sender, ended) = sync_channel(1);
        thread::spawn(move || sender.send(runner.run(&mut command)));
        let started = Instant::now();
        while !ready.exists() {
            assert!(started.elapsed() < PATIENCE, "it does not begin");
            thread::sleep(Duration::from_millis(5));
        }
        drop(cancelling);
        // Not before the child's child has let go of what it could write to.
        let ended = ended.recv_timeout(PATIENCE).expect("all have ended");
        assert_eq!(ended.unwrap().0.signal(), Some(9));
        let refused = group.run(&mut shell("exit 0")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Interrupted);
    }
}
