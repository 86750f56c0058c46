//! What each structure reads like, alone and after concurrent writes.

use starling::identity::Site;
use tokio_postgres::Client;

use super::operation::{Operation, present};
use crate::harness::server::{Server, Store};

pub(super) async fn text(client: &Client, expression: &str) -> Option<String> {
    let sql = format!("select ({expression})::text");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

pub(super) async fn check(client: &Client, cases: &[(&str, Option<&str>)]) {
    for (expression, expected) in cases {
        assert_eq!(
            text(client, expression).await.as_deref(),
            *expected,
            "{expression}"
        );
    }
}

/// Two stores that have exchanged everything after each of them ran its own statements.
pub(super) async fn concurrently(before: &str, low: &str, high: &str) -> ([Client; 2], [Store; 2]) {
    let server = Server::shared();
    let mut stores = [server.store("a").await, server.store("b").await];
    stores.sort_by_key(|store| store.site);
    let clients = [stores[0].connect().await, stores[1].connect().await];
    clients[0].batch_execute(before).await.unwrap();
    exchange(&stores).await;
    clients[0].batch_execute(low).await.unwrap();
    clients[1].batch_execute(high).await.unwrap();
    exchange(&stores).await;
    (clients, stores)
}

async fn exchange(stores: &[Store; 2]) {
    for (from, to) in [(0, 1), (1, 0)] {
        let rows: Vec<Operation> = present(&stores[from].connect().await).await;
        let worker = stores[to].apply_worker(stores[from].site).await;
        for row in rows {
            row.apply(&worker).await;
        }
    }
}

#[tokio::test]
async fn structures_with_one_id_and_different_types_do_not_meet() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let fill = "select registerSet('x', 'r'), setAdd('x', ''), mapAdd('x', '', 'm'),
        counterInc('x', 5), listAppend('x', 'l')";
    client.batch_execute(fill).await.unwrap();
    let all = [
        ("registerLwwGet('x')", Some("r")),
        ("setAwGet('x')", Some("{\"\"}")),
        ("mapLwwValue('x', '')", Some("m")),
        ("counterGet('x')", Some("5")),
        ("listGet('x')", Some("{l}")),
    ];
    check(&client, &all).await;
    client
        .batch_execute("select setClear('x'), mapClear('x'), listClear('x')")
        .await
        .unwrap();
    check(
        &client,
        &[
            ("registerLwwGet('x')", Some("r")),
            ("counterGet('x')", Some("5")),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_does_not_exist_is_null() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let wholes = [
        "registerMvr",
        "registerLww",
        "setAw",
        "setRw",
        "setLww",
        "mapAwMvr",
        "mapAwLww",
        "mapRwMvr",
        "mapLww",
        "counter",
        "list",
    ];
    for name in wholes {
        assert_eq!(
            text(&client, &format!("{name}Get('none')")).await,
            None,
            "{name}"
        );
    }
    for rule in ["AwMvr", "AwLww", "RwMvr", "Lww"] {
        assert_eq!(
            text(&client, &format!("map{rule}Value('none', 'k')")).await,
            None
        );
        let contains = format!("map{rule}Contains('none', 'k')");
        assert_eq!(text(&client, &contains).await.as_deref(), Some("false"));
    }
    let nothing = [
        ("listGetAt('none', 0)", None),
        ("listGetAt('none', -1)", None),
        ("listGetFirst('none')", None),
        ("listGetLast('none')", None),
        ("listPopFirst('none')", None),
        ("listPopLast('none')", None),
        ("setAwContains('none', 'm')", Some("false")),
    ];
    check(&client, &nothing).await;
    client
        .batch_execute("select listRmv('none', 0), listRmv('none', -1), setClear('none')")
        .await
        .unwrap();
    assert_eq!(
        present(&client).await,
        [],
        "reading and popping wrote something"
    );
}

#[tokio::test]
async fn concurrent_writes_of_a_register_and_a_counter_are_all_kept() {
    let (clients, _stores) = concurrently(
        "select registerSet('r', 'old'), counterInc('c', 1)",
        "select registerSet('r', 'low'), counterInc('c', 10)",
        "select registerSet('r', 'high'), counterDec('c', 100)",
    )
    .await;
    for client in &clients {
        check(
            client,
            &[
                ("registerMvrGet('r')", Some("{low,high}")),
                ("counterGet('c')", Some("-89")),
            ],
        )
        .await;
        check(client, &[("registerLwwGet('r')", Some("high"))]).await;
    }
    clients[0]
        .batch_execute("select registerSet('r', 'new')")
        .await
        .unwrap();
    check(&clients[0], &[("registerMvrGet('r')", Some("{new}"))]).await;
}

#[tokio::test]
async fn a_write_is_later_than_what_it_overwrites_whatever_the_clocks_say() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let site = Site::new(1).unwrap();
    let ahead = Operation {
        hlc: 1 << 60,
        ..Operation::entry(site, 1, "ahead", &[])
    };
    assert!(ahead.apply(&store.apply_worker(site).await).await);
    // Many in one millisecond.
    let fill = "select mapAdd('map', 'key', n::text) from generate_series(1, 100) n";
    client.batch_execute(fill).await.unwrap();
    let left = present(&client).await;
    assert_eq!((left.len(), left[0].hlc), (1, (1 << 60) + 100));
    check(&client, &[("mapLwwValue('map', 'key')", Some("100"))]).await;
    let counter =
        "select counterInc('c', 1); update element_unguarded set hlc = 1::bigint << 60 where type = 'c';
        select counterInc('c', 1)";
    client.batch_execute(counter).await.unwrap();
    let later = "select hlc - (1::bigint << 60) from element where type = 'c'";
    check(&client, &[(later, Some("1"))]).await;
    // Nothing in the way, it is the time.
    client
        .batch_execute("select registerSet('r', '')")
        .await
        .unwrap();
    let now = "(select date_part('epoch', now())::bigint - (hlc >> 16) / 1000 from element
        where type = 'r') between -60 and 60";
    check(&client, &[(now, Some("true"))]).await;
}

