//! Installing, upgrading, and the identity of a store.

use std::{cell::Cell, fs, path::Path, time::Duration};

use starling::{
    identity::NodeId,
    store::{self, Definition, Error, Installed, Migration, Schema, SearchPath},
};
use tokio_postgres::Client;

use crate::harness::server::Server;

fn node(name: &str) -> NodeId {
    name.parse::<NodeId>().unwrap()
}

async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn installing_again_changes_nothing() {
    let database = Server::shared().database("").await;
    let mut client = database.connect().await;
    let version = Schema::current().version();
    let first = store::install(&mut client).await.unwrap();
    assert_eq!(
        (first.from, first.to, first.definitions_applied),
        (0, version, true)
    );
    // The transactions that made the functions and the record.
    let written = "select md5(string_agg(p.xmin::text, ' ' order by p.oid))
          || (select xmin from crdv.installation)
        from pg_proc p where p.pronamespace = 'crdv'::regnamespace";
    let before = text(&client, written).await;
    let second = store::install(&mut client).await.unwrap();
    assert_eq!(
        (second.from, second.to, second.definitions_applied),
        (version, version, false)
    );
    assert_eq!(
        text(&client, written).await,
        before,
        "installing again wrote something"
    );
}

#[tokio::test]
async fn what_somebody_has_dropped_is_made_again() {
    let store = Server::shared().store("n").await;
    let mut client = store.connect().await;
    for (drop, is_back) in [
        (
            "drop function crdv.counterInc cascade",
            "select crdv.counterInc('c', 1)",
        ),
        (
            "drop trigger apply on crdv.element",
            "comment on trigger apply on crdv.element is null",
        ),
        (
            "drop function crdv.apply() cascade",
            "comment on trigger apply on crdv.element is null",
        ),
        ("drop view crdv.data", "select * from crdv.data"),
        // No trigger goes with it, which would be missed as well.
        (
            "drop view crdv.counter cascade",
            "select * from crdv.counter",
        ),
    ] {
        client.batch_execute(drop).await.unwrap();
        assert_ne!(store::missing(&client).await.unwrap(), [""; 0], "{drop}");
        assert!(client.batch_execute(is_back).await.is_err(), "{drop}");
        let installed = store::install(&mut client).await.unwrap();
        assert!(installed.definitions_applied, "{drop}");
        store::open(&client).await.unwrap();
        client.batch_execute(is_back).await.unwrap();
        let again = store::install(&mut client).await.unwrap();
        assert!(!again.definitions_applied, "{drop}");
        assert_eq!(store::missing(&client).await.unwrap(), [""; 0], "{drop}");
    }
    for (drop, missing) in [
        ("drop table crdv.self", "table self"),
        ("drop schema crdv cascade", "schema crdv"),
    ] {
        client.batch_execute(drop).await.unwrap();
        assert_eq!(store::missing(&client).await.unwrap(), [missing], "{drop}");
    }
}

#[tokio::test]
async fn an_upgrade_waits_without_making_writers_queue_and_names_whom_it_waits_for() {
    let store = Server::shared().store("n").await;
    let (mut admin, open, other) = (
        store.connect().await,
        store.connect().await,
        store.connect().await,
    );
    let older = "update crdv.installation set definitions = 'older'";
    admin.batch_execute(older).await.unwrap();
    let begin = "begin; select counterInc('c', 1)";
    open.batch_execute(begin).await.unwrap();
    let pid: i32 = open
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let told = Cell::new(0);
    let tell = |_: &[_]| told.set(told.get() + 1);
    let install = store::install_telling(&mut admin, Duration::from_secs(4), tell);
    // The open transaction ends only after the upgrade: whoever queues behind that is stuck.
    let mut written = 0;
    let error = {
        let write = async {
            loop {
                other
                    .batch_execute("select mapAdd('m', 'k', 'v')")
                    .await
                    .unwrap();
                // What was written before the upgrade came upon the lock says nothing.
                written += told.get().min(1);
            }
        };
        tokio::select! {
            result = install => result.unwrap_err(),
            () = write => unreachable!(),
        }
    };
    let named = format!("session {pid} of role");
    assert!(
        matches!(&error, Error::Locked { holders, .. } if holders.contains(&named)),
        "{error:?}"
    );
    // The other writer may be caught at it, and be named as well.
    assert!(written > 0, "told {} times", told.get());
    open.batch_execute("commit").await.unwrap();
    let installed = store::install(&mut admin).await.unwrap();
    assert!(installed.definitions_applied);
}

#[tokio::test]
async fn two_installers_make_one_store() {
    let database = Server::shared().database("").await;
    let (mut a, mut b) = (database.connect().await, database.connect().await);
    let (a, b) = tokio::join!(store::install(&mut a), store::install(&mut b));
    let applied = [
        a.unwrap().definitions_applied,
        b.unwrap().definitions_applied,
    ];
    assert_ne!(
        applied[0], applied[1],
        "both or neither applied the definitions"
    );
}

