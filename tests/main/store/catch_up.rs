//! Catch-ups bring what a vector of checkpoints lacks, exclude every other applier, and so does their
//! replay at further stores.

use starling::identity::Site;
use tokio_postgres::{Client, Transaction};

use super::operation::{Operation, backend, present, until_blocked, values};
use crate::harness::server::Server;

const ONE: i64 = 101;
const TWO: i64 = 102;

fn site(number: i64) -> Site {
    Site::new(number).unwrap()
}

async fn begin<'a>(client: &'a mut Client, rows: &[Operation]) -> Transaction<'a> {
    let transaction = client.transaction().await.unwrap();
    transaction
        .batch_execute("select crdv.begin_catch_up()")
        .await
        .unwrap();
    for row in rows {
        row.insert(&transaction, "catch_up").await.unwrap();
    }
    transaction
}

async fn apply(transaction: &Transaction<'_>, from: i64) -> i64 {
    transaction
        .query_one("select crdv.apply_catch_up($1)", &[&from])
        .await
        .unwrap()
        .get(0)
}

async fn missing(client: &Client, vector: &[(i64, i64)]) -> Vec<Operation> {
    let (sites, seqs): (Vec<i64>, Vec<i64>) = vector.iter().copied().unzip();
    let rows = client
        .query("select * from crdv.missing($1, $2)", &[&sites, &seqs])
        .await
        .unwrap();
    rows.iter().map(Operation::read).collect()
}

/// A number of ours that others have seen was given out in a history that we do not know.
#[tokio::test]
async fn a_context_with_numbers_that_were_never_given_out_shows_an_older_copy() {
    let store = Server::shared().store("n").await;
    let mut client = store.connect().await;
    client
        .batch_execute("select crdv.counterInc('c', 1)")
        .await
        .unwrap();
    let own = store.site;
    let seen = Operation::entry(site(ONE), 1, "v", &[(own, 1)]).with_key("a");
    let transaction = begin(&mut client, &[seen]).await;
    assert_eq!(apply(&transaction, ONE).await, 1);
    transaction.commit().await.unwrap();

    let unseen = Operation::entry(site(ONE), 2, "v", &[(own, 99)]).with_key("b");
    let transaction = begin(&mut client, &[unseen]).await;
    let error = transaction
        .query_one("select crdv.apply_catch_up($1)", &[&ONE])
        .await
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "SL001");
}

#[tokio::test]
async fn missing_names_what_a_vector_lacks_by_site_and_number() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let worker = store.apply_worker(site(ONE)).await;
    for (number, seq) in [(TWO, 3), (ONE, 7), (TWO, 9), (ONE, 2)] {
        let key = format!("{number} {seq}");
        let row = Operation::entry(site(number), seq, "v", &[]).with_key(&key);
        assert!(row.apply(&worker).await);
    }
    let dots = |rows: Vec<Operation>| {
        rows.iter()
            .map(|row| (row.site, row.seq))
            .collect::<Vec<_>>()
    };
    let all = [(ONE, 2), (ONE, 7), (TWO, 3), (TWO, 9)];
    assert_eq!(dots(missing(&client, &[]).await), all);
    assert_eq!(
        dots(missing(&client, &[(ONE, 2), (999, 5)]).await),
        all[1..]
    );
    assert_eq!(
        dots(missing(&client, &[(TWO, 3), (ONE, 7)]).await),
        [(TWO, 9)]
    );
    assert_eq!(dots(missing(&client, &[(ONE, 7), (TWO, 9)]).await), []);
}

