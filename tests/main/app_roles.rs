//! Login roles of applications: made on one node, known on all, and nobody else's touched.

use std::{fs, path::Path, process::Command};

use starling::{
    api::{AppRole, AppRoleState},
    store::{self, RoleStanding, WantedRole},
};

use crate::{
    foreign::{Foreign, client_program},
    harness::{
        process::{Node, eventually, folder, start},
        server::Server,
    },
};

/// What a client is told that may not log in.
const REFUSED: &str = "authentication failed";

/// Logs in over TCP, as an application does.
fn psql(hosts: &str, login: (&str, &str), sql: &str) -> Result<String, String> {
    let (role, password) = login;
    let url = format!("postgresql://{role}@{hosts}/starling?target_session_attrs=read-write");
    let output = Command::new(client_program("psql"))
        .args([
            "-X",
            "-At",
            "-v",
            "VERBOSITY=verbose",
            "-d",
            &url,
            "-c",
            sql,
        ])
        .env("PGPASSWORD", password)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Where a node's private server listens.
fn host(node: &Node) -> String {
    let (_, port) = node.runtime().store_url.rsplit_once("port=").unwrap();
    format!("127.0.0.1:{port}")
}

/// A session that stays open.
async fn session(node: &Node, (role, password): (&str, &str)) -> tokio_postgres::Client {
    let place = host(node);
    let (host, port) = place.rsplit_once(':').unwrap();
    let mut config = tokio_postgres::Config::new();
    config.host(host).port(port.parse().unwrap());
    config.user(role).password(password).dbname("starling");
    starling::postgres::connect(&config).await.unwrap()
}

fn try_on(node: &Node, login: (&str, &str), sql: &str) -> Result<String, String> {
    psql(&host(node), login, sql)
}

fn can_log_in(node: &Node, login: (&str, &str)) -> bool {
    match try_on(node, login, "select 1") {
        Ok(_) => true,
        Err(error) => {
            let is_no = error.contains(REFUSED) || error.contains("not permitted to log in");
            assert!(is_no, "{error}");
            false
        }
    }
}

fn done(node: &Node, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = node.run(&[&["app-role"], arguments].concat());
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    stdout.trim().to_owned()
}

fn refused(node: &Node, arguments: &[&str], words: &str) {
    let (code, _, stderr) = node.run(&[&["app-role"], arguments].concat());
    assert!(
        code != 0 && stderr.contains(words),
        "{arguments:?}: {stderr}"
    );
}

fn state(node: &Node, role: &str) -> Option<AppRole> {
    let all: Vec<AppRole> = serde_json::from_str(&done(node, &["list", "-o", "json"])).unwrap();
    all.into_iter().find(|known| known.name == role)
}

/// Three nodes of which the third knows the first through the second only.
fn three(root: &Path) -> [Node; 3] {
    let a = start(root, "a", &[]);
    let b = start(root, "b", &["--bootstrap", &a.bootstrap()]);
    let c = start(root, "c", &["--bootstrap", &b.bootstrap()]);
    [a, b, c]
}

fn has_no_password(node: &Node, password: &str) {
    let book = fs::read_to_string(node.data.join("app-roles.json")).unwrap();
    assert!(book.contains("SCRAM-SHA-256$4096:"), "{book}");
    assert!(!book.contains(password) && !node.log().contains(password));
}

fn may_do_nothing_else(node: &Node, login: (&str, &str)) {
    for more in [
        "select from crdv.element",
        "delete from crdv.element",
        "create table crdv.mine ()",
        "create table public.mine ()",
        "select crdv.open_to_writers()",
        "create role other",
        "set role starling",
        "select pg_create_physical_replication_slot('s')",
        "select pg_read_file('/etc/passwd')",
    ] {
        let error = try_on(node, login, more).unwrap_err();
        assert!(error.contains("42501"), "{more}: {error}");
    }
}

#[tokio::test]
async fn a_role_is_made_once_and_known_on_all_nodes_until_it_is_removed() {
    let root = folder();
    let [a, mut b, mut c] = three(root.path());
    let password = done(&a, &["add", "shop"]);
    assert_eq!(password.len(), 48);
    let login = ("shop", &*password);
    eventually("the role logs in at the third node", async || {
        can_log_in(&c, login)
    })
    .await;
    eventually("its writes are taken", async || {
        try_on(&c, login, "select counterInc('sold', 3)").is_ok()
    })
    .await;
    assert_eq!(
        try_on(&c, login, "select counterGet('sold')"),
        Ok("3".to_owned())
    );
    may_do_nothing_else(&c, login);
    assert!(!can_log_in(&c, ("shop", "geheim")));
    for node in [&a, &b, &c] {
        has_no_password(node, &password);
    }

    refused(
        &b,
        &["add", "shop"],
        "there is an application role shop already",
    );
    let file = root.path().join("password").display().to_string();
    fs::write(&file, "zweites Wort\n").unwrap();
    assert_eq!(
        done(&c, &["password", "shop", "--password-file", &file]),
        ""
    );
    let second = ("shop", "zweites Wort");
    eventually("the new password counts at the first node", async || {
        can_log_in(&a, second)
    })
    .await;
    assert!(!can_log_in(&a, login));

    assert_eq!(c.terminate(), Some(0));
    let hosts = format!("{},{}", host(&c), host(&b));
    assert_eq!(
        psql(&hosts, second, "select counterGet('sold')"),
        Ok("3".to_owned())
    );
    let session = session(&a, second).await;
    session.batch_execute("select 1").await.unwrap();
    done(&b, &["remove", "shop"]);
    eventually("its sessions end", async || session.is_closed()).await;
    eventually("nobody logs in at the first node", async || {
        !can_log_in(&a, second)
    })
    .await;
    assert!(!can_log_in(&b, second));
    // Who was away brings it back to nobody, though all the others were stopped in between.
    assert_eq!(b.terminate(), Some(0));
    b.resume();
    c.resume();
    eventually("nobody logs in at the third node", async || {
        !can_log_in(&c, second)
    })
    .await;
    eventually("the third node knows why", async || {
        state(&c, "shop").is_some_and(|role| role.state == AppRoleState::Removed)
    })
    .await;
    assert!(!can_log_in(&a, second) && !can_log_in(&b, second));
}

#[tokio::test]
async fn a_role_of_somebody_else_is_refused_and_left_as_it_is() {
    let root = folder();
    let server = Foreign::start(root.path()).await;
    let own = "create role shop login createdb password 'ihrs'";
    server.client().await.batch_execute(own).await.unwrap();
    let shown = async || -> String {
        let sql = "select rolpassword || rolcreatedb from pg_authid where rolname = 'shop'";
        server
            .client()
            .await
            .query_one(sql, &[])
            .await
            .unwrap()
            .get(0)
    };
    let before = shown().await;
    let a = start(root.path(), "a", &[]);
    let (contact, url) = (a.bootstrap(), server.url());
    let attach = ["--bootstrap", contact.as_str(), "--postgres", &url];
    let b = start(root.path(), "b", &attach);

    done(&a, &["add", "shop"]);
    eventually("the other node says that it is in the way", async || {
        state(&b, "shop").is_some_and(|role| {
            role.state == AppRoleState::Refused
                && role.reason.unwrap().contains("that Starling has not made")
        })
    })
    .await;
    let warnings = b.status().unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|w| format!("{w:?}").contains("not as it should be")),
        "{warnings:?}"
    );
    refused(&b, &["password", "shop"], "rename it there");
    refused(&b, &["add", "pg_monitor"], "PostgreSQL's or Starling's own");
    refused(&b, &["password", "nobody"], "no application role nobody");
    assert_eq!(shown().await, before);
    done(&b, &["remove", "shop"]);
    eventually("it is removed everywhere", async || {
        state(&a, "shop").is_some_and(|role| role.state == AppRoleState::Removed)
    })
    .await;
    assert_eq!(shown().await, before);
}

