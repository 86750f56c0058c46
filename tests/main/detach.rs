//! `starling detach`: all of Starling goes, nothing of anybody else's, and what was there before is back.

use std::process::Command;

use crate::{
    application::Application,
    harness::process::{Node, eventually},
};

const SHOP: &str = "create schema app; create table app.orders (n int primary key);
    insert into app.orders values (7);
    create role reader; create role clerk; grant usage on schema app to reader;
    alter database shop set search_path = app, public;
    alter role clerk in database shop set search_path = public, app;
    alter role reader set search_path = app;";

/// Runs the command; returns its exit code and all that it says.
fn detach(from: &Application, more: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_starling"))
        .args(["detach", "--postgres", &from.url()])
        .args(more)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

fn leave(node: &mut Node) {
    let (code, _, told) = node.run(&["leave"]);
    assert_eq!(code, 0, "{told}");
    node.wait();
}

/// A node with a private store, linked to `node`.
async fn peer(shop: &Application, node: &Node) -> Node {
    let contact = node.bootstrap();
    let join = ["--bootstrap", contact.as_str()];
    let peer = Node::start(&shop.dir.path().join("peer"), &join);
    shop.run("select crdv.mapAdd('m', 'k', 'v')").await;
    eventually("the peer has the write", async || {
        let read = "select mapAwLwwValue('m', 'k')::text";
        let row = peer.client().await.query_one(read, &[]).await;
        row.is_ok_and(|row| row.get::<_, Option<String>>(0).as_deref() == Some("v"))
    })
    .await;
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn detaching_leaves_a_server_as_it_was_as_often_as_it_is_attached() {
    let shop = Application::new("shop", SHOP).await;
    let before = shop.dump();
    for round in 0..2 {
        let mut node = shop.attach("n", &[]);
        shop.run("select mapAdd('m', 'k', 'v'); grant usage on schema crdv to reader")
            .await;
        leave(&mut node);
        let left = shop.dump();
        let (code, text) = detach(&shop, &[]);
        assert_eq!(code, 0, "{text}");
        for part in ["schema crdv, a store of node ", "nothing was changed"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(shop.dump(), left, "it only said so");
        let (code, text) = detach(&shop, &["--yes"]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(shop.dump(), before, "round {round}");
    }
    let (code, text) = detach(&shop, &["--yes"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("nothing of Starling"), "{text}");

    // Another node makes a store of it as of any database, and so does one with another wish.
    let mut node = shop.attach("other", &["--search-path", "first"]);
    shop.run("select mapAdd('m', 'k', 'v')").await;
    node.terminate();
    let (code, text) = detach(&shop, &["--yes"]);
    assert_eq!(code, 0, "it was alone: {text}");
    assert!(text.contains("becomes what it was: app, public"), "{text}");
    assert_eq!(shop.dump(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_is_left_alone_and_one_that_has_not_left_is_given_up_only_on_demand() {
    let shop = Application::new("shop", SHOP).await;
    let before = shop.dump();
    let mut node = shop.attach("n", &["--search-path", "off"]);
    let peer = peer(&shop, &node).await;
    for more in [&["--yes"][..], &["--yes", "--abandon"]] {
        let (code, text) = detach(&shop, more);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("a node runs on this store"), "{text}");
    }

    // What links read has names of ours, and is ours.
    let (_, findings, _) = node.run(&["doctor"]);
    assert!(!findings.contains("crdv_link"), "{findings}");
    node.terminate();
    let mut node = shop.attach("n", &[]);
    assert_eq!(shop.text("show search_path").await, "app, public, crdv");

    node.terminate();
    let mut told = String::new();
    eventually("its session has ended", async || {
        told = detach(&shop, &["--yes"]).1;
        !told.contains("a node runs on this store")
    })
    .await;
    assert!(told.contains("--abandon"), "{told}");
    let still = shop.text("select count(*)::text from crdv.element").await;
    assert_ne!(still, "0");
    drop(peer);
    let (code, text) = detach(&shop, &["--yes", "--abandon"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(shop.dump(), before);
    let slots = "select count(*)::text from pg_replication_slots";
    assert_eq!(shop.text(slots).await, "0");
}

/// What others build upon the schema or put into it, how it is named, and what moves it away.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "create view app.carts as select * from crdv.data",
        "view app.carts",
        "drop view app.carts",
    ),
    (
        "create view app.counts as select id from crdv.counter",
        "view app.counts",
        "drop view app.counts",
    ),
    (
        "create function crdv.stray() returns int language sql return 1",
        "function crdv.stray()",
        "drop function crdv.stray()",
    ),
    (
        "create type crdv.mood as enum ('good')",
        "type crdv.mood",
        "drop type crdv.mood",
    ),
    (
        "create table app.points (at crdv.vector)",
        "column at of table app.points",
        "alter table app.points alter column at type text",
    ),
    (
        "create table app.notes (name text references crdv.database_setting (name))",
        "constraint notes_name_fkey on table app.notes",
        "alter table app.notes drop constraint notes_name_fkey",
    ),
    (
        "create table app.sites (n int, site bigint default crdv.siteid())",
        "default value for column site of table app.sites",
        "alter table app.sites alter column site drop default",
    ),
    (
        "create function app.visits() returns text language sql return crdv.counterget('v')::text",
        "function app.visits()",
        "drop routine app.visits()",
    ),
    (
        "create table crdv.stray (n int)",
        "table crdv.stray",
        "alter table crdv.stray set schema app",
    ),
    (
        "create function app.f() returns trigger language plpgsql as 'begin return null; end';
         create trigger mine after insert on crdv.element for each row execute function app.f()",
        "trigger mine on table crdv.element",
        "drop trigger mine on crdv.element",
    ),
    (
        "create publication mine for table crdv.element",
        "publication mine",
        "drop publication mine",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_built_upon_it_is_named_and_kept() {
    let shop = Application::new("shop", SHOP).await;
    let mut node = shop.attach("n", &[]);
    shop.run("select mapAdd('m', 'k', 'v'), counterInc('v', 3)")
        .await;
    let (code, _, told) = node.run(&["app-role", "add", "till"]);
    assert_eq!(code, 0, "{told}");
    leave(&mut node);
    for (made, name, fix) in OTHERS {
        shop.run(made).await;
        let (code, text) = detach(&shop, &["--yes"]);
        assert_eq!(code, 1, "{name}: {text}");
        assert!(text.contains(name), "{name} in {text}");
        if !text.contains("is not Starling's") {
            assert!(text.contains(fix), "{fix} in {text}");
        }
        let kept = shop.text("select crdv.counterGet('v')::text").await;
        assert_eq!(kept, "3", "nothing is done by halves");
        shop.run(fix).await;
    }
    shop.run(
        "create function app.late() returns text language sql as 'select crdv.counterGet(''v'')::text'",
    )
    .await;
    let (code, text) = detach(&shop, &["--yes"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("app.late() names crdv"), "{text}");
    assert!(text.contains("login role till stays"), "{text}");
    shop.run("drop owned by till; drop role till").await;
    let tables = "select string_agg(relname, ' ' order by relname)::text from pg_class
        where relkind = 'r' and relnamespace = 'app'::regnamespace";
    assert_eq!(shop.text(tables).await, "notes orders points sites stray");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_the_tables_is_named_and_nothing_is_changed() {
    let shop = Application::new("shop", SHOP).await;
    let mut node = shop.attach("n", &[]);
    shop.run("select mapAdd('m', 'k', 'v')").await;
    leave(&mut node);
    let reader = shop.client().await;
    reader
        .batch_execute("begin; select from crdv.element")
        .await
        .unwrap();
    let pid: i32 = reader
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let (code, text) = detach(&shop, &["--yes"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&pid.to_string()), "{pid} in {text}");
    reader.batch_execute("commit").await.unwrap();
    let (code, text) = detach(&shop, &["--yes"]);
    assert_eq!(code, 0, "{text}");
}
