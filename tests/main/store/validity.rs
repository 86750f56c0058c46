//! What no store can make use of is refused by every store in the same way, and stops nothing.

use std::collections::BTreeSet;

use starling::identity::Site;
use tokio_postgres::Client;

use super::operation::Operation;
use crate::harness::server::Server;

const PEER: i64 = 7;
const HEX: &str = "0000000000000007";

/// A row as somebody wrote it into a member's table: type, id, key, data, context.
type Row = (
    char,
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [(i64, i64)],
);

/// Refused, one for each rule.
const UNFIT: [Row; 15] = [
    ('v', "$site", HEX, Some("oops"), &[]),
    ('v', "$site", HEX, None, &[]),
    ('v', "$site", HEX, Some("-1"), &[]),
    ('v', "$site", HEX, Some("99999999999999999999"), &[]),
    // It vouches for itself and what comes after it.
    ('v', "$site", HEX, Some("1000"), &[]),
    ('v', "$site", "0000000000000008", Some("1"), &[]),
    ('i', "$integrity", "not json", Some("mapadd"), &[]),
    (
        'i',
        "$integrity",
        "{\"dst\": \"d\", \"src\": [\"m\"]}",
        Some("mapadd"),
        &[],
    ),
    (
        'i',
        "$integrity",
        "{\"dst\": \"d\", \"src\": [\"m\"]}",
        Some("drop table"),
        &[],
    ),
    (
        'i',
        "$integrity",
        r#"{"dst": "d", "src": ["l", "x"]}"#,
        Some("listadd"),
        &[],
    ),
    (
        'i',
        "$integrity",
        r#"{"dst": "d", "src": ["s", "k"]}"#,
        Some("setadd"),
        &[],
    ),
    (
        'i',
        "$integrity",
        r#"{"dst": "d", "src": ["r", "k"]}"#,
        Some("registerset"),
        &[],
    ),
    (
        'i',
        "$integrity",
        r#"{"dst": "d", "src": ["m", null]}"#,
        Some("mapadd"),
        &[],
    ),
    (
        'i',
        "$integrity",
        r#"{"dst": 7, "src": ["m", "k"]}"#,
        Some("mapadd"),
        &[],
    ),
    ('m', "m", "k", Some("v"), &[(PEER, 5)]),
];

/// Odd, and harmless: taken in, also what a later version may write.
const FIT: [Row; 14] = [
    ('v', "$site", HEX, Some("999"), &[]),
    ('v', "$later", "k", Some("oops"), &[]),
    ('Z', "z", "k", Some("v"), &[]),
    ('c', "c", "7", Some("-9223372036854775808"), &[]),
    ('c', "c", "7", Some("five"), &[]),
    ('c', "c", "7", Some("5-3"), &[]),
    ('c', "c", "7", Some("99999999999999999999"), &[]),
    ('c', "c", "7", None, &[]),
    ('c', "c", "8", Some("5"), &[]),
    ('c', "c", "7", Some("5"), &[(8, 1)]),
    ('l', "l", "g0.0000000000000007g1", None, &[]),
    (
        'i',
        "$integrity",
        "{\"dst\": \"d\", \"src\": [\"m\", \"k\"]}",
        Some("mapadd"),
        &[],
    ),
    ('i', "$later", "k", None, &[]),
    ('m', "", "", None, &[(8, i64::MAX), (9, 1)]),
];

fn operation((kind, id, key, data, context): Row) -> Operation {
    Operation {
        kind,
        id: id.to_owned(),
        key: key.to_owned(),
        site: PEER,
        seq: 1000,
        op: 'a',
        data: data.map(str::to_owned),
        context: context.to_vec(),
        hlc: i64::MAX,
    }
}

