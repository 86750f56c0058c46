//! What stands in the way of a private server: each is refused with a clear error or overcome, and
//! nothing is lost or half made.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs::{self, Permissions},
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid},
};
use starling::postgres::{self, Error, Lifecycle, PrivateConfig, PrivateServer};
use tempfile::TempDir;

use super::postgres::{client, config, data, is_alive, pid, reach, refused, start, text};

#[tokio::test]
async fn a_taken_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = refused(PrivateConfig {
        listen,
        ..config(dir.path())
    })
    .await;
    assert!(
        matches!(error, Error::AddressInUse { address } if address == listen),
        "{error}"
    );
    drop(taken);
    let server = PrivateServer::start(PrivateConfig {
        listen,
        ..config(dir.path())
    })
    .await
    .unwrap();
    assert_eq!(server.address(), listen);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_address_of_another_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let listen = SocketAddr::from(([192, 0, 2, 1], 0));
    let error = refused(PrivateConfig {
        listen,
        ..config(dir.path())
    })
    .await;
    assert!(matches!(error, Error::AddressUnusable { .. }), "{error}");
}

#[tokio::test]
async fn a_data_directory_of_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path()).await.stop().await.unwrap();
    let file = data(dir.path()).join("PG_VERSION");
    let version = fs::read_to_string(&file).unwrap();
    for other in ["14\n", "99\n"] {
        fs::write(&file, other).unwrap();
        let error = refused(config(dir.path())).await;
        assert!(
            matches!(error, Error::MajorVersionDiffers { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(other.trim()), "{error}");
    }
    fs::write(&file, version).unwrap();
    start(dir.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_of_somebody_else_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(data(dir.path())).unwrap();
    let photo = data(dir.path()).join("photo.jpg");
    fs::write(&photo, "x").unwrap();
    let error = refused(config(dir.path())).await;
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    assert_eq!(fs::read_to_string(&photo).unwrap(), "x");
}

#[tokio::test]
async fn a_closed_folder_on_the_way_is_named() {
    if !Uid::effective().is_root() {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), Permissions::from_mode(0o700)).unwrap();
    let error = refused(config(&parent.path().join("node"))).await;
    assert!(
        matches!(&error, Error::FolderClosed { folder, .. } if folder == parent.path()),
        "{error}"
    );
    fs::set_permissions(parent.path(), Permissions::from_mode(0o711)).unwrap();
    start(&parent.path().join("node"))
        .await
        .stop()
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_crash_during_initdb_left_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let unfinished = dir.path().join("postgres/data.unfinished");
    fs::create_dir_all(unfinished.join("base")).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();
    let server = start(dir.path()).await;
    assert!(!unfinished.exists());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_lock_file_whose_number_another_process_got_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let file = data(dir.path()).join("postmaster.pid");
    let text = fs::read_to_string(&file).unwrap();
    server.stop().await.unwrap();
    drop(server);
    // A process of the server's own user, so that PostgreSQL itself would take it for a server.
    let owner = fs::metadata(data(dir.path())).unwrap().uid();
    let mut stranger = Command::new("sleep");
    if Uid::effective().is_root() {
        stranger.uid(owner);
    }
    let mut stranger = stranger.arg("600").current_dir("/").spawn().unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&file, format!("{}\n{rest}", stranger.id())).unwrap();
    let started = PrivateServer::start(config(dir.path())).await;
    let alive = is_alive(i32::try_from(stranger.id()).unwrap());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    started.unwrap().stop().await.unwrap();
    assert!(alive, "the stranger was left alone");
}

#[tokio::test]
async fn a_deep_data_directory_gets_a_socket_elsewhere() {
    let top = tempfile::tempdir().unwrap();
    fs::set_permissions(top.path(), Permissions::from_mode(0o755)).unwrap();
    let dir = top.path().join("d".repeat(60)).join("e".repeat(60));
    let server = start(&dir).await;
    assert!(
        server.url().contains("host=/tmp/starling-"),
        "{}",
        server.url()
    );
    let from_url: tokio_postgres::Config = server.url().parse().unwrap();
    let session = postgres::connect(&from_url).await.unwrap();
    let folder = text(&session, "show unix_socket_directories").await;
    let folder = PathBuf::from(folder.trim_matches('"'));
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    server.stop().await.unwrap();
    assert!(!folder.exists());
}

/// A small file system of its own, for as long as it lives.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where we may not mount one.
    fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m,mode=0755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_disk_too_small_for_a_data_directory_is_said_and_nothing_is_left() {
    let Some(disk) = SmallDisk::mount(20) else {
        return;
    };
    let dir = disk.0.path();
    let error = refused(config(dir)).await;
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert!(!data(dir).exists());
    let names = fs::read_dir(dir.join("postgres")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    let is_left = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("data");
    assert!(!names.iter().any(is_left), "{names:?}");
}

#[tokio::test]
async fn a_crash_on_a_full_disk_is_over_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(120) else {
        return;
    };
    let dir = disk.0.path();
    let server = start(dir).await;
    let session = client(&server).await;
    session
        .batch_execute("create table t(n int); insert into t values (7)")
        .await
        .unwrap();
    let ballast = dir.join("ballast");
    // Fails when the disk is full, which is what it is for.
    let _ = fs::write(&ballast, vec![0; 120 << 20]);
    let fill =
        "create table filler as select repeat(md5(n::text), 100) from generate_series(1, 100000) n";
    assert!(session.batch_execute(fill).await.is_err());
    // Whether it starts on the full disk is the version's affair; with room it must.
    kill(Pid::from_raw(pid(dir)), Signal::SIGKILL).unwrap();
    reach(&server, |state| *state != Lifecycle::Ready).await;
    fs::remove_file(&ballast).unwrap();
    reach(&server, |state| *state == Lifecycle::Ready).await;
    assert_eq!(
        text(&client(&server).await, "select n::text from t").await,
        "7"
    );
    server.stop().await.unwrap();
}
