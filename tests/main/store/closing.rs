//! Closing a store to writers: nobody slips through, nobody queues, and who goes on is named.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use starling::{
    identity::{NodeId, Site},
    postgres::{self, PrivateConfig, PrivateServer},
    store::{self, Doubt, Holder, Settled},
};
use tokio::time::timeout;
use tokio_postgres::{Client, error::SqlState};

use super::operation::{Operation, PATIENCE, backend};
use crate::harness::{
    process::folder,
    server::{Server, Store},
};

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

async fn refusal(client: &Client, statement: &str) -> String {
    let error = client.batch_execute(statement).await.unwrap_err();
    let error = error.as_db_error().unwrap().clone();
    assert_eq!(*error.code(), SqlState::READ_ONLY_SQL_TRANSACTION);
    error.message().to_owned()
}

/// What would wait for a lock behind an open writer does not end, and the test fails by its limit.
async fn at_once<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it queues")
}

#[tokio::test]
async fn nobody_queues_behind_a_store_that_is_closed_while_somebody_writes() {
    let store = Server::shared().store("n").await;
    let (admin, open, other) = (
        store.connect().await,
        store.connect().await,
        store.connect().await,
    );
    let begin = "begin; select counterInc('c', 1)";
    open.batch_execute(begin).await.unwrap();
    at_once(store::close(&admin)).await.unwrap();

    let writers = at_once(store::writers(&admin)).await.unwrap();
    let [writer] = writers.as_slice() else {
        panic!("{writers:?}")
    };
    assert!(
        matches!(&writer.holder, Holder::Session { state, .. } if state == "idle in transaction"),
        "{writer:?}"
    );
    let pid = backend(&open).await;
    assert_eq!(writer.cure(), format!("select pg_terminate_backend({pid})"));
    for write in [
        "select counterInc('c', 1)",
        "select mapAdd('m', 'k', 'v')",
        "select listAdd('l', 0, 'v')",
        "insert into data (id, key, type, data, op) values ('r', '', 'r', 'v', 'a')",
    ] {
        let error = at_once(refusal(&other, write)).await;
        assert!(error.contains("leaves the cluster"), "{error}");
    }
    // Links go on, and tell what comes back from what is new.
    let from = Site::new(7).unwrap();
    let link = store.apply_worker(from).await;
    let theirs = Operation::entry(from, 1, "theirs", &[]);
    assert!(at_once(theirs.apply(&link)).await);
    let ours = Operation::entry(store.site, 99, "ours", &[]);
    assert!(!at_once(ours.apply(&link)).await, "an own one came back");
    assert_eq!(number(&other, "select count(*) from mapLww").await, 1);

    let settled = store::settle(&admin, PATIENCE, |_| {});
    let commit = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        open.batch_execute("commit").await.unwrap();
    };
    let (settled, ()) = tokio::join!(settled, commit);
    assert_eq!(settled.unwrap(), Settled::default());
    assert_eq!(number(&other, "select counterGet('c')").await, 1);
    store::open(&admin).await.unwrap();
    open.batch_execute("select counterInc('c', 1)")
        .await
        .unwrap();
    assert_eq!(number(&other, "select counterGet('c')").await, 2);
}

/// Writes as fast as it can until told to stop; how many were acknowledged.
async fn write(store: &Store, number: usize, stop: Arc<AtomicBool>) -> i64 {
    let client = store.connect().await;
    let statements = [
        format!("select counterInc('acknowledged{}', 1)", number % 2),
        format!("select mapAdd('m{number}', 'k', 'v')"),
        format!("select listAppend('l{}', 'v')", number % 2),
    ];
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        for (kind, statement) in statements.iter().enumerate() {
            match client.batch_execute(statement).await {
                Ok(()) if kind == 0 => acknowledged += 1,
                Ok(()) => {}
                Err(error) => assert_eq!(
                    error.code(),
                    Some(&SqlState::READ_ONLY_SQL_TRANSACTION),
                    "{error:?}"
                ),
            }
        }
    }
    acknowledged
}

