//! What a server may be set to without harm to the links of its store, and what is refused with a reason.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use starling::{
    postgres::{
        self, Error,
        doctor::{Requirements, require_fit},
    },
    replication::Departure,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::harness::{
    data_plane::{Cluster, Node, until},
    process,
};

/// A setting, and a value under which sessions, senders and apply workers have to do as always. What a
/// version does not know is left out.
pub(crate) const HOSTILE: &[(&str, &str)] = &[
    // Limits that would end what we do.
    ("statement_timeout", "1ms"),
    ("lock_timeout", "1ms"),
    ("idle_in_transaction_session_timeout", "1ms"),
    ("idle_session_timeout", "1ms"),
    ("transaction_timeout", "2s"),
    ("wal_sender_timeout", "100ms"),
    ("tcp_user_timeout", "1s"),
    ("deadlock_timeout", "1ms"),
    ("exit_on_error", "on"),
    ("work_mem", "64kB"),
    ("logical_decoding_work_mem", "64kB"),
    // What transactions are.
    ("default_transaction_deferrable", "on"),
    ("synchronous_commit", "off"),
    ("session_replication_role", "replica"),
    ("row_security", "off"),
    ("createrole_self_grant", "set, inherit"),
    ("event_triggers", "off"),
    ("track_activities", "off"),
    ("stats_fetch_consistency", "snapshot"),
    ("restrict_nonsystem_relation_kind", "view, foreign-table"),
    // What names and literals mean.
    ("search_path", "hostile, pg_catalog, crdv"),
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "off"),
    ("array_nulls", "off"),
    ("transform_null_equals", "on"),
    ("quote_all_identifiers", "on"),
    ("plpgsql.variable_conflict", "use_variable"),
    ("plpgsql.extra_errors", "all"),
    ("check_function_bodies", "off"),
    ("default_tablespace", "nowhere"),
    ("temp_tablespaces", "nowhere"),
    ("xmloption", "document"),
    ("default_text_search_config", "simple"),
    // What values look like.
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("datestyle", "SQL, DMY"),
    ("intervalstyle", "sql_standard"),
    ("timezone", "Asia/Kathmandu"),
    ("client_encoding", "LATIN1"),
    ("client_min_messages", "error"),
    // Which way a query takes.
    ("jit", "on"),
    ("jit_above_cost", "0"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_indexscan", "off"),
    ("enable_indexonlyscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_sort", "off"),
    ("geqo_threshold", "2"),
    ("from_collapse_limit", "1"),
    ("parallel_setup_cost", "0"),
    ("parallel_tuple_cost", "0"),
    ("min_parallel_table_scan_size", "0"),
    ("force_parallel_mode", "on"),
    ("debug_parallel_query", "on"),
    ("logical_replication_mode", "immediate"),
    ("debug_logical_replication_streaming", "immediate"),
];

/// Nobody's function may stand in for one of the server's.
const SCHEMA: &str = "
    create schema hostile;
    create function hostile.current_database() returns name language sql as 'select null::name';
    create function hostile.pg_backend_pid() returns int language sql as 'select -1';
    create function hostile.coalesce_site(bigint) returns bigint language sql as 'select 0::bigint';
    create function hostile.ne(bigint, bigint) returns boolean language sql as 'select false';
    create operator hostile.<> (leftarg = bigint, rightarg = bigint, function = hostile.ne);
    grant usage on schema hostile to public;";

/// Where a setting may come from.
const PLACES: [&str; 3] = [
    "alter database starling",
    "alter role starling",
    "alter system",
];

/// Every thing goes its way with all of them at once, from each place. When that fails, each is tried alone,
/// to be named.
#[tokio::test(flavor = "multi_thread")]
async fn no_setting_keeps_a_link_from_its_work() {
    let mut pair = Pair::start().await;
    for place in PLACES {
        if pair.works_under(place, HOSTILE).await.is_ok() {
            continue;
        }
        let mut guilty = Vec::new();
        for row in HOSTILE {
            if let Err(what) = pair.works_under(place, &[*row]).await {
                println!("{place}: {row:?}: {what}");
                guilty.push(format!("{row:?}: {what}"));
            }
        }
        panic!("under {place}: {guilty:#?}");
    }
    pair.cluster.stop().await;
}