#[tokio::test]
async fn each_migration_can_fail_and_be_done_again() {
    let server = Server::shared();
    let current = Schema::current();
    for broken in 0..current.migrations.len() {
        let database = server.database("").await;
        let mut client = database.connect().await;
        let mut schema = current.clone();
        schema.migrations[broken].sql.push_str("; select 1 / 0;");
        let error = schema.install(&mut client).await.unwrap_err();
        let expected = i32::try_from(broken).unwrap() + 1;
        assert!(
            matches!(error, Error::Migration { id, .. } if id == expected),
            "{error:?}"
        );
        let installed = store::install(&mut client).await.unwrap();
        assert_eq!(
            installed.from,
            expected - 1,
            "a failed step left something behind"
        );
        assert_eq!(installed.to, current.version());
    }
}

/// Installs the store with a last migration at whose commit somebody removes the schema: once, or each time.
async fn install_and_remove(times: &str) -> (Result<Installed, Error>, Client) {
    let database = Server::shared().database("").await;
    let mut client = database.connect().await;
    client
        .batch_execute(&format!(
            "create table public.removal (n serial);
             create function public.remove() returns trigger language plpgsql as
               'begin if new.n <= {times} then drop schema crdv cascade; end if; return null; end';
             create constraint trigger remove after insert on public.removal
               deferrable initially deferred for each row execute function public.remove()"
        ))
        .await
        .unwrap();
    let mut schema = Schema::current();
    schema.migrations.push(Migration {
        name: "removed".to_owned(),
        sql: "insert into public.removal default values".to_owned(),
    });
    (schema.install(&mut client).await, client)
}

#[tokio::test]
async fn a_store_that_is_removed_between_two_steps_is_installed_from_the_beginning() {
    let (installed, client) = install_and_remove("1").await;
    let installed = installed.unwrap();
    assert_eq!((installed.from, installed.definitions_applied), (0, true));
    let view = "select to_regclass('crdv.data')::text";
    assert_eq!(text(&client, view).await, "crdv.data");

    let (error, _) = install_and_remove("100").await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Removed), "{error:?}");
}

#[tokio::test]
async fn each_migration_does_what_its_twin_says() {
    let database = Server::shared().database("").await;
    let mut client = database.connect().await;
    let current = Schema::current();
    let twins = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations/tests");
    for count in 1..=current.migrations.len() {
        let schema = Schema {
            migrations: current.migrations[..count].to_vec(),
            definitions: Vec::new(),
        };
        schema.install(&mut client).await.unwrap();
        let twin = twins.join(format!("{}.sql", current.migrations[count - 1].name));
        client
            .batch_execute(&fs::read_to_string(twin).unwrap())
            .await
            .unwrap();
    }
    assert_eq!(
        fs::read_dir(twins).unwrap().count(),
        current.migrations.len()
    );
}

/// Stores of earlier versions kept operations beside what covers them. An upgrade mends that.
#[tokio::test]
async fn an_upgrade_notes_what_stands_beside_what_covers_it() {
    let database = Server::shared().database("").await;
    let mut client = database.connect().await;
    let current = Schema::current();
    let before = current
        .migrations
        .iter()
        .position(|migration| migration.name.ends_with("-early-cover"))
        .unwrap();
    let earlier = Schema {
        migrations: current.migrations[..before].to_vec(),
        definitions: Vec::new(),
    };
    earlier.install(&mut client).await.unwrap();
    client
        .batch_execute(
            "insert into crdv.element (type, id, key, site, seq, op, ctx_sites, ctx_seqs, hlc) values
               ('s', 's', 'x', 1, 5, 'a', '{}', '{}', 1), ('s', 's', 'x', 2, 1, 'r', '{1}', '{5}', 1),
               ('s', 's', 'y', 1, 6, 'a', '{}', '{}', 1), ('s', 's', 'y', 2, 2, 'r', '{1}', '{5}', 1),
               ('s', 's', 'z', 1, 7, 'a', '{}', '{}', 1)",
        )
        .await
        .unwrap();
    store::install(&mut client).await.unwrap();
    let noted =
        "select string_agg(concat_ws(' ', type, id, key, site, seq), ', ') from crdv.early_cover";
    assert_eq!(text(&client, noted).await, "s s x 1 5");
}