#[tokio::test]
async fn no_write_slips_into_a_store_that_is_closed_and_settled() {
    const WRITERS: usize = 4;
    let store = Server::shared().store("n").await;
    let admin = store.connect().await;
    let stop = Arc::new(AtomicBool::new(false));
    let close_often = async {
        for round in 0..30 {
            store::close(&admin).await.unwrap();
            let settled = store::settle(&admin, PATIENCE, |_| {}).await.unwrap();
            assert_eq!(settled, Settled::default());
            let written = "select coalesce(sum(seq), 0)::bigint from crdv.element";
            let before = number(&admin, written).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(number(&admin, written).await, before, "round {round}");
            store::open(&admin).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let writers = futures::future::join_all(
        (0..WRITERS).map(|number| write(&store, number, Arc::clone(&stop))),
    );
    let ((), acknowledged) = tokio::join!(close_often, writers);
    let counted = number(
        &admin,
        "select (counterGet('acknowledged0') + counterGet('acknowledged1'))",
    )
    .await;
    assert_eq!(counted, acknowledged.iter().sum::<i64>());
    assert!(counted > 0);
}

#[tokio::test]
async fn who_takes_too_long_is_ended_and_gets_an_error() {
    let store = Server::shared().store("n").await;
    let (admin, open, reader) = (
        store.connect().await,
        store.connect().await,
        store.connect().await,
    );
    open.batch_execute("begin; select counterInc('c', 1)")
        .await
        .unwrap();
    reader
        .batch_execute("begin; select counterGet('c')")
        .await
        .unwrap();
    store::close(&admin).await.unwrap();
    let mut told = Vec::new();
    let settled = store::settle(&admin, Duration::from_millis(50), |writers| {
        told.push(writers.len());
    });
    let settled = settled.await.unwrap();
    assert_eq!(told, [1]);
    assert_eq!((settled.ended.len(), settled.left.len()), (1, 0));
    let error = open.batch_execute("commit").await.unwrap_err();
    assert!(
        error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN),
        "{error:?}"
    );
    reader.batch_execute("commit").await.unwrap();
    assert_eq!(number(&admin, "select count(*) from crdv.element").await, 0);
}

/// A store on a server that takes prepared transactions.
async fn with_two_phases(dir: &std::path::Path) -> (PrivateServer, Client) {
    let server = PrivateServer::start(PrivateConfig::new(dir)).await.unwrap();
    let admin = postgres::connect(&server.connection()).await.unwrap();
    admin
        .batch_execute("alter system set max_prepared_transactions = 4")
        .await
        .unwrap();
    server.restart().await.unwrap();
    let mut admin = postgres::connect(&server.connection()).await.unwrap();
    store::install(&mut admin).await.unwrap();
    let node = "n".parse::<NodeId>().unwrap();
    store::identify(&mut admin, &node, "test").await.unwrap();
    (server, admin)
}

#[tokio::test]
async fn a_prepared_transaction_is_named_and_keeps_the_site_from_being_given_up() {
    let dir = folder();
    let (server, admin) = with_two_phases(dir.path()).await;
    let client = postgres::connect(&server.connection()).await.unwrap();
    client
        .batch_execute("begin; select crdv.counterInc('c', 1); prepare transaction 'it''s open'")
        .await
        .unwrap();
    store::close(&admin).await.unwrap();
    let settled = store::settle(&admin, Duration::from_millis(50), |_| {})
        .await
        .unwrap();
    assert_eq!(settled.ended, []);
    let [writer] = settled.left.as_slice() else {
        panic!("{settled:?}")
    };
    let gid = "it's open".to_owned();
    assert_eq!(writer.holder, Holder::Prepared { gid });
    assert_eq!(
        writer.cure(),
        "commit prepared 'it''s open', or rollback prepared 'it''s open'"
    );
    let node = "n".parse::<NodeId>().unwrap();
    let error = store::renew(&admin, &node, "test", Doubt::Behind)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, store::Error::Database { cause, .. }
            if cause.code() == Some(&SqlState::OBJECT_IN_USE)),
        "{error:?}"
    );
    // It may still be committed, whatever the store takes from others.
    client
        .batch_execute("commit prepared 'it''s open'")
        .await
        .unwrap();
    assert_eq!(number(&client, "select crdv.counterGet('c')").await, 1);
    store::renew(&admin, &node, "test", Doubt::Behind)
        .await
        .unwrap();
    server.stop().await.unwrap();
}