/// Two stores with a link each way.
struct Pair {
    cluster: Cluster,
    round: u32,
}

impl Pair {
    async fn start() -> Self {
        let cluster = Cluster::start(2).await;
        for node in &cluster.nodes {
            node.run(SCHEMA).await;
        }
        cluster.link(0, 1);
        cluster.await_linked(0, 1).await;
        Self { cluster, round: 0 }
    }

    /// Restarts both servers under `settings`; then what is written at either arrives at the other, over
    /// the links that there are and over new ones.
    async fn works_under(&mut self, place: &str, settings: &[(&str, &str)]) -> Result<(), String> {
        for node in &self.cluster.nodes {
            let client = postgres::open(&node.server.connection()).await.unwrap();
            client.batch_execute("load 'plpgsql'").await.unwrap();
            for (name, value) in settings {
                let known = client
                    .query_opt("select from pg_settings where name = $1", &[name])
                    .await
                    .unwrap();
                // The server as a whole takes only tablespaces that exist.
                let is_taken = place != "alter system" || !name.contains("tablespace");
                if known.is_some() && is_taken {
                    let value = list(name, value);
                    let set = format!("{place} set {name} = {value}");
                    client.batch_execute(&set).await.expect(&set);
                }
            }
        }
        self.restart().await;
        let worked = match self.crosses().await {
            Ok(()) => {
                self.renew_links().await;
                self.crosses()
                    .await
                    .map_err(|why| format!("new link: {why}"))
            }
            Err(why) => Err(format!("old link: {why}")),
        };
        for node in &self.cluster.nodes {
            let client = postgres::open(&node.server.connection()).await.unwrap();
            client
                .batch_execute(&format!("{place} reset all"))
                .await
                .unwrap();
        }
        worked
    }

    async fn restart(&self) {
        for node in &self.cluster.nodes {
            node.server.restart().await.unwrap();
            node.reopen().await;
        }
    }

    async fn renew_links(&self) {
        self.cluster.unlink(0, 1, Departure::Deliberate);
        for node in &self.cluster.nodes {
            until("old links are gone", || async {
                (ask(node, "select count(*) from pg_subscription").await? == 0
                    && ask(node, "select count(*) from pg_replication_slots").await? == 0)
                    .then_some(())
            })
            .await;
        }
        self.cluster.link(0, 1);
    }

