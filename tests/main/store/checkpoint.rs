//! A checkpoint promises that everything below it is committed.

use std::time::{Duration, Instant};

use starling::identity::Site;
use tokio_postgres::Client;

use super::operation::{PATIENCE, backend, until_blocked};
use crate::support::Server;

async fn begin(client: &Client) -> Option<(i64, i64)> {
    let row = client
        .query_opt("select * from crdv.checkpoint_begin()", &[])
        .await
        .unwrap();
    row.map(|row| (row.get("upto"), row.get("horizon")))
}

async fn finish(client: &Client, (upto, horizon): (i64, i64)) -> bool {
    let sql = "select crdv.checkpoint_finish($1, $2)";
    client
        .query_one(sql, &[&upto, &horizon])
        .await
        .unwrap()
        .get(0)
}

/// Finishes as soon as nothing is in the way: other tests write in other databases of the server, and
/// transaction ids are one row for all of them.
async fn finish_soon(client: &Client, pending: (i64, i64)) {
    let deadline = Instant::now() + PATIENCE;
    while !finish(client, pending).await {
        assert!(Instant::now() < deadline, "the checkpoint never finished");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn upto(client: &Client, site: Site) -> Option<i64> {
    let sql = "select upto from crdv.vector where site = $1";
    client
        .query_opt(sql, &[&site.get()])
        .await
        .unwrap()
        .map(|row| row.get(0))
}

async fn last(client: &Client) -> i64 {
    client
        .query_one("select last_value from crdv.seq", &[])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn an_idle_store_has_nothing_to_say_and_writes_nothing() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    assert_eq!(begin(&client).await, None);
    client
        .batch_execute("select counterInc('c', 1)")
        .await
        .unwrap();
    let pending = begin(&client).await.unwrap();
    finish_soon(&client, pending).await;
    assert_eq!(
        upto(&client, store.site).await,
        Some(last(&client).await),
        "it vouches for itself"
    );
    client.batch_execute("begin").await.unwrap();
    assert_eq!(begin(&client).await, None);
    let sql = "select pg_current_xact_id_if_assigned()::text";
    let transaction: Option<String> = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(transaction, None, "asking wrote something");
}

#[tokio::test]
async fn a_checkpoint_waits_for_writers_that_took_lower_numbers() {
    let store = Server::shared().store("n").await;
    let (client, mut slow) = (store.connect().await, store.connect().await);
    let writer = slow.transaction().await.unwrap();
    writer
        .batch_execute("select counterInc('c', 1)")
        .await
        .unwrap();
    let pending = begin(&client).await.unwrap();
    assert_eq!(pending.0, 1);
    assert!(!finish(&client, pending).await);
    // Others come and go; that does not help.
    client
        .batch_execute("select counterInc('d', 1)")
        .await
        .unwrap();
    assert!(!finish(&client, pending).await);
    writer.commit().await.unwrap();
    finish_soon(&client, pending).await;
    assert_eq!(
        upto(&client, store.site).await,
        Some(1),
        "its own number was not the next"
    );
    // What was written meanwhile is vouched for by the next one.
    let pending = begin(&client).await.unwrap();
    finish_soon(&client, pending).await;
    assert_eq!(upto(&client, store.site).await, Some(last(&client).await));
}

/// Drawing a number mostly gives a transaction no id, and neither does an insert before the row is made:
/// a function that does not ask for the id could be overtaken by a checkpoint that vouches for its number.
#[tokio::test]
async fn a_writer_that_has_a_number_and_no_row_yet_is_waited_for() {
    let store = Server::shared().store("n").await;
    let (client, slow) = (store.connect().await, store.connect().await);
    // The first number is one that does give an id: numbers are logged ahead, 32 at a time.
    let stop = "select counterInc('first', 1);
        create function public.stop() returns trigger language plpgsql as
          $$ begin perform pg_advisory_xact_lock(42); return new; end $$;
        create trigger stop before insert on crdv.element for each row
          when (new.data = '4242') execute function public.stop()";
    client.batch_execute(stop).await.unwrap();
    let pid = backend(&slow).await;
    for call in [
        "mapAdd('m', 'k', '4242')",
        "counterInc('c', 4242)",
        "listAppend('l', '4242')",
    ] {
        client
            .batch_execute("select pg_advisory_lock(42)")
            .await
            .unwrap();
        let write = format!("select {call}");
        let check = async {
            until_blocked(&client, pid).await;
            let pending = begin(&client).await.unwrap();
            assert_eq!(pending.0, last(&client).await);
            assert!(!finish(&client, pending).await, "{call}");
            client
                .batch_execute("select pg_advisory_unlock(42)")
                .await
                .unwrap();
            pending
        };
        let (written, pending) = tokio::join!(slow.batch_execute(&write), check);
        written.unwrap();
        finish_soon(&client, pending).await;
        assert!(upto(&client, store.site).await >= Some(pending.0));
    }
}

/// The writer is the newest transaction of the server and no later one has ended, so the upper bound
/// of a snapshot does not lie beyond it: a rule built on that bound would not wait. Other tests end
/// transactions all the time; in some round none of them does so in between.
#[tokio::test]
async fn a_checkpoint_waits_for_the_newest_transaction_too() {
    let store = Server::shared().store("n").await;
    let (client, mut slow) = (store.connect().await, store.connect().await);
    for _ in 0..50 {
        let writer = slow.transaction().await.unwrap();
        writer
            .batch_execute("select counterInc('c', 1)")
            .await
            .unwrap();
        let pending = begin(&client).await.unwrap();
        assert!(!finish(&client, pending).await);
        writer.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn a_later_writer_is_not_waited_for_and_an_aborted_one_is() {
    let store = Server::shared().store("n").await;
    let (client, mut slow) = (store.connect().await, store.connect().await);
    let writer = slow.transaction().await.unwrap();
    writer
        .batch_execute("select counterInc('c', 1)")
        .await
        .unwrap();
    let pending = begin(&client).await.unwrap();
    assert!(!finish(&client, pending).await);
    writer.rollback().await.unwrap();
    let writer = slow.transaction().await.unwrap();
    writer
        .batch_execute("select counterInc('c', 1)")
        .await
        .unwrap();
    finish_soon(&client, pending).await;
    writer.rollback().await.unwrap();
}
