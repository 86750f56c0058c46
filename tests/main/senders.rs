//! What a link's sender outlasts: a subscriber that is slow, and a connection that only the subscriber
//! knows to be broken.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use starling::{
    api::{Direction, LinkState, LinkStatus},
    replication::{Advertise, Outcome},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Duration, Instant, sleep, timeout},
};

use crate::{
    foreign::client_program,
    harness::data_plane::{Cluster, PATIENCE, until},
};

/// More than what two sockets hold.
const ROWS: u32 = 1_500;
const ROW_BYTES: u32 = 20_000;

/// Shorter than any server should have it, so that a sender that obeyed it would show it soon.
const HOSTILE_TIMEOUT: Duration = Duration::from_secs(1);

/// Transactions of others, which take longer than the time between two looks at a link.
const CHATTER: u32 = 200;

const SENDER: &str = "select string_agg(active_pid::text, ',') from pg_replication_slots";

/// The worker is held up, as one on a slow box is, for several times what the publisher's server, database
/// and administrator allow; a sender that gave up would send the transaction from its beginning again.
#[tokio::test(flavor = "multi_thread")]
async fn a_big_transaction_reaches_a_subscriber_that_is_slow() {
    let mut cluster = Cluster::stores(2).await;
    let publisher = &cluster.nodes[0];
    let database = publisher.text("select current_database()").await;
    for set in [
        "alter system set",
        &format!("alter database {database} set"),
    ] {
        let limit = HOSTILE_TIMEOUT.as_millis();
        let hostile = format!("{set} wal_sender_timeout = {limit}");
        publisher.run(&hostile).await;
    }
    publisher.run("select pg_reload_conf()").await;
    // From version 17 on the subscriber's own server may have a limit for transactions, and shorter than this one.
    let subscriber = &cluster.nodes[1];
    let has_limit = "select count(*) from pg_settings where name = 'transaction_timeout'";
    if subscriber.text(has_limit).await == "1" {
        let limit = HOSTILE_TIMEOUT.as_millis() * 3;
        let hostile = format!("alter system set transaction_timeout = {limit}");
        subscriber.run(&hostile).await;
        subscriber.run("select pg_reload_conf()").await;
    }
    cluster.start_plane(0);
    cluster.start_plane(1);
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let (publisher, subscriber) = (&cluster.nodes[0], &cluster.nodes[1]);
    let sender = publisher.text(SENDER).await;
    let worker = "select pid from pg_stat_subscription where pid is not null";
    let worker = Pid::from_raw(subscriber.text(worker).await.parse().unwrap());
    kill(worker, Signal::SIGSTOP).unwrap();
    publisher
        .run(&format!(
            "select count(crdv.mapadd('m', g::text, repeat('x', {ROW_BYTES})))
               from generate_series(1, {ROWS}) g"
        ))
        .await;
    let blocked =
        "select wait_event from pg_stat_activity where backend_type = 'walsender' limit 1";
    cluster.await_text(0, blocked, "WalSenderWriteData").await;
    let applying = format!(
        "select exists (select from pg_locks where pid = {worker} and locktype = 'advisory')::text"
    );
    // Held up for long, a moment of work, held up for long again.
    for _ in 0..2 {
        sleep(HOSTILE_TIMEOUT * 3).await;
        kill(worker, Signal::SIGCONT).unwrap();
        // Its first row lifts the limits of its transaction, and takes locks that can be seen until its end.
        cluster.await_text(1, &applying, "true").await;
        sleep(Duration::from_millis(10)).await;
        kill(worker, Signal::SIGSTOP).unwrap();
    }
    kill(worker, Signal::SIGCONT).unwrap();
    let count = "select count(*) from crdv.element where type = 'm'";
    cluster.await_text(1, count, &ROWS.to_string()).await;
    assert_eq!(publisher.text(SENDER).await, sender, "the same sender");
    cluster.stop().await;
}

/// The subscriber is back on the network and asks for its slot; the sender of its broken connection would
/// hold it for as long as the network does not tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_lost_its_subscriber_gives_the_slot_back() {
    let mut cluster = Cluster::stores(2).await;
    let relay = Relay::start(cluster.nodes[0].server.address()).await;
    let mut settings = cluster.settings(0);
    settings.advertise = Advertise {
        host: Some("127.0.0.1".to_owned()),
        port: relay.port,
    };
    cluster.start_plane_with(0, settings);
    cluster.start_plane(1);
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    // Since when it does not stream is known of a link that was seen to stream.
    let mut seen = cluster.nodes[1].plane().links();
    let streams =
        |link: &LinkStatus| link.direction == Direction::In && link.state == LinkState::Streaming;
    let is_seen = seen.wait_for(|links| links.iter().any(streams));
    timeout(PATIENCE, is_seen).await.unwrap().unwrap();
    let links = cluster.nodes[1].links().await;
    let sender = cluster.nodes[0].text(SENDER).await;
    let since = Instant::now();
    // Others write in that server, and the link's worker confirms it until it loses its connection: more
    // than anybody at its end has seen it do.
    let chatter = "select pg_logical_emit_message(true, 'other', repeat('x', 1000))";
    for _ in 0..CHATTER {
        cluster.nodes[0].run(chatter).await;
    }
    relay.lose_clients();
    until("another sender", || async {
        let now = cluster.nodes[0].text(SENDER).await;
        (!now.is_empty() && !now.split(',').any(|pid| pid == sender)).then_some(())
    })
    .await;
    let took = since.elapsed();
    cluster.nodes[0].run("select crdv.counterinc('x', 1)").await;
    cluster
        .await_text(1, "select crdv.counterget('x')", "1")
        .await;
    assert_eq!(cluster.nodes[1].links().await, links, "the same links");
    let steps = cluster.nodes[1].plane().counters().steps;
    assert_eq!(steps.get(&("open", Outcome::Done)), Some(&1), "{took:?}");
    cluster.stop().await;
}

