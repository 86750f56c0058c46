//! A database in which an application lives: its names mean what they meant, and it gets back what it had.

use std::{env, path::PathBuf, process::Command};

use starling::{api::Status, postgres::PrivateServer};
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::harness::process::Node;

/// A server of the user's with a database of an application.
pub(crate) struct Application {
    server: PrivateServer,
    database: &'static str,
    pub(crate) dir: TempDir,
}

impl Application {
    pub(crate) async fn new(database: &'static str, sql: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("starling-test-")
            .tempdir()
            .unwrap();
        let server = crate::postgres::start(dir.path()).await;
        let admin = crate::postgres::client(&server).await;
        let create = format!("create database {database}");
        admin.batch_execute(&create).await.unwrap();
        let application = Self {
            server,
            database,
            dir,
        };
        application.run(sql).await;
        application
    }

    pub(crate) fn url(&self) -> String {
        let database = format!("/{}?", self.database);
        self.server.url().replace("/starling?", &database)
    }

    /// A new session of the application.
    pub(crate) async fn client(&self) -> Client {
        let config: tokio_postgres::Config = self.url().parse().unwrap();
        starling::postgres::connect(&config).await.unwrap()
    }

    pub(crate) async fn text(&self, query: &str) -> String {
        let row = self.client().await.query_one(query, &[]).await.unwrap();
        row.get(0)
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    pub(crate) fn attach(&self, data: &str, more: &[&str]) -> Node {
        let url = self.url();
        let arguments = [&["--postgres", url.as_str()], more].concat();
        Node::start(&self.dir.path().join(data), &arguments)
    }

    /// All that the server would be made anew from: roles with their settings, and the database with its own.
    pub(crate) fn dump(&self) -> String {
        let address = self.server.url();
        let at = address.split_once("host=").unwrap().1;
        let (folder, port) = at.split_once("&port=").unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let folder_of_programs = env::var_os("STARLING_PG_BIN");
            let path = folder_of_programs.map(PathBuf::from).unwrap_or_default();
            let output = Command::new(path.join(program))
                .args(["-h", folder, "-p", port, "-U", "starling"])
                .args(arguments)
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program}: {stderr}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let whole = ["--create", "-d", self.database];
        let dumped = run("pg_dumpall", &["--roles-only"]) + &run("pg_dump", &whole);
        // These carry a number that is new each time.
        let lines = dumped.lines().filter(|line| !line.contains("restrict "));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn status(node: &Node) -> Status {
    node.status().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_keeps_its_path_and_gets_the_functions_behind_it() {
    let shop = Application::new(
        "shop",
        "create schema app; create table app.orders (n int); insert into app.orders values (7);
         alter database shop set search_path = app, public",
    )
    .await;
    let mut node = shop.attach("n", &[]);
    assert_eq!(shop.text("show search_path").await, "app, public, crdv");
    let work =
        "select mapAdd('m', 'k', 'v'); insert into orders values (8); create table mine (n int)";
    shop.run(work).await;
    let place = "select relnamespace::regnamespace::text from pg_class where relname = 'mine'";
    assert_eq!(shop.text(place).await, "app");
    assert_eq!(status(&node).store.off_path, None);
    let (_, findings, _) = node.run(&["doctor"]);
    assert!(findings.contains("SP023"), "{findings}");

    // Starting again changes nothing; another wish starts from what was there.
    node.terminate();
    node.resume();
    assert_eq!(shop.text("show search_path").await, "app, public, crdv");
    node.terminate();
    let mut node = shop.attach("n", &["--search-path", "first"]);
    assert_eq!(shop.text("show search_path").await, "crdv, app, public");
    node.terminate();
    let mut node = shop.attach("n", &["--search-path", "off"]);
    assert_eq!(shop.text("show search_path").await, "app, public");
    let off = status(&node).store.off_path.unwrap();
    assert!(off.contains("crdv.mapAdd"), "{off}");
    let (_, findings, _) = node.run(&["doctor"]);
    let judged = findings.lines().find(|line| line.contains("SP023"));
    assert!(
        judged.is_some_and(|line| line.contains(" ok ")),
        "asked for, so it is no warning: {findings}"
    );
    node.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_application_mean_what_they_meant() {
    let plain = Application::new(
        "plain",
        "create table data (note text); insert into data values ('mine');
         create table counter (n int); create view list as select 1 as n;
         create domain vector as text check (value ~ '^\\[')",
    )
    .await;
    // As an earlier version left it.
    plain
        .run("alter database plain set search_path = crdv, \"$user\", public")
        .await;
    let mut node = plain.attach("n", &[]);
    let mean = async |what: &str| {
        assert_eq!(plain.text("select note from data").await, "mine", "{what}");
        let cast = "select '[1,2]'::vector::text";
        assert_eq!(plain.text(cast).await, "[1,2]", "{what}");
        let made = "insert into counter values (1); select n from list;
            create table element (n int); create table self (v vector);
            drop table element; drop table self";
        plain.run(made).await;
        let place = "select string_agg(relnamespace::regnamespace::text, ' ') from pg_class
            where oid in ('data'::regclass, 'counter'::regclass, 'list'::regclass)";
        assert_eq!(plain.text(place).await, "public public public", "{what}");
    };
    mean("a name collides").await;
    let why = status(&node).store.off_path.unwrap();
    assert!(why.contains("public.data"), "{why}");
    let sentence = why.split_once("set search_path = ").unwrap().1;
    let path = sentence.split(';').next().unwrap();
    plain
        .run(&format!(
            "set search_path = {path}; select mapAdd('m', 'k', 'v')"
        ))
        .await;
    let (_, findings, _) = node.run(&["doctor"]);
    let told = findings.lines().find(|line| line.contains("SP023"));
    assert!(
        told.is_some_and(|line| line.contains("public.data")),
        "{findings}"
    );

    // Asked for, it comes last, and theirs still win.
    node.terminate();
    let mut node = plain.attach("n", &["--search-path", "last"]);
    mean("last").await;
    plain.run("select mapAdd('m', 'k', 'v')").await;
    node.terminate();

    // First is what it says, and the doctor names what it takes.
    let mut node = plain.attach("n", &["--search-path", "first"]);
    let read = plain.client().await;
    assert!(read.batch_execute("select note from data").await.is_err());
    let (code, findings, _) = node.run(&["doctor"]);
    let taken = findings.lines().find(|line| line.contains("SP027"));
    assert!(
        taken.is_some_and(|line| line.contains("public.data")),
        "{findings}"
    );
    assert_eq!(code, 1, "{findings}");
    node.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_puts_the_path_back_and_roles_keep_their_own() {
    let shop = Application::new(
        "shop",
        "create schema app; create role clerk; create role boss; create role hermit;
         alter database shop set search_path = app, public;
         alter role clerk in database shop set search_path = public, app;
         alter role boss set search_path = app",
    )
    .await;
    let settings = "select string_agg(s::text, ' ' order by s.setdatabase, s.setrole)
        from pg_db_role_setting s";
    let before = shop.text(settings).await;
    for start in 0..2 {
        let mut node = shop.attach("n", &[]);
        assert_ne!(shop.text(settings).await, before, "start {start}");
        let clerk = "select setconfig::text from pg_db_role_setting
            where setrole = 'clerk'::regrole and setdatabase <> 0";
        assert_eq!(
            shop.text(clerk).await,
            r#"{"search_path=public, app"}"#,
            "start {start}"
        );
        let (code, _, told) = node.run(&["leave"]);
        assert_eq!(code, 0, "{told}");
        node.wait();
        assert_eq!(shop.text(settings).await, before, "start {start}");
    }

    // A setting that somebody changed meanwhile is theirs.
    let mut node = shop.attach("n", &[]);
    shop.run("alter database shop set search_path = public")
        .await;
    let (code, _, told) = node.run(&["leave"]);
    assert_eq!(code, 0, "{told}");
    node.wait();
    assert_eq!(shop.text("show search_path").await, "public");
}
