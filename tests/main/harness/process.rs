//! Real `starling up` processes, each with its own data directory, private server and free ports.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use starling::{
    api::{NodeInfo, Status},
    node::runtime_file::RuntimeFile,
    postgres::{self, Conninfo},
};

/// The longest any awaited condition may take on a loaded machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node in a process of its own. Dropping it kills controller and server.
pub(crate) struct Node {
    pub(crate) data: PathBuf,
    child: Option<Child>,
    runtime: Option<RuntimeFile>,
    arguments: Vec<String>,
    program: PathBuf,
}

/// The program under test.
fn this_build() -> PathBuf {
    env!("CARGO_BIN_EXE_starling").into()
}

/// A program of an earlier version, for tests of upgrades: `tests/upgrade.sh` makes it and names it.
pub(crate) fn earlier_build() -> Option<PathBuf> {
    std::env::var_os("STARLING_EARLIER").map(PathBuf::from)
}

impl Node {
    /// Starts a node and waits until it serves.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_program(this_build(), data, arguments)
    }

    /// The same with a program of an earlier version, until [`upgrade`](Self::upgrade).
    pub(crate) fn start_program(program: PathBuf, data: &Path, arguments: &[&str]) -> Self {
        let mut node = Self {
            program,
            data: data.to_path_buf(),
            child: None,
            runtime: None,
            arguments: arguments.iter().map(ToString::to_string).collect(),
        };
        node.resume();
        node
    }

    /// Starts a node on a copy of this one's folder, with the same arguments and `more`.
    pub(crate) fn twin(&self, data: &Path, more: &[&str]) -> Self {
        let own = self.arguments.iter().map(String::as_str);
        let arguments: Vec<_> = own.chain(more.iter().copied()).collect();
        Self::start(data, &arguments)
    }

    /// From its next start on the node runs the program under test.
    pub(crate) fn upgrade(&mut self) {
        self.program = this_build();
    }

    /// Starts the node again on the same data directory.
    pub(crate) fn resume(&mut self) {
        assert!(self.child.is_none(), "still running");
        let _ = fs::remove_file(self.data.join("node.json"));
        fs::create_dir_all(&self.data).unwrap();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .unwrap();
        let mut command = Command::new(&self.program);
        command
            .arg("up")
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--http", "127.0.0.1:0"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
        let started = Instant::now();
        loop {
            self.runtime = RuntimeFile::read(&self.data).unwrap();
            if self.runtime.is_some() {
                break;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none(),
                "starling ended with {ended:?}:\n{}",
                self.log()
            );
            assert!(
                started.elapsed() < PATIENCE,
                "not up in time:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the node again with more arguments than before.
    pub(crate) fn resume_with(&mut self, more: &[&str]) {
        self.arguments.extend(more.iter().map(ToString::to_string));
        self.resume();
    }

    /// Runs another `starling` command against this node; returns exit code, stdout and stderr.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(&self.program)
            .args(arguments)
            .args(["--http", &self.runtime().http.to_string()])
            .output()
            .unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// The node's own log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// How the node is reached.
    pub(crate) fn runtime(&self) -> &RuntimeFile {
        self.runtime.as_ref().expect("it was up")
    }

    /// A TCP listen address that others can bootstrap from.
    pub(crate) fn bootstrap(&self) -> String {
        let tcp = |a: &&String| a.contains("/tcp/");
        self.runtime()
            .listen
            .iter()
            .find(tcp)
            .expect("a TCP listen address")
            .clone()
    }

    /// `GET /v1/status`.
    pub(crate) fn status(&self) -> Option<Status> {
        let (_, stdout, _) = self.run(&["status", "-o", "json"]);
        serde_json::from_str(&stdout).ok()
    }

    /// The cluster as this node knows it.
    pub(crate) fn nodes(&self) -> Vec<NodeInfo> {
        let (_, stdout, _) = self.run(&["nodes", "-o", "json"]);
        serde_json::from_str(&stdout).unwrap_or_default()
    }

    /// A session on the node's store.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        let store: Conninfo = self.runtime().store_url.parse().unwrap();
        postgres::connect(&store).await.unwrap()
    }

    /// Asks the process to end as a service manager would, and waits; returns its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let _ = kill(pid_of(&child), Signal::SIGTERM);
        child.wait().unwrap().code()
    }

    /// Waits for a process that ends by itself (after `leave`).
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.take()?.wait().unwrap().code()
    }

    /// Kills controller and server as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.kill_server();
    }

    /// Sends a signal to the controller.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(pid_of(self.child.as_ref().expect("it runs")), signal).unwrap();
    }

    /// Kills the controller alone; the server keeps running.
    pub(crate) fn kill_controller(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills the server's postmaster and all its children.
    pub(crate) fn kill_server(&self) {
        self.signal_server(Signal::SIGKILL);
    }

    /// Sends a signal to the server's postmaster and all its children.
    pub(crate) fn signal_server(&self, signal: Signal) {
        let Some(postmaster) = self.postmaster() else {
            return;
        };
        // Halted, it makes no more of them.
        let _ = kill(Pid::from_raw(postmaster), Signal::SIGSTOP);
        for child in children_of(postmaster) {
            let _ = kill(Pid::from_raw(child), signal);
        }
        let _ = kill(Pid::from_raw(postmaster), signal);
    }

    fn postmaster(&self) -> Option<i32> {
        let file = fs::read_to_string(self.data.join("postgres/data/postmaster.pid")).ok()?;
        let pid: i32 = file.lines().next()?.trim().parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        command.contains("postgres").then_some(pid)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            println!("--- {} ---", self.data.display());
            for line in tail.into_iter().rev() {
                println!("{line}");
            }
        }
        self.kill();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

fn children_of(parent: i32) -> Vec<i32> {
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Waits until `condition` holds; says `what` was awaited when it does not in time.
pub(crate) async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) -> Duration {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    started.elapsed()
}
