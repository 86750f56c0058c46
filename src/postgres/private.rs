//! A PostgreSQL server of our own.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    SUPERUSER,
    error::Error,
    installation::{Endpoint, Installation, SECLUDED_PORT, blocking},
    launch::launch,
    lifecycle::{Lifecycle, PrivateConfig},
    postmaster::KillOnDrop,
    process_group::ProcessGroup,
    supervisor::{Command, Supervisor},
    version::Version,
};

/// Commands waiting for the supervisor: stop, restart, and one more.
const COMMANDS_MAX: usize = 4;

/// A PostgreSQL server of our own, looked after: it is started again when it crashes.
///
/// [`stop`](Self::stop) it when done. When it is dropped without that, the server is cut off hard
/// (what was committed stays committed). When this process is killed, the server runs on, and the
/// next start on the same data directory adopts it.
#[derive(Debug)]
pub struct PrivateServer {
    /// Whether the next start is to be a secluded one.
    seclusion: Arc<AtomicBool>,
    database: String,
    kill_on_drop: Arc<KillOnDrop>,
    lifecycle: watch::Receiver<Lifecycle>,
    endpoint: watch::Receiver<Endpoint>,
    commands: mpsc::Sender<Command>,
    supervisor: JoinHandle<()>,
}

impl PrivateServer {
    /// Makes the data directory if there is none, adopts the server that already runs on it or
    /// starts one, and returns when it answers and has its database.
    ///
    /// # Errors
    ///
    /// See [`Error`]. Nothing is left running or half made.
    pub async fn start(config: PrivateConfig) -> Result<Self, Error> {
        Self::start_observed(config, watch::Sender::new(Lifecycle::Absent)).await
    }

    /// Like [`start`](Self::start), telling `lifecycle` of every step from the beginning.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn start_observed(
        config: PrivateConfig,
        lifecycle: watch::Sender<Lifecycle>,
    ) -> Result<Self, Error> {
        Self::launch(config, lifecycle, false).await
    }

    /// Like [`start`](Self::start), but a server that has to be started runs secluded: it listens
    /// nowhere but on a socket that nobody knows, and takes up no subscription, until
    /// [`reveal`](Self::reveal). A server that runs already is as it is.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn start_secluded(config: PrivateConfig) -> Result<Self, Error> {
        Self::launch(config, watch::Sender::new(Lifecycle::Absent), true).await
    }

    async fn launch(
        config: PrivateConfig,
        lifecycle: watch::Sender<Lifecycle>,
        is_secluded: bool,
    ) -> Result<Self, Error> {
        let observer = lifecycle.clone();
        let report = move |state| {
            observer.send_replace(state);
        };
        let group = ProcessGroup::default();
        // A start that is given up leaves no `initdb` at work either: the thread that waits for it goes on.
        let _cancel = group.cancel_on_drop();
        let prepared = blocking(move || Installation::prepare(config, report, &group)).await?;
        let installation = Arc::new(prepared);
        let seclusion = Arc::clone(&installation.seclusion);
        seclusion.store(is_secluded, Ordering::Relaxed);
        // Made before there is a process: a start that is given up half way must leave none.
        let kill_on_drop = Arc::new(KillOnDrop::new(installation.layout.pid_file()));
        lifecycle.send_replace(Lifecycle::Starting);
        let running = launch(&installation, &kill_on_drop)
            .await
            .inspect_err(|error| {
                lifecycle.send_replace(Lifecycle::Failed {
                    reason: error.to_string(),
                    attempts: 1,
                });
            })?;
        lifecycle.send_replace(Lifecycle::Ready);
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let database = installation.config.database.clone();
        let supervisor = Supervisor {
            installation,
            kill_on_drop: Arc::clone(&kill_on_drop),
            lifecycle,
            endpoint: watch::Sender::new(running.endpoint.clone()),
            commands: receiver,
        };
        Ok(Self {
            seclusion,
            database,
            kill_on_drop,
            lifecycle: supervisor.lifecycle.subscribe(),
            endpoint: supervisor.endpoint.subscribe(),
            commands,
            supervisor: tokio::spawn(supervisor.run(running)),
        })
    }

    /// How to connect as the superuser, over the local socket.
    #[must_use]
    pub fn connection(&self) -> tokio_postgres::Config {
        let endpoint = self.endpoint.borrow();
        Installation::connection(
            &endpoint.socket_dir,
            endpoint.address.port(),
            &self.database,
        )
    }

    /// The same for `psql`: works without a password for root and for the user that runs the
    /// server.
    #[must_use]
    pub fn url(&self) -> String {
        let endpoint = self.endpoint.borrow();
        let folder = percent_encode(endpoint.socket_dir.as_os_str().as_encoded_bytes());
        let database = percent_encode(self.database.as_bytes());
        let port = endpoint.address.port();
        format!("postgresql://{SUPERUSER}@/{database}?host={folder}&port={port}")
    }

    /// Where it listens for peers, with the real port. A free port may be another one after a
    /// crash, if somebody took it meanwhile.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.endpoint.borrow().address
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.endpoint.borrow().version
    }

    /// What it is doing.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Lifecycle> {
        self.lifecycle.clone()
    }

    /// Stops the server and looking after it. Stopping twice is stopping once.
    ///
    /// # Errors
    ///
    /// [`Error::StopTimeout`] when the process does not end, whatever it is sent.
    pub async fn stop(&self) -> Result<(), Error> {
        match self.ask(Command::Stop).await {
            Some(result) => result,
            None => Ok(()),
        }
    }

    /// Stops the server and starts it again; returns when it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Down`] when it has crashed and is being started again anyway; [`Error::Stopped`]
    /// when it was told to stop for good. A server that does not start is tried again until it
    /// does.
    pub async fn restart(&self) -> Result<(), Error> {
        self.ask(Command::Restart)
            .await
            .unwrap_or(Err(Error::Stopped))
    }

    /// Lets a secluded server be found: starts it again in its place. Does nothing to any other.
    ///
    /// # Errors
    ///
    /// As for [`restart`](Self::restart).
    pub async fn reveal(&self) -> Result<(), Error> {
        // First: should it crash and be started again meanwhile, it is not to be secluded once more.
        self.seclusion.store(false, Ordering::Relaxed);
        if self.address().port() == SECLUDED_PORT {
            self.restart().await?;
        }
        Ok(())
    }

    /// Lets the server run on without us; the next start on its data directory adopts it.
    pub async fn detach(mut self) {
        let _ = self.ask(Command::Detach).await;
        // The lock on the data directory is given back when the supervisor has ended.
        let _ = (&mut self.supervisor).await;
    }

    /// Sends a command and waits for its answer; `None` when the supervisor has ended.
    async fn ask<T>(&self, command: fn(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.commands.send(command(sender)).await.ok()?;
        answer.await.ok()
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        // First the supervisor, lest it starts the server again.
        self.supervisor.abort();
        self.kill_on_drop.end();
    }
}