    async fn crosses(&mut self) -> Result<(), String> {
        self.round += 1;
        let id = format!("round {}", self.round);
        for node in &self.cluster.nodes {
            let client = postgres::open(&node.server.connection()).await.unwrap();
            let write = format!("select crdv.counterinc('{id}', 1)");
            client
                .batch_execute(&write)
                .await
                .map_err(|error| error.to_string())?;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        let both = format!("select crdv.counterget('{id}')::bigint");
        for node in &self.cluster.nodes {
            while ask(node, &both).await != Some(2) {
                if Instant::now() > deadline {
                    return Err(format!("{} has not both writes", node.name));
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}

/// As the right side of `set`: lists are lists of words.
pub(crate) fn list(name: &str, value: &str) -> String {
    match name {
        "search_path" => value.to_owned(),
        _ => format!("'{value}'"),
    }
}

async fn ask(node: &Node, sql: &str) -> Option<i64> {
    let client = postgres::open(&node.server.connection()).await.ok()?;
    client.query_one(sql, &[]).await.ok()?.get(0)
}

/// What an apply worker begins with cannot be changed from within: it takes nothing, says why, and goes on
/// once the hint was followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_never_applied_at_another_isolation_level() {
    let mut pair = Pair::start().await;
    let node = &pair.cluster.nodes[1];
    let serializable = "alter database starling set default_transaction_isolation = 'serializable'";
    node.run(serializable).await;
    node.server.restart().await.unwrap();
    node.reopen().await;
    let writer = postgres::open(&pair.cluster.nodes[0].server.connection())
        .await
        .unwrap();
    writer
        .batch_execute("select crdv.counterinc('x', 1)")
        .await
        .unwrap();
    let node = &pair.cluster.nodes[1];
    until("the log says why", || async {
        let log = node.log();
        (log.contains("links are applied at READ COMMITTED, not at SERIALIZABLE")).then_some(())
    })
    .await;
    assert_ne!(
        ask(node, "select crdv.counterget('x')::bigint").await,
        Some(1)
    );
    let error = require_fit(&node.server.connection(), Requirements::default())
        .await
        .unwrap_err();
    let Error::Unfit { findings, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(findings.len(), 1, "{findings:?}");
    node.run(findings[0].sql().unwrap()).await;
    pair.crosses().await.unwrap();
    pair.cluster.stop().await;
}

/// What keeps a node from starting is named, and gone when it is mended as it was said.
#[tokio::test]
async fn what_forbids_a_start_is_fixed_by_its_own_command() {
    let dir = tempfile::tempdir().unwrap();
    let server = super::postgres::start(dir.path()).await;
    let (connection, wanted) = (server.connection(), Requirements::default());
    let client = postgres::open(&connection).await.unwrap();
    let found = async || match require_fit(&connection, wanted).await {
        Ok(_) => Vec::new(),
        Err(Error::Unfit { findings, .. }) => findings,
        Err(error) => panic!("{error}"),
    };
    for (wrong, code) in [
        (
            "create role other; alter role starling set role = 'other'",
            "SP025",
        ),
        (
            "alter database starling set default_transaction_isolation = 'serializable'",
            "SP024",
        ),
    ] {
        client.batch_execute(wrong).await.unwrap();
        let findings = found().await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].code, code);
        let fix = findings[0].sql().unwrap();
        client.batch_execute(fix).await.unwrap();
        assert_eq!(found().await, [], "after {fix}");
    }
    server.stop().await.unwrap();
}

/// Refused with code, reason and cure, and nothing is changed; once the cure was applied it starts, and tells
/// what is merely not good.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_on_a_fit_server_only_and_tells_what_is_not_good() {
    let dir = tempfile::tempdir().unwrap();
    let server = super::postgres::start(&dir.path().join("server")).await;
    let conf = dir.path().join("server/postgres/data/local.conf");
    fs::write(&conf, "wal_level = replica\n").unwrap();
    server.restart().await.unwrap();
    let url = server.url();
    let data = dir.path().join("node");
    let log = dir.path().join("refused.log");
    let attach = ["--postgres", url.as_str()];
    let mut child = process::up(&data, &attach)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + process::PATIENCE;
    let ended = loop {
        match child.try_wait().unwrap() {
            None if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            ended => break ended,
        }
    };
    let _ = child.kill();
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.and_then(|status| status.code()), Some(2), "{said}");
    for words in [
        "SP002",
        "wal_level is replica",
        "alter system set wal_level = 'logical'",
    ] {
        assert!(said.contains(words), "{words} is missing in\n{said}");
    }
    let client = super::postgres::client(&server).await;
    let installed = "select count(*)::text from pg_namespace where nspname = 'crdv'";
    assert_eq!(super::postgres::text(&client, installed).await, "0");

    fs::write(&conf, "wal_writer_delay = 200ms\n").unwrap();
    server.restart().await.unwrap();
    let mut node = process::Node::start(&data, &attach);
    let found = node.status().unwrap().findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&*found[0].code, &*found[0].severity), ("SP010", "warning"));
    let (code, table, _) = node.run(&["status"]);
    assert_eq!(code, 1, "{table}");
    assert!(table.contains("wal_writer_delay is 200 ms"), "{table}");
    assert!(node.log().contains("wal_writer_delay"), "{}", node.log());
    let (_, script, _) = node.run(&["doctor", "--sql"]);
    assert!(
        script.contains("\nalter system set wal_writer_delay = '1ms'; select pg_reload_conf();"),
        "{script}"
    );
    assert!(
        script
            .lines()
            .all(|line| line.starts_with("-- ") || line.contains(';')),
        "{script}"
    );
    node.terminate();
    server.stop().await.unwrap();
}

