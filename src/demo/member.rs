//! One node of the demo: a child process and what it started.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStdin, Command},
    time::timeout,
};
use tokio_postgres::Client;
use tracing::debug;

use super::watch::until;
use crate::{api::Status, http, node::runtime_file::RuntimeFile, postgres};

/// A clean stop waits for the server's shutdown checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that answered a moment ago answers within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a log goes into an error.
const LOG_LINES: usize = 8;

/// One node.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    data_dir: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// A node that runs.
#[derive(Debug)]
struct Process {
    child: Child,
    /// The child stops when this closes: also when we are killed.
    stdin: Option<ChildStdin>,
    file: Option<RuntimeFile>,
}

impl Member {
    pub(super) fn new(dir: &Path, number: usize) -> Self {
        let name = format!("node-{number}");
        Self {
            data_dir: dir.join(&name),
            log: dir.join(format!("{name}.log")),
            name,
            process: None,
        }
    }

    /// Starts it; [`Member::started`] waits until it is up.
    pub(super) fn start(&mut self, program: &Path, flags: &[String]) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(program);
        command
            .arg("up")
            .args(["--exit-with-parent", "--mdns", "off"])
            .args(["--http", "127.0.0.1:0", "--pg-listen", "127.0.0.1:0"])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--name", &self.name])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for us, who then stop the nodes in good order.
            .process_group(0)
            .kill_on_drop(true);
        // The user's settings are for the user's node.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STARLING_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let stdin = child.stdin.take();
        self.process = Some(Process {
            child,
            stdin,
            file: None,
        });
        Ok(())
    }

    /// Waits until it listens and its store is up.
    pub(super) async fn started(&mut self, limit: Duration) -> anyhow::Result<()> {
        let what = format!("{} to start", self.name);
        let file = until(&what, limit, async || {
            self.check_alive()?;
            let pid = self.process.as_ref().and_then(|process| process.child.id());
            // There is one of an earlier life, with its addresses; one that ended in order has no process.
            let file = RuntimeFile::read(&self.data_dir)?;
            Ok(file.filter(|file| file.pid.is_some() && file.pid == pid))
        })
        .await
        .map_err(|error| anyhow::anyhow!("{error:#}\n{}", self.log_tail()))?;
        if let Some(process) = &mut self.process {
            process.file = Some(file);
        }
        Ok(())
    }

    /// Where it can be reached; an error when it is not up.
    pub(super) fn file(&self) -> anyhow::Result<&RuntimeFile> {
        self.process
            .as_ref()
            .and_then(|process| process.file.as_ref())
            .with_context(|| format!("{} is not up", self.name))
    }

    pub(super) fn is_up(&self) -> bool {
        self.file().is_ok()
    }

    /// What it says of itself; `None` while it does not answer.
    pub(super) async fn status(&mut self) -> anyhow::Result<Option<Status>> {
        self.check_alive()?;
        let client = http::Client::new(&self.file()?.http.to_string());
        Ok(tokio::task::spawn_blocking(move || client.status().ok()).await?)
    }

    /// A connection to its store, as psql would make it.
    pub(super) async fn connect(&self) -> anyhow::Result<Client> {
        let url = &self.file()?.store_url;
        let what = || format!("cannot connect to the store of {}", self.name);
        let config: postgres::Conninfo = url.parse().with_context(what)?;
        timeout(CONNECT_TIMEOUT, postgres::connect(&config))
            .await
            .with_context(what)?
            .with_context(what)
    }

    /// Ends the node and its server as a power cut would.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process
            .child
            .start_kill()
            .with_context(|| format!("cannot kill {}", self.name))?;
        // After its controller, which would have started it again.
        self.kill_server(Signal::SIGKILL);
        process.child.wait().await?;
        Ok(())
    }

    /// Asks it to stop; [`Member::stopped`] waits.
    pub(super) fn ask_to_stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.stdin = None;
        }
    }

    /// Waits until it has stopped; false when it had to be killed.
    pub(super) async fn stopped(&mut self) -> bool {
        let Some(process) = &mut self.process else {
            return true;
        };
        let clean = timeout(STOP_TIMEOUT, process.child.wait()).await.is_ok();
        if !clean {
            // The controller first: it would only start its server again.
            let _ = process.child.start_kill();
            let _ = process.child.wait().await;
        }
        self.process = None;
        // After an orderly stop there is none. A controller that was killed has left its server running.
        self.kill_server(Signal::SIGQUIT);
        clean
    }

    /// Fails when the process has ended by itself.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        let Some(process) = &mut self.process else {
            bail!("{} is not running", self.name)
        };
        match process.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status})", self.name),
        }
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("The last lines of its log:\n{}", tail.join("\n"))
    }

    /// Sends `signal` to the private server, if there is one.
    fn kill_server(&self, signal: Signal) {
        let Some(pid) = server_pid(&self.data_dir) else {
            return;
        };
        if let Err(error) = kill(pid, signal) {
            debug!(%pid, %error, "server could not be signalled");
        }
    }
}

impl Drop for Member {
    /// For a panic: a controller that is killed leaves its server to us. After an orderly stop there
    /// is nothing left to do.
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.start_kill();
            self.kill_server(Signal::SIGQUIT);
        }
    }
}

/// The process id of the server in `data_dir`, if that process is still it.
fn server_pid(data_dir: &Path) -> Option<Pid> {
    let server = data_dir.join("postgres").join("data");
    let file = fs::read_to_string(server.join("postmaster.pid")).ok()?;
    let pid: i32 = file.lines().next()?.trim().parse().ok()?;
    // The file outlives a killed server, and its number may be another process's by now.
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).into_owned();
    // To `kill`, numbers below 1 mean many processes; 1 is nobody whom we have started.
    (pid > 1 && command.contains(&*server.to_string_lossy())).then(|| Pid::from_raw(pid))
}
