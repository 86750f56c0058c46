//! Local writers at every isolation level, with every write function: what they are told is done is
//! done, once; what fails says that it may be tried again.

#[path = "isolation/crowd.rs"]
pub(crate) mod crowd;
#[path = "isolation/judge.rs"]
pub(crate) mod judge;
#[path = "isolation/links.rs"]
mod links;
#[path = "isolation/pairs.rs"]
mod pairs;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::{IsolationLevel, SimpleQueryMessage};

use super::operation::is_retryable;
use crate::harness::server::{Server, Store};
use crowd::{Course, Writer, Written};
use judge::judge;

const LEVELS: [IsolationLevel; 3] = [
    IsolationLevel::ReadCommitted,
    IsolationLevel::RepeatableRead,
    IsolationLevel::Serializable,
];

fn begin(level: IsolationLevel) -> String {
    let level = match level {
        IsolationLevel::RepeatableRead => "repeatable read",
        IsolationLevel::Serializable => "serializable",
        _ => "read committed",
    };
    format!("begin isolation level {level}")
}

async fn crowd(store: &Store, course: &Course, writers: usize) -> Vec<Written> {
    let mut crowd = JoinSet::new();
    for number in 0..writers {
        let client = store.connect().await;
        // A deadlock costs as long as it takes to look for it.
        client
            .batch_execute("set deadlock_timeout = '20ms'")
            .await
            .unwrap();
        crowd.spawn(Writer::new(client, course.clone(), 0, number).run());
    }
    crowd.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crowd_of_writers_was_told_is_done_is_done_once() {
    let store = Server::shared().store("n").await;
    let observer = store.connect().await;
    for level in LEVELS {
        let course = Course::new(level);
        println!("{level:?}: STARLING_TEST_SEED={}", course.seed);
        observer
            .batch_execute("delete from crdv.element_unguarded")
            .await
            .unwrap();
        let written = crowd(&store, &course, 6).await;
        let commits: usize = written.iter().map(|one| one.transactions.len()).sum();
        let repeated: u32 = written.iter().flat_map(|one| one.repeated.values()).sum();
        println!("{level:?}: {commits} commits, {repeated} attempts repeated");
        let complaints = judge(&[&observer], &written).await;
        assert!(complaints.is_empty(), "{level:?}: {complaints:#?}");
    }
}

/// Functions as one might write them in haste.
const SABOTAGES: [&str; 3] = [
    "create or replace function crdv.counterinc(id text, delta bigint) returns void
     language plpgsql as $$
     declare
       share bigint := coalesce(crdv.counterget($1), 0) + $2;
     begin
       perform pg_sleep(0.001);
       delete from crdv.element_unguarded e where e.type = 'c' and e.id = $1;
       insert into crdv.element values ($1, crdv.siteid()::text, crdv.siteid(), nextval('crdv.seq'), 'c',
         'a', share, '{}', '{}', 1, 0) on conflict do nothing;
     end $$",
    "create or replace function crdv.listpopfirst(id text) returns varchar language plpgsql as $$
     declare
       entry text := crdv.listgetfirst($1);
     begin
       perform crdv.listrmv($1, 0);
       return entry;
     end $$",
    "create or replace function crdv.setclear(id text) returns void language sql
       begin atomic end",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_notices_functions_that_are_not_safe() {
    let server = Server::shared();
    for sabotage in SABOTAGES {
        let store = server.store("n").await;
        let observer = store.connect().await;
        observer.batch_execute(sabotage).await.unwrap();
        let mut attempts = 0..10;
        let complaints = loop {
            assert!(attempts.next().is_some(), "not noticed: {sabotage}");
            let written = crowd(&store, &Course::new(IsolationLevel::ReadCommitted), 6).await;
            let complaints = judge(&[&observer], &written).await;
            if !complaints.is_empty() {
                break complaints;
            }
            observer
                .batch_execute("delete from crdv.element_unguarded")
                .await
                .unwrap();
        };
        println!("{}", complaints[0]);
    }
}

/// Two transactions each read what the other is about to write.
#[tokio::test]
async fn serializable_transactions_do_not_miss_each_other() {
    let store = Server::shared().store("n").await;
    let (one, other) = (store.connect().await, store.connect().await);
    let oversees = async |level| {
        one.batch_execute("delete from crdv.element_unguarded")
            .await
            .unwrap();
        let mut failed = 0;
        let reads_and_writes = [
            (&one, "setAwContains('s', 'b')", "a"),
            (&other, "setLwwContains('s', 'a')", "b"),
        ];
        for (session, read, _) in reads_and_writes {
            session.batch_execute(&begin(level)).await.unwrap();
            session
                .batch_execute(&format!("select {read}"))
                .await
                .unwrap();
        }
        for (session, _, member) in reads_and_writes {
            let write = format!("select setAdd('s', '{member}'); commit");
            if let Err(error) = session.batch_execute(&write).await {
                assert!(is_retryable(&error), "{error:?}");
                session.batch_execute("rollback").await.unwrap();
                failed += 1;
            }
        }
        failed == 0
    };
    assert!(oversees(IsolationLevel::RepeatableRead).await);
    assert!(!oversees(IsolationLevel::Serializable).await);
}

/// Plans and portals outlive what they were made from.
#[tokio::test]
async fn prepared_statements_and_cursors_see_what_they_should() {
    let store = Server::shared().store("n").await;
    let (client, other) = (store.connect().await, store.connect().await);
    let add = client
        .prepare("select setAdd('cart', $1::text)")
        .await
        .unwrap();
    // As often as it takes to get a plan that is kept.
    for number in 0..10 {
        client.query(&add, &[&number.to_string()]).await.unwrap();
    }
    let fetch = async |count: usize| {
        let fetched = client
            .simple_query(&format!("fetch {count} from c"))
            .await
            .unwrap();
        let rows = fetched
            .iter()
            .filter(|message| matches!(message, SimpleQueryMessage::Row(_)));
        rows.count()
    };
    client
        .batch_execute("begin; declare c cursor for select * from SetAw where id = 'cart'")
        .await
        .unwrap();
    assert_eq!(fetch(4).await, 4);
    client
        .batch_execute("select setClear('cart'); savepoint s; select setAdd('cart', 'new')")
        .await
        .unwrap();
    assert_eq!(
        fetch(100).await,
        6,
        "a cursor reads what was there when it was made"
    );
    client
        .batch_execute("rollback to s; declare c2 cursor with hold for select * from SetAw; commit")
        .await
        .unwrap();
    let left = client.simple_query("fetch 100 from c2").await.unwrap();
    assert!(
        !left
            .iter()
            .any(|message| matches!(message, SimpleQueryMessage::Row(_)))
    );

    // A rule that another session makes holds for the statement that was prepared before.
    let rule = "select add_referential_integrity(array['carts', 'ann'], 'cart', 'mapAdd')";
    other.batch_execute(rule).await.unwrap();
    client.query(&add, &[&"plum"]).await.unwrap();
    let held = "select mapAwLwwValue('carts', 'ann')";
    let held: Option<String> = other.query_one(held, &[]).await.unwrap().get(0);
    assert_eq!(held.as_deref(), Some("cart"));
}

/// The first rule of a store replaces a function that every writer calls.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_may_make_the_first_rules_at_once() {
    for level in LEVELS {
        let store = Server::shared().store("n").await;
        let mut sessions = JoinSet::new();
        for number in 0..6 {
            let client = store.connect().await;
            sessions.spawn(async move {
                let rule = format!(
                    "{}; select add_referential_integrity(array['top'], 'c{number}', 'setAdd');
                     select counterInc('c{number}', 1); commit",
                    begin(level)
                );
                while let Err(error) = client.batch_execute(&rule).await {
                    assert!(is_retryable(&error), "{level:?}: {error:?}");
                    client.batch_execute("rollback").await.unwrap();
                    tokio::time::sleep(Duration::from_millis(number)).await;
                }
            });
        }
        sessions.join_all().await;
        let held = "select cardinality(setAwGet('top'))";
        let held: i32 = store
            .connect()
            .await
            .query_one(held, &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(held, 6, "{level:?}");
    }
}