#[tokio::test]
async fn changed_definitions_are_applied_and_broken_ones_are_not() {
    let database = Server::shared().database("").await;
    let mut client = database.connect().await;
    store::install(&mut client).await.unwrap();
    let answer = |sql: &str| Definition {
        name: "answer".to_owned(),
        sql: sql.to_owned(),
    };
    let mut schema = Schema::current();
    schema.definitions.push(answer(
        "create function crdv.answer() returns int return 42",
    ));
    assert!(
        schema
            .install(&mut client)
            .await
            .unwrap()
            .definitions_applied
    );
    assert_eq!(text(&client, "select crdv.answer()::text").await, "42");
    schema.definitions.push(answer(
        "create or replace function crdv.answer() returns int return 1; x",
    ));
    let error = schema.install(&mut client).await.unwrap_err();
    assert!(matches!(error, Error::Definition { .. }), "{error:?}");
    let told = " failed: ERROR 42723: function \"answer\" already exists";
    assert!(error.to_string().contains(told), "{error}");
    assert_eq!(text(&client, "select crdv.answer()::text").await, "42");
}

#[tokio::test]
async fn unfit_databases_are_refused_and_left_alone() {
    let server = Server::shared();

    let newer = server.database("").await;
    let mut client = newer.connect().await;
    store::install(&mut client).await.unwrap();
    client
        .batch_execute("update crdv.installation set migration = 1000")
        .await
        .unwrap();
    let error = store::install(&mut client).await.unwrap_err();
    assert!(
        matches!(error, Error::NewerStore { found: 1000, .. }),
        "{error:?}"
    );

    let foreign = server.database("").await;
    let mut client = foreign.connect().await;
    client
        .batch_execute("create schema crdv; create table crdv.mine ()")
        .await
        .unwrap();
    let error = store::install(&mut client).await.unwrap_err();
    assert!(matches!(error, Error::ForeignSchema), "{error:?}");
    assert_eq!(
        text(&client, "select to_regclass('crdv.mine')::text").await,
        "crdv.mine"
    );

    let latin = server
        .database("encoding latin1 locale 'C' template template0")
        .await;
    let error = store::install(&mut latin.connect().await)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Encoding { found } if found == "LATIN1"),
        "{error:?}"
    );

    let empty = server.database("").await;
    let error = store::identify(&mut empty.connect().await, &node("n"), "c")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotInstalled), "{error:?}");
}

#[tokio::test]
async fn an_ordinary_role_installs_into_its_own_database_only() {
    let server = Server::shared();
    let database = server.database("").await;
    let admin = database.connect().await;
    let role = format!("owner_of_{}", database.name);
    let setup = format!("create role {role}; set role {role}");
    admin.batch_execute(&setup).await.unwrap();
    let mut client = admin;
    let error = store::install(&mut client).await.unwrap_err();
    assert!(matches!(error, Error::Privilege { .. }), "{error:?}");
    let told = format!(
        "; use the owner of the database or a superuser: ERROR 42501: permission denied for database {}",
        database.name
    );
    assert!(error.to_string().ends_with(&told), "{error}");

    let grant = format!(
        "reset role; alter database {} owner to {role}; set role {role}",
        database.name
    );
    client.batch_execute(&grant).await.unwrap();
    store::install(&mut client).await.unwrap();
    store::identify(&mut client, &node("n"), "c").await.unwrap();
    client
        .batch_execute("select crdv.setAdd('s', 'm')")
        .await
        .unwrap();
    client
        .batch_execute(&format!("reset role; drop owned by {role} cascade"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_store_keeps_its_identity_and_serves_one_node_of_one_cluster() {
    let database = Server::shared().database("").await;
    let mut client = database.connect().await;
    store::install(&mut client).await.unwrap();
    let error = client
        .batch_execute("select crdv.counterInc('c', 1)")
        .await
        .unwrap_err();
    assert!(
        error
            .as_db_error()
            .unwrap()
            .message()
            .contains("no identity"),
        "{error:?}"
    );

    let site = store::identify(&mut client, &node("a"), "birds")
        .await
        .unwrap();
    assert_eq!(
        store::identify(&mut client, &node("a"), "birds")
            .await
            .unwrap(),
        site
    );
    let own: i64 = client
        .query_one("select crdv.siteId()", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(own, site.get());
    client
        .batch_execute("select crdv.counterInc('c', 1)")
        .await
        .unwrap();

    let error = store::identify(&mut client, &node("b"), "birds")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::OtherNode { .. }), "{error:?}");
    let error = store::identify(&mut client, &node("a"), "fish")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::OtherCluster { .. }), "{error:?}");

    // A plain session finds the functions.
    let before = database.connect().await;
    store::settle_search_path(&mut client, &before, SearchPath::Last)
        .await
        .unwrap();
    let plain = database.connect().await;
    assert_eq!(text(&plain, "select counterGet('c')::text").await, "1");
    // An upgrade does not take the identity away.
    let mut schema = Schema::current();
    schema.definitions.push(Definition {
        name: "more".to_owned(),
        sql: "select 1".to_owned(),
    });
    schema.install(&mut client).await.unwrap();
    assert_eq!(
        store::identify(&mut client, &node("a"), "birds")
            .await
            .unwrap(),
        site
    );
    assert_eq!(
        text(&plain, "select siteId()::text").await,
        site.to_string()
    );
}

