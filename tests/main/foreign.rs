//! Stores on a server of the user's that is restored, promoted or started again below its node.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nix::{sys::signal::Signal, unistd::Uid};
use tokio_postgres::{Client, NoTls};

use crate::{
    harness::process::{Node, eventually, folder, start, up},
    restore::{copy, increment, last_renewal, same, site},
};

const CONF: &str = "
listen_addresses = '127.0.0.1'
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
max_logical_replication_workers = 20
max_worker_processes = 30
wal_writer_delay = 1ms
wal_retrieve_retry_interval = 500ms
max_slot_wal_keep_size = 2GB
wal_keep_size = 64MB
";

/// A server that no controller looks after. Dropping it stops it.
pub(crate) struct Foreign {
    pub(crate) root: PathBuf,
    pub(crate) port: u16,
    /// Which of its data directories is in use.
    pub(crate) data: PathBuf,
}

impl Foreign {
    pub(crate) async fn start(root: &Path) -> Self {
        let root = root.join("server");
        fs::create_dir(&root).unwrap();
        if Uid::effective().is_root() {
            let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
            nix::unistd::chown(&root, Some(user.uid), Some(user.gid)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: port.local_addr().unwrap().port(),
            data: root.join("data"),
            root,
        };
        drop(port);
        let data = server.data.to_str().unwrap();
        server.run(
            "initdb",
            &["-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
        );
        let conf = server.data.join("postgresql.conf");
        let folder = server.root.display();
        let more = format!(
            "{CONF}unix_socket_directories = '{folder}'\nport = {}\n",
            server.port
        );
        fs::write(&conf, fs::read_to_string(&conf).unwrap() + &more).unwrap();
        server.up();
        let client = server.client_of("postgres").await;
        client.batch_execute("create database shop").await.unwrap();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/shop", self.port)
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_of("shop").await
    }

    async fn client_of(&self, database: &str) -> Client {
        let url = format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Runs one of PostgreSQL's programs as the user that owns the server.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.try_run(program, arguments);
        assert!(output.status.success(), "{program}: {output:?}");
    }

    pub(crate) fn try_run(&self, program: &str, arguments: &[&str]) -> Output {
        let program = programs().join(program);
        let mut command = if Uid::effective().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .current_dir(&self.root)
            .args(arguments)
            .output()
            .unwrap()
    }

    pub(crate) fn up(&self) {
        let (data, log) = (self.data.to_str().unwrap(), self.root.join("log"));
        // The output would keep the caller waiting for as long as the server runs.
        self.run(
            "pg_ctl",
            &["-D", data, "-l", log.to_str().unwrap(), "-w", "start"],
        );
    }

    pub(crate) fn down(&self, mode: &str) {
        self.run(
            "pg_ctl",
            &["-D", self.data.to_str().unwrap(), "-m", mode, "-w", "stop"],
        );
    }

    /// A standby in a folder of that name that has what is there now; it follows nobody until it is [`promoted`](Self::promote).
    pub(crate) fn base_backup(&self, name: &str) -> PathBuf {
        let backup = self.root.join(name);
        let (folder, port) = (self.root.to_str().unwrap(), self.port.to_string());
        let target = backup.to_str().unwrap();
        let how = [
            "-h", folder, "-p", &port, "-U", "postgres", "-D", target, "-R", "-X", "stream", "-c",
            "fast",
        ];
        self.run("pg_basebackup", &how);
        backup
    }

    /// The standby takes the server's place, and its address.
    pub(crate) fn promote(&mut self, standby: PathBuf) {
        self.down("immediate");
        self.data = standby;
        self.up();
        self.run(
            "pg_ctl",
            &["-D", self.data.to_str().unwrap(), "-w", "promote"],
        );
    }

    /// What an operator does with a dump of the schema.
    /// In one transaction: a running apply worker goes on with a table that was made again under its name,
    /// also while that has neither its rows nor its key yet.
    pub(crate) fn restore(&self, dump: &str) {
        let url = self.url();
        let how = ["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", &url];
        let what = ["-c", "drop schema crdv cascade", "-f", dump];
        // Who writes meanwhile can be in the way of the drop; it is undone as a whole then.
        for _ in 0..20 {
            let output = self.try_run("psql", &[&how[..], &what[..]].concat());
            if output.status.success() {
                return;
            }
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.contains("deadlock detected"), "{error}");
        }
        panic!("the dump is not restored for deadlocks");
    }

    pub(crate) fn dump(&self) -> String {
        let file = self.root.join("dump.sql").to_str().unwrap().to_owned();
        self.run("pg_dump", &["-n", "crdv", "-f", &file, &self.url()]);
        file
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let data = self.data.to_str().unwrap().to_owned();
        self.try_run("pg_ctl", &["-D", &data, "-m", "immediate", "stop"]);
    }
}

/// Where the programs are that the whole run uses.
pub(crate) fn programs() -> PathBuf {
    env::var_os("STARLING_PG_BIN").map_or_else(installed, PathBuf::from)
}

/// A program for clients: packages of servers alone have none, and those of the system do as well.
pub(crate) fn client_program(name: &str) -> PathBuf {
    let program = programs().join(name);
    if program.exists() {
        program
    } else {
        installed().join(name)
    }
}

/// Where the system's programs are.
fn installed() -> PathBuf {
    let told = Command::new("pg_config").arg("--bindir").output();
    let named = told.ok().filter(|told| told.status.success());
    if let Some(named) = named {
        let folder = PathBuf::from(String::from_utf8(named.stdout).unwrap().trim());
        if folder.join("initdb").exists() {
            return folder;
        }
    }
    let mut installed: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin"))
        .collect();
    installed.sort();
    installed.pop().unwrap()
}

/// A node with a private server, and one on a server of the user's.
async fn pair(root: &Path) -> (Node, Node, Foreign) {
    let server = Foreign::start(root).await;
    let a = start(root, "a", &[]);
    let (contact, url) = (a.bootstrap(), server.url());
    let b = start(root, "b", &["--bootstrap", &contact, "--postgres", &url]);
    increment(&a, 1).await;
    increment(&b, 1).await;
    same(&[&a, &b], 2).await;
    (a, b, server)
}

async fn is_another_site(node: &Node, before: i64, why: &str) {
    eventually("the store goes on as another site", async || {
        node.status()
            .is_some_and(|status| status.node.site != before)
    })
    .await;
    let renewal = last_renewal(node);
    assert!(renewal.why.contains(why), "{}", renewal.why);
}

/// The controller is held, as if it were slow: it need not be quick.
#[tokio::test]
async fn a_promoted_standby_acknowledges_nothing_before_its_controller_has_seen_it() {
    let root = folder();
    let (a, b, mut server) = pair(root.path()).await;
    let before = site(&b);
    let standby = server.base_backup("standby");
    increment(&b, 10).await;
    same(&[&a, &b], 12).await;

    b.signal(Signal::SIGSTOP);
    server.promote(standby);
    let client = server.client().await;
    for by in 100..110 {
        let written = client
            .batch_execute(&format!("select crdv.counterInc('n', {by})"))
            .await;
        assert!(
            written.is_err(),
            "acknowledged by a store that nobody has looked into"
        );
    }
    b.signal(Signal::SIGCONT);
    increment(&b, 1_000).await;
    same(&[&a, &b], 1_012).await;
    is_another_site(&b, before, "promoted").await;
}

#[tokio::test]
async fn a_server_that_is_started_again_below_its_node_is_confirmed_and_keeps_its_site() {
    let root = folder();
    let (a, b, server) = pair(root.path()).await;
    let before = site(&b);
    for (by, mode) in [(10, "fast"), (100, "immediate")] {
        server.down(mode);
        server.up();
        increment(&b, by).await;
        increment(&a, by * 2).await;
    }
    same(&[&a, &b], 332).await;
    assert_eq!(site(&b), before);
}

#[tokio::test]
async fn a_dump_restored_in_place_gets_all_that_the_cluster_has() {
    let root = folder();
    let (a, mut b, server) = pair(root.path()).await;
    let before = site(&b);
    let dump = server.dump();
    increment(&a, 10).await;
    increment(&b, 100).await;
    same(&[&a, &b], 112).await;
    assert_eq!(b.terminate(), Some(0));
    server.restore(&dump);

    b.resume();
    increment(&b, 1_000).await;
    same(&[&a, &b], 1_112).await;
    is_another_site(&b, before, "restored from a dump").await;
}

/// The links stay up meanwhile, and say that they stream.
#[tokio::test]
async fn a_dump_restored_below_a_running_node_gets_all_that_the_cluster_has() {
    let root = folder();
    let (a, b, server) = pair(root.path()).await;
    let before = site(&b);
    let dump = server.dump();
    increment(&a, 10).await;
    increment(&b, 100).await;
    same(&[&a, &b], 112).await;

    b.signal(Signal::SIGSTOP);
    server.restore(&dump);
    let client = server.client().await;
    let written = client.batch_execute("select crdv.counterInc('n', 7)").await;
    assert!(
        written.is_err(),
        "acknowledged by a store that nobody has looked into"
    );
    b.signal(Signal::SIGCONT);
    increment(&b, 1_000).await;
    increment(&a, 10_000).await;
    same(&[&a, &b], 11_112).await;
    is_another_site(&b, before, "restored from a dump").await;
}

/// Nobody can tell of a node that was alone whether it is what it was.
#[tokio::test]
async fn a_machine_put_back_to_before_it_met_its_peer_gives_out_no_number_twice() {
    let root = folder();
    let image = root.path().join("image");
    let mut a = start(root.path(), "a", &[]);
    let before = site(&a);
    increment(&a, 1).await;
    assert_eq!(a.terminate(), Some(0));
    copy(&a.data, &image);

    a.resume();
    is_another_site(&a, before, "never met another").await;
    increment(&a, 10).await;
    let mut b = start(root.path(), "b", &["--bootstrap", &a.bootstrap()]);
    increment(&b, 100).await;
    same(&[&a, &b], 111).await;
    assert_eq!(a.terminate(), Some(0));
    assert_eq!(b.terminate(), Some(0));
    copy(&image, &a.data);

    a.resume();
    increment(&a, 1_000).await;
    b.resume_with(&["--bootstrap", &a.bootstrap()]);
    same(&[&a, &b], 1_111).await;
}

/// It is told, and not made again below whoever restores a dump.
#[tokio::test]
async fn a_schema_that_somebody_dropped_is_told_and_made_again_at_the_next_start() {
    let root = folder();
    let (a, mut b, server) = pair(root.path()).await;
    let drop = "drop schema crdv cascade";
    server.client().await.batch_execute(drop).await.unwrap();
    eventually("status tells it", async || {
        b.status().is_some_and(|status| {
            let mut findings = status.findings.iter();
            findings.any(|finding| finding.code == "SN010" && finding.text.contains("schema crdv"))
        })
    })
    .await;
    assert_eq!(b.terminate(), Some(0));

    b.resume();
    increment(&b, 10).await;
    same(&[&a, &b], 12).await;
    let findings = b.status().unwrap().findings;
    assert!(!findings.iter().any(|finding| finding.code == "SN010"));
}

#[tokio::test]
async fn a_link_whose_table_was_made_anew_is_replaced() {
    let root = folder();
    let (a, b, server) = pair(root.path()).await;
    let before = site(&b);
    // As if the table had been dropped and made again: the subscription does not know it.
    let forget = "delete from pg_subscription_rel; select pg_terminate_backend(pid) from pg_stat_subscription";
    server.client().await.batch_execute(forget).await.unwrap();
    increment(&a, 10).await;
    same(&[&a, &b], 12).await;
    let lose = "do $$ begin execute (select string_agg(format('alter publication %I drop table crdv.element', pubname),
                  ';') from pg_publication); end $$";
    server.client().await.batch_execute(lose).await.unwrap();
    increment(&b, 100).await;
    same(&[&a, &b], 112).await;
    assert_eq!(site(&b), before);
}

