//! Who may use what: the interface is open to whom the schema is open, all else is closed, and links get
//! what they need by name, whatever a database's administrator has taken from PUBLIC or given by default.

use starling::{
    identity::NodeId,
    replication::Terms,
    store::{self, Definition, Schema},
};
use tokio_postgres::{Client, error::SqlState};

use crate::harness::{
    data_plane::{Cluster, Node, until},
    server::{Database, Server},
};

/// A role that may log in and has nothing else; and the statements that take it away again.
async fn role(database: &Database, admin: &Client) -> String {
    let name = format!("app_of_{}", database.name);
    let make = format!("drop role if exists {name}; create role {name}");
    admin.batch_execute(&make).await.unwrap();
    name
}

async fn drop_role(admin: &Client, role: &str) {
    let sql = format!("reset role; drop owned by {role}; drop role {role}");
    admin.batch_execute(&sql).await.unwrap();
}

async fn install(client: &mut Client) {
    store::install(client).await.unwrap();
    let node = "n".parse::<NodeId>().unwrap();
    store::identify(client, &node, "test").await.unwrap();
}

/// Rows of one text column.
async fn list(client: &Client, sql: &str, role: &str) -> Vec<String> {
    let rows = client.query(sql, &[&role]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Functions of the schema that `role` can call although their definition keeps them from PUBLIC, or
/// cannot although it does not.
async fn misplaced_functions(client: &Client, role: &str) -> Vec<String> {
    let definitions = Schema::current().definitions;
    let is_internal = |name: &str| {
        let revoke = format!("revoke all on function crdv.{name}(");
        definitions.iter().any(|d| d.sql.contains(&revoke))
    };
    let all = "select p.proname::text, p.oid::regprocedure::text,
                      has_function_privilege($1::text, p.oid, 'execute')
               from pg_proc p where p.pronamespace = 'crdv'::regnamespace";
    let rows = client.query(all, &[&role]).await.unwrap();
    assert!(rows.len() > 80, "only {} functions", rows.len());
    let misplaced = rows
        .iter()
        .filter(|row| is_internal(row.get(0)) == row.get::<_, bool>(2));
    misplaced.map(|row| row.get(1)).collect()
}

/// What `role` may do to tables and sequences that are not views for users.
const OPEN_RELATIONS: &str = "
    select c.oid::regclass || ' ' || p.privilege
    from pg_class c, unnest('{select,insert,update,delete,truncate,usage}'::text[]) p (privilege)
    where c.relnamespace = 'crdv'::regnamespace and c.relkind in ('r', 'S')
      and case when c.relkind = 'S' then p.privilege in ('select', 'update', 'usage')
            and has_sequence_privilege($1::text, c.oid, p.privilege)
          else p.privilege <> 'usage' and has_table_privilege($1::text, c.oid, p.privilege) end";

/// Types that `role` cannot make a column of.
const CLOSED_TYPES: &str = "
    select t.oid::regtype::text from pg_type t
    where t.typnamespace = 'crdv'::regnamespace and t.typrelid = 0 and t.typelem = 0
      and not has_type_privilege($1::text, t.oid, 'usage')
    union all
    select t.oid::regtype::text from pg_type t join pg_class c on c.oid = t.typrelid
    where c.relnamespace = 'crdv'::regnamespace and c.relkind = 'c'
      and not has_type_privilege($1::text, t.oid, 'usage')";

/// What an application does with the interface.
const USE: &str = "
    select crdv.mapadd('m', 'k', 'v'), crdv.counterinc('c', 1), crdv.listappend('l', 'v');
    select crdv.mapawlwwget('m'), crdv.counterget('c'), crdv.listget('l'), crdv.nsites(),
           crdv.nested_query('MapAwLww', 'SetAw');
    select * from crdv.mapawlww; select * from crdv.data;
    insert into crdv.data (id, key, type, data, op) values ('m', 'k2', 'm', 'w', 'a');
    create temporary table own (entry crdv.mentry)";

/// What the interface calls in the name of who uses it, and what changes nothing.
const CALLED_FOR_USERS: [&str; 13] = [
    "here",
    "nested_value",
    "own_site",
    "position_beside",
    "position_between",
    "position_digits",
    "position_head",
    "position_run",
    "refuse",
    "refused",
    "rule_key",
    "trusted",
    "writing_site",
];

/// Functions that their comment calls internal, and that `role` may call all the same.
const OPEN_INTERNALS: &str = "
    select distinct p.proname::text from pg_proc p
    where p.pronamespace = 'crdv'::regnamespace and obj_description(p.oid, 'pg_proc') like '%; internal'
      and has_function_privilege($1::text, p.oid, 'execute') order by 1";

async fn check(client: &Client, role: &str) {
    let internals = list(client, OPEN_INTERNALS, role).await;
    assert_eq!(internals, CALLED_FOR_USERS, "internals");
    let functions = misplaced_functions(client, role).await;
    assert_eq!(functions, [""; 0], "functions");
    let relations = list(client, OPEN_RELATIONS, role).await;
    assert_eq!(relations, [""; 0], "relations");
    let types = list(client, CLOSED_TYPES, role).await;
    assert_eq!(types, [""; 0], "types");
    let create = "select nspname::text from pg_namespace
                  where nspname = 'crdv' and has_schema_privilege($1::text, oid, 'create')";
    assert_eq!(list(client, create, role).await, [""; 0], "the schema");
    let session = format!("begin; set role {role}; {USE}; rollback");
    client.batch_execute(&session).await.unwrap();
}

#[tokio::test]
async fn default_privileges_neither_close_the_interface_nor_open_the_rest() {
    let database = Server::shared().database("").await;
    let mut client = database.connect().await;
    let app = role(&database, &client).await;
    let defaults = format!(
        "alter default privileges revoke execute on functions from public;
         alter default privileges revoke usage on types from public;
         alter default privileges grant all on tables to {app};
         alter default privileges grant all on sequences to {app};
         alter default privileges grant all on functions to {app};
         alter default privileges grant all on schemas to {app}"
    );
    client.batch_execute(&defaults).await.unwrap();
    install(&mut client).await;
    check(&client, &app).await;
    drop_role(&client, &app).await;
    // By name for all, not only for those whom a default gives it.
    let other = role(&database, &client).await;
    let usage = format!("grant usage on schema crdv to {other}");
    client.batch_execute(&usage).await.unwrap();
    check(&client, &other).await;
    drop_role(&client, &other).await;
}

#[tokio::test]
async fn hardening_a_store_ends_with_the_next_definition() {
    let database = Server::shared().database("").await;
    let mut client = database.connect().await;
    install(&mut client).await;
    let app = role(&database, &client).await;
    let harden = format!(
        "revoke execute on all functions in schema crdv from public;
         grant execute on function crdv.write(\"char\", text, text, \"char\", text) to {app};
         grant usage on schema crdv to {app};
         grant select on crdv.installation to {app};
         create table crdv.of_the_user (n int); grant insert on crdv.of_the_user to {app};
         create function crdv.of_the_user() returns int language sql return 1;
         revoke all on function crdv.of_the_user() from public"
    );
    client.batch_execute(&harden).await.unwrap();
    assert!(!misplaced_functions(&client, &app).await.is_empty());
    let mut schema = Schema::current();
    schema.definitions.push(Definition {
        name: "more".to_owned(),
        sql: "select 1".to_owned(),
    });
    schema.install(&mut client).await.unwrap();
    // What the user made and granted is the user's; reading does no harm.
    let kept = format!(
        "select has_table_privilege('{app}', 'crdv.of_the_user', 'insert')
            and has_table_privilege('{app}', 'crdv.installation', 'select')
            and not has_function_privilege('{app}', 'crdv.of_the_user()', 'execute')"
    );
    let kept: bool = client.query_one(&kept, &[]).await.unwrap().get(0);
    assert!(kept);
    let undo = format!(
        "drop table crdv.of_the_user; drop function crdv.of_the_user();
         revoke all on crdv.installation from {app}"
    );
    client.batch_execute(&undo).await.unwrap();
    check(&client, &app).await;
    drop_role(&client, &app).await;
}

/// What an administrator may take from PUBLIC, or a hardening guide says to.
const HARDENED: &str = "
    revoke all on database starling from public;
    revoke all on schema public from public;
    revoke all on schema pg_catalog from public;
    revoke usage on language plpgsql from public;
    revoke usage on language sql from public;
    alter default privileges revoke execute on functions from public;
    alter default privileges revoke usage on types from public";

#[tokio::test(flavor = "multi_thread")]
async fn links_need_nothing_of_public() {
    let mut cluster = Cluster::stores(2).await;
    cluster.nodes[0].run(HARDENED).await;
    cluster.start_plane(0);
    cluster.start_plane(1);
    cluster.nodes[0]
        .run("select crdv.mapadd('m', 'from 0', 'v')")
        .await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    cluster.nodes[1]
        .run("select crdv.mapadd('m', 'from 1', 'v')")
        .await;
    for node in 0..2 {
        let count = "select count(*) from crdv.mapawlww where id = 'm'";
        cluster.await_text(node, count, "2").await;
    }
    may_only_read(&cluster.nodes[0]).await;
    // Both ends go again, and the group role with what it was granted.
    for node in 0..2 {
        let plane = cluster.nodes[node].plane().clone();
        // The last one has nobody left who could have what it wrote.
        let terms = Terms {
            abandon: true,
            ..Terms::default()
        };
        plane.leave(terms).await.unwrap();
        let gone = "select count(*) from pg_roles where rolname ~ '^starling_'";
        until("no role is left", || async {
            (cluster.nodes[node].text(gone).await == "0").then_some(())
        })
        .await;
    }
    cluster.stop().await;
}

/// A link's role calls nothing of the interface: a member writes at its own store only.
async fn may_only_read(node: &Node) {
    let client = node.client().await;
    let role = "select rolname::text from pg_roles where rolname ~ '^starling_[0-9a-f]{16}_'";
    let role: String = client.query_one(role, &[]).await.unwrap().get(0);
    let become_it = format!("set role {role}");
    client.batch_execute(&become_it).await.unwrap();
    for call in [
        "select crdv.mapadd('m', 'by a link', 'v')",
        "select crdv.write('m', 'm', 'by a link', 'a', 'v')",
        "select crdv.open_to_writers()",
        "insert into crdv.data (id, key, type, data, op) values ('m', 'k2', 'm', 'w', 'a')",
        "select site from crdv.self",
    ] {
        let refused = client.batch_execute(call).await.unwrap_err();
        let code = refused.code().cloned();
        assert_eq!(code, Some(SqlState::INSUFFICIENT_PRIVILEGE), "{call}");
    }
    let all = "select * from crdv_link.missing('{}', '{}')";
    assert!(!client.query(all, &[]).await.unwrap().is_empty());
    // Nothing is collected first: the planner sees the index behind both functions.
    let plan = client
        .query(&format!("explain (costs off) {all}"), &[])
        .await
        .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(
        !plan
            .iter()
            .any(|line| line.contains("Function Scan on missing")),
        "{plan:#?}"
    );
    client.batch_execute("reset role").await.unwrap();
}
