//! Real `starling up` processes, each with its own data directory, private server and free ports.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use starling::{
    api::{LinkState, LinkStatus, NodeInfo, Status},
    node::runtime_file::RuntimeFile,
    postgres::{self, Conninfo},
};
use tempfile::TempDir;

/// The longest any awaited condition may take on a loaded machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// With this the log of a failed test tells what happened.
pub(crate) const DEBUG_LOG: &[&str] = &["--log-level", "info,starling=debug"];

/// So short that a lost peer's links are cleared while a test waits for it.
pub(crate) const SHORT_GRACE: &[&str] = &["--link-grace", "3s"];

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

/// For the nodes of a test: servers of another user than root have to get through it.
pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("starling-test-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

/// `starling up` on free ports, with nobody to find but at a bootstrap address.
pub(crate) fn up(data: &Path, arguments: &[&str]) -> Command {
    up_of(&this_build(), data, arguments)
}

fn up_of(program: &Path, data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .arg("up")
        .arg("--data-dir")
        .arg(data)
        .args(["--http", "127.0.0.1:0", "--mdns", "off"])
        .args(["--listen", "/ip4/127.0.0.1/tcp/0"])
        .args(arguments);
    // A server of the user's listens where it does.
    let has_port = |flag: &&str| ["--postgres", "--pg-listen"].contains(flag);
    if !arguments.iter().any(has_port) {
        command.args(["--pg-listen", "127.0.0.1:0"]);
    }
    command
}

/// A node of this name, whose links go soon after a peer is lost.
pub(crate) fn start(root: &Path, name: &str, more: &[&str]) -> Node {
    let arguments = [&["--name", name], SHORT_GRACE, DEBUG_LOG, more].concat();
    Node::start(&root.join(name), &arguments)
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
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let mut command = up_of(&self.program, &self.data, &arguments);
        command
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

    /// The code of the answer to a `GET`, and the answer with its head.
    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.runtime().http).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.unwrap_or_default(), text)
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

/// Whether there are links to and from this many neighbours, and all of them stream.
pub(crate) fn all_stream(links: &[LinkStatus], neighbors: usize) -> bool {
    let mut states = links.iter().map(|link| link.state);
    links.len() == 2 * neighbors && states.all(|state| state == LinkState::Streaming)
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