/// Two would take each other's links for debris.
#[tokio::test]
async fn a_store_has_one_controller_at_a_time() {
    let root = folder();
    let (a, b, server) = pair(root.path()).await;
    let (before, url) = (site(&b), server.url());
    // One that is let in would go on.
    let adopt = ["--postgres", url.as_str(), "--adopt-store", "on"];
    let second = up(&root.path().join("second"), &adopt);
    let second = Command::new("timeout")
        .arg("60")
        .arg(second.get_program())
        .args(second.get_args())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&second.stderr);
    let peer = b.status().unwrap().node.peer_id;
    let says = format!("the store is in use: by `starling {peer}`");
    assert!(
        !second.status.success() && stderr.contains(&says),
        "{stderr}"
    );
    increment(&b, 10).await;
    same(&[&a, &b], 12).await;
    assert_eq!(site(&b), before);

    // Somebody else is faster after the session was lost: here, who stood in the queue.
    let (other, admin) = (server.client().await, server.client().await);
    let lock = tokio::spawn(async move {
        let lock = "select pg_advisory_lock(1398030677, 0)";
        other.batch_execute(lock).await.unwrap();
        other
    });
    let held = "select pid from pg_locks where classid = 1398030677 and granted";
    let queued = "select count(*) from pg_locks where classid = 1398030677 and not granted";
    eventually("it waits", async || {
        admin.query_one(queued, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    let end = format!("select pg_terminate_backend(pid) from ({held}) h");
    admin.batch_execute(&end).await.unwrap();
    let other = lock.await.unwrap();
    eventually("it tells", async || {
        b.log().contains("another controller uses the store")
    })
    .await;
    drop(other);
    eventually("it has the lock again", async || {
        b.log().contains("the lock on the store is ours again")
    })
    .await;
}
