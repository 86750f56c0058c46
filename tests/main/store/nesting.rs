//! Structures that hold the ids of others.

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::structures::{check, concurrently};
use crate::support::Server;

async fn read(client: &Client, view: &str, id: &str) -> Value {
    let sql = format!("select data from {view} where id = $1");
    client.query_one(&sql, &[&id]).await.unwrap().get(0)
}

async fn make_view(client: &Client, name: &str, chain: &[&str]) {
    let sql = "select crdv.nested_view($1, variadic $2::varchar[])";
    let statement: String = client
        .query_one(sql, &[&name, &chain])
        .await
        .unwrap()
        .get(0);
    client.batch_execute(&statement).await.unwrap();
}

#[tokio::test]
async fn any_chain_of_views_reads_as_json() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let fill = "select mapAdd('shop', 'ann', 'ann''s'), mapAdd('shop', 'bob', 'nowhere'),
        setAdd('ann''s', 'fruit'), setAdd('ann''s', 'nuts'),
        listAppend('fruit', 'plum'), listAppend('fruit', 'fig'),
        counterInc('plum', 3), counterInc('fig', 4), registerSet('top', 'shop')";
    client.batch_execute(fill).await.unwrap();
    make_view(&client, "shops", &["MapAwLww", "SetAw", "List", "Counter"]).await;
    assert_eq!(
        read(&client, "shops", "shop").await,
        json!({ "ann": [[3, 4], null], "bob": null })
    );
    make_view(&client, "tops", &["RegisterLww", "MapLww", "SetRw"]).await;
    assert_eq!(
        read(&client, "tops", "top").await,
        json!({ "ann": ["fruit", "nuts"], "bob": null })
    );
    make_view(
        &client,
        "all values",
        &["RegisterMvr", "MapRwMvr", "SetLww"],
    )
    .await;
    assert_eq!(
        read(&client, "\"all values\"", "top").await,
        json!([{ "ann": [["fruit", "nuts"]], "bob": [null] }])
    );
    for chain in [&["Counter", "SetAw"][..], &["SetAwTuple"], &["element"]] {
        let sql = "select crdv.nested_view('v', variadic $1::varchar[])";
        assert!(client.query_one(sql, &[&chain]).await.is_err(), "{chain:?}");
    }
}

const CART: &str = "select mapAdd('carts', 'ann', 'ann''s cart'), setAdd('ann''s cart', 'plum')";

#[tokio::test]
async fn a_rule_of_one_store_keeps_entries_that_another_store_adds_to() {
    let rule = "select add_referential_integrity(array['carts', 'ann'], 'ann''s cart', 'mapAdd'),
        add_referential_integrity(array['root'], 'carts', 'setAdd')";
    let (clients, _stores) = concurrently(
        &format!("{CART}; {rule}"),
        "select mapRmv('carts', 'ann')",
        "select setAdd('ann''s cart', 'fig')",
    )
    .await;
    for client in &clients {
        let kept = [
            ("mapAwLwwValue('carts', 'ann')", Some("ann's cart")),
            ("setAwGet('ann''s cart')", Some("{fig,plum}")),
            ("setAwGet('root')", Some("{carts}")),
        ];
        check(client, &kept).await;
    }
    let end = "select rmv_referential_integrity(array['carts', 'ann'], 'ann''s cart'),
        mapRmv('carts', 'ann'); select setAdd('ann''s cart', 'nut')";
    clients[1].batch_execute(end).await.unwrap();
    check(&clients[1], &[("mapAwLwwValue('carts', 'ann')", None)]).await;
}

#[tokio::test]
async fn counters_and_lists_keep_what_holds_them_and_circles_end() {
    let (clients, _stores) = concurrently(
        "select 1",
        "select add_referential_integrity(array['a'], 'b', 'setAdd')",
        "select add_referential_integrity(array['b'], 'a', 'registerSet')",
    )
    .await;
    let client = &clients[0];
    client
        .batch_execute("select counterInc('b', 1)")
        .await
        .unwrap();
    check(
        client,
        &[
            ("setAwGet('a')", Some("{b}")),
            ("registerLwwGet('b')", Some("a")),
        ],
    )
    .await;
    let again = "select setRmv('a', 'b'); select listAppend('b', 'x')";
    client.batch_execute(again).await.unwrap();
    check(client, &[("setAwGet('a')", Some("{b}"))]).await;
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let good = "select add_referential_integrity(array['a'], 'b', 'setAdd'),
        add_referential_integrity(array['b'], 'c', 'setAdd')";
    client.batch_execute(good).await.unwrap();
    for (arguments, message) in [
        ("array['a'], 'd', 'listAppend'", "not by listAppend"),
        ("array['a'], 'd', null", "not by"),
        ("array['a'], 'd', 'mapAdd'", "2 parts"),
        ("array['a', null], 'd', 'mapAdd'", "2 parts"),
        ("array['a', 'k'], 'd', 'setAdd'", "1 parts"),
        ("array[null], 'd', 'setAdd'", "null"),
        ("null, 'd', 'setAdd'", "null"),
        ("array['a'], null, 'setAdd'", "null"),
        ("array['$site'], 'd', 'setAdd'", "reserved"),
        ("array['a'], 'a', 'setAdd'", "would hold itself"),
        ("array['c'], 'a', 'setAdd'", "would hold itself"),
    ] {
        let sql = format!("select add_referential_integrity({arguments})");
        let error = client.batch_execute(&sql).await.unwrap_err();
        let error = error.as_db_error().unwrap().message();
        assert!(error.contains(message), "{arguments}: {error}");
    }
}
