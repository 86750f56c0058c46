//! Sessions that write and apply at the same time.

use starling::identity::Site;
use tokio_postgres::{Client, IsolationLevel};

use super::operation::{Operation, backend, is_retryable, present, until_blocked, values};
use crate::harness::server::Server;

fn site(number: i64) -> Site {
    Site::new(number).unwrap()
}

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Repeats a transaction until it commits; only errors that say so may be repeated.
async fn insist(client: &mut Client, isolation: IsolationLevel, statements: &[String]) {
    loop {
        let attempt = async {
            let transaction = client
                .build_transaction()
                .isolation_level(isolation)
                .start()
                .await?;
            for statement in statements {
                transaction.batch_execute(statement).await?;
            }
            transaction.commit().await
        };
        match attempt.await {
            Ok(()) => return,
            Err(error) => assert!(is_retryable(&error), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn the_second_of_two_writers_covers_the_first_even_on_a_new_element() {
    let store = Server::shared().store("n").await;
    let (observer, mut first, second) = (
        store.connect().await,
        store.connect().await,
        store.connect().await,
    );
    let pid = backend(&second).await;
    let open = first.transaction().await.unwrap();
    open.batch_execute("select mapAdd('map', 'key', 'first')")
        .await
        .unwrap();
    let finish = async {
        until_blocked(&observer, pid).await;
        open.commit().await.unwrap();
    };
    let (written, ()) = tokio::join!(
        second.batch_execute("select mapAdd('map', 'key', 'second')"),
        finish
    );
    written.unwrap();
    assert_eq!(values(&observer).await, ["second"]);
}

#[tokio::test]
async fn a_transaction_writes_more_elements_than_there_are_locks() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let locks = number(
        &client,
        "select current_setting('max_locks_per_transaction')::bigint
              * current_setting('max_connections')::bigint",
    )
    .await;
    let count = (locks * 3).min(60_000);
    let fill = format!("select mapAdd('m', n::text, '') from generate_series(1, {count}) n");
    client.batch_execute(&fill).await.unwrap();
    assert_eq!(
        number(&client, "select count(*) from mapLww where id = 'm'").await,
        count
    );
}

/// A writer draws its number, is overtaken on the same element by another local writer, and before it
/// goes on, a remote operation that has seen the other one arrives. Its number is then below what that
/// remote operation has seen, and its operation would be taken for an old one everywhere else.
#[tokio::test]
async fn a_writer_that_is_overtaken_does_not_write_into_the_past() {
    for isolation in ["read committed", "repeatable read"] {
        let store = Server::shared().store("n").await;
        let (observer, slow) = (store.connect().await, store.connect().await);
        // Stops a write of 'slow' between drawing its number and reaching the table.
        let stop = "create function public.stop() returns trigger language plpgsql as
              $$ begin perform pg_advisory_xact_lock(42); return new; end $$;
            create trigger stop before insert on crdv.element for each row
              when (new.data = 'slow') execute function public.stop();
            select pg_advisory_lock(42)";
        observer.batch_execute(stop).await.unwrap();
        let pid = backend(&slow).await;
        let write = format!(
            "begin isolation level {isolation}; select mapAdd('map', 'key', 'slow'); commit"
        );
        let overtake = async {
            until_blocked(&observer, pid).await;
            let seq = number(
                &observer,
                "select crdv.write('m', 'map', 'key', 'a', 'fast')",
            )
            .await;
            let worker = store.apply_worker(site(7)).await;
            let remote = Operation::entry(site(7), 1, "remote", &[(store.site, seq)]);
            assert!(remote.apply(&worker).await);
            assert_eq!(values(&observer).await, ["remote"]);
            observer
                .batch_execute("select pg_advisory_unlock(42)")
                .await
                .unwrap();
            seq
        };
        let (written, seq) = tokio::join!(slow.batch_execute(&write), overtake);
        written.unwrap();
        let left = present(&observer).await;
        let own = left
            .iter()
            .find(|operation| operation.site == store.site.get())
            .unwrap();
        assert_eq!(own.data.as_deref(), Some("slow"), "{isolation}");
        assert!(
            own.seq > seq,
            "{isolation}: number {} is not above {seq}",
            own.seq
        );
    }
}

#[tokio::test]
async fn an_operation_that_two_links_bring_at_once_is_kept_once() {
    let store = Server::shared().store("n").await;
    let observer = store.connect().await;
    let mut a = store.apply_worker(site(1)).await;
    let mut b = store.apply_worker(site(2)).await;
    let pid = backend(&b).await;
    let row = Operation::entry(site(9), 1, "v", &[]);
    let (link_a, link_b) = (
        a.transaction().await.unwrap(),
        b.transaction().await.unwrap(),
    );
    assert!(row.apply(&link_a).await);
    let finish = async {
        until_blocked(&observer, pid).await;
        link_a.commit().await.unwrap();
    };
    let (kept, ()) = tokio::join!(row.apply(&link_b), finish);
    assert!(!kept);
    link_b.commit().await.unwrap();
    assert_eq!(values(&observer).await, ["v"]);
}

/// Origins do not wait for each other.
#[tokio::test]
async fn two_links_bring_different_origins_side_by_side() {
    let store = Server::shared().store("n").await;
    let (mut a, mut b) = (
        store.apply_worker(site(1)).await,
        store.apply_worker(site(2)).await,
    );
    let (link_a, link_b) = (
        a.transaction().await.unwrap(),
        b.transaction().await.unwrap(),
    );
    assert!(
        Operation::entry(site(1), 1, "one", &[])
            .apply(&link_a)
            .await
    );
    assert!(
        Operation::entry(site(2), 1, "two", &[])
            .apply(&link_b)
            .await
    );
    link_a.commit().await.unwrap();
    link_b.commit().await.unwrap();
    assert_eq!(values(&store.connect().await).await, ["one", "two"]);
}

/// A walsender can ship a commit before other sessions of its server see it.
#[tokio::test]
async fn an_own_operation_may_come_back_before_it_is_visible() {
    let store = Server::shared().store("n").await;
    let mut client = store.connect().await;
    let worker = store.apply_worker(site(2)).await;
    // Without the rule it would wait for the commit below.
    worker
        .batch_execute("set lock_timeout = '5s'")
        .await
        .unwrap();
    let local = client.transaction().await.unwrap();
    local
        .batch_execute("select mapAdd('map', 'key', 'v')")
        .await
        .unwrap();
    let own = present(&local).await.remove(0);
    assert!(!own.apply(&worker).await);
    local.commit().await.unwrap();
    assert!(!own.apply(&worker).await);
    assert_eq!(values(&store.connect().await).await, ["v"]);
}

/// A local transaction and a link's hold what the other wants. One of them is told to try again, and
/// both end.
#[tokio::test]
async fn a_deadlock_between_a_writer_and_a_link_resolves_by_itself() {
    let store = Server::shared().store("n").await;
    let mut client = store.connect().await;
    let mut worker = store.apply_worker(site(1)).await;
    let key = |row: Operation, key: &str| row.with_key(key);
    for name in ["p", "q"] {
        let old = key(Operation::entry(site(1), 1, "old", &[]), name);
        assert!(
            Operation {
                seq: old.seq + i64::from(name == "q"),
                ..old
            }
            .apply(&worker)
            .await
        );
    }
    let new = |seq, name| key(Operation::entry(site(1), seq, "new", &[]), name);
    let rows = [new(3, "p"), new(4, "q")];

    let local = client.transaction().await.unwrap();
    let link = worker.transaction().await.unwrap();
    local
        .batch_execute("select mapAdd('map', 'q', 'local')")
        .await
        .unwrap();
    rows[0].insert(&link, "crdv.element").await.unwrap();
    let (wrote, applied) = tokio::join!(
        local.batch_execute("select mapAdd('map', 'p', 'local')"),
        rows[1].insert(&link, "crdv.element"),
    );
    let failed: Vec<_> = [wrote.err(), applied.err()].into_iter().flatten().collect();
    assert_eq!(failed.len(), 1, "one of the two goes on");
    assert!(is_retryable(&failed[0]), "{:?}", failed[0]);
    let _ = local.commit().await;
    let _ = link.commit().await;
    // The one that failed tries again, as a client and an apply worker both do.
    let statements = ["q", "p"].map(|name| format!("select mapAdd('map', '{name}', 'local')"));
    insist(&mut client, IsolationLevel::ReadCommitted, &statements).await;
    for row in &rows {
        row.apply(&worker).await;
    }
    let present = present(&client).await;
    assert!(
        present.iter().all(|row| row.data.as_deref() != Some("old")),
        "{present:?}"
    );
}

#[tokio::test]
async fn two_poppers_take_different_entries() {
    let store = Server::shared().store("n").await;
    let (observer, mut a, b) = (
        store.connect().await,
        store.connect().await,
        store.connect().await,
    );
    observer
        .batch_execute("select listAppend('l', n::text) from generate_series(1, 3) n")
        .await
        .unwrap();
    let pid = backend(&b).await;
    let open = a.transaction().await.unwrap();
    let pop = "select listPopFirst('l')";
    let first: String = open.query_one(pop, &[]).await.unwrap().get(0);
    let finish = async {
        until_blocked(&observer, pid).await;
        open.commit().await.unwrap();
    };
    let (second, ()) = tokio::join!(b.query_one(pop, &[]), finish);
    let second: String = second.unwrap().get(0);
    assert_eq!((&*first, &*second), ("1", "2"));
}