#[tokio::test]
async fn a_role_that_owns_something_loses_its_login_and_says_what_is_in_the_way() {
    let server = Server::shared();
    let store = server.store("n").await;
    let mut client = store.connect().await;
    let name = format!("app_of_{}", store.database.name);
    let verifier = store::scram_verifier("geheim");
    let wanted = |verifier, revision| WantedRole {
        name: &name,
        verifier,
        revision,
    };
    let here = wanted(Some(&*verifier), "1");
    assert_eq!(
        store::settle_role(&mut client, "test", here).await.unwrap(),
        RoleStanding::Here
    );
    assert_eq!(
        store::settle_role(&mut client, "test", here).await.unwrap(),
        RoleStanding::Here
    );
    // Another cluster has a store on the same server.
    let other = store::settle_role(&mut client, "other", here)
        .await
        .unwrap();
    assert!(matches!(other, RoleStanding::Refused(_)), "{other:?}");
    let gone = wanted(None, "2");
    assert_eq!(
        store::settle_role(&mut client, "other", gone)
            .await
            .unwrap(),
        RoleStanding::Gone
    );

    let sql = format!("alter role {name} createrole");
    client.batch_execute(&sql).await.unwrap();
    let mighty = store::settle_role(&mut client, "test", here).await.unwrap();
    assert!(
        matches!(&mighty, RoleStanding::Refused(why) if why.contains("nocreaterole")),
        "{mighty:?}"
    );

    let sql = format!("create table public.own (); alter table public.own owner to {name}");
    client.batch_execute(&sql).await.unwrap();
    let held = store::settle_role(&mut client, "test", gone).await.unwrap();
    assert!(
        matches!(&held, RoleStanding::Refused(why) if why.contains("reassign owned by")),
        "{held:?}"
    );
    let sql = "select rolcanlogin or rolpassword is not null from pg_authid where rolname = $1";
    assert!(
        !client
            .query_one(sql, &[&name])
            .await
            .unwrap()
            .get::<_, bool>(0)
    );
    client
        .batch_execute(&format!("drop owned by {name}"))
        .await
        .unwrap();
    assert_eq!(
        store::settle_role(&mut client, "test", gone).await.unwrap(),
        RoleStanding::Gone
    );
    let sql = "select from pg_roles where rolname = $1";
    assert!(client.query_opt(sql, &[&name]).await.unwrap().is_none());
}
