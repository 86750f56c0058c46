//! A store is open to writers in one run of one server only, and what was written under a doubtful site is
//! written anew.

use std::{env, path::PathBuf, process::Command};

use starling::{
    identity::{NodeId, Site},
    store::{self, Doubt},
};
use tokio_postgres::{Client, error::SqlState};

use super::operation::{Operation, present};
use crate::{
    harness::server::{Server, Store},
    postgres::{client, start},
};

const WRITES: [&str; 5] = [
    "select crdv.counterInc('n', 1)",
    "select crdv.mapAdd('m', 'k', 'v')",
    "select crdv.listAppend('l', 'v')",
    "select crdv.listPrepend('l', 'v')",
    "select crdv.listAdd('two', 1, 'v')",
];

async fn refuses_writes(client: &Client) {
    for write in WRITES {
        let error = client.batch_execute(write).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(
            *error.code(),
            SqlState::READ_ONLY_SQL_TRANSACTION,
            "{write}: {error}"
        );
        assert!(error.message().contains("takes no writes"), "{error}");
    }
}

async fn takes_writes(client: &Client) {
    for write in WRITES {
        client.batch_execute(write).await.unwrap();
    }
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_restarted_server_takes_nothing_until_its_store_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let mut before = client(&server).await;
    store::install(&mut before).await.unwrap();
    let me = "n".parse::<NodeId>().unwrap();
    let site = store::identify(&mut before, &me, "test").await.unwrap();
    before
        .batch_execute("select crdv.listAppend('two', 'a'), crdv.listAppend('two', 'b')")
        .await
        .unwrap();
    takes_writes(&before).await;
    server.restart().await.unwrap();

    let session = client(&server).await;
    refuses_writes(&session).await;
    let arrival = "set session_replication_role = replica; set crdv.via = 7;
        insert into crdv.element (id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
          values ('r', '', 7, 1, 'r', 'a', 'v', '{}', '{}', 1)";
    let error = session.batch_execute(arrival).await.unwrap_err();
    assert_eq!(*error.code().unwrap(), SqlState::READ_ONLY_SQL_TRANSACTION);
    session
        .batch_execute("reset session_replication_role")
        .await
        .unwrap();
    let owner = store::owner(&session).await.unwrap().unwrap();
    assert_eq!((owner.site, owner.is_open), (site, false));

    // In sessions that were refused before, too.
    store::open(&client(&server).await).await.unwrap();
    takes_writes(&session).await;
    assert_eq!(number(&session, "select crdv.siteId()").await, site.get());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_copy_of_a_database_is_closed_and_its_original_is_not() {
    let store = Server::shared().store("n").await;
    let original = store.connect().await;
    original
        .batch_execute("select crdv.listAppend('two', 'a'), crdv.listAppend('two', 'b')")
        .await
        .unwrap();
    drop(original);
    let copy = Server::shared()
        .database(&format!(
            "strategy file_copy template {}",
            store.database.name
        ))
        .await;
    refuses_writes(&copy.connect().await).await;
    takes_writes(&store.connect().await).await;
}

#[tokio::test]
async fn a_dump_that_is_restored_in_place_is_closed() {
    let store = Server::shared().store("n").await;
    let session = store.connect().await;
    session
        .batch_execute("select crdv.listAppend('two', 'a'), crdv.listAppend('two', 'b')")
        .await
        .unwrap();
    let before = store::position(&session).await.unwrap();
    restore_in_place(&store, &session).await;
    refuses_writes(&session).await;
    refuses_writes(&store.connect().await).await;
    let after = store::position(&session).await.unwrap();
    assert_eq!(after.departs_from(&before), Some(store::Break::Table));
    store::open(&session).await.unwrap();
    takes_writes(&session).await;
}

/// What an operator does with `pg_dump` and `psql`.
async fn restore_in_place(store: &Store, session: &Client) {
    let row = session
        .query_one(
            "select split_part(setting, ',', 1), current_setting('port')
               from pg_settings where name = 'unix_socket_directories'",
            &[],
        )
        .await
        .unwrap();
    let (folder, port): (String, String) = (row.get(0), row.get(1));
    let programs = env::var_os("STARLING_PG_BIN").map(PathBuf::from);
    let run = |program: &str, more: &[&str]| {
        let program = programs.clone().unwrap_or_default().join(program);
        let output = Command::new(&program)
            .args([
                "-h",
                folder.trim_matches('\"'),
                "-p",
                &port,
                "-U",
                "starling",
            ])
            .args(["-d", &store.database.name])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{program:?}: {output:?}");
    };
    let dump = tempfile::NamedTempFile::new().unwrap();
    let file = dump.path().to_str().unwrap();
    run("pg_dump", &["-n", "crdv", "-f", file]);
    session
        .batch_execute("drop schema crdv cascade")
        .await
        .unwrap();
    run("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file]);
}

const OTHER: i64 = 7;

/// A store in which `before` was written before it was opened in this run, and `since` after that.
async fn written(before: &str, since: &str) -> (Store, Client) {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    client.batch_execute(before).await.unwrap();
    // As after a restart.
    let reopen = "update crdv.self set opened_at = 'an earlier run'; select crdv.open_to_writers()";
    client.batch_execute(reopen).await.unwrap();
    client.batch_execute(since).await.unwrap();
    (store, client)
}

async fn renew(client: &Client, doubt: Doubt) -> Site {
    store::close_in_doubt(client).await.unwrap();
    let me = "n".parse::<NodeId>().unwrap();
    store::renew(client, &me, "test", doubt).await.unwrap()
}

/// What a peer gets that has what `vector` says.
async fn brings(from: &Client, to: &Store, vector: &[(i64, i64)]) {
    let (sites, seqs): (Vec<i64>, Vec<i64>) = vector.iter().copied().unzip();
    let rows = from
        .query("select * from crdv.missing($1, $2)", &[&sites, &seqs])
        .await
        .unwrap();
    let worker = to.apply_worker(Site::new(OTHER).unwrap()).await;
    for row in &rows {
        Operation::read(row)
            .insert(&worker, "crdv.element")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_nobody_can_have_got_is_as_if_the_former_site_had_never_written_it() {
    let (store, client) = written(
        "select crdv.mapAdd('m', 'old', '1'), crdv.counterInc('n', 10), crdv.counterInc('other', 1)",
        "select crdv.mapAdd('m', 'old', '2'), crdv.mapAdd('m', 'new', '1'), crdv.setRmv('s', 'x'),
                crdv.counterInc('n', 5), crdv.counterInc('fresh', 3)",
    )
    .await;
    let trusted = number(&client, "select trusted from crdv.self").await;
    let site = renew(&client, Doubt::Behind).await;

    let former = store.site.get();
    let above =
        format!("select count(*) from crdv.element where site = {former} and seq > {trusted}");
    assert_eq!(number(&client, &above).await, 0);
    let sum = async |id: &str| number(&client, &format!("select crdv.counterGet('{id}')")).await;
    assert_eq!(
        (sum("n").await, sum("fresh").await, sum("other").await),
        (15, 3, 1)
    );
    let share = format!(
        "select data::bigint from crdv.element where type = 'c' and id = 'n' and site = {former}"
    );
    assert_eq!(number(&client, &share).await, 10);
    let anew: Vec<_> = present(&client)
        .await
        .into_iter()
        .filter(|operation| operation.site == site.get() && operation.kind != 'c')
        .map(|operation| (operation.id, operation.key, operation.op, operation.context))
        .collect();
    // All copies have seen what was there before this one was opened.
    let entry =
        |id: &str, key: &str, op| (id.to_owned(), key.to_owned(), op, vec![(former, trusted)]);
    assert_eq!(
        anew,
        [
            entry("m", "new", 'a'),
            entry("m", "old", 'a'),
            entry("s", "x", 'r')
        ]
    );
    takes_writes(&client).await;
}

/// Another copy gave the same numbers to other operations, and got on. A peer has those; another peer has
/// what this copy wrote.
#[tokio::test]
async fn all_end_equal_with_every_write_after_numbers_were_given_out_twice() {
    let common = "select crdv.mapAdd('m', 'old', '1'), crdv.counterInc('n', 10)";
    let (store, client) = written(
        common,
        "select crdv.mapAdd('m', 'here', '2'), crdv.counterInc('n', 5), crdv.counterInc('fresh', 3)",
    )
    .await;
    client
        .batch_execute("update crdv.self set has_published = true")
        .await
        .unwrap();
    let trusted = number(&client, "select trusted from crdv.self").await;
    let (one, two) = (
        Server::shared().store("1").await,
        Server::shared().store("2").await,
    );
    let (peer, second) = (one.connect().await, two.connect().await);
    brings(&client, &one, &[]).await;
    // The other copy's, with the numbers that this one has used as well.
    let former = store.site;
    let worker = two.apply_worker(Site::new(OTHER).unwrap()).await;
    let elsewhere = Operation::entry(former, trusted + 1, "3", &[]).with_key("there");
    let share = Operation {
        kind: 'c',
        id: "n".to_owned(),
        key: former.get().to_string(),
        data: Some("110".to_owned()),
        ..Operation::entry(former, trusted + 20, "", &[])
    };
    for operation in [&elsewhere, &share] {
        operation.insert(&worker, "crdv.element").await.unwrap();
    }

    renew(&client, Doubt::Behind).await;
    for _ in 0..2 {
        for (from, to) in [
            (&client, &one),
            (&client, &two),
            (&peer, &two),
            (&peer, &store),
            (&second, &store),
            (&second, &one),
        ] {
            brings(from, to, &[]).await;
        }
    }
    let content = present(&client).await;
    for other in [&peer, &second] {
        assert_eq!(present(other).await, content);
    }
    for session in [&client, &peer, &second] {
        // 110 were counted by the other copy, ten of them before there were two; 5 here.
        assert_eq!(number(session, "select crdv.counterGet('n')").await, 115);
        assert_eq!(number(session, "select crdv.counterGet('fresh')").await, 3);
        let entries = "select count(*) from crdv.MapAwLww";
        assert_eq!(number(session, entries).await, 3);
    }
}

/// Both copies have written, and both have got through to a peer; one was open when the other was made.
#[tokio::test]
async fn of_twins_every_increment_counts_once() {
    let (store, original) = written(
        "select crdv.counterInc('n', 10)",
        "select crdv.counterInc('n', 20)",
    )
    .await;
    let (copy, clone) = written("select", "select").await;
    let former = store.site.get();
    let copied = format!(
        "update crdv.self set site = {former}, has_published = true; select setval('crdv.seq', 50);
         update crdv.self set opened_at = null"
    );
    original
        .batch_execute("update crdv.self set has_published = true")
        .await
        .unwrap();
    brings(&original, &copy, &[]).await;
    clone.batch_execute(&copied).await.unwrap();
    clone
        .batch_execute("select crdv.open_to_writers(); update crdv.self set has_published = true")
        .await
        .unwrap();
    original
        .batch_execute("select crdv.counterInc('n', 100)")
        .await
        .unwrap();
    clone
        .batch_execute("select crdv.counterInc('n', 1000), crdv.counterInc('n', 1000)")
        .await
        .unwrap();
    let peer = Server::shared().store("peer").await;
    brings(&original, &peer, &[]).await;
    brings(&clone, &peer, &[]).await;

    let twin = Doubt::Twin { trusted: None };
    assert_ne!(renew(&original, twin).await, renew(&clone, twin).await);
    let session = peer.connect().await;
    for _ in 0..2 {
        for (from, to) in [
            (&original, &peer),
            (&clone, &peer),
            (&session, &store),
            (&session, &copy),
        ] {
            brings(from, to, &[]).await;
        }
    }
    for session in [&original, &clone, &session] {
        assert_eq!(number(session, "select crdv.counterGet('n')").await, 2_130);
    }
}

#[tokio::test]
async fn a_copy_that_was_never_opened_keeps_all_under_the_former_site() {
    let (store, client) = written("select", "select crdv.counterInc('n', 5)").await;
    client
        .batch_execute("update crdv.self set opened_at = 'another run'")
        .await
        .unwrap();
    renew(&client, Doubt::Behind).await;
    let kept = format!(
        "select count(*) from crdv.element where site = {}",
        store.site
    );
    assert_eq!(number(&client, &kept).await, 1);
    assert_eq!(number(&client, "select crdv.counterGet('n')").await, 5);
}
