//! Parameters as drivers send them: by name, and with the types of the application's values.

use tokio_postgres::{Client, types::Type};

use crate::harness::server::Server;

async fn text(client: &Client, query: &str) -> Option<String> {
    let row = client
        .query_one(&format!("select ({query})::text"), &[])
        .await;
    row.unwrap_or_else(|error| panic!("{query}: {error:?}"))
        .get(0)
}

/// As clients write them, and what is stored.
const VALUES: [(&str, &str); 18] = [
    ("5::int2", "5"),
    ("5", "5"),
    ("5::bigint", "5"),
    ("1.50", "1.50"),
    ("0.1::float8", "0.1"),
    ("true", "true"),
    (
        "timestamptz '2020-02-01 12:00+02'",
        "2020-02-01 10:00:00+00",
    ),
    ("date '2020-02-01'", "2020-02-01"),
    ("interval '90 minutes'", "PT1H30M"),
    (
        "uuid '00000000-0000-0000-0000-00000000000A'",
        "00000000-0000-0000-0000-00000000000a",
    ),
    ("jsonb '{\"a\": [1]}'", "{\"a\": [1]}"),
    ("bytea 'ab'", "\\x6162"),
    ("'text'::text", "text"),
    ("'text'::varchar", "text"),
    ("'text'::varchar(4)", "text"),
    ("'text'::char(4)", "text"),
    ("'text'::name", "text"),
    ("'untyped'", "untyped"),
];

/// Whatever the session is set to, what is stored is the same.
#[tokio::test]
async fn values_of_every_type_are_taken() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let settings =
        "set datestyle = 'German, DMY'; set timezone = 'Asia/Tokyo'; set bytea_output = 'escape';
        set extra_float_digits = -10; set intervalstyle = 'postgres_verbose'";
    client.batch_execute(settings).await.unwrap();
    for (value, stored) in VALUES {
        let writes = format!(
            "select registerSet('r', {value}), mapAdd('m', 'k', {value}), setAdd('s', {value}),
                    listClear('l'), listAppend('l', {value});
             select listPrepend('l', {value}), listAdd('l', 1, {value})"
        );
        client
            .batch_execute(&writes)
            .await
            .unwrap_or_else(|error| panic!("{value}: {error:?}"));
        for (read, expected) in [
            ("registerLwwGet('r')".to_owned(), stored.to_owned()),
            ("mapAwLwwValue('m', 'k')".to_owned(), stored.to_owned()),
            (
                format!("listGet('l') = array_fill('{stored}'::varchar, '{{3}}')"),
                "true".to_owned(),
            ),
            (
                format!(
                    "setAwContains('s', {value}) and setRwContains('s', {value}) and setLwwContains('s', {value})"
                ),
                "true".to_owned(),
            ),
            (format!("setAwContains('s', '{stored}')"), "true".to_owned()),
        ] {
            assert_eq!(
                text(&client, &read).await.as_deref(),
                Some(&*expected),
                "{value}: {read}"
            );
        }
        client
            .batch_execute(&format!("select setRmv('s', {value})"))
            .await
            .unwrap();
        assert_eq!(text(&client, "setAwGet('s')").await, None, "{value}");
    }
    client
        .batch_execute("select mapAdd('m', 'k', null::int)")
        .await
        .unwrap();
    assert_eq!(
        text(
            &client,
            "mapAwLwwContains('m', 'k') and mapAwLwwValue('m', 'k') is null"
        )
        .await
        .as_deref(),
        Some("true")
    );
}

/// What a driver with typed parameters prepares, and one that leaves types to the server.
#[tokio::test]
async fn prepared_statements_find_their_function() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let map = "select mapAdd($1, $2, $3)";
    for types in [
        &[Type::TEXT, Type::TEXT, Type::TEXT][..],
        &[Type::VARCHAR, Type::VARCHAR, Type::VARCHAR],
        &[Type::TEXT, Type::VARCHAR, Type::UNKNOWN],
        &[],
    ] {
        let statement = client.prepare_typed(map, types).await.unwrap();
        client
            .execute(&statement, &[&"m", &"k", &"v"])
            .await
            .unwrap_or_else(|error| panic!("{types:?}: {error:?}"));
    }
    let statement = client
        .prepare_typed(map, &[Type::TEXT, Type::TEXT, Type::INT4])
        .await
        .unwrap();
    client
        .execute(&statement, &[&"m", &"k", &7_i32])
        .await
        .unwrap();
    assert_eq!(
        text(&client, "mapAwLwwGet('m')").await.as_deref(),
        Some("{\"(k,7)\"}")
    );
    let count = client
        .prepare_typed("select counterInc($1, $2)", &[Type::TEXT, Type::INT4])
        .await
        .unwrap();
    client.execute(&count, &[&"c", &7_i32]).await.unwrap();
    assert_eq!(text(&client, "counterGet('c')").await.as_deref(), Some("7"));
}

#[tokio::test]
async fn parameters_are_called_what_the_page_calls_them() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let calls =
        "select registerSet(id => 'r', value => 'v'), mapAdd(value => 'v', key => 'k', id => 'm'),
        counterInc(id => 'c', delta => 2), listAdd(id => 'l', index => 0, elem => 'v'),
        mapAdd(id => 'm', key => 'n', value => 5)";
    client.batch_execute(calls).await.unwrap();
    let read = "select mapAwLwwValue(id => 'm', key => 'n') || listGetAt(id => 'l', index => 0)";
    let read: String = client.query_one(read, &[]).await.unwrap().get(0);
    assert_eq!(read, "5v");
}

#[tokio::test]
async fn maps_are_read_as_json() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    client
        .batch_execute(
            "select mapAdd('m', 'a', '1'), mapAdd('m', 'b', null), mapAdd('m', 'gone', 'x')",
        )
        .await
        .unwrap();
    client
        .batch_execute("select mapRmv('m', 'gone')")
        .await
        .unwrap();
    for (function, expected) in [
        ("mapAwLwwJson", r#"{"a": "1", "b": null}"#),
        ("mapLwwJson", r#"{"a": "1", "b": null}"#),
        ("mapAwMvrJson", r#"{"a": ["1"], "b": [null]}"#),
        ("mapRwMvrJson", r#"{"a": ["1"], "b": [null]}"#),
    ] {
        assert_eq!(
            text(&client, &format!("{function}('m')")).await.as_deref(),
            Some(expected)
        );
        assert_eq!(text(&client, &format!("{function}('none')")).await, None);
    }
}

/// Views of users that call a function survive that its parameters got other names.
#[tokio::test]
async fn what_users_built_upon_former_functions_goes_on() {
    let database = Server::shared().database("").await;
    let mut client = database.connect().await;
    let mut schema = starling::store::Schema::current();
    let names = schema
        .migrations
        .iter()
        .position(|migration| migration.name.ends_with("parameter-names"))
        .unwrap();
    let late = schema.migrations.split_off(names);
    let definitions = std::mem::take(&mut schema.definitions);
    schema.install(&mut client).await.unwrap();
    let users = "create function crdv.mapawlwwvalue(id_ varchar, key_ varchar) returns varchar
            language sql as $$ select 'former'::varchar $$;
        create view public.mine as select crdv.mapawlwwvalue('m', 'k') as value";
    client.batch_execute(users).await.unwrap();
    schema.migrations.extend(late);
    schema.definitions = definitions;
    schema.install(&mut client).await.unwrap();
    let read = "select value || (select count(*) from pg_proc where proname = 'mapawlwwvalue') from public.mine";
    let read: String = client.query_one(read, &[]).await.unwrap().get(0);
    assert_eq!(read, "former1");
}
