//! A checkpoint promises that everything below it is committed.

use std::time::{Duration, Instant};

use starling::identity::Site;
use tokio_postgres::Client;

use super::operation::{PATIENCE, backend, until_blocked};
use crate::harness::server::Server;

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

/// Numbers that a session keeps may be used after a checkpoint that vouches for them.
#[tokio::test]
async fn a_sequence_with_a_cache_is_fixed_before_a_checkpoint_is_written() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    for change in [
        "cache 50",
        "increment 10",
        "cycle",
        "maxvalue 1000000",
        "set unlogged",
    ] {
        let change = format!("alter sequence crdv.seq {change}");
        client.batch_execute(&change).await.unwrap();
        let writer = store.connect().await;
        writer
            .batch_execute("select mapAdd('m', 'k', '1')")
            .await
            .unwrap();
        // The first look fixes it, and vouches for nothing.
        assert_eq!(begin(&client).await, None, "{change}");
        let pending = begin(&client).await.unwrap();
        finish_soon(&client, pending).await;
        writer
            .batch_execute("select mapAdd('m', 'other', '2')")
            .await
            .unwrap();
        let later = "select seq from crdv.element where key = 'other'";
        let later: i64 = writer.query_one(later, &[]).await.unwrap().get(0);
        assert!(
            later > pending.0,
            "{change}: {later} is vouched for by {}",
            pending.0
        );
    }
}

/// As `pg_restore --disable-triggers` leaves them: on for clients, off for appliers.
#[tokio::test]
async fn triggers_that_were_switched_off_and_on_are_put_back() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let change =
        "alter table crdv.element disable trigger all; alter table crdv.element enable trigger all";
    client.batch_execute(change).await.unwrap();
    assert_eq!(begin(&client).await, None);
    let states =
        "select string_agg(tgname || ' ' || tgenabled::text, ', ' order by tgname) from pg_trigger
        where tgrelid = 'crdv.element'::regclass";
    let states: String = client.query_one(states, &[]).await.unwrap().get(0);
    assert_eq!(states, "apply R, guard A, guard_delete O");
}

/// The fix waits for a transaction that writes; nobody waits for long behind it.
#[tokio::test]
async fn a_sequence_that_cannot_be_fixed_yet_holds_checkpoints_back_and_nobody_else() {
    let store = Server::shared().store("n").await;
    let (client, writer) = (store.connect().await, store.connect().await);
    // The change has to be committed before the transaction begins.
    for statement in [
        "alter sequence crdv.seq cache 50",
        "begin",
        "select mapAdd('m', 'k', '1')",
    ] {
        writer.batch_execute(statement).await.unwrap();
    }
    assert_eq!(begin(&client).await, None);
    let other = store.connect().await;
    other
        .batch_execute("select mapAdd('m', 'l', '1')")
        .await
        .unwrap();
    assert_eq!(begin(&client).await, None);
    writer.batch_execute("commit").await.unwrap();
    assert_eq!(begin(&client).await, None, "this one mends");
    assert!(begin(&client).await.is_some());
}

#[tokio::test]
async fn a_sequence_that_was_set_back_is_noticed() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    client
        .batch_execute("select mapAdd('m', k::text, '1') from generate_series(1, 9) k")
        .await
        .unwrap();
    client
        .batch_execute("select setval('crdv.seq', 3)")
        .await
        .unwrap();
    let error = client
        .query_opt("select * from crdv.checkpoint_begin()", &[])
        .await
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "SL001", "{error}");
    assert!(error.message().contains("set back to 3"), "{error}");
}