async fn count(client: &Client, what: &str) -> i64 {
    let sql = format!("select count(*) from {what}");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

/// Reads and writes of everything that a bad row could break.
const USES: &str =
    "select mapAdd('m', 'k', 'w'), counterInc('c', 1), listAppend('l', 'e'), listPrepend('l', 'e'),
         listAdd('l', 1, 'e'), setAdd('d', 'x');
    select * from crdv.vector; select * from Counter; select * from List; select * from Data;
    select * from crdv.integrity_rule; select counterGet('c'), listGet('l')";

#[tokio::test]
async fn what_is_unfit_is_parked_by_a_link_and_by_a_catch_up_alike() {
    for by_catch_up in [false, true] {
        for (rows, fits) in [(&UNFIT[..], false), (&FIT[..], true)] {
            let store = Server::shared().store("n").await;
            let mut client = store.connect().await;
            for row in rows {
                let empty = "delete from crdv.element_unguarded; delete from crdv.parked";
                client.batch_execute(empty).await.unwrap();
                let operation = operation(*row);
                // As links do, more than once, and by way of different peers.
                for via in [PEER, 8] {
                    if by_catch_up {
                        let transaction = client.transaction().await.unwrap();
                        transaction
                            .batch_execute("select crdv.begin_catch_up()")
                            .await
                            .unwrap();
                        operation.insert(&transaction, "catch_up").await.unwrap();
                        let apply = "select crdv.apply_catch_up($1)";
                        transaction.query_one(apply, &[&via]).await.unwrap();
                        transaction.commit().await.unwrap();
                    } else {
                        let worker = store.apply_worker(Site::new(via).unwrap()).await;
                        operation.insert(&worker, "crdv.element").await.unwrap();
                    }
                }
                let found = (
                    count(&client, "crdv.element where site = 7").await,
                    count(&client, "crdv.parked").await,
                );
                assert_eq!(
                    found,
                    if fits { (1, 0) } else { (0, 1) },
                    "{by_catch_up} {row:?}"
                );
                client
                    .batch_execute(USES)
                    .await
                    .unwrap_or_else(|error| panic!("{row:?}: {error:?}"));
            }
        }
    }
}

/// Arrays that are none, which no driver makes of two columns of numbers.
#[tokio::test]
async fn arrays_that_are_no_context_are_parked() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let worker = store.apply_worker(Site::new(PEER).unwrap()).await;
    for (number, (sites, seqs)) in [("{{8,9}}", "{1,2}"), ("{7}", "{1}")].iter().enumerate() {
        let row = format!(
            "insert into crdv.element (id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
               values ('m', 'k', 7, {number} + 1, 'm', 'a', 'v', '{sites}', '{seqs}', 1)"
        );
        worker.batch_execute(&row).await.unwrap();
    }
    assert_eq!(
        (
            count(&client, "crdv.element").await,
            count(&client, "crdv.parked").await
        ),
        (0, 2)
    );
    client.batch_execute(USES).await.unwrap();
}

/// The fullest and oddest operations that functions write.
#[tokio::test]
async fn all_that_the_functions_write_is_fit() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let writes = format!(
        "select counterInc('high', 9223372036854775807), counterDec('low', 9223372036854775807),
                counterDec('low', 1), counterInc('zero', 0), mapAdd('', '', null), setAdd('s', '{key}'),
                mapAdd('{key}', '{key}', 'v'), registerSet('r', null);
         select listAppend('l', i::text), listPrepend('l', i::text) from generate_series(1, 300) i;
         select listAdd('l', 5, i::text), listAdd('l', 5 + i % 2, i::text) from generate_series(1, 300) i;
         select listPopFirst('l'), listPopLast('l'), listRmv('l', 7);
         select add_referential_integrity('{{m,k}}', 'inner', 'mapAdd'),
                add_referential_integrity(array['s \" x'], 'inner', 'setAdd'),
                add_referential_integrity('{{l,0}}', 'inner', 'listAdd'),
                add_referential_integrity('{{r}}', 'inner', 'registerSet'),
                rmv_referential_integrity('{{r}}', 'inner');
         select setAdd('inner', 'x');
         select crdv.write('k', '$catchup', crdv.site_hex(crdv.siteid()), 'a', null);
         select crdv.write('v', '$site', crdv.site_hex(crdv.siteid()), 'a', last_value::text) from crdv.seq",
        key = "k".repeat(1000)
    );
    client.batch_execute(&writes).await.unwrap();
    assert!(count(&client, "crdv.element").await > 1000);
    let written = "select string_agg(t.type, '' order by t.type)
        from (select distinct e.type::text collate \"C\" as type from crdv.element e) t";
    let written: String = client.query_one(written, &[]).await.unwrap().get(0);
    let types: String = types(&client).await.into_iter().collect();
    assert_eq!(
        written, types,
        "a type is written by no function, or unknown"
    );
    let faults = "select string_agg(e::text || ': ' || f, '; ') from crdv.element e, crdv.fault(
        e.type, e.id, e.key, e.site, e.seq, e.op, e.data, e.ctx_sites, e.ctx_seqs) f where f is not null";
    let faults: Option<String> = client.query_one(faults, &[]).await.unwrap().get(0);
    assert_eq!(faults, None);
}

