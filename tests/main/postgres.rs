//! Private servers on the real PostgreSQL of this machine.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User, getpgid},
};
use starling::postgres::{self, Error, Lifecycle, PrivateConfig, PrivateServer};
use tokio_postgres::Client;

/// Longer than anything waited for takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Set for a copy of this test program that plays a controller: its data directory.
const CONTROLLER_DIR: &str = "STARLING_TEST_CONTROLLER_DIR";

/// On any free port; with the programs in `STARLING_PG_BIN`, if set, to try another version.
pub(crate) fn config(dir: &Path) -> PrivateConfig {
    PrivateConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        pg_bin: env::var_os("STARLING_PG_BIN").map(PathBuf::from),
        ..PrivateConfig::new(dir)
    }
}

pub(crate) async fn start(dir: &Path) -> PrivateServer {
    PrivateServer::start(config(dir)).await.unwrap()
}

pub(crate) async fn client(server: &PrivateServer) -> Client {
    postgres::connect(&server.connection()).await.unwrap()
}

pub(crate) async fn refused(config: PrivateConfig) -> Error {
    PrivateServer::start(config).await.map(drop).unwrap_err()
}

pub(crate) async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap().get(0)
}

pub(crate) fn data(dir: &Path) -> PathBuf {
    dir.join("postgres/data")
}

pub(crate) fn pid(dir: &Path) -> i32 {
    let text = fs::read_to_string(data(dir).join("postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

pub(crate) fn is_alive(pid: i32) -> bool {
    let ended = |stat: String| stat.contains(") Z ");
    kill(Pid::from_raw(pid), None).is_ok()
        && !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(ended)
}

pub(crate) async fn reach(server: &PrivateServer, wanted: impl FnMut(&Lifecycle) -> bool) {
    tokio::time::timeout(PATIENCE, server.watch().wait_for(wanted))
        .await
        .unwrap()
        .unwrap();
}

/// Ends the server of a data directory, however the test ends.
struct Cleanup<'a>(&'a Path);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let file = data(self.0).join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&file) else {
            return;
        };
        let pid: i32 = text.lines().next().unwrap().parse().unwrap();
        let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        let deadline = Instant::now() + PATIENCE;
        while file.exists() && is_alive(pid) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn a_server_starts_serves_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let session = client(&server).await;
    assert_eq!(
        text(&session, "select current_database()::text").await,
        "starling"
    );
    assert_eq!(text(&session, "show data_checksums").await, "on");
    assert_eq!(text(&session, "show wal_level").await, "logical");
    assert_eq!(text(&session, "show server_encoding").await, "UTF8");
    assert_eq!(text(&session, "select lower('ÄÉ')").await, "äé");
    assert_eq!(
        text(
            &session,
            "select string_agg(c, '' order by c) from unnest('{a,B,ä,A}'::text[]) c"
        )
        .await,
        "ABaä"
    );
    session
        .batch_execute("create table t(n int); insert into t values (7)")
        .await
        .unwrap();
    let address = server.address();
    assert_ne!(address.port(), 0);
    server.stop().await.unwrap();
    assert_eq!(*server.watch().borrow(), Lifecycle::Initialised);
    assert!(!data(dir.path()).join("postmaster.pid").exists());
    server.stop().await.unwrap();
    assert!(matches!(server.restart().await, Err(Error::Stopped)));
    drop(server);

    let again = start(dir.path()).await;
    assert_eq!(again.address(), address, "a free port stays the same");
    let from_url: tokio_postgres::Config = again.url().parse().unwrap();
    let session = postgres::connect(&from_url).await.unwrap();
    assert_eq!(text(&session, "select n::text from t").await, "7");
    again.stop().await.unwrap();
}

#[tokio::test]
async fn every_step_of_a_start_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let told = tokio::sync::watch::Sender::new(Lifecycle::Absent);
    let mut steps = told.subscribe();
    let listening = tokio::spawn(async move {
        let mut seen = Vec::new();
        while steps.changed().await.is_ok() {
            seen.push(steps.borrow_and_update().clone());
        }
        seen
    });
    let server = PrivateServer::start_observed(config(dir.path()), told)
        .await
        .unwrap();
    server.stop().await.unwrap();
    drop(server);
    let seen = listening.await.unwrap();
    assert!(seen.contains(&Lifecycle::Starting), "{seen:?}");
    assert!(seen.contains(&Lifecycle::Ready), "{seen:?}");
    assert_eq!(seen.last(), Some(&Lifecycle::Initialised), "{seen:?}");
}