/// A private server that was told to be read-only serves through a restart; its owner is heard again once it
/// is off.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_while_its_server_is_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = process::Node::start(&dir.path().join("n"), &[]);
    let client = node.client().await;
    client
        .batch_execute("alter system set default_transaction_read_only = on")
        .await
        .unwrap();
    // Nor is it held up by limits that end whatever else is asked.
    let limit = "begin read write; alter database starling set statement_timeout = 1; commit";
    client.batch_execute(limit).await.unwrap();
    node.terminate();
    node.resume();
    let url: postgres::Conninfo = node.runtime().store_url.parse().unwrap();
    let unlimited = postgres::open(&url);
    let reset = "begin read write; alter database starling reset statement_timeout; commit";
    unlimited.await.unwrap().batch_execute(reset).await.unwrap();
    let client = node.client().await;
    let write = "select crdv.counterinc('x', 1)";
    let refused = client.batch_execute(write).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "25006", "{refused}");
    let found = node.status().unwrap().findings;
    assert!(
        found.iter().any(|finding| finding.code == "SP022"),
        "{found:?}"
    );
    client
        .batch_execute("set default_transaction_read_only = off")
        .await
        .unwrap();
    client
        .batch_execute("alter system reset default_transaction_read_only")
        .await
        .unwrap();
    client
        .batch_execute("select pg_reload_conf()")
        .await
        .unwrap();
    process::eventually("clients write again", async || {
        let client = node.client().await;
        client.batch_execute(write).await.is_ok()
    })
    .await;
    node.terminate();
}

/// A pooler that ignores what a session is to start with hands out sessions of somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_is_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = super::postgres::start(dir.path()).await;
    let client = super::postgres::client(&server).await;
    client
        .batch_execute("create role app login superuser password 'right'")
        .await
        .unwrap();
    let direct =
        |port: u16| format!("postgresql://app:right@127.0.0.1:{port}/starling?sslmode=disable");
    // Through a port that is forwarded it is the server all the same.
    let forwarded = relay(server.address(), false).await;
    postgres::attach(&direct(forwarded)).await.unwrap();
    let pooled = relay(server.address(), true).await;
    let error = postgres::attach(&direct(pooled)).await.unwrap_err();
    assert!(matches!(error, Error::Pooler { .. }), "{error}");
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_starling"))
            .args(["doctor", &direct(pooled), "-o", "json"])
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings[0]["code"], "SP000");
    assert!(
        findings[0]["detail"].as_str().unwrap().contains("pooler"),
        "{findings}"
    );
    server.stop().await.unwrap();
}

/// Carries connections to a server; `forgetful` leaves `options` out of the start-up packet, as poolers do
/// that are told to ignore them.
async fn relay(server: SocketAddr, forgetful: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                if forgetful {
                    let length = client.read_u32().await.unwrap();
                    let mut packet = vec![0; usize::try_from(length).unwrap() - 4];
                    client.read_exact(&mut packet).await.unwrap();
                    let packet = without_options(&packet);
                    let length = u32::try_from(packet.len()).unwrap() + 4;
                    server.write_u32(length).await.unwrap();
                    server.write_all(&packet).await.unwrap();
                }
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

/// A start-up packet is the protocol's version, and then names and values, each ended by a zero.
fn without_options(packet: &[u8]) -> Vec<u8> {
    let (version, rest) = packet.split_at(4);
    let words: Vec<&[u8]> = rest.split(|byte| *byte == 0).collect();
    let mut kept = version.to_vec();
    for pair in words.chunks(2) {
        if let [name, value] = pair
            && *name != b"options"
            && !name.is_empty()
        {
            kept.extend([*name, b"\0", *value, b"\0"].concat());
        }
    }
    kept.push(0);
    kept
}
