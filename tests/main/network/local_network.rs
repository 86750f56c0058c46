//! Joining by multicast DNS alone.
#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::{env, fs::File, net::UdpSocket, path::Path, process::Command};

use nix::{
    sched::{CloneFlags, setns},
    unistd::Uid,
};
use starling::network::Settings;
use tempfile::tempdir;
use tokio::{sync::Barrier, time::timeout};

use super::{Node, PATIENCE, address, settings};

fn local(dir: &Path, cluster: &str) -> Settings {
    let mut settings = settings(dir);
    settings.cluster = cluster.to_owned();
    settings.listen = vec![
        address("/ip4/0.0.0.0/tcp/0"),
        address("/ip4/0.0.0.0/udp/0/quic-v1"),
    ];
    settings.mdns = true;
    settings
}

/// Other programs of this host may answer as well: the cluster's name keeps them apart.
#[tokio::test]
async fn nodes_of_one_host_find_each_other() {
    let outside = UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("224.0.0.251:5353").map(|()| socket))
        .and_then(|socket| socket.local_addr());
    if !outside
        .as_ref()
        .is_ok_and(|address| !address.ip().is_loopback())
    {
        eprintln!("not tested: this host has no network but loopback ({outside:?})");
        return;
    }
    let dir = tempdir().unwrap();
    let cluster = format!("mdns-{}", std::process::id());
    let first = Node::start(local(&dir.path().join("a"), &cluster)).await;
    let second = Node::start(local(&dir.path().join("b"), &cluster)).await;
    first.has_neighbors(1).await;
    second.has_neighbors(1).await;
    first.stop().await;
    second.stop().await;
}

const HOSTS: usize = 3;

/// Runs itself again in a network of its own, which ends with it; in there it makes one bridge
/// and a namespace for each host.
#[test]
fn nodes_of_three_hosts_find_each_other() {
    const INSIDE: &str = "STARLING_TEST_IN_A_NETWORK_OF_ITS_OWN";
    const NAME: &str = "network::local_network::nodes_of_three_hosts_find_each_other";
    if env::var_os(INSIDE).is_some() {
        return three_hosts();
    }
    let mut isolated = Command::new("unshare");
    if !Uid::effective().is_root() {
        isolated.args(["--user", "--map-root-user"]);
    }
    let outcome = isolated
        .args(["--net", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs none /run || exit 99; exec \"$0\" --exact --nocapture \"$1\"")
        .arg(env::current_exe().unwrap())
        .arg(NAME)
        .env(INSIDE, "1")
        .output();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match outcome {
        Ok(done) if done.status.success() => {}
        Ok(done) if !said(&done.stdout).contains("running 1 test") => {
            eprintln!(
                "not tested: no network of one's own here: {}",
                said(&done.stderr)
            );
        }
        Ok(done) => panic!("{}{}", said(&done.stdout), said(&done.stderr)),
        Err(error) => eprintln!("not tested: no unshare here: {error}"),
    }
}

fn three_hosts() {
    ip("link add lan type bridge mcast_snooping 0");
    ip("link set lan up");
    for host in 0..HOSTS {
        ip(&format!("netns add host{host}"));
        ip(&format!(
            "link add port{host} type veth peer name eth0 netns host{host}"
        ));
        ip(&format!("link set port{host} master lan up"));
        ip(&format!(
            "-n host{host} address add 10.99.0.{}/24 dev eth0",
            host + 1
        ));
        ip(&format!("-n host{host} link set lo up"));
        ip(&format!("-n host{host} link set eth0 up"));
    }
    let dir = tempdir().unwrap();
    let all_found = &Barrier::new(HOSTS);
    std::thread::scope(|scope| {
        for host in 0..HOSTS {
            let settings = local(&dir.path().join(host.to_string()), "mdns");
            scope.spawn(move || run_on(host, settings, all_found));
        }
    });
}

/// Runs a node on a host until it and all the others have found each other.
fn run_on(host: usize, settings: Settings, all_found: &Barrier) {
    let namespace = File::open(format!("/run/netns/host{host}")).unwrap();
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
    // All on this thread: another thread's sockets would be in the old namespace.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let node = Node::start(settings).await;
        node.has_neighbors(HOSTS - 1).await;
        timeout(PATIENCE, all_found.wait()).await.unwrap();
        node.stop().await;
    });
}

fn ip(arguments: &str) {
    let done = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {arguments}: {error}");
}