#[tokio::test]
async fn two_controllers_draw_one_identity() {
    let database = Server::shared().database("").await;
    let (mut a, mut b) = (database.connect().await, database.connect().await);
    store::install(&mut a).await.unwrap();
    let name = node("n");
    let (a, b) = tokio::join!(
        store::identify(&mut a, &name, "c"),
        store::identify(&mut b, &name, "c")
    );
    assert_eq!(a.unwrap(), b.unwrap());
}

/// Unqualified names in a function mean whatever the caller's `search_path` says, which in an apply
/// worker is nothing. A SQL body is resolved when it is defined.
#[tokio::test]
async fn everything_is_described_and_every_function_knows_its_names() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    for (rule, sql) in [
        (
            "functions without a search_path",
            "select p.oid::regprocedure::text from pg_proc p join pg_language l on l.oid = p.prolang
             where p.pronamespace = 'crdv'::regnamespace and l.lanname <> 'sql'
               and p.proname not in ('write', 'apply')
               and not coalesce(p.proconfig::text ~ 'search_path=pg_catalog, pg_temp', false)",
        ),
        (
            "functions without a search_path that users can call, or that do more than users may",
            "select p.oid::regprocedure::text from pg_proc p join pg_language l on l.oid = p.prolang
             where p.pronamespace = 'crdv'::regnamespace and l.lanname <> 'sql'
               and p.proconfig is null
               and (p.prosecdef or has_function_privilege('public', p.oid, 'execute'))",
        ),
        (
            "SQL functions whose body is a string",
            "select p.oid::regprocedure::text from pg_proc p join pg_language l on l.oid = p.prolang
             where p.pronamespace = 'crdv'::regnamespace and l.lanname = 'sql'
               and p.prosqlbody is null",
        ),
        (
            "functions without a comment",
            "select p.oid::regprocedure::text from pg_proc p
             where p.pronamespace = 'crdv'::regnamespace
               and obj_description(p.oid, 'pg_proc') is null",
        ),
        (
            "tables, views, sequences and types without a comment",
            "select c.oid::regclass::text from pg_class c
             where c.relnamespace = 'crdv'::regnamespace and c.relkind in ('r', 'v', 'S')
               and obj_description(c.oid, 'pg_class') is null",
        ),
    ] {
        let rows = client.query(sql, &[]).await.unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, [""; 0], "{rule}");
    }
}

/// Whoever calls has a path on which operators wait that fit better than PostgreSQL's own. Functions pin
/// their path; those that do not, because a pin is paid for by every operation, cannot be led astray
/// either: by their callers' path, or by what is written in them.
#[tokio::test]
async fn operators_on_the_callers_path_are_not_used() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let mut hostile = "create schema hostile".to_owned();
    for (number, (operator, left, right)) in [
        ("=", "varchar", "varchar"),
        ("=", "varchar", "text"),
        ("=", "text", "varchar"),
        ("<>", "bigint[]", "bigint[]"),
        ("||", "bigint[]", "bigint[]"),
    ]
    .into_iter()
    .enumerate()
    {
        let result = if operator == "||" { left } else { "boolean" };
        hostile += &format!(
            "; create function hostile.trap_{number}({left}, {right}) returns {result} language plpgsql as
                 $$ begin raise 'trapped'; end $$;
               create operator hostile.{operator}
                 (leftarg = {left}, rightarg = {right}, function = hostile.trap_{number});
               set search_path = hostile"
        );
    }
    client.batch_execute(&hostile).await.unwrap();
    let trapped = client.query_one("select 'a'::varchar = 'a'::varchar", &[]);
    assert!(trapped.await.is_err(), "the trap works");
    let apply = "set session_replication_role = replica; set crdv.via = 7;
        insert into crdv.element values
          ('m', 'k', 8, 1, 'm', 'a', 'v', '{}', '{}', 1), ('m', 'k', 8, 2, 'm', 'a', 'v', '{9}', '{1}', 1);
        set session_replication_role = origin";
    client.batch_execute(apply).await.unwrap();
    let users = "select crdv.mapadd('m', 'k', 'v'), crdv.mapadd('m', 'k', 'w'), crdv.setadd('s', 'm'),
               crdv.registerset('r', 'v'), crdv.counterinc('c', 1), crdv.listappend('l', 'v');
        select crdv.mapawlwwget('m'), crdv.setawget('s'), crdv.registerlwwget('r'), crdv.counterget('c'),
               crdv.listget('l'), crdv.mapawlwwcontains('m', 'k')";
    client.batch_execute(users).await.unwrap();
}