#[tokio::test]
async fn root_does_not_run_it_and_ctrl_c_does_not_reach_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let pid = Pid::from_raw(pid(dir.path()));
    assert_eq!(getpgid(Some(pid)), Ok(pid));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name| {
        status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned()
    };
    assert!(
        !line("Uid:").split_whitespace().any(|uid| uid == "0"),
        "{}",
        line("Uid:")
    );
    if Uid::effective().is_root() {
        assert_eq!(
            line("Groups:").trim(),
            "Groups:",
            "no group of root's is kept"
        );
    }
    let mode = fs::metadata(dir.path().join("postgres"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_crashed_server_is_started_again_with_all_that_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let session = client(&server).await;
    session
        .batch_execute("create table t(n int); insert into t values (7)")
        .await
        .unwrap();
    let crashed = pid(dir.path());
    kill(Pid::from_raw(crashed), Signal::SIGKILL).unwrap();
    reach(&server, |state| *state != Lifecycle::Ready).await;
    reach(&server, |state| *state == Lifecycle::Ready).await;
    assert_ne!(pid(dir.path()), crashed);
    assert_eq!(
        text(&client(&server).await, "select n::text from t").await,
        "7"
    );
    server.stop().await.unwrap();
}

/// Without a pause one that crashes as soon as it is up would be started without end.
#[tokio::test]
async fn a_server_that_crashes_again_is_started_after_a_longer_pause() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let failed = |state: &Lifecycle| matches!(state, Lifecycle::Failed { .. });
    for least in [200, 400, 800].map(Duration::from_millis) {
        let crashed = Instant::now();
        kill(Pid::from_raw(pid(dir.path())), Signal::SIGKILL).unwrap();
        reach(&server, |state| *state != Lifecycle::Ready).await;
        reach(&server, |state| !failed(state)).await;
        assert!(crashed.elapsed() >= least, "{:?}", crashed.elapsed());
        reach(&server, |state| *state == Lifecycle::Ready).await;
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_come_back_is_tried_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let local = data(dir.path()).join("local.conf");
    fs::write(&local, "work_mem = 'plenty'\n").unwrap();
    kill(Pid::from_raw(pid(dir.path())), Signal::SIGKILL).unwrap();
    reach(&server, |state| match state {
        Lifecycle::Failed { reason, attempts } => *attempts >= 2 && reason.contains("work_mem"),
        _ => false,
    })
    .await;
    fs::write(&local, "work_mem = '7MB'\n").unwrap();
    reach(&server, |state| *state == Lifecycle::Ready).await;
    assert_eq!(text(&client(&server).await, "show work_mem").await, "7MB");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_down_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    fs::write(data(dir.path()).join("local.conf"), "work_mem = 'plenty'\n").unwrap();
    kill(Pid::from_raw(pid(dir.path())), Signal::SIGKILL).unwrap();
    reach(&server, |state| {
        matches!(state, Lifecycle::Failed { attempts: 1, .. })
    })
    .await;
    server.stop().await.unwrap();
    assert_eq!(*server.watch().borrow(), Lifecycle::Initialised);
    drop(server);
    assert!(matches!(
        refused(config(dir.path())).await,
        Error::BadSetting { .. }
    ));
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let _cleanup = Cleanup(dir.path());
    let server = start(dir.path()).await;
    let pid = pid(dir.path());
    drop(server);
    let deadline = Instant::now() + PATIENCE;
    while is_alive(pid) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_start_given_up_leaves_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let _cleanup = Cleanup(dir.path());
    start(dir.path()).await.stop().await.unwrap();
    let starting = tokio::spawn(PrivateServer::start(config(dir.path())));
    let file = data(dir.path()).join("postmaster.pid");
    while !file.exists() {
        assert!(!starting.is_finished());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    starting.abort();
    // It may have finished just before: then dropping it is what ends it.
    let _ = starting.await.map(drop);
    // Dropping waits only a moment: on a busy machine the end comes a little later.
    let deadline = Instant::now() + PATIENCE;
    while file.exists() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!file.exists());
}

#[tokio::test]
async fn a_server_left_running_is_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let _cleanup = Cleanup(dir.path());
    let first = start(dir.path()).await;
    let (address, postmaster) = (first.address(), pid(dir.path()));
    let session = client(&first).await;
    first.detach().await;

    let second = start(dir.path()).await;
    assert_eq!(pid(dir.path()), postmaster);
    assert_eq!(second.address(), address);
    assert_eq!(text(&session, "select 'still here'").await, "still here");
    kill(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    reach(&second, |state| *state != Lifecycle::Ready).await;
    reach(&second, |state| *state == Lifecycle::Ready).await;
    assert_ne!(
        pid(dir.path()),
        postmaster,
        "an adopted server is looked after too"
    );
    second.stop().await.unwrap();
}

#[tokio::test]
async fn an_adopted_server_is_restarted_only_for_settings_that_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let _cleanup = Cleanup(dir.path());
    let server = start(dir.path()).await;
    let first = pid(dir.path());
    server.detach().await;

    let reload = PrivateConfig {
        slot_wal_max_mb: 333,
        ..config(dir.path())
    };
    let server = PrivateServer::start(reload.clone()).await.unwrap();
    assert_eq!(pid(dir.path()), first);
    let deadline = Instant::now() + PATIENCE;
    while text(&client(&server).await, "show max_slot_wal_keep_size").await != "333MB" {
        assert!(Instant::now() < deadline, "the setting was not reloaded");
    }
    server.detach().await;

    let restart = PrivateConfig {
        max_links: 40,
        ..reload
    };
    let server = PrivateServer::start(restart).await.unwrap();
    assert_ne!(pid(dir.path()), first);
    assert_eq!(
        text(&client(&server).await, "show max_replication_slots").await,
        "48"
    );
    server.stop().await.unwrap();
}