/// Whoever it is confirms what the subscriber never got, and the link would go on after that.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_somebody_else_streams_from_is_given_up() {
    let cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let publisher = &cluster.nodes[0];
    let (slot, worker) = free_slot(&cluster).await;
    let publications = format!("publication_names={slot}");
    let thief = Command::new(client_program("pg_recvlogical"))
        .args([
            "-d",
            &publisher.server.url(),
            "--slot",
            &slot,
            "--start",
            "-f",
            "/dev/null",
        ])
        .args(["-s", "1", "-o", "proto_version=1", "-o", &publications])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let thief = Thief(thief);
    let taken = "select count(*) from pg_stat_replication where usename = 'starling'";
    cluster.await_text(0, taken, "1").await;
    publisher.run("select crdv.setAdd('s', 'taken')").await;
    let gone = format!("select count(*) from pg_replication_slots where slot_name = '{slot}'");
    cluster.await_text(0, &gone, "0").await;
    drop(thief);
    kill(worker, Signal::SIGCONT).unwrap();
    cluster.await_linked(0, 1).await;
    let has = "select count(*) from crdv.element where id = 's'";
    cluster.await_text(1, has, "1").await;
    cluster.stop().await;
}

/// Nobody streams when it happens, so nobody is seen to have taken anything.
#[tokio::test]
async fn a_slot_that_was_moved_by_hand_is_given_up() {
    let cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let publisher = &cluster.nodes[0];
    let (slot, worker) = free_slot(&cluster).await;
    until("the publisher sees that nobody streams", || async {
        let links = publisher.plane().links();
        let is_idle = |link: &LinkStatus| {
            link.direction == Direction::Out && link.state != LinkState::Streaming
        };
        links.borrow().iter().any(is_idle).then_some(())
    })
    .await;
    publisher.run("select crdv.setAdd('s', 'skipped')").await;
    let skip = format!("select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())");
    publisher.run(&skip).await;
    let gone = format!("select count(*) from pg_replication_slots where slot_name = '{slot}'");
    cluster.await_text(0, &gone, "0").await;
    kill(worker, Signal::SIGCONT).unwrap();
    cluster.await_linked(0, 1).await;
    let has = "select count(*) from crdv.element where id = 's'";
    cluster.await_text(1, has, "1").await;
    cluster.stop().await;
}

/// Ends the sender of the only link, whose worker is stopped and does not come back: its slot, and the worker.
async fn free_slot(cluster: &Cluster) -> (String, Pid) {
    let (publisher, subscriber) = (&cluster.nodes[0], &cluster.nodes[1]);
    let slot = publisher
        .text("select string_agg(slot_name, '') from pg_replication_slots")
        .await;
    let worker = "select pid from pg_stat_subscription where pid is not null";
    let worker = Pid::from_raw(subscriber.text(worker).await.parse().unwrap());
    kill(worker, Signal::SIGSTOP).unwrap();
    let end = format!(
        "select pg_terminate_backend({})",
        publisher.text(SENDER).await
    );
    publisher.run(&end).await;
    (slot, worker)
}

/// Ends with the test, however that ends.
struct Thief(Child);

impl Drop for Thief {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Carries connections to a server, until their clients are lost.
struct Relay {
    port: u16,
    connections: Connections,
    accepting: JoinHandle<()>,
}

/// What carries each connection, and the server's end of it, kept open behind the back of the client.
type Connections = Arc<Mutex<Vec<(JoinHandle<()>, std::net::TcpStream)>>>;

impl Relay {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Connections::default();
        let kept = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                let server = server.into_std().unwrap();
                let end = server.try_clone().unwrap();
                let mut server = TcpStream::from_std(server).unwrap();
                let carrying = tokio::spawn(async move {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
                kept.lock().unwrap().push((carrying, end));
            }
        });
        Self {
            port,
            connections,
            accepting,
        }
    }

    /// Clients find their connections closed; the server is told nothing.
    fn lose_clients(&self) {
        for (carrying, _) in &*self.connections.lock().unwrap() {
            carrying.abort();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
