//! Structures that hold the ids of others.

use serde_json::{Value, json};
use starling::store::nested_query;
use tokio_postgres::Client;

use super::structures::{check, concurrently};
use crate::harness::server::Server;

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
}

/// What can be nested.
const VIEWS: [&str; 12] = [
    "RegisterMvr",
    "RegisterLww",
    "SetAw",
    "SetRw",
    "SetLww",
    "MapAwMvr",
    "MapAwLww",
    "MapRwMvr",
    "MapRwLww",
    "MapLww",
    "List",
    "Counter",
];

/// All chains of up to three views, some longer ones, and names that are no views that can be nested.
fn chains() -> Vec<Vec<&'static str>> {
    let mut chains = vec![vec![]];
    let mut longest = chains.clone();
    for _ in 0..3 {
        longest = longest
            .iter()
            .flat_map(|chain| VIEWS.map(|view| [chain.as_slice(), &[view]].concat()))
            .collect();
        chains.extend(longest.clone());
    }
    chains.push([&VIEWS[..11], &VIEWS[..11], &["Counter"]].concat());
    chains.push(vec!["mapawlww", "SETAW", "list"]);
    for wrong in ["SetAwTuple", "element", "", "MapAwLww ", "setaw;", "Data"] {
        chains.extend([vec![wrong], vec!["MapAwLww", wrong], vec![wrong, "SetAw"]]);
    }
    chains
}

#[tokio::test]
async fn the_command_and_the_store_make_the_same_query_of_any_chain() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let sql = "select crdv.nested_query(variadic $1::varchar[])";
    let sql = client.prepare(sql).await.unwrap();
    let (mut good, mut bad) = (0, 0);
    for chain in chains() {
        let here = nested_query(&chain).map_err(|error| error.to_string());
        let there = match client.query_one(&sql, &[&chain]).await {
            Ok(row) => Ok(row.get::<_, String>(0)),
            Err(error) => {
                let error = error.as_db_error().unwrap();
                Err((error.message().to_owned(), error.hint().map(str::to_owned)))
            }
        };
        match (here, there) {
            (Ok(here), Ok(there)) => {
                assert_eq!(here, there, "{chain:?}");
                good += 1;
            }
            (Err(here), Err((message, hint))) => {
                assert!(here.starts_with(&message), "{chain:?}: {here}\n{message}");
                let listed = |text: &str| VIEWS.iter().all(|view| text.contains(view));
                if message.starts_with("not a view") {
                    assert!(listed(&here) && listed(&hint.unwrap()), "{chain:?}");
                }
                bad += 1;
            }
            (here, there) => panic!("{chain:?}: {here:?} but {there:?}"),
        }
    }
    // Counters end a chain.
    assert_eq!(
        (good, bad),
        (
            12 + 11 * 12 + 11 * 11 * 12 + 2,
            1 + 12 + 12 * 12 + 11 * 12 + 18
        )
    );
}

#[tokio::test]
async fn the_longest_chains_can_be_read() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let fill = "select registerSet('0', '1'), registerSet('1', '2'), setAdd('2', '3'), setAdd('3', '4'),
        setAdd('4', '5'), mapAdd('5', 'a', '6'), mapAdd('6', 'b', '7'), mapAdd('7', 'c', '8'),
        mapAdd('8', 'd', '9'), mapAdd('9', 'e', '10'), listAppend('10', '11'), counterInc('11', 12)";
    client.batch_execute(fill).await.unwrap();
    make_view(&client, "all of them", &VIEWS).await;
    assert_eq!(
        read(&client, "\"all of them\"", "0").await,
        json!([[[[{ "a": [{ "b": { "c": [{ "d": { "e": [12] } }] } }] }]]]])
    );
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
async fn a_list_keeps_its_entry_at_its_place() {
    let (clients, _stores) = concurrently(
        "select listAppend('l', 'a'), listAppend('l', 'in'), listAppend('l', 'z'), setAdd('in', '1'),
            add_referential_integrity(array['l', '1'], 'in', 'listAdd')",
        "select listRmv('l', 1)",
        "select setAdd('in', '2')",
    )
    .await;
    for client in &clients {
        check(client, &[("listGet('l')", Some("{a,in,z}"))]).await;
    }
    // Where it is not, it is inserted at the rule's index, once.
    let again = "select listRmv('l', 1); select setAdd('in', '3'); select setAdd('in', '4')";
    clients[0].batch_execute(again).await.unwrap();
    check(&clients[0], &[("listGet('l')", Some("{a,in,z}"))]).await;
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
        ("array['l'], 'd', 'listAdd'", "2 parts"),
        ("array['l', 'k'], 'd', 'listAdd'", "not a list index: k"),
        ("array['l', '-1'], 'd', 'listAdd'", "not a list index: -1"),
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
