//! Looks after a running server: starts it again when it ends, until told otherwise.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tracing::{error, info, warn};

use super::{
    error::Error,
    installation::{Endpoint, Installation, blocking},
    launch::{Running, launch},
    lifecycle::Lifecycle,
    postmaster::KillOnDrop,
};

/// Pause before the first restart after a crash; doubled up to the maximum.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);

/// Longest pause: a server whose disk was full is back this long after there is room again.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// A server that was up for this long has recovered: its next crash is a new story.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// How often the log's length is looked at.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// What the owner may ask for. Each carries where the answer goes.
#[derive(Debug)]
pub(super) enum Command {
    /// Stop the server, and looking after it.
    Stop(oneshot::Sender<Result<(), Error>>),
    /// Stop and start it.
    Restart(oneshot::Sender<Result<(), Error>>),
    /// Let it run on without us.
    Detach(oneshot::Sender<()>),
}

/// The supervisor of one server. Owns the process.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) installation: Arc<Installation>,
    pub(super) kill_on_drop: Arc<KillOnDrop>,
    pub(super) lifecycle: watch::Sender<Lifecycle>,
    pub(super) endpoint: watch::Sender<Endpoint>,
    pub(super) commands: mpsc::Receiver<Command>,
}

/// How long to wait before the next start, so that a server that comes up and ends at once is not started
/// without end either.
#[derive(Debug)]
struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: BACK_OFF_MIN }
    }
}

impl Pauses {
    /// After a server that was up for so long.
    fn after_crash(&mut self, up_for: Duration) -> Duration {
        if up_for >= STABLE_AFTER {
            *self = Self::default();
        }
        self.next()
    }

    fn next(&mut self) -> Duration {
        let longer = (self.next * 2).min(BACK_OFF_MAX);
        std::mem::replace(&mut self.next, longer)
    }
}

/// Why watching a running server came to its end.
enum Wake {
    Ended(String),
    Asked(Command),
}

impl Supervisor {
    /// Watches `running` and its successors until stopped or detached.
    pub(super) async fn run(mut self, running: Running) {
        let mut current = Some(running);
        let mut pauses = Pauses::default();
        while let Some(mut running) = current.take() {
            let up_since = Instant::now();
            match self.watch(&mut running).await {
                Some(Wake::Ended(how)) => {
                    // Somebody else may get the number of a process that has ended.
                    self.kill_on_drop.release();
                    warn!(pid = running.postmaster.pid(), %how, "postgres ended by itself");
                    self.failed(format!("postgres ended by itself ({how})"), 0);
                    let pause = pauses.after_crash(up_since.elapsed());
                    current = match self.unless_ended(sleep(pause)).await {
                        Ok(()) => self.revive(&mut pauses).await,
                        Err(ending) => self.end_while_down(ending),
                    };
                }
                Some(Wake::Asked(Command::Restart(reply))) => {
                    let stopped = self.stop(running).await;
                    current = self.revive(&mut pauses).await;
                    // The owner may have gone: nobody is left to tell.
                    let _ = reply.send(match current {
                        Some(_) => stopped,
                        None => Err(Error::Stopped),
                    });
                }
                Some(Wake::Asked(Command::Stop(reply))) => {
                    let _ = reply.send(self.stop(running).await);
                }
                Some(Wake::Asked(Command::Detach(reply))) => {
                    // Or dropping its owner would end the server.
                    self.kill_on_drop.release();
                    let _ = reply.send(());
                }
                // The owner is gone and has ended the server.
                None => {}
            }
        }
    }