#[tokio::test]
async fn a_catch_up_decides_like_the_apply_worker() {
    let store = Server::shared().store("n").await;
    let mut client = store.connect().await;
    let worker = store.apply_worker(site(TWO)).await;
    let known = Operation::entry(site(TWO), 5, "known", &[(site(ONE), 5)]);
    let stale = Operation::entry(site(TWO), 6, "stale", &[]).with_key("replaced");
    for row in [&known, &stale] {
        assert!(row.apply(&worker).await);
    }
    let new = Operation::entry(site(ONE), 9, "new", &[]).with_key("new");
    let covering =
        Operation::entry(site(ONE), 8, "covering", &[(site(TWO), 6)]).with_key("replaced");
    let side_by_side = Operation::entry(site(ONE), 7, "concurrent", &[]);
    let rows = [
        Operation::entry(site(ONE), 4, "covered", &[]).with_key("key"),
        side_by_side.clone(),
        covering.clone(),
        new.clone(),
        known.clone(),
        Operation::entry(store.site, 1, "own", &[]).with_key("own"),
    ];
    // Two rows of one site on one element never come from one publisher.
    let rows: Vec<_> = rows.into_iter().skip(1).collect();
    let transaction = begin(&mut client, &rows).await;
    assert_eq!(apply(&transaction, ONE).await, 3);
    transaction.commit().await.unwrap();
    let mut left = present(&client).await;
    let marker = left.iter().position(|row| row.id == "$catchup").unwrap();
    let marker = left.remove(marker);
    assert_eq!(
        (marker.kind, marker.key),
        ('k', format!("{:016x}", store.site.get()))
    );
    let mut expected = vec![known, side_by_side, covering, new];
    expected.sort();
    assert_eq!(left, expected);
    let via: i64 = client
        .query_one("select via from crdv.element where key = 'new'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(via, ONE);
}

#[tokio::test]
async fn a_catch_up_that_brings_nothing_writes_nothing() {
    let store = Server::shared().store("n").await;
    let mut client = store.connect().await;
    let worker = store.apply_worker(site(ONE)).await;
    let row = Operation::entry(site(ONE), 1, "v", &[]);
    assert!(row.apply(&worker).await);
    let transaction = begin(&mut client, &[row]).await;
    assert_eq!(apply(&transaction, ONE).await, 0);
    transaction.commit().await.unwrap();
    assert_eq!(present(&client).await.len(), 1, "there is no marker");
}

/// A covered operation is on its way over one link while a catch-up brings the one that covers it:
/// neither session sees the other's row, so one must wait for the other.
#[tokio::test]
async fn a_covered_operation_and_a_catch_up_do_not_pass_each_other() {
    let server = Server::shared();
    let covered = Operation::entry(site(TWO), 1, "covered", &[]);
    let covering = Operation::entry(site(ONE), 1, "covering", &[(site(TWO), 1)]);

    for catch_up_first in [false, true] {
        let store = server.store("n").await;
        let (observer, mut client) = (store.connect().await, store.connect().await);
        let mut worker = store.apply_worker(site(TWO)).await;
        let (worker_pid, client_pid) = (backend(&worker).await, backend(&client).await);
        let link = worker.transaction().await.unwrap();
        let catch_up = begin(&mut client, std::slice::from_ref(&covering)).await;
        if catch_up_first {
            assert_eq!(apply(&catch_up, ONE).await, 1);
            let finish = async {
                until_blocked(&observer, worker_pid).await;
                catch_up.commit().await.unwrap();
            };
            let (kept, ()) = tokio::join!(covered.apply(&link), finish);
            assert!(!kept);
            link.commit().await.unwrap();
        } else {
            assert!(covered.apply(&link).await);
            let finish = async {
                until_blocked(&observer, client_pid).await;
                link.commit().await.unwrap();
            };
            let (kept, ()) = tokio::join!(apply(&catch_up, ONE), finish);
            assert_eq!(kept, 1);
            catch_up.commit().await.unwrap();
        }
        assert_eq!(
            values(&observer).await,
            ["covering"],
            "catch-up first: {catch_up_first}"
        );
    }
}

/// The same one store further on, where the catch-up comes in as a transaction of a link, known by the
/// marker at its start.
#[tokio::test]
async fn the_replay_of_a_catch_up_runs_alone_too() {
    let server = Server::shared();
    let source = server.store("source").await;
    let mut client = source.connect().await;
    let covered = Operation::entry(site(TWO), 1, "covered", &[]);
    let covering = Operation::entry(site(ONE), 1, "covering", &[(site(TWO), 1)]);
    let transaction = begin(&mut client, std::slice::from_ref(&covering)).await;
    apply(&transaction, ONE).await;
    transaction.commit().await.unwrap();
    let mut stream = missing(&client, &[]).await;
    stream.sort_by_key(|row| row.id != "$catchup");
    assert_eq!(stream.len(), 2);
    // The order in which the transaction wrote them is the one in which links bring them.
    let first = "select id::text from crdv.element order by ctid limit 1";
    let first: String = client.query_one(first, &[]).await.unwrap().get(0);
    assert_eq!(first, "$catchup");

    let store = server.store("n").await;
    let observer = store.connect().await;
    let mut replay = store.apply_worker(source.site).await;
    let mut worker = store.apply_worker(site(TWO)).await;
    let worker_pid = backend(&worker).await;
    let replayed = replay.transaction().await.unwrap();
    for row in &stream {
        assert!(row.apply(&replayed).await);
    }
    let link = worker.transaction().await.unwrap();
    let finish = async {
        until_blocked(&observer, worker_pid).await;
        replayed.commit().await.unwrap();
    };
    let (kept, ()) = tokio::join!(covered.apply(&link), finish);
    assert!(!kept);
    link.commit().await.unwrap();
    assert_eq!(values(&observer).await, ["covering"]);
}

/// Two catch-ups at once, over two links, with rows in common.
#[tokio::test]
async fn two_catch_ups_follow_each_other() {
    let store = Server::shared().store("n").await;
    let (observer, mut a, mut b) = (
        store.connect().await,
        store.connect().await,
        store.connect().await,
    );
    let row = Operation::entry(site(ONE), 1, "v", &[]);
    let b_pid = backend(&b).await;
    let first = begin(&mut a, std::slice::from_ref(&row)).await;
    let second = begin(&mut b, std::slice::from_ref(&row)).await;
    assert_eq!(apply(&first, ONE).await, 1);
    let finish = async {
        until_blocked(&observer, b_pid).await;
        first.commit().await.unwrap();
    };
    let (kept, ()) = tokio::join!(apply(&second, TWO), finish);
    assert_eq!(kept, 0);
    second.commit().await.unwrap();
    assert_eq!(values(&observer).await, ["v"]);
}

#[tokio::test]
async fn a_catch_up_refuses_an_old_snapshot() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let script = "begin isolation level repeatable read; select crdv.begin_catch_up();
        select crdv.apply_catch_up(1)";
    let error = client.batch_execute(script).await.unwrap_err();
    assert!(
        error
            .as_db_error()
            .unwrap()
            .message()
            .contains("READ COMMITTED"),
        "{error:?}"
    );
}
