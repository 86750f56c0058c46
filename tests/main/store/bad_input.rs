//! What users get wrong, and what they may not do.

use tokio_postgres::{Client, error::SqlState};

use crate::harness::server::Server;

async fn refusal(client: &Client, statement: &str) -> (SqlState, String) {
    let error = client.batch_execute(statement).await.expect_err(statement);
    let error = error.as_db_error().unwrap();
    (error.code().clone(), error.message().to_owned())
}

const NULL: SqlState = SqlState::NULL_VALUE_NOT_ALLOWED;
const PARAMETER: SqlState = SqlState::INVALID_PARAMETER_VALUE;
const RANGE: SqlState = SqlState::NUMERIC_VALUE_OUT_OF_RANGE;
const RESERVED: SqlState = SqlState::RESERVED_NAME;
const TOO_LONG: SqlState = SqlState::PROGRAM_LIMIT_EXCEEDED;

/// Calls, their SQLSTATE and a part of their message.
const BAD: [(&str, SqlState, &str); 28] = [
    ("registerSet(null, 'v')", NULL, "must not be null"),
    ("setAdd(null, 'm')", NULL, "must not be null"),
    ("setAdd('s', null)", NULL, "must not be null"),
    ("setRmv('s', null)", NULL, "must not be null"),
    ("mapAdd('m', null, 'v')", NULL, "must not be null"),
    ("mapRmv(null, 'k')", NULL, "must not be null"),
    ("counterInc(null, 1)", NULL, "must not be null"),
    ("counterInc('c', null)", NULL, "by null"),
    ("counterDec('c', null)", NULL, "by null"),
    ("listAppend(null, 'v')", NULL, "must not be null"),
    ("listAdd('l', null, 'v')", PARAMETER, "index"),
    ("listAdd('l', -1, 'v')", PARAMETER, "index"),
    (
        "switch_read_mode('mine')",
        PARAMETER,
        "no such read mode: mine",
    ),
    (
        "switch_read_mode(null)",
        PARAMETER,
        "no such read mode: null",
    ),
    (
        "switch_write_mode('local')",
        PARAMETER,
        "no such write mode: local",
    ),
    ("switch_list_id_generation('')", PARAMETER, "no such way"),
    (
        "nested_query('Data')",
        PARAMETER,
        "not a view that can be nested: Data",
    ),
    ("listAppend(repeat('l', 1901), 'v')", TOO_LONG, "2001 bytes"),
    ("registerSet('$site', 'v')", RESERVED, "reserved: $site"),
    ("setAdd('$', 'm')", RESERVED, "reserved"),
    ("counterInc('$catchup', 1)", RESERVED, "reserved"),
    ("listPrepend('$l', 'v')", RESERVED, "reserved"),
    (
        "setAdd('s', repeat('m', 2000))",
        TOO_LONG,
        "2001 bytes together, at most 2000",
    ),
    ("mapAdd(repeat('ö', 1001), '', 'v')", TOO_LONG, "2002 bytes"),
    ("counterInc(repeat('c', 2000), 1)", TOO_LONG, "at most 2000"),
    (
        "registerSet('r', repeat('v', 268435457))",
        TOO_LONG,
        "268435457 bytes",
    ),
    (
        "counterInc('c', 9223372036854775807), counterInc('c', 1)",
        RANGE,
        "counter c would overflow",
    ),
    (
        "counterDec('c', 9223372036854775807), counterDec('c', 2)",
        RANGE,
        "counter c would overflow",
    ),
];

#[tokio::test]
async fn bad_arguments_get_a_clear_error_and_leave_nothing() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    for (call, state, text) in BAD {
        let (code, message) = refusal(&client, &format!("select {call}")).await;
        assert_eq!(
            (code, message.contains(text)),
            (state.clone(), true),
            "{call}: {message}"
        );
    }
    let left: i64 = client
        .query_one("select count(*) from crdv.element", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
}

/// What is inserted into `Data` (id, key, type, data, site, op), SQLSTATEs and a part of the messages.
const BAD_DATA: [(&str, SqlState, &str); 16] = [
    (
        "'r', '', 'r', 'v', 1, 'a'",
        PARAMETER,
        "operations of site 1 come by replication",
    ),
    (
        "'r', '', 'x', 'v', null, 'a'",
        PARAMETER,
        "no such type: 'x'",
    ),
    (
        "'r', '', null, 'v', null, 'a'",
        PARAMETER,
        "no such type: null",
    ),
    (
        "'v', '', 'v', '1', null, 'a'",
        PARAMETER,
        "no such type: 'v'",
    ),
    (
        "'r', '', 'r', 'v', null, 'u'",
        PARAMETER,
        "no such operation: 'u'",
    ),
    (
        "'r', '', 'r', 'v', null, null",
        PARAMETER,
        "no such operation: null",
    ),
    ("'$r', '', 'r', 'v', null, 'a'", RESERVED, "reserved: $r"),
    ("'$c', '', 'c', '1', null, 'a'", RESERVED, "reserved: $c"),
    ("null, '', 'r', 'v', null, 'a'", NULL, "must not be null"),
    ("'s', null, 's', null, null, 'a'", NULL, "must not be null"),
    (
        "'m', repeat('k', 2000), 'm', null, null, 'a'",
        TOO_LONG,
        "2001 bytes",
    ),
    (
        "'l', '3', 'l', 'v', null, 'a'",
        PARAMETER,
        "not a list position: 3",
    ),
    (
        "'l', 'h1.0000000000000001g1', 'l', 'v', null, 'a'",
        SqlState::INVALID_PARAMETER_VALUE,
        "not a list position",
    ),
    (
        "'c', '1', 'c', '1', null, 'a'",
        PARAMETER,
        "a site counts for itself only",
    ),
    ("'c', '', 'c', null, null, 'a'", NULL, "must not be null"),
    (
        "'c', '', 'c', 'many', null, 'a'",
        SqlState::INVALID_TEXT_REPRESENTATION,
        "many",
    ),
];