    /// Waits for the server's end or a command; keeps its log short.
    async fn watch(&mut self, running: &mut Running) -> Option<Wake> {
        let mut log_check = interval(LOG_CHECK_INTERVAL);
        log_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // A command first: one that asks for a stop while the server ends is obeyed, and nothing is started
                // again.
                biased;
                command = self.commands.recv() => return command.map(Wake::Asked),
                how = running.postmaster.ended() => return Some(Wake::Ended(how)),
                _ = log_check.tick() => {
                    let installation = Arc::clone(&self.installation);
                    if let Err(error) = blocking(move || installation.rotate_log()).await {
                        warn!(%error, "cannot rotate the log of postgres");
                    }
                }
            }
        }
    }

    async fn stop(&self, mut running: Running) -> Result<(), Error> {
        self.lifecycle.send_replace(Lifecycle::Stopping);
        let patience = self.installation.config.stop_timeout;
        let stopped = running
            .postmaster
            .stop_held(patience, &self.kill_on_drop)
            .await;
        match &stopped {
            Ok(()) => {
                info!(pid = running.postmaster.pid(), "postgres stopped");
                self.installation.remove_socket_folder(&running.endpoint);
                self.lifecycle.send_replace(Lifecycle::Initialised);
            }
            Err(error) => self.failed(error.to_string(), 0),
        }
        stopped
    }

    /// Starts the server, again with growing pauses until it runs; `None` when told to end.
    async fn revive(&mut self, pauses: &mut Pauses) -> Option<Running> {
        let (installation, kill_on_drop) = (
            Arc::clone(&self.installation),
            Arc::clone(&self.kill_on_drop),
        );
        let mut attempts = 0;
        loop {
            self.lifecycle.send_replace(Lifecycle::Starting);
            let result = match self
                .unless_ended(launch(&installation, &kill_on_drop))
                .await
            {
                Ok(result) => result,
                Err(ending) => {
                    // A server on its way up has nothing to save.
                    let _ = tokio::task::spawn_blocking(move || kill_on_drop.end()).await;
                    return self.end_while_down(ending);
                }
            };
            match result {
                Ok(running) => {
                    if attempts > 0 {
                        info!(
                            attempts,
                            over = "postgres does not start",
                            "postgres has started"
                        );
                    }
                    // The address first: whoever sees `Ready` connects there.
                    self.endpoint.send_replace(running.endpoint.clone());
                    self.lifecycle.send_replace(Lifecycle::Ready);
                    return Some(running);
                }
                Err(error) => {
                    attempts += 1;
                    let pause = pauses.next();
                    error!(%error, attempts, retry_in = ?pause, "postgres does not start");
                    self.failed(error.to_string(), attempts);
                    if let Err(ending) = self.unless_ended(sleep(pause)).await {
                        return self.end_while_down(ending);
                    }
                }
            }
        }
    }

    /// Does `work` to its end, or returns the command that ends the supervisor; `None` stands for
    /// an owner who is gone.
    async fn unless_ended<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Option<Command>> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    // It is being started anyway, and that may take for ever: nobody is kept waiting for it.
                    Some(Command::Restart(reply)) => {
                        let _ = reply.send(Err(Error::Down));
                    }
                    ending => return Err(ending),
                },
                done = &mut work => return Ok(done),
            }
        }
    }

    fn end_while_down(&self, ending: Option<Command>) -> Option<Running> {
        self.lifecycle.send_replace(Lifecycle::Initialised);
        match ending {
            Some(Command::Stop(reply) | Command::Restart(reply)) => {
                let _ = reply.send(Ok(()));
            }
            Some(Command::Detach(reply)) => {
                let _ = reply.send(());
            }
            None => {}
        }
        None
    }

    fn failed(&self, reason: String, attempts: u32) {
        self.lifecycle
            .send_replace(Lifecycle::Failed { reason, attempts });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BACK_OFF_MAX, BACK_OFF_MIN, Pauses, STABLE_AFTER};

    #[test]
    fn a_server_that_comes_up_and_crashes_is_started_ever_more_slowly() {
        let mut pauses = Pauses::default();
        let crash = |pauses: &mut Pauses| pauses.after_crash(Duration::from_secs(1));
        assert_eq!(crash(&mut pauses), BACK_OFF_MIN);
        assert_eq!(crash(&mut pauses), BACK_OFF_MIN * 2);
        // Starts that fail count as well.
        assert_eq!(pauses.next(), BACK_OFF_MIN * 4);
        for _ in 0..10 {
            crash(&mut pauses);
        }
        assert_eq!(crash(&mut pauses), BACK_OFF_MAX);
        assert_eq!(pauses.after_crash(STABLE_AFTER), BACK_OFF_MIN);
    }
}