/// This very test in another process, where it plays a controller. Killed at the end at the latest.
struct Controller(Child);

impl Controller {
    fn run(test: &str, dir: &Path, user: Option<&User>) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", test, "--nocapture"])
            .env(CONTROLLER_DIR, dir)
            .stdout(Stdio::piped());
        if let Some(user) = user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        Self(command.spawn().unwrap())
    }

    /// What it says after `controller: `, as soon as it says it.
    fn says(&mut self) -> String {
        BufReader::new(self.0.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("controller: ").map(str::to_owned))
            .unwrap()
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_server_outlives_its_killed_controller() {
    if let Some(dir) = env::var_os(CONTROLLER_DIR) {
        let server = start(Path::new(&dir)).await;
        println!("\ncontroller: {}", server.address());
        return std::future::pending().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let _cleanup = Cleanup(dir.path());
    let test = "postgres::a_server_outlives_its_killed_controller";
    let mut process = Controller::run(test, dir.path(), None);
    let address = process.says();
    let postmaster = pid(dir.path());
    assert!(matches!(
        refused(config(dir.path())).await,
        Error::InUse { .. }
    ));
    process.kill();
    assert!(is_alive(postmaster));

    let server = start(dir.path()).await;
    assert_eq!(pid(dir.path()), postmaster);
    assert_eq!(server.address().to_string(), address);
    server.stop().await.unwrap();
    assert!(!is_alive(postmaster));
}

#[tokio::test]
async fn an_ordinary_user_runs_it_as_himself() {
    if let Some(dir) = env::var_os(CONTROLLER_DIR) {
        let wrong = PrivateConfig {
            run_as: Some("root".to_owned()),
            ..config(Path::new(&dir))
        };
        assert!(matches!(refused(wrong).await, Error::NotRoot { .. }));
        let server = start(Path::new(&dir)).await;
        let session = client(&server).await;
        assert_eq!(
            text(&session, "select current_user::text").await,
            "starling"
        );
        drop(session);
        server.stop().await.unwrap();
        println!("\ncontroller: all went well");
        return;
    }
    // As an ordinary user, every other test is this one.
    if !Uid::effective().is_root() {
        return;
    }
    let user = User::from_name("nobody").unwrap().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let _cleanup = Cleanup(dir.path());
    chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    let test = "postgres::an_ordinary_user_runs_it_as_himself";
    assert_eq!(
        Controller::run(test, dir.path(), Some(&user)).says(),
        "all went well"
    );
    // Root takes it over, and it goes on under its owner.
    let server = start(dir.path()).await;
    let status = fs::read_to_string(format!("/proc/{}/status", pid(dir.path()))).unwrap();
    assert!(
        status.contains(&format!("Uid:\t{}\t", user.uid)),
        "{status}"
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_user_sets_wins_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    fs::write(
        data(dir.path()).join("local.conf"),
        "jit = on\nwork_mem = '5MB'\n",
    )
    .unwrap();
    let session = client(&server).await;
    session
        .batch_execute("alter system set work_mem = '6MB'")
        .await
        .unwrap();
    server.restart().await.unwrap();
    let session = client(&server).await;
    assert_eq!(text(&session, "show jit").await, "on");
    assert_eq!(text(&session, "show work_mem").await, "6MB");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn peers_come_in_by_password_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let session = client(&server).await;
    session
        .batch_execute("create role visitor login password 'right'")
        .await
        .unwrap();
    let over_tcp = |user: &str, password: &str| {
        let mut config = tokio_postgres::Config::new();
        config
            .host(server.address().ip().to_string())
            .port(server.address().port());
        config.user(user).password(password).dbname("starling");
        config
    };
    assert!(
        postgres::connect(&over_tcp("visitor", "right"))
            .await
            .is_ok()
    );
    assert!(
        postgres::connect(&over_tcp("visitor", "wrong"))
            .await
            .is_err()
    );
    assert!(postgres::connect(&over_tcp("starling", "")).await.is_err());
    server.stop().await.unwrap();
}
