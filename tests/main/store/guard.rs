//! Nobody touches operations by hand, and the doctor notices what was altered so that somebody could.

use starling::{
    finding::Severity,
    postgres::doctor::{self, Requirements},
};
use tokio_postgres::{Client, error::SqlState};

use crate::harness::server::Server;

/// In session role `replica` the last four are not refused: see `guard.sql`.
const BY_HAND: [&str; 10] = [
    "update crdv.element set data = 'other'",
    "truncate crdv.element",
    "truncate crdv.element_unguarded",
    "copy crdv.element (id, key, site, seq, type, op, ctx_sites, ctx_seqs, hlc) from program
       'printf \"m\\tk\\t9\\t1\\tm\\ta\\t{}\\t{}\\t1\\n\"'",
    "insert into crdv.element (id, key, site, seq, type, op, ctx_sites, ctx_seqs, hlc)
       values ('m', 'k', 9, 1, 'm', 'a', '{}', '{}', 1) on conflict do nothing",
    "insert into crdv.element (id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
       select id, 'new', site, 99, type, op, data, ctx_sites, ctx_seqs, hlc from crdv.element",
    "delete from crdv.element where type = 'm' and key = 'k'",
    "delete from crdv.element where false",
    "merge into crdv.element e using (select 1) one on e.key = 'k' when matched then delete",
    "with gone as (delete from crdv.element returning *) select count(*) from gone",
];

async fn content(client: &Client) -> String {
    let sql = "select string_agg(e::text, ' ' order by e) from crdv.element e";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn operations_are_not_touched_by_hand_in_whatever_session() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    client
        .batch_execute("select mapAdd('m', 'k', 'v'), counterInc('c', 1)")
        .await
        .unwrap();
    let before = content(&client).await;
    for role in ["origin", "local", "replica"] {
        for path in ["crdv", "''", "pg_catalog"] {
            let setting =
                format!("set session_replication_role = {role}; set search_path = {path}");
            client.batch_execute(&setting).await.unwrap();
            for statement in &BY_HAND[..if role == "replica" { 6 } else { 10 }] {
                let error = client.batch_execute(statement).await.unwrap_err();
                let error = error.as_db_error().unwrap();
                assert_eq!(
                    error.code(),
                    &SqlState::FEATURE_NOT_SUPPORTED,
                    "{role} {path} {statement}: {error}"
                );
                assert!(error.hint().unwrap().contains("mapRmv"), "{error:?}");
            }
        }
    }
    assert_eq!(content(&client).await, before);
}

/// Maintenance is not concerned, and nothing has to be switched off for it.
#[tokio::test]
async fn maintenance_and_functions_go_on() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    client
        .batch_execute("select mapAdd('m', 'k', 'v')")
        .await
        .unwrap();
    for statement in [
        "vacuum full crdv.element",
        "cluster crdv.element using element_pkey",
        "reindex table crdv.element",
        "analyze crdv.element",
        "select mapAdd('m', 'k', 'w'), mapRmv('m', 'k'), reset_data()",
    ] {
        client.batch_execute(statement).await.unwrap();
    }
}

/// What is done to the table is seen, with the statement that undoes it.
#[tokio::test]
async fn the_doctor_finds_what_was_altered_and_its_fix_works() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let finding = async || {
        let findings = doctor::examine(&client, Requirements::default()).await;
        findings
            .into_iter()
            .find(|finding| finding.code == "SP050")
            .unwrap()
    };
    assert_eq!(finding().await.severity, Severity::Ok);
    for (change, word) in [
        ("alter table crdv.element disable trigger guard", "trigger guard"),
        ("alter table crdv.element disable trigger all", "trigger apply"),
        ("alter table crdv.element disable trigger guard_delete", "trigger guard_delete"),
        ("alter table crdv.element enable trigger apply", "trigger apply"),
        // What a restore of data with `--disable-triggers` ends with.
        ("alter table crdv.element enable trigger all", "trigger guard"),
        ("drop table if exists x; alter table crdv.element enable row level security", "row level security"),
        ("create function public.f() returns trigger language plpgsql as 'begin return new; end';
          create trigger mine before insert on crdv.element for each row execute function public.f()", "mine"),
        ("alter table crdv.element force row level security", "row level security"),
        ("alter table crdv.element set unlogged", "not logged"),
        ("create rule mine as on update to crdv.element do nothing", "rule"),
        ("alter sequence crdv.seq cache 50", "crdv.seq"),
        ("alter sequence crdv.seq increment -1", "crdv.seq"),
        ("alter sequence crdv.seq set unlogged", "crdv.seq"),
        ("alter sequence crdv.seq cycle", "crdv.seq"),
        ("alter sequence crdv.seq maxvalue 1000000000000000", "crdv.seq"),
        ("create publication starling_0000000000000007_0000000000000002 for table crdv.element
            with (publish = 'update')", "publication"),
        ("create publication starling_0000000000000007_0000000000000001", "publication"),
    ] {
        client.batch_execute(change).await.unwrap();
        let found = finding().await;
        assert_eq!(found.severity, Severity::Critical, "{change}");
        assert!(found.summary.contains(word), "{change}: {}", found.summary);
        client.batch_execute(&found.fix.unwrap()).await.unwrap();
        assert_eq!(finding().await.severity, Severity::Ok, "after the fix of {change}");
    }
}