#[tokio::test]
async fn an_addition_and_a_removal_at_once_are_read_by_each_rule() {
    let (clients, _stores) = concurrently(
        "select setAdd('s', 'added'), setAdd('s', 'removed'), setAdd('s', 'kept'),
            mapAdd('m', 'added', '1'), mapAdd('m', 'removed', '1'), mapAdd('m', 'kept', '1')",
        "select setRmv('s', 'added'), setAdd('s', 'removed'),
            mapRmv('m', 'added'), mapAdd('m', 'removed', '2'), mapAdd('m', 'kept', '2')",
        "select setAdd('s', 'added'), setRmv('s', 'removed'),
            mapAdd('m', 'added', '3'), mapRmv('m', 'removed'), mapAdd('m', 'kept', '3')",
    )
    .await;
    for client in &clients {
        let reads = [
            ("setAwGet('s')", Some("{added,kept,removed}")),
            ("setRwGet('s')", Some("{kept}")),
            ("setLwwGet('s')", Some("{added,kept}")),
            (
                "mapAwMvrGet('m')",
                Some(r#"{"(added,{3})","(kept,\"{2,3}\")","(removed,{2})"}"#),
            ),
            (
                "mapAwLwwGet('m')",
                Some(r#"{"(added,3)","(kept,3)","(removed,2)"}"#),
            ),
            ("mapRwMvrGet('m')", Some(r#"{"(kept,\"{2,3}\")"}"#)),
            ("mapLwwGet('m')", Some(r#"{"(added,3)","(kept,3)"}"#)),
            (
                "(select array_agg(data order by data) from mapRwLww where id = 'm')",
                Some(r#"{"(kept,3)"}"#),
            ),
        ];
        check(client, &reads).await;
    }
}

#[tokio::test]
async fn clearing_removes_what_the_writer_sees_and_only_that() {
    let (clients, _stores) = concurrently(
        "select setAdd('s', 'seen'), mapAdd('m', 'seen', ''), listAppend('l', 'seen')",
        "select setClear('s'), mapClear('m'), listClear('l')",
        "select setAdd('s', 'unseen'), mapAdd('m', 'unseen', ''), listAppend('l', 'unseen')",
    )
    .await;
    for client in &clients {
        let reads = [
            ("setAwGet('s')", Some("{unseen}")),
            ("setRwGet('s')", Some("{unseen}")),
            ("mapAwMvrGet('m')", Some(r#"{"(unseen,\"{\"\"\"\"}\")"}"#)),
            ("listGet('l')", Some("{unseen}")),
        ];
        check(client, &reads).await;
    }
}
