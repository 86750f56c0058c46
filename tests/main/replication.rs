//! Links between real servers.
#![allow(
    clippy::print_stdout,
    reason = "tests that measure tell what they measured"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use starling::{
    api::{Direction, LinkState, Side},
    postgres,
    replication::{
        self, Departure, Failpoint, Failpoints, LeaveError, LeaveStage, Neighbor, Outcome, Reply,
        Request, Terms,
        challenge::Challenge,
        names::{Epoch, LinkName},
        protocol::code,
    },
    store,
    vector::Vector,
};
use tokio::time::{Instant, sleep};

use crate::harness::data_plane::{Cluster, Lie, Node, PATIENCE, quit, until};

const ROLES: &str = "select count(*) from pg_roles where rolname ~ '^starling_[0-9a-f]{16}_'";

const WAL: &str = "select pg_current_wal_insert_lsn()";

fn counter(id: &str) -> String {
    format!("select crdv.counterget('{id}')")
}

fn increment(id: &str, delta: i64) -> String {
    format!("select crdv.counterinc('{id}', {delta})")
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_exchange_writes_and_part_without_debris() {
    let cluster = Cluster::start(2).await;
    let [a, b] = &cluster.nodes[..] else {
        unreachable!()
    };
    for node in [a, b] {
        node.run("alter system set log_statement = 'all'").await;
        node.run("select pg_reload_conf()").await;
    }
    assert!(
        *a.plane().level().borrow(),
        "a node alone is level with itself"
    );
    a.run(&increment("before", 1)).await;
    let since = Instant::now();
    cluster.link(0, 1);
    assert!(!*a.plane().level().borrow());
    for node in [a, b] {
        let mut links = node.plane().links();
        let both = links.wait_for(|links| {
            let streams = |direction| {
                links
                    .iter()
                    .any(|l| l.direction == direction && l.state == LinkState::Streaming)
            };
            streams(Direction::In) && streams(Direction::Out)
        });
        tokio::time::timeout(PATIENCE, both).await.unwrap().unwrap();
        let mut level = node.plane().level();
        tokio::time::timeout(PATIENCE, level.wait_for(|level| *level))
            .await
            .unwrap()
            .unwrap();
    }
    println!(
        "neighbour up to streaming, both ways: {:?}",
        since.elapsed()
    );
    cluster.await_text(1, &counter("before"), "1").await;
    a.run(&increment("x", 2)).await;
    b.run(&increment("x", 3)).await;
    cluster.await_text(0, &counter("x"), "5").await;
    cluster.await_text(1, &counter("x"), "5").await;
    // Each knows how far the other is.
    for node in [a, b] {
        let mut vector = node.plane().vector();
        let is_known = |vector: &Vector, of: &Node| vector.iter().any(|(site, _)| site == of.site);
        let both = vector.wait_for(|vector| is_known(vector, a) && is_known(vector, b));
        tokio::time::timeout(PATIENCE, both).await.unwrap().unwrap();
    }

    // The log of all statements shows what was said to the server, and no password.
    let password = "select substring(subconninfo from 'password=''([^'']+)') from pg_subscription";
    let password = b.text(password).await;
    assert_eq!(password.len(), 64);
    for node in [a, b] {
        assert!(node.log().contains("create role"));
        assert!(!node.log().contains(&password));
    }

    cluster.unlink(0, 1, Departure::Deliberate);
    cluster.await_clear().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_loopback_says_at_both_ends_that_another_machine_cannot_reach_it() {
    let cluster = Cluster::start(2).await;
    let [a, b] = &cluster.nodes[..] else {
        unreachable!()
    };
    // Nobody's address, so none of this machine.
    let elsewhere = |node: &crate::harness::data_plane::Node| Neighbor {
        name: node.name.clone(),
        hosts: vec!["192.0.2.1".parse().unwrap()],
    };
    a.plane().neighbor_up(elsewhere(b));
    b.plane().neighbor_up(elsewhere(a));
    for node in [a, b] {
        for (direction, side) in [(Direction::In, Side::Peer), (Direction::Out, Side::Here)] {
            let mut links = node.plane().links();
            let is_refused = links.wait_for(|links| {
                links.iter().any(|link| {
                    let reason = link.reason.as_deref().unwrap_or_default();
                    link.direction == direction
                        && link.state == LinkState::Refused
                        && link.side == Some(side)
                        && reason.contains("loopback only")
                        && reason.contains("--pg-listen")
                })
            });
            tokio::time::timeout(PATIENCE, is_refused)
                .await
                .unwrap_or_else(|_| panic!("{direction:?}: {:?}", node.plane().links().borrow()))
                .unwrap();
        }
        assert_eq!(node.links().await, "", "nothing is made in vain");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_cross_a_line_and_a_cycle_goes_quiet() {
    let cluster = Cluster::start(4).await;
    for (a, b) in [(0, 1), (1, 2), (2, 3)] {
        cluster.link(a, b);
    }
    for (a, b) in [(0, 1), (1, 2), (2, 3)] {
        cluster.await_linked(a, b).await;
    }
    let mut times = Vec::new();
    for round in 1..=20 {
        let since = Instant::now();
        cluster.nodes[0].run(&increment("end", 1)).await;
        cluster
            .await_text(3, &counter("end"), &round.to_string())
            .await;
        times.push(since.elapsed());
    }
    times.sort();
    println!(
        "over three hops, two connects and polling included: p50 {:?}",
        times[10]
    );

    cluster.link(0, 2);
    cluster.await_linked(0, 2).await;
    cluster.nodes[1].run(&increment("round", 7)).await;
    for node in 0..4 {
        cluster.await_text(node, &counter("round"), "7").await;
    }
    // What is written once is written once per store: then the WAL stands still.
    for node in &cluster.nodes {
        until("the store is quiet", || async {
            let before = node.text(WAL).await;
            sleep(Duration::from_secs(2)).await;
            (node.text(WAL).await == before).then_some(())
        })
        .await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_run_goes_on_with_the_old_links() {
    let mut cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let before = [
        cluster.nodes[0].links().await,
        cluster.nodes[1].links().await,
    ];

    // While the controllers are away the stores go on.
    cluster.kill_plane(0).await;
    cluster.kill_plane(1).await;
    cluster.nodes[0].run(&increment("x", 1)).await;
    cluster.await_text(1, &counter("x"), "1").await;

    for node in [0, 1] {
        let mut settings = cluster.settings(node);
        // Nothing here outlasts it, on a busy machine either.
        settings.link_grace = PATIENCE;
        cluster.start_plane_with(node, settings);
    }
    cluster.link(0, 1);
    for node in &cluster.nodes {
        let mut level = node.plane().level();
        tokio::time::timeout(PATIENCE, level.wait_for(|level| *level))
            .await
            .unwrap()
            .unwrap();
    }
    let after = [
        cluster.nodes[0].links().await,
        cluster.nodes[1].links().await,
    ];
    assert_eq!(before, after, "the same links");
    let steps = cluster.nodes[0].plane().counters().steps;
    assert_eq!(steps.get(&("resume", Outcome::Done)), Some(&1));
    assert_eq!(steps.get(&("open", Outcome::Done)), None);

    // A loss that ends within the grace changes nothing either. Without grace, the links would be gone by then.
    cluster.unlink(0, 1, Departure::Lost);
    sleep(Duration::from_secs(1)).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    assert_eq!(cluster.nodes[0].links().await, after[0]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_peer_leaves_nothing_behind_after_its_grace() {
    let mut cluster = Cluster::start(3).await;
    cluster.link(0, 1);
    cluster.link(0, 2);
    cluster.await_linked(0, 1).await;
    cluster.await_linked(0, 2).await;
    cluster.kill_plane(1).await;
    cluster.nodes[1].server.stop().await.unwrap();
    cluster.unlink(0, 1, Departure::Lost);
    cluster.nodes[0].run(&increment("x", 1)).await;
    let gone = format!("{:016x}", cluster.nodes[1].site.get());
    until("nothing of the lost peer is left", || async {
        (!cluster.nodes[0].links().await.contains(&gone)).then_some(())
    })
    .await;
    cluster.await_linked(0, 2).await;
    cluster.await_text(2, &counter("x"), "1").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_peer_that_is_forgotten() {
    let mut cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    cluster.kill_plane(1).await;
    cluster.nodes[1].crash().await;
    let (kept, lost) = (&cluster.nodes[0], &cluster.nodes[1]);
    kept.plane().forget(&lost.name).await.unwrap();
    assert_eq!(kept.links().await, "");
    // It may have been forgotten before it ever was a neighbour.
    kept.plane().forget(&lost.name).await.unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_store_heals_and_loses_nothing() {
    let cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    for round in 1..=3_i64 {
        cluster.nodes[0].run(&increment("x", 1)).await;
        cluster.nodes[1].crash().await;
        cluster.nodes[0].run(&increment("x", 1)).await;
        cluster.nodes[1].await_up().await;
        cluster.nodes[1].run(&increment("x", 1)).await;
        for node in 0..2 {
            cluster
                .await_text(node, &counter("x"), &(round * 3).to_string())
                .await;
        }
    }
    cluster.await_linked(0, 1).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_made_again_under_its_old_name_is_found_out() {
    let mut cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    cluster.kill_plane(0).await;
    cluster.kill_plane(1).await;
    let [a, b] = &cluster.nodes[..] else {
        unreachable!()
    };
    let slot = LinkName::new(b.site, Epoch::new(0)).to_string()[..25].to_owned();
    let name = a
        .text(&format!(
            "select slot_name from pg_replication_slots where slot_name ~ '^{slot}'"
        ))
        .await;
    // Somebody drops the slot of a link that cannot run, writes, and makes the slot again.
    a.run(&format!("alter role \"{name}\" nologin")).await;
    let end = format!(
        "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '{name}'"
    );
    a.run(&end).await;
    until("the slot is dropped", || async {
        let client = a.client().await;
        client
            .query("select pg_drop_replication_slot($1)", &[&name])
            .await
            .ok()
            .map(drop)
    })
    .await;
    a.run(&increment("hole", 1)).await;
    a.run(&format!(
        "select pg_create_logical_replication_slot('{name}', 'pgoutput')"
    ))
    .await;
    a.run(&increment("after", 1)).await;

    cluster.start_plane(0);
    cluster.start_plane(1);
    cluster.link(0, 1);
    cluster.await_text(1, &counter("hole"), "1").await;
    cluster.await_text(1, &counter("after"), "1").await;
    cluster.await_linked(0, 1).await;
    let steps = cluster.nodes[1].plane().counters().steps;
    assert_eq!(
        steps.get(&("resume", Outcome::Done)),
        Some(&1),
        "at the first question"
    );
    assert!(
        !cluster.nodes[0].links().await.contains(&name),
        "the link has a new name"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_behind_peer_catches_up_fast() {
    const ROWS: u32 = 100_000;
    let cluster = Cluster::start(2).await;
    let write = format!(
        "select count(crdv.write('m', 'big', 'key ' || i, 'a', 'a value of some length ' || i))
           from generate_series(1, {ROWS}) i"
    );
    cluster.nodes[0].run(&write).await;
    let mut progress = cluster.nodes[1].plane().progress();
    let watching = tokio::spawn(async move {
        progress
            .wait_for(|all| all.values().any(|p| p.rows > 0 && p.estimate > 0))
            .await
            .is_ok()
    });
    // What is missing is told from the publisher's checkpoint.
    cluster
        .await_text(
            0,
            "select bool_or(upto > 1000)::text from crdv.vector",
            "true",
        )
        .await;
    let since = Instant::now();
    cluster.link(0, 1);
    let mut level = cluster.nodes[1].plane().level();
    tokio::time::timeout(PATIENCE, level.wait_for(|level| *level))
        .await
        .unwrap()
        .unwrap();
    let took = since.elapsed();
    println!(
        "{ROWS} missing rows in {took:?}: {:.0} rows/s",
        f64::from(ROWS) / took.as_secs_f64()
    );
    let rows = "select count(*) from crdv.element where id = 'big'";
    assert_eq!(cluster.nodes[1].text(rows).await, ROWS.to_string());
    assert!(
        tokio::time::timeout(PATIENCE, watching)
            .await
            .unwrap()
            .unwrap()
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_peer_streams_at_once() {
    let cluster = Cluster::start(2).await;
    cluster.nodes[0].run(&increment("x", 1)).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    cluster.await_text(1, &counter("x"), "1").await;
    let mut times = Vec::new();
    for _ in 0..5 {
        cluster.unlink(0, 1, Departure::Deliberate);
        cluster.await_clear().await;
        // The server starts workers half a second apart.
        sleep(Duration::from_millis(600)).await;
        let mut links = cluster.nodes[1].plane().links();
        let since = Instant::now();
        cluster.link(0, 1);
        let streams = links.wait_for(|links| {
            links
                .iter()
                .any(|l| l.direction == Direction::In && l.state == LinkState::Streaming)
        });
        tokio::time::timeout(PATIENCE, streams)
            .await
            .unwrap()
            .unwrap();
        times.push(since.elapsed());
    }
    times.sort();
    println!("neighbour up to streaming for a level peer: {times:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_holds_up_nobody_else() {
    let cluster = Cluster::start(3).await;
    cluster.router.mute(&cluster.nodes[1]);
    cluster.link(0, 1);
    sleep(Duration::from_millis(300)).await;
    let since = Instant::now();
    cluster.link(0, 2);
    cluster.await_linked(0, 2).await;
    println!("linked beside a silent peer in {:?}", since.elapsed());
    cluster.router.heal();
    cluster.await_linked(0, 1).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_cannot_be_asked_is_linked_when_it_can() {
    let cluster = Cluster::start(2).await;
    cluster.router.cut(&cluster.nodes[0], &cluster.nodes[1]);
    cluster.link(0, 1);
    until("both have failed", || async {
        let failed = |node: usize| {
            let steps = cluster.nodes[node].plane().counters().steps;
            steps.contains_key(&("open", Outcome::Failed))
        };
        (failed(0) && failed(1)).then_some(())
    })
    .await;
    cluster.router.heal();
    cluster.router.delay(Duration::from_millis(100));
    cluster.await_linked(0, 1).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_waits_for_transactions_that_write() {
    let cluster = Cluster::start(2).await;
    let mut writer = cluster.nodes[0].client().await;
    let open = writer.transaction().await.unwrap();
    open.batch_execute(&increment("x", 1)).await.unwrap();
    cluster.link(0, 1);
    let refused = |code: &str| {
        let counters = cluster.nodes[0].plane().counters();
        counters.refused.contains_key(code)
    };
    until("the opening is put off", || async {
        refused(code::BUSY).then_some(())
    })
    .await;
    open.commit().await.unwrap();
    cluster.await_text(1, &counter("x"), "1").await;
    cluster.await_linked(0, 1).await;
    cluster.stop().await;
}

/// The subscriber has nothing to show its operator before the publisher has answered.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_link_waits_for_is_told_before_the_time_for_an_answer_is_over() {
    /// Of an answer that tells nothing new.
    const ANSWER_LIMIT: Duration = Duration::from_secs(3);
    let cluster = Cluster::start(2).await;
    let [a, b] = &cluster.nodes[..] else {
        unreachable!()
    };
    let mut writer = a.client().await;
    let open = writer.transaction().await.unwrap();
    open.batch_execute(&increment("x", 1)).await.unwrap();
    a.plane().neighbor_up(b.neighbor());
    // On a machine that is busy the first may come too late; without the early answer none ever comes in time.
    until("an early answer", || async {
        let request = Request::Open {
            site: b.site,
            challenge: Challenge::new(format!("{:?}", Instant::now())),
        };
        let asked = Instant::now();
        let reply = a.plane().serve(&b.name, request).await;
        let is_early = asked.elapsed() < ANSWER_LIMIT;
        let Reply::Refused { code, message, .. } = reply else {
            panic!("{reply:?}")
        };
        (is_early && code == code::BUSY && message.contains("transactions that write: pid"))
            .then_some(())
    })
    .await;
    open.rollback().await.unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_takes_nothing_away_and_leaves_nothing_behind() {
    let cluster = Cluster::start(3).await;
    cluster.link(0, 1);
    cluster.link(0, 2);
    cluster.await_linked(0, 1).await;
    cluster.await_linked(0, 2).await;
    let bulk = "select count(crdv.write('m', 'last', 'key ' || i, 'a', 'word'))
                  from generate_series(1, 5000) i";
    cluster.nodes[0].run(bulk).await;
    cluster.nodes[0]
        .plane()
        .leave(Terms::default())
        .await
        .unwrap();
    let rows = "select count(*) from crdv.element where id = 'last'";
    for node in &cluster.nodes {
        assert_eq!(node.links().await, "");
        assert_eq!(node.text(rows).await, "5000");
    }
    let role = "select count(*) from pg_roles where rolname = 'starling_replication'";
    assert_eq!(cluster.nodes[0].text(role).await, "0");
    cluster.stop().await;
}

/// Each look costs a query over all that is here, and wakes the whole node.
#[tokio::test(flavor = "multi_thread")]
async fn a_departure_that_waits_for_a_peer_looks_again_by_and_by() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    node.await_up().await;
    node.run("select crdv.mapadd('m', 'k', 'v')").await;
    let plane = node.plane().clone();
    let mut stage = plane.leaving();
    let terms = Terms {
        patience: Duration::from_secs(4),
        ..Terms::default()
    };
    let leaving = tokio::spawn(async move { plane.leave(terms).await });
    let is_waiting = |stage: &Option<LeaveStage>| *stage == Some(LeaveStage::AwaitingPeer);
    stage.wait_for(is_waiting).await.unwrap();
    let end = Instant::now() + Duration::from_secs(3);
    let mut looks = 0;
    while let Ok(Ok(())) = tokio::time::timeout_at(end, stage.changed()).await {
        looks += 1;
    }
    // One each half second, and one with each look of the reconciler, as often again.
    assert!(looks <= 30, "{looks} looks within three seconds");
    let answer = leaving.await.unwrap();
    assert!(
        matches!(answer, Err(LeaveError::NobodyListens)),
        "{answer:?}"
    );
    cluster.stop().await;
}

/// Its server has confirmed everything; its controller does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_be_told_of_a_departure_is_named() {
    let cluster = Cluster::start(2).await;
    let [leaving, silent] = [&cluster.nodes[0], &cluster.nodes[1]];
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    leaving.run("select crdv.mapadd('m', 'k', 'v')").await;
    cluster
        .await_text(1, "select crdv.mapLwwValue('m', 'k')", "v")
        .await;
    cluster.router.mute(silent);
    let left = leaving.plane().leave(Terms::default()).await.unwrap();
    assert_eq!(left.untold, [silent.neighbor().name]);
    cluster.stop().await;
}

/// After a departure that failed the store is opened until that has worked: not behind the back of the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_left_at_the_second_attempt_stays_closed() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    node.await_up().await;
    node.run("select crdv.mapadd('m', 'k', 'v')").await;
    let leave = |abandon| {
        node.plane().leave(Terms {
            patience: Duration::from_millis(1),
            abandon,
            ..Terms::default()
        })
    };
    let first = leave(false).await;
    assert!(matches!(first, Err(LeaveError::NobodyListens)), "{first:?}");
    leave(true).await.unwrap();
    // Twice as long as it is waited before the store is opened again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let client = node.client().await;
    let write = client
        .simple_query("select crdv.mapadd('m', 'k', 'w')")
        .await;
    let error = write.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "25006", "{error:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_thieves_are_refused() {
    let cluster = Cluster::start(3).await;
    let [a, b, c] = &cluster.nodes[..] else {
        unreachable!()
    };
    let code = |reply: Reply| match reply {
        Reply::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    };
    let open = Request::Open {
        site: b.site,
        challenge: Challenge::new("any".to_owned()),
    };
    assert_eq!(
        code(a.plane().serve(&b.name, open).await),
        code::NOT_A_NEIGHBOR
    );
    assert_eq!(a.links().await, "");

    cluster.link(0, 1);
    cluster.link(0, 2);
    cluster.await_linked(0, 1).await;
    let slot = a
        .text("select max(slot_name) from pg_replication_slots where active")
        .await;
    let link: LinkName = slot.parse().unwrap();
    let thief = if link.site == b.site { c } else { b };
    let close = Request::Close {
        site: link.site,
        epoch: link.epoch,
    };
    assert_eq!(
        code(a.plane().serve(&thief.name, close).await),
        code::NOT_YOURS
    );
    let resume = Request::Resume {
        site: link.site,
        publisher: a.site,
        epoch: link.epoch,
        down_ms: None,
    };
    assert_eq!(
        code(a.plane().serve(&thief.name, resume).await),
        code::NOT_YOURS
    );
    assert!(a.links().await.contains(&slot));
    cluster.stop().await;
}

/// A copy of a database has the publications of the original, and the roles behind them are shared.
#[tokio::test(flavor = "multi_thread")]
async fn clearing_a_copy_on_the_same_server_leaves_the_roles_of_the_original() {
    let cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let [original, _] = &cluster.nodes[..] else {
        unreachable!()
    };
    let links = original.links().await;
    original.run("create database copy").await;
    let mut copy = original.server.connection();
    copy.dbname("copy");
    let mut client = postgres::connect(&copy).await.unwrap();
    store::install(&mut client).await.unwrap();
    store::identify(&mut client, &original.name, "test")
        .await
        .unwrap();
    let name = original
        .text("select pubname from pg_publication limit 1")
        .await;
    let copied = format!("create publication \"{name}\" for table crdv.element");
    client.batch_execute(&copied).await.unwrap();
    assert_eq!(replication::clear(copy).await.unwrap(), 1);
    let left = "select from pg_publication";
    assert!(client.query(left, &[]).await.unwrap().is_empty());
    assert_eq!(original.links().await, links);
    drop(client);
    // The original's own end takes the role with it.
    cluster.unlink(0, 1, Departure::Deliberate);
    cluster.await_text(0, ROLES, "0").await;
    cluster.stop().await;
}

/// Another store on this machine, which looks like the liar's in all that a stranger can know.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_copied_from_a_store_that_a_peer_names_and_that_is_not_its_own() {
    let mut cluster = Cluster::stores(3).await;
    cluster.start_plane(0);
    cluster.start_plane(1);
    let [victim, liar, prey] = &cluster.nodes[..] else {
        unreachable!()
    };
    prey.run(
        "select crdv.write('r', 'salary', '', 'a', '9000');
         update crdv.self set node = 'node-1';
         create role thief login replication password 'thief';
         grant usage on schema crdv to thief;
         grant select on crdv.element, crdv.self, crdv.vector to thief;
         grant execute on function crdv.missing(bigint[], bigint[]) to thief",
    )
    .await;
    let socket = prey.data_dir().join("../run").display().to_string();
    let failed = || {
        victim
            .plane()
            .counters()
            .steps
            .get(&("open", Outcome::Failed))
            .copied()
    };
    for host in ["127.0.0.1", "localhost", &socket, "127.0.0.1,::1", "@run"] {
        let lie = Lie {
            host: host.to_owned(),
            port: prey.server.address().port(),
            publisher: prey.site,
            login: "thief",
        };
        cluster.router.lie(liar, Some(lie));
        let before = failed();
        cluster.link(0, 1);
        until("the victim does not fall for it", || async {
            (failed() > before).then_some(())
        })
        .await;
        let copied = "select count(*) from crdv.element where id = 'salary'";
        assert_eq!(victim.text(copied).await, "0", "{host}");
        cluster.unlink(0, 1, Departure::Deliberate);
    }
    // It is the lie that was refused.
    cluster.router.lie(liar, None);
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_holds_too_much_is_dropped_and_its_link_made_anew() {
    let mut cluster = Cluster::stores(2).await;
    for node in 0..2 {
        let mut settings = cluster.settings(node);
        settings.slot_bytes_max = 2 << 20;
        cluster.start_plane_with(node, settings);
    }
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let first = cluster.nodes[0]
        .text("select slot_name from pg_replication_slots")
        .await;
    cluster.nodes[1].server.stop().await.unwrap();
    let bulk = "select count(crdv.write('m', 'big', 'key ' || i % 100, 'a', repeat('x', 200)))
                  from generate_series(1, 20000) i";
    cluster.nodes[0].run(bulk).await;
    until("the slot is dropped", || async {
        (!cluster.nodes[0].links().await.contains(&first)).then_some(())
    })
    .await;
    cluster.nodes[1].start_store().await;
    cluster
        .await_text(
            1,
            "select count(*) from crdv.element where id = 'big'",
            "100",
        )
        .await;
    cluster.await_linked(0, 1).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_may_be_down_when_its_controller_starts() {
    let mut cluster = Cluster::stores(2).await;
    cluster.nodes[0].run(&increment("x", 1)).await;
    cluster.nodes[1].server.stop().await.unwrap();
    cluster.start_plane(0);
    cluster.start_plane(1);
    cluster.link(0, 1);
    until("the look at the store fails", || async {
        let steps = cluster.nodes[1].plane().counters().steps;
        steps
            .contains_key(&("inspect", Outcome::Failed))
            .then_some(())
    })
    .await;
    cluster.nodes[1].start_store().await;
    cluster.await_linked(0, 1).await;
    cluster.await_text(1, &counter("x"), "1").await;
    cluster.stop().await;
}

/// A commit is in the WAL a moment before it is visible. If that moment is when the slot is made, the
/// commit is neither streamed nor, unless somebody waits for it, in the catch-up.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_the_moment_of_the_slot_is_not_lost() {
    let cluster = Cluster::start(2).await;
    let a = &cluster.nodes[0];
    let one = async |what: &str| {
        let sql = format!("select count(*) from {what}");
        until(what, || async { (a.text(&sql).await == "1").then_some(()) }).await;
    };
    let begin = async |id| {
        let client = a.client().await;
        let begin = "begin; set local synchronous_commit = local";
        client.batch_execute(begin).await.unwrap();
        client.batch_execute(&increment(id, 1)).await.unwrap();
        client
    };
    // Two transactions, one after the other, hold the slot up at its two stages.
    let first = begin("first").await;
    cluster.link(0, 1);
    let waits_for = |id: &str| {
        format!(
            "pg_stat_activity s join pg_locks l on l.pid = s.pid and not l.granted
              where s.query ~ 'pg_create_logical' and l.transactionid::text::bigint =
                (select backend_xid::text::bigint from pg_stat_activity where query ~ '\\m{id}\\M')"
        )
    };
    one(&waits_for("first")).await;
    let second = begin("second").await;
    first.batch_execute("commit").await.unwrap();
    one(&waits_for("second")).await;
    // A third commits before the slot is there, and stays invisible until long after.
    a.run("alter system set synchronous_standby_names = 'nobody'")
        .await;
    a.run("select pg_reload_conf()").await;
    let third = a.client().await;
    let third = tokio::spawn(async move { third.batch_execute(&increment("third", 1)).await });
    one("pg_stat_activity where wait_event = 'SyncRep'").await;
    second.batch_execute("commit").await.unwrap();
    one("pg_replication_slots where confirmed_flush_lsn is not null").await;
    // Whoever does not wait has caught up and subscribed by now.
    sleep(Duration::from_secs(1)).await;
    a.run("alter system reset synchronous_standby_names").await;
    a.run("select pg_reload_conf()").await;
    third.await.unwrap().unwrap();
    cluster.await_linked(0, 1).await;
    a.run(&increment("fourth", 1)).await;
    for id in ["fourth", "first", "second", "third"] {
        cluster.await_text(1, &counter(id), "1").await;
    }
    cluster.stop().await;
}

/// A snapshot shows commits that a crash may still undo; their numbers would be given out again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_catch_up_has_shipped_survives_its_publishers_crash() {
    let mut cluster = Cluster::stores(2).await;
    cluster
        .router
        .cut_one_way(&cluster.nodes[0], &cluster.nodes[1]);
    let unflushed = format!("set synchronous_commit = off; {}", increment("x", 1));
    // Nothing else may flush the publisher's WAL: not its writer, which goes back to its slow pace
    // once it had something to do, no checkpoint of ours, and no link the other way.
    cluster.nodes[0]
        .run("alter system set wal_writer_delay = '10s'")
        .await;
    cluster.nodes[0].run("select pg_reload_conf()").await;
    cluster.nodes[0].run(&unflushed).await;
    let mut settings = cluster.settings(0);
    settings.checkpoint_interval = Duration::from_secs(3_600);
    cluster.start_plane_with(0, settings);

    let server = Arc::clone(&cluster.nodes[0].server);
    let data_dir = cluster.nodes[0].data_dir();
    let is_first = Arc::new(AtomicBool::new(true));
    let mut settings = cluster.settings(1);
    settings.failpoints = Failpoints::new(move |failpoint| {
        let (server, data_dir) = (Arc::clone(&server), data_dir.clone());
        let (write, is_first) = (unflushed.clone(), Arc::clone(&is_first));
        Box::pin(async move {
            if failpoint == Failpoint::OfferReceived {
                let client = postgres::connect(&server.connection()).await.unwrap();
                client.batch_execute(&write).await.unwrap();
            } else if failpoint == Failpoint::CaughtUp && is_first.swap(false, Ordering::Relaxed) {
                quit(&data_dir);
            }
        })
    });
    cluster.start_plane_with(1, settings);
    cluster.nodes[1]
        .plane()
        .neighbor_up(cluster.nodes[0].neighbor());
    cluster.nodes[0]
        .plane()
        .neighbor_up(cluster.nodes[1].neighbor());
    let share = "select coalesce(sum(data::bigint), 0) from crdv.element where type = 'c'";
    let added = async |node: usize| -> Option<i64> {
        Some(cluster.nodes[node].try_text(share).await?.parse().unwrap())
    };
    let shipped = until("the subscriber has caught up", || async {
        added(1).await.filter(|added| *added > 1)
    })
    .await;
    let kept = until("the publisher is back", || added(0)).await;
    assert!(kept >= shipped, "{shipped} were shipped, {kept} are left");
    cluster.stop().await;
}

/// A commit is shipped before it is visible at home, and may come back over a cycle in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_comes_back_before_it_is_visible_is_dropped() {
    let cluster = Cluster::start(4).await;
    let ring = [(0, 1), (1, 2), (2, 3), (3, 0)];
    for (a, b) in ring {
        cluster.link(a, b);
    }
    for (a, b) in ring {
        cluster.await_linked(a, b).await;
    }
    let [origin, back, ..] = &cluster.nodes[..] else {
        unreachable!()
    };
    // The way to one neighbour is frozen, so that it hears of the write from its other one.
    let to_back = format!("slot_name ~ '^starling_{:016x}_'", back.site.get());
    let sender = format!("select active_pid from pg_replication_slots where {to_back}");
    let sender = Pid::from_raw(origin.text(&sender).await.parse().unwrap());
    kill(sender, Signal::SIGSTOP).unwrap();
    origin
        .run("alter system set synchronous_standby_names = 'nobody'")
        .await;
    origin.run("select pg_reload_conf()").await;
    let client = origin.client().await;
    let write = tokio::spawn(async move { client.batch_execute(&increment("x", 1)).await });
    cluster.await_text(1, &counter("x"), "1").await;
    assert_eq!(
        origin.text(&counter("x")).await,
        "",
        "not visible at home yet"
    );
    let end = back.text("select pg_current_wal_flush_lsn()").await;
    let to_origin = format!("slot_name ~ '^starling_{:016x}_'", origin.site.get());
    let has_processed = format!(
        "select confirmed_flush_lsn >= '{end}' from pg_replication_slots where {to_origin}"
    );
    cluster.await_text(1, &has_processed, "true").await;
    origin
        .run("alter system reset synchronous_standby_names")
        .await;
    origin.run("select pg_reload_conf()").await;
    kill(sender, Signal::SIGCONT).unwrap();
    write.await.unwrap().unwrap();
    assert_eq!(origin.text(&counter("x")).await, "1");
    assert!(!origin.log().contains("duplicate key"));
    cluster.stop().await;
}

/// What came over one link is dropped when it comes over another. The second link may be told that it
/// has arrived only once it is on the disk: a crash would undo the one and keep the other's position.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_confirmed_only_once_the_first_is_on_disk() {
    let mut cluster = Cluster::stores(3).await;
    let (first, second, subscriber) = (0, 1, 2);
    for node in [first, second, subscriber] {
        let mut settings = cluster.settings(node);
        settings.checkpoint_interval = Duration::from_secs(3_600);
        cluster.start_plane_with(node, settings);
    }
    let all = [(first, second), (first, subscriber), (second, subscriber)];
    for (a, b) in all {
        cluster.link(a, b);
    }
    for (a, b) in all {
        cluster.await_linked(a, b).await;
    }
    let node = &cluster.nodes[subscriber];
    let slot = format!("slot_name ~ '^starling_{:016x}_'", node.site.get());
    let sender = format!("select active_pid from pg_replication_slots where {slot}");
    let signal = async |node: usize, signal| {
        let pid = cluster.nodes[node].text(&sender).await.parse().unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    };
    signal(second, Signal::SIGSTOP).await;
    // From now on nothing flushes the subscriber's WAL: not its writer, which goes to its slow pace
    // once it had something to do.
    node.run("alter system set wal_writer_delay = '10s'").await;
    node.run("select pg_reload_conf()").await;
    until("what is applied stays off the disk", || async {
        cluster.nodes[first].run(&increment("warm up", 1)).await;
        sleep(Duration::from_millis(300)).await;
        let lags = "select pg_current_wal_insert_lsn() > pg_current_wal_lsn()";
        (node.text(lags).await == "true").then_some(())
    })
    .await;

    // The write comes by the first link, and then by the second.
    cluster.nodes[first].run(&increment("x", 1)).await;
    cluster.await_text(second, &counter("x"), "1").await;
    cluster.await_text(subscriber, &counter("x"), "1").await;
    let end = cluster.nodes[second]
        .text("select pg_current_wal_flush_lsn()")
        .await;
    signal(first, Signal::SIGSTOP).await;
    signal(second, Signal::SIGCONT).await;
    let is_confirmed =
        format!("select confirmed_flush_lsn >= '{end}' from pg_replication_slots where {slot}");
    let confirmed = cluster.await_text(second, &is_confirmed, "true");
    let is_confirmed = tokio::time::timeout(Duration::from_secs(2), confirmed)
        .await
        .is_ok();

    // After the crash the first link does not come back for a while.
    cluster.nodes[subscriber].crash().await;
    cluster.nodes[subscriber].await_up().await;
    cluster.nodes[second].run(&increment("later", 1)).await;
    cluster.await_text(subscriber, &counter("later"), "1").await;
    let kept = cluster.nodes[subscriber].text(&counter("x")).await;
    signal(first, Signal::SIGCONT).await;
    assert_eq!(kept, "1", "confirmed before the crash: {is_confirmed}");
    cluster.stop().await;
}
