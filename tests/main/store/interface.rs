//! The whole interface: everything that users may call, once, and the page that lists it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::poll_fn};
use tokio_postgres::{AsyncMessage, Client, NoTls, error::SqlState};

use super::structures::{check, concurrently, text};
use crate::harness::{
    data_plane::Cluster,
    server::{Server, Store},
};

/// Calls on one store, each after those before it, and what they answer.
#[rustfmt::skip]
const CALLS: &[(&str, Option<&str>)] = &[
    ("siteId() > 0", Some("true")),
    ("nSites()", Some("1")),
    ("initialLogicalTime()", Some("{0}")),
    ("currentTimeMillis() - date_part('epoch', clock_timestamp()) * 1000 between -60000 and 60000", Some("true")),
    // Registers.
    ("registerSet('r', 'v')", Some("")),
    ("registerSet('r', 5)", Some("")),
    ("text_of(5)", Some("5")),
    ("registerSet('r', 'v')", Some("")),
    ("registerMvrGet('r')", Some("{v}")),
    ("registerLwwGet('r')", Some("v")),
    ("(select array_agg(r) from registerMvr r)", Some(r#"{"(r,{v})"}"#)),
    ("(select array_agg(r) from registerLww r)", Some(r#"{"(r,v)"}"#)),
    // Sets.
    ("setAdd('s', 'b')", Some("")),
    ("setAdd('s', 'a')", Some("")),
    ("setAdd('s', 'a')", Some("")),
    ("setAdd('s', 'gone')", Some("")),
    ("setRmv('s', 'gone')", Some("")),
    ("setAwGet('s')", Some("{a,b}")),
    ("setRwGet('s')", Some("{a,b}")),
    ("setLwwGet('s')", Some("{a,b}")),
    ("setAwContains('s', 'a') and not setAwContains('s', 'gone')", Some("true")),
    ("setRwContains('s', 'a') and not setRwContains('s', 'gone')", Some("true")),
    ("setLwwContains('s', 'a') and not setLwwContains('s', 'gone')", Some("true")),
    ("(select array_agg(s order by data) from setAw s)", Some(r#"{"(s,a)","(s,b)"}"#)),
    ("(select array_agg(s order by data) from setRw s)", Some(r#"{"(s,a)","(s,b)"}"#)),
    ("(select array_agg(s order by data) from setLww s)", Some(r#"{"(s,a)","(s,b)"}"#)),
    ("(select array_agg(s) from setAwTuple s)", Some(r#"{"(s,\"{a,b}\")"}"#)),
    ("(select array_agg(s) from setRwTuple s)", Some(r#"{"(s,\"{a,b}\")"}"#)),
    ("(select array_agg(s) from setLwwTuple s)", Some(r#"{"(s,\"{a,b}\")"}"#)),
    ("setClear('s')", Some("")),
    ("setAwGet('s')", None),
    // Maps.
    ("mapAdd('m', 'k', 'old')", Some("")),
    ("mapAdd('m', 'k', 'v')", Some("")),
    ("mapAdd('m', 'gone', 'v')", Some("")),
    ("mapRmv('m', 'gone')", Some("")),
    ("mapAwMvrGet('m')", Some(r#"{"(k,{v})"}"#)),
    ("mapAwLwwGet('m')", Some(r#"{"(k,v)"}"#)),
    ("mapRwMvrGet('m')", Some(r#"{"(k,{v})"}"#)),
    ("mapLwwGet('m')", Some(r#"{"(k,v)"}"#)),
    ("mapAwMvrJson('m')", Some(r#"{"k": ["v"]}"#)),
    ("mapAwLwwJson('m')", Some(r#"{"k": "v"}"#)),
    ("mapRwMvrJson('m')", Some(r#"{"k": ["v"]}"#)),
    ("mapLwwJson('m')", Some(r#"{"k": "v"}"#)),
    ("mapAwMvrValue('m', 'k')", Some("{v}")),
    ("mapAwLwwValue('m', 'k')", Some("v")),
    ("mapRwMvrValue('m', 'k')", Some("{v}")),
    ("mapLwwValue('m', 'k')", Some("v")),
    ("mapAwMvrContains('m', 'k') and not mapAwMvrContains('m', 'gone')", Some("true")),
    ("mapAwLwwContains('m', 'k') and not mapAwLwwContains('m', 'gone')", Some("true")),
    ("mapRwMvrContains('m', 'k') and not mapRwMvrContains('m', 'gone')", Some("true")),
    ("mapLwwContains('m', 'k') and not mapLwwContains('m', 'gone')", Some("true")),
    ("(select array_agg((m.data).value) from mapAwMvr m)", Some("{{v}}")),
    ("(select array_agg((m.data).value) from mapAwLww m)", Some("{v}")),
    ("(select array_agg((m.data).value) from mapRwMvr m)", Some("{{v}}")),
    ("(select array_agg((m.data).value) from mapRwLww m)", Some("{v}")),
    ("(select array_agg((m.data).value) from mapLww m)", Some("{v}")),
    ("(select (m.data)[1].key from mapAwMvrTuple m)", Some("k")),
    ("(select (m.data)[1].key from mapAwLwwTuple m)", Some("k")),
    ("(select (m.data)[1].key from mapRwMvrTuple m)", Some("k")),
    ("(select (m.data)[1].key from mapLwwTuple m)", Some("k")),
    ("mapClear('m')", Some("")),
    ("mapAwMvrGet('m')", None),
    // Counters.
    ("counterInc('c', 5)", Some("")),
    ("counterDec('c', 7)", Some("")),
    ("counterGet('c')", Some("-2")),
    ("(select array_agg(c) from counter c)", Some(r#"{"(c,-2)"}"#)),
    // Lists.
    ("listAppend('l', 'c')", Some("")),
    ("listPrepend('l', 'a')", Some("")),
    ("listAdd('l', 1, 'b')", Some("")),
    ("listAdd('l', 99, 'd')", Some("")),
    ("listGet('l')", Some("{a,b,c,d}")),
    ("listGetAt('l', 1)", Some("b")),
    ("listGetFirst('l')", Some("a")),
    ("listGetLast('l')", Some("d")),
    ("(select array_agg(l.data) from list l where l.pos > '')", Some("{a,b,c,d}")),
    ("(select array_agg(l) from listTuple l)", Some(r#"{"(l,\"{a,b,c,d}\")"}"#)),
    ("listRmv('l', 1)", Some("")),
    ("listPopFirst('l')", Some("a")),
    ("listPopLast('l')", Some("d")),
    ("listGet('l')", Some("{c}")),
    ("listClear('l')", Some("")),
    ("listGet('l')", None),
    // Nesting.
    ("nested_query('SetAw')", Some("select l0.id, (select jsonb_agg(to_jsonb(l1.data) order by l1.data) from crdv.setaw l1 where l1.id = l0.id) as data from (select distinct id from crdv.setaw) l0")),
    ("nested_view('x y', 'SetAw') = 'create or replace view \"x y\" as ' || nested_query('SetAw') || ';'", Some("true")),
    ("add_referential_integrity('{m,k}', 's', 'mapAdd')", Some("")),
    ("setAdd('s', 'x')", Some("")),
    ("mapLwwValue('m', 'k')", Some("s")),
    ("rmv_referential_integrity('{m,k}', 's')", Some("")),
    ("has_rules()", Some("true")),
    // Operations and their clocks.
    ("(select data from Data where id = 'r')", Some("v")),
    ("(select op from Data where id = 's' and key = 'x')", Some("a")),
    ("(nextTimestamp('r')).lts > (select lts from Data where id = 'r')", Some("true")),
    ("((nextTimestamp('r')).pts).physical_time - currentTimeMillis() between -60000 and 60000", Some("true")),
    ("next_hlc((9999999999999, 1)::hlc)", Some("(9999999999999,2)")),
    ("(next_hlc((1, 9)::hlc)).logical_time", Some("1")),
    ("vclock_lte('{1,2}', '{1,3}') and not vclock_lte('{1,2,1}', '{1,3}')", Some("true")),
    ("vclock_max('{1,5}', '{3,2}')", Some("{3,5}")),
    ("merge('r', '', 'r', 'merged', siteId(), '{1}', '(1,1)', 'a')", Some("")),
    ("registerLwwGet('r')", Some("merged")),
    // What controllers do.
    ("addRemoteSite(2, 'host', '5432', 'db', 'user', 'secret')", Some("false")),
    ("switch_read_mode('all')", Some("")),
    ("switch_write_mode('async')", Some("")),
    ("switch_list_id_generation('appends')", Some("")),
    ("merge()", Some("")),
    ("replicate()", Some("")),
    ("schedule_merge_daemon(1, 1, 100)", Some("")),
    ("unschedule_merge_daemon()", Some("")),
    ("wait_for_replication()", Some("")),
    ("reset_data()", Some("")),
    ("(select count(*) from Data where op = 'a' and type <> 'c')", Some("0")),
    ("counterGet('c')", Some("0")),
    ("registerMvrGet('r')", None),
    ("registerLwwGet('r')", None),
    ("(select count(*) from registerMvr) + (select count(*) from registerLww)", Some("0")),
    // What the others are made of.
    ("site_hex(255)", Some("00000000000000ff")),
    ("holds('{1,2}', '{5,6}', 2, 6) and not holds('{1,2}', '{5,6}', 1, 6)", Some("true")),
    ("join_context('{7,7}', '{1,2}')", Some("({7},{2})")),
    // Drivers look for types by their plain names.
    ("'mEntry'::regtype || ' ' || 'mEntryMvr'::regtype || ' ' || 'vclock'::regtype || ' ' || 'hlc'::regtype", Some("mentry mentrymvr vclock hlc")),
];

/// What is no user's to call says so in its comment.
const GRANTED: &str = "
    select p.proname::text, p.proname || '(' || pg_get_function_arguments(p.oid) || ')',
           pg_get_function_result(p.oid)
    from pg_proc p
    where p.pronamespace = 'crdv'::regnamespace and has_function_privilege('public', p.oid, 'execute')
      and obj_description(p.oid, 'pg_proc') !~ 'internal$'
    union all
    select c.relname::text, c.relname || '(' || string_agg(
             a.attname || ' ' || format_type(a.atttypid, null), ', ' order by a.attnum) || ')', 'view'
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
    where c.relnamespace = 'crdv'::regnamespace and has_table_privilege('public', c.oid, 'select')
      and c.relkind in ('v', 'r')
    group by c.relname";

/// Signatures, shortened as the page has them, and what each answers.
async fn granted(client: &Client) -> (BTreeSet<String>, BTreeMap<String, String>) {
    let short = |text: String| {
        text.replace("character varying", "varchar")
            .replace("double precision", "float")
            .replace(" DEFAULT true", "")
            .to_lowercase()
    };
    let rows = client.query(GRANTED, &[]).await.unwrap();
    let names = rows.iter().map(|row| row.get(0)).collect();
    let signatures = rows
        .iter()
        .map(|row| (short(row.get(1)), short(row.get(2))))
        .collect();
    (names, signatures)
}

#[tokio::test]
async fn every_function_and_view_answers() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    for (call, expected) in CALLS {
        check(&client, &[(call, *expected)]).await;
    }
    let called: BTreeSet<String> = CALLS
        .iter()
        .flat_map(|(call, _)| call.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .map(str::to_lowercase)
        .collect();
    let (mut names, _) = granted(&client).await;
    // It answers with an error only.
    names.remove("initsite");
    let missing: Vec<_> = names.difference(&called).collect();
    assert!(missing.is_empty(), "never called: {missing:?}");
}

/// The rows of the page's tables of four columns: signature, result, tests.
fn rows_of_the_page(page: &str) -> Vec<(String, String, Vec<String>)> {
    let code = |cell: &str| cell.trim().trim_matches('`').to_lowercase();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [signature, result, _, tests] = cells[..] else {
            return None;
        };
        let tests = tests.split(',').map(code).collect();
        Some((code(signature), code(result), tests))
    };
    let lines = page.lines().filter(|line| line.starts_with("| `"));
    lines.filter_map(row).collect()
}

#[tokio::test]
async fn the_page_lists_what_users_may_call_and_names_tests_that_exist() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/interface.md")).unwrap();
    let rows = rows_of_the_page(&page);
    let listed: BTreeMap<String, String> = rows
        .iter()
        .map(|(signature, result, _)| (signature.clone(), result.clone()))
        .collect();
    assert_eq!(listed.len(), rows.len(), "something is listed twice");
    let (_, granted) = granted(&client).await;
    for signature in granted.keys().chain(listed.keys()) {
        assert_eq!(listed.get(signature), granted.get(signature), "{signature}");
    }
    for (signature, _, tests) in rows {
        for test in tests {
            let (module, name) = test.split_once("::").unwrap_or(("", &test));
            let file = root.join(format!("tests/main/store/{module}.rs"));
            let source = fs::read_to_string(&file).unwrap_or_default();
            let exists = source.contains(&format!("#[tokio::test]\nasync fn {name}("))
                || source.contains(&format!("multi_thread\")]\nasync fn {name}("));
            assert!(exists, "{signature}: there is no test {test}");
        }
    }
}

/// What one session hears while it runs a statement.
async fn notices(store: &Store, statement: &str) -> Vec<String> {
    let (client, mut connection) = store.database.config.connect(NoTls).await.unwrap();
    let listener = tokio::spawn(async move {
        let mut heard = Vec::new();
        let mut messages = poll_fn(move |context| connection.poll_message(context));
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notice(notice) = message.unwrap() {
                heard.push(format!("{}: {}", notice.severity(), notice.message()));
            }
        }
        heard
    });
    client.batch_execute(statement).await.unwrap();
    drop(client);
    listener.await.unwrap()
}

#[tokio::test]
async fn what_has_nothing_to_do_says_so_and_does_nothing() {
    let store = Server::shared().store("n").await;
    for (call, text) in [
        ("merge()", "nothing to merge"),
        ("replicate()", "nothing to start"),
        (
            "schedule_merge_daemon(8, 0.5, 1000)",
            "no daemon was started",
        ),
        ("unschedule_merge_daemon()", "no daemon was stopped"),
        (
            "switch_read_mode('local')",
            "read mode local changes nothing",
        ),
        ("switch_read_mode('all')", "read mode all changes nothing"),
        (
            "switch_write_mode('sync')",
            "write mode sync changes nothing",
        ),
        (
            "switch_write_mode('async')",
            "write mode async changes nothing",
        ),
        (
            "switch_list_id_generation('regular')",
            "list positions regular change nothing",
        ),
        (
            "switch_list_id_generation('prepends')",
            "list positions prepends change nothing",
        ),
        (
            "addRemoteSite(2, 'h', '1', 'd', 'u', 'p', true)",
            "no site was added",
        ),
    ] {
        let heard = notices(&store, &format!("select {call}")).await;
        assert_eq!(heard.len(), 1, "{call}: {heard:?}");
        assert!(heard[0].starts_with("NOTICE: "), "{call}: {heard:?}");
        assert!(heard[0].contains(text), "{call}: {heard:?}");
    }
    let client = store.connect().await;
    check(&client, &[("(select count(*) from element)", Some("0"))]).await;
}

#[tokio::test]
async fn a_store_is_initialised_already_and_says_so() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let error = client
        .batch_execute("select initSite(1)")
        .await
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(*error.code(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(error.message().contains("initialised already"), "{error}");
}

/// The insert that clients of CRDV write, with the clocks of `nextTimestamp`.
fn insert(id: &str, key: &str, kind: &str, data: &str, op: &str) -> String {
    format!(
        "insert into Data (id, key, type, data, site, lts, pts, op)
         select '{id}', {key}, '{kind}', {data}, siteId(), (t).lts, (t).pts, '{op}'
         from nextTimestamp('{id}') t"
    )
}

#[tokio::test]
async fn an_insert_into_data_does_what_the_functions_do() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    client
        .batch_execute("select listAppend('l', 'x'), listAppend('l', 'y')")
        .await
        .unwrap();
    let position = "(select min(pos) from List where id = 'l')";
    let share = "(select coalesce((select data::bigint from Data where id = 'c'), 0) + 5)";
    #[rustfmt::skip]
    let steps = [
        (insert("r", "'ignored'", "r", "'v'", "a"), "registerMvrGet('r')", Some("{v}")),
        (insert("r", "''", "r", "null", "a"), "registerMvrGet('r')", Some("{NULL}")),
        (insert("r", "''", "r", "'ignored'", "r"), "registerMvrGet('r')", None),
        (insert("s", "'m'", "s", "'ignored'", "a"), "setAwGet('s')", Some("{m}")),
        (insert("s", "'m'", "s", "null", "r"), "setAwGet('s')", None),
        (insert("m", "'k'", "m", "'v'", "a"), "mapLwwGet('m')", Some(r#"{"(k,v)"}"#)),
        (insert("m", "'k'", "m", "null", "r"), "mapLwwGet('m')", None),
        (insert("l", position, "l", "'X'", "a"), "listGet('l')", Some("{X,y}")),
        (insert("l", position, "l", "null", "r"), "listGet('l')", Some("{y}")),
        // The share in all, which is what their `counterInc` inserts.
        (insert("c", "siteId()", "c", share, "a"), "counterGet('c')", Some("5")),
        (insert("c", "siteId()", "c", share, "a"), "counterGet('c')", Some("10")),
        (insert("c", "''", "c", "-9223372036854775808", "a"), "counterGet('c')", Some("-9223372036854775808")),
        (insert("c", "null", "c", "9223372036854775807", "a"), "counterGet('c')", Some("9223372036854775807")),
        (insert("c", "null", "c", "null", "r"), "counterGet('c')", Some("0")),
    ];
    for (statement, read, expected) in &steps {
        assert_eq!(
            client.execute(statement, &[]).await.unwrap(),
            1,
            "{statement}"
        );
        check(&client, &[(read, *expected)]).await;
    }
}

#[tokio::test]
async fn an_operation_is_the_same_whichever_way_it_was_written() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let both = "select setAdd('one', 'm'), mapAdd('one', 'k', 'v'), registerSet('one', 'v');
        insert into Data (id, key, type, data, op) values
          ('two', 'm', 's', 'x', 'a'), ('two', 'k', 'm', 'v', 'a'), ('two', 'x', 'r', 'v', 'a')";
    client.batch_execute(both).await.unwrap();
    let content = |id: &str| {
        format!(
            "(select array_agg((key, type, data, site, op, ctx_sites, ctx_seqs) order by type)
              from element where id = '{id}')"
        )
    };
    assert_eq!(
        text(&client, &content("one")).await,
        text(&client, &content("two")).await
    );
}

#[tokio::test]
async fn the_vectors_in_data_tell_which_operation_came_before() {
    let (clients, stores) = concurrently(
        "select mapAdd('m', 'k', 'first'), registerSet('r', 'x')",
        "select mapAdd('m', 'k', 'low')",
        "select mapAdd('m', 'k', 'high')",
    )
    .await;
    for client in &clients {
        let of = |site: &Store| {
            format!(
                "(select lts from Data where id = 'm' and site = {})",
                site.site
            )
        };
        let (low, high) = (of(&stores[0]), of(&stores[1]));
        let first = "(select lts from Data where id = 'r')";
        let reads = [
            (
                format!("vclock_lte({low}, {high}) or vclock_lte({high}, {low})"),
                "false",
            ),
            // The first operation of the low site, whose second one the register is.
            (
                format!("({high})[1] = ({first})[1] - 1 and ({first})[2] = 0"),
                "true",
            ),
            ("nSites()".to_owned(), "2"),
            (
                "array_length((nextTimestamp('m')).lts::bigint[], 1)".to_owned(),
                "2",
            ),
            (
                format!("vclock_lte(vclock_max({low}, {high}), (nextTimestamp('m')).lts)"),
                "true",
            ),
        ];
        for (read, expected) in &reads {
            check(client, &[(read, Some(*expected))]).await;
        }
    }
}

#[tokio::test]
async fn a_reset_empties_every_store_and_spares_what_is_written_meanwhile() {
    let (clients, _stores) = concurrently(
        "select registerSet('r', 'old'), setAdd('s', 'old'), mapAdd('m', 'old', ''),
            listAppend('l', 'old'), counterInc('c', 1), registerSet('kept', 'old')",
        "select reset_data()",
        "select registerSet('kept', 'new'), setAdd('s', 'new'), counterInc('c', 10)",
    )
    .await;
    for client in &clients {
        let reads = [
            ("registerLwwGet('r')", None),
            ("registerMvrGet('r')", None),
            (
                "(select count(*) from registerMvr) + (select count(*) from registerLww)",
                Some("2"),
            ),
            ("registerMvrGet('kept')", Some("{new}")),
            ("setAwGet('s')", Some("{new}")),
            ("mapAwMvrGet('m')", None),
            ("listGet('l')", None),
            // The share of the store that was reset, and no other.
            ("counterGet('c')", Some("10")),
        ];
        check(client, &reads).await;
    }
    clients[0]
        .batch_execute("select registerSet('r', 'again')")
        .await
        .unwrap();
    check(&clients[0], &[("registerMvrGet('r')", Some("{again}"))]).await;
}

/// As upstream's benchmark does it.
#[tokio::test]
async fn a_reset_of_all_stores_at_once_leaves_every_counter_at_zero() {
    let (clients, _stores) = concurrently(
        "select counterInc('c', 9223372036854775807), counterDec('d', 3)",
        "select counterDec('d', 9223372036854775805), reset_data()",
        "select counterInc('c', 7), counterInc('d', 8), reset_data()",
    )
    .await;
    for client in &clients {
        check(
            client,
            &[
                ("counterGet('c')", Some("0")),
                ("counterGet('d')", Some("0")),
            ],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_replication_ends_when_the_subscribers_have_everything() {
    let cluster = Cluster::start(2).await;
    cluster.link(0, 1);
    cluster.await_linked(0, 1).await;
    let [a, b] = &cluster.nodes[..] else {
        unreachable!()
    };
    let wait = "select crdv.wait_for_replication()";
    a.run("select crdv.counterinc('c', 1) from generate_series(1, 2000)")
        .await;
    a.run(wait).await;
    assert_eq!(b.text("select crdv.counterget('c')").await, "2000");

    // The subscriber's worker waits for this lock, and so must whoever waits for the worker.
    let mut client = b.client().await;
    let block = client.transaction().await.unwrap();
    block
        .batch_execute("lock table crdv.element in share row exclusive mode")
        .await
        .unwrap();
    a.run("select crdv.counterinc('c', 1)").await;
    let impatient = a.client().await;
    let error = impatient
        .batch_execute("set statement_timeout = '3s'; select crdv.wait_for_replication()")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}");
    // It held up nobody: writers write, and checkpoints are made.
    a.run("select crdv.counterinc('c', 1)").await;
    block.rollback().await.unwrap();
    let since = Instant::now();
    a.run(wait).await;
    assert_eq!(b.text("select crdv.counterget('c')").await, "2002");
    println!("waited {:?} once the way was free", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(30));
    // What comes in counts as well.
    b.run("select crdv.counterinc('c', 1)").await;
    a.run(wait).await;
    assert_eq!(a.text("select crdv.counterget('c')").await, "2003");
    cluster.stop().await;
}