/// Percent-encodes all that is not plain in a URL's query; a slash is.
fn percent_encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(*byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, Permissions},
        io::{BufRead, BufReader, Read},
        os::unix::fs::PermissionsExt,
        time::Duration,
    };

    use nix::{sys::stat::Mode, unistd::mkfifo};
    use tokio::{sync::oneshot, time::timeout};

    use super::{PrivateConfig, PrivateServer, percent_encode};

    #[tokio::test]
    async fn a_start_that_is_given_up_leaves_no_initdb_at_work() {
        let root = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        // All that works for `initdb` holds the other end of it.
        let fifo = root.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        fs::set_permissions(&fifo, Permissions::from_mode(0o666)).unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let initdb = format!(
            "exec 3>'{}'; sleep 90 & echo at work >&3; wait",
            fifo.display()
        );
        for (program, script) in [
            ("postgres", "echo 'postgres (PostgreSQL) 17.0'"),
            ("initdb", initdb.as_str()),
        ] {
            let path = bin.join(program);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        let config = PrivateConfig {
            pg_bin: Some(bin),
            ..PrivateConfig::new(root.path().join("node"))
        };
        let mut start = Box::pin(PrivateServer::start(config));
        let (begin, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        // No task of the runtime, which would wait for it, whatever comes of this.
        std::thread::spawn(move || {
            let mut workers = BufReader::new(File::open(fifo).unwrap());
            workers.read_line(&mut String::new()).unwrap();
            begin.send(()).unwrap();
            workers.read_to_end(&mut Vec::new()).unwrap();
            end.send(())
        });
        tokio::select! {
            started = &mut start => panic!("{started:?}"),
            begun = begun => begun.unwrap(),
        }
        drop(start);
        let ended = timeout(Duration::from_secs(30), ended).await;
        ended.expect("nobody is at work any more").unwrap();
    }

    #[test]
    fn paths_are_encoded_for_urls() {
        assert_eq!(
            percent_encode("/srv/a b/ü&x".as_bytes()),
            "/srv/a%20b/%C3%BC%26x"
        );
    }
}