/// The letters of all types, as the table itself explains them.
async fn types(client: &Client) -> BTreeSet<char> {
    let explained = "select col_description(a.attrelid, a.attnum) from pg_attribute a
        where a.attrelid = 'crdv.element'::regclass and a.attname = 'type'";
    let explained: String = client.query_one(explained, &[]).await.unwrap().get(0);
    let names = explained.split(", ");
    names.filter_map(|name| name.chars().next()).collect()
}

/// The ways in that look at a type: links, the view `Data`, and writers of what is not for users.
#[tokio::test]
async fn all_who_tell_types_apart_know_the_same_ones() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let (mut usual, mut inserted, mut own) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for letter in ' '..='~' {
        let kind = i8::try_from(u32::from(letter)).unwrap();
        let is_usual = "select crdv.is_usual($1, 1, '{}')";
        if client.query_one(is_usual, &[&kind]).await.unwrap().get(0) {
            usual.insert(letter);
        }
        let insert = "insert into Data (id, key, type, op) values ('x', '', $1, 'r')";
        let is_unknown = client.execute(insert, &[&kind]).await.is_err_and(|error| {
            let error = error.as_db_error().unwrap();
            error.message().contains("no such type")
        });
        if !is_unknown {
            inserted.insert(letter);
        }
        let reserved = "select crdv.refuse($1, '$x', '', null)";
        if client.query_one(reserved, &[&kind]).await.is_ok() {
            own.insert(letter);
        }
    }
    assert_eq!(usual, inserted, "apply judges others than users can write");
    assert!(usual.is_disjoint(&own), "{usual:?} {own:?}");
    assert_eq!(&usual | &own, types(&client).await);
}

/// A clock beyond all clocks once made an element that nobody could write again.
#[tokio::test]
async fn an_element_with_the_last_clock_can_be_written() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let worker = store.apply_worker(Site::new(PEER).unwrap()).await;
    operation(('m', "m", "k", Some("v"), &[]))
        .insert(&worker, "crdv.element")
        .await
        .unwrap();
    for number in 1..=3 {
        let write = format!("select mapAdd('m', 'k', '{number}')");
        client.batch_execute(&write).await.unwrap();
        let read = client
            .query_one("select mapAwLwwValue('m', 'k')", &[])
            .await
            .unwrap();
        assert_eq!(read.get::<_, String>(0), number.to_string());
    }
}

#[tokio::test]
async fn what_was_there_before_it_was_judged_is_parked_when_the_store_is_upgraded() {
    let store = Server::shared().store("n").await;
    let mut client = store.connect().await;
    let bad = "insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
          values (0, '$site', '00000000000000aa', 170, 1, 'v', 'a', 'oops', '{}', '{}', 1);
        select mapAdd('m', 'k', 'v'); update crdv.installation set definitions = 'older'";
    client.batch_execute(bad).await.unwrap();
    client
        .batch_execute("select * from crdv.vector")
        .await
        .unwrap();
    starling::store::install(&mut client).await.unwrap();
    assert_eq!(
        (
            count(&client, "crdv.element").await,
            count(&client, "crdv.parked").await
        ),
        (1, 1)
    );
}

/// A member that brings nothing else must not fill the disk.
#[tokio::test]
async fn only_the_newest_thousand_refused_operations_are_kept() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let silent = "set client_min_messages = error";
    client.batch_execute(silent).await.unwrap();
    for numbers in ["1, 600", "601, 1100"] {
        let many = format!(
            "select crdv.park(jsonb_build_object('site', 7, 'seq', i, 'data', repeat('x', 5000)), 'why', 7)
               from generate_series({numbers}) i"
        );
        client.batch_execute(&many).await.unwrap();
    }
    assert_eq!(count(&client, "crdv.parked").await, 1000);
    let newest = "crdv.parked where (operation ->> 'seq')::int > 600";
    assert_eq!(count(&client, newest).await, 500);
    assert_eq!(
        count(
            &client,
            "crdv.parked where length(operation ->> 'data') = 1000"
        )
        .await,
        1000
    );
}