#[tokio::test]
async fn bad_inserts_into_data_get_a_clear_error_and_leave_nothing() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    for (values, state, text) in BAD_DATA {
        let columns = "id, key, type, data, site, op";
        let insert = format!("insert into Data ({columns}) values ({values})");
        let (code, message) = refusal(&client, &insert).await;
        assert_eq!(
            (code, message.contains(text)),
            (state.clone(), true),
            "{values}: {message}"
        );
    }
    for change in [
        "update Data set data = 'x'",
        "delete from Data where id = 'none'",
    ] {
        let (code, message) = refusal(&client, change).await;
        assert_eq!(code, SqlState::FEATURE_NOT_SUPPORTED, "{change}: {message}");
    }
    let merge = "select merge('r', '', 'r', 'v', 1, null, null, 'a')";
    assert_eq!(refusal(&client, merge).await.0, PARAMETER);
    let left: i64 = client
        .query_one("select count(*) from crdv.element", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn the_extremes_that_are_allowed_work() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let exchange = "select setAdd('s', repeat('ö', 999) || 'x'), counterInc('up', 9223372036854775807),
        counterDec('down', 9223372036854775807), counterDec('down', 1), registerSet('', ''),
        mapAdd('', '', null), listAppend('', E'\\u2028 \\U0001F426 \\n'), registerSet('null', null)";
    client.batch_execute(exchange).await.unwrap();
    let row = client
        .query_one(
            "select char_length((setAwGet('s'))[1]), counterGet('up'), counterGet('down'),
                registerLwwGet(''), mapAwMvrValue('', ''), mapLwwContains('', ''),
                listGetAt('', 0), registerMvrGet('null'), registerMvrGet('none')",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 1000);
    assert_eq!(
        (row.get::<_, i64>(1), row.get::<_, i64>(2)),
        (i64::MAX, i64::MIN)
    );
    assert_eq!(row.get::<_, Option<&str>>(3), Some(""));
    assert_eq!(row.get::<_, Vec<Option<&str>>>(4), [None]);
    assert!(row.get::<_, bool>(5));
    assert_eq!(row.get::<_, &str>(6), "\u{2028} \u{1F426} \n");
    assert_eq!(row.get::<_, Vec<Option<&str>>>(7), [None]);
    assert_eq!(row.get::<_, Option<Vec<Option<&str>>>>(8), None);
}

#[tokio::test]
async fn a_role_with_usage_of_the_schema_has_the_interface_and_nothing_else() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let role = format!("app_of_{}", store.database.name);
    let setup = format!("create role {role}; set role {role}");
    client.batch_execute(&setup).await.unwrap();
    let (code, _) = refusal(&client, "select crdv.counterInc('c', 1)").await;
    assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE);

    let grant = format!("reset role; grant usage on schema crdv to {role}; set role {role}");
    client.batch_execute(&grant).await.unwrap();
    let interface = "select registerSet('r', 'v'), setAdd('s', 'm'), mapAdd('m', 'k', 'v'),
        counterInc('c', 1), counterDec('c', 1), listAppend('l', 'v'), listPopFirst('l'), setClear('s');
        select registerLwwGet('r'), setAwGet('s'), mapLwwGet('m'), counterGet('c'), listGet('l');
        select from registerMvr, registerLww, setAw, setRw, setLww, setAwTuple, setRwTuple, setLwwTuple,
          mapAwMvr, mapAwLww, mapRwMvr, mapRwLww, mapLww, mapAwMvrTuple, mapAwLwwTuple, mapRwMvrTuple,
          mapLwwTuple, counter, list, listTuple, Data;
        insert into Data (id, type, data, op) values ('r', 'r', 'w', 'a');
        select nextTimestamp('r'), nSites(), initialLogicalTime(), nested_query('SetAw'), merge(),
          wait_for_replication(), reset_data()";
    client.batch_execute(interface).await.unwrap();
    for statement in [
        "select * from crdv.element",
        "delete from crdv.element",
        "insert into crdv.self (site, node, incarnation, cluster) values (1, 'n', 1, 'c')",
        "select nextval('crdv.seq')",
        "select crdv.write('v', '$site', 'k', 'a', '1')",
        "select crdv.become(1, 'n', 1, 'c')",
        "select crdv.missing('{}', '{}')",
        "select crdv.begin_catch_up()",
        "select crdv.apply_catch_up(1)",
        "select crdv.checkpoint_begin()",
        "select crdv.checkpoint_finish(1, 1)",
        "select crdv.drop_covered()",
        "select * from crdv.early_cover",
        "select * from crdv.vector",
        "select crdv.via()",
        "select crdv.list_insert('l', null, null, 'v')",
        "select crdv.incoming()",
        "select * from crdv.known_site",
    ] {
        let (code, message) = refusal(&client, statement).await;
        assert_eq!(
            code,
            SqlState::INSUFFICIENT_PRIVILEGE,
            "{statement}: {message}"
        );
    }
    client
        .batch_execute(&format!(
            "reset role; drop owned by {role}; drop role {role}"
        ))
        .await
        .unwrap();
}
