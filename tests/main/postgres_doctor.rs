//! Attaching to servers, and the doctor's findings on real ones.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, io::Write, net::TcpListener};

use starling::{
    finding::{self, Finding, Severity},
    postgres::{
        Conninfo, Error, PrivateServer, attach,
        doctor::{self, Requirements},
    },
};

use super::postgres::{client, data, start};

/// PostgreSQL's own defaults for all that a private server sets otherwise.
const DEFAULTS: &str = "
    wal_level = replica
    max_replication_slots = 10
    max_wal_senders = 10
    max_logical_replication_workers = 4
    max_worker_processes = 8
    max_slot_wal_keep_size = -1
    wal_writer_delay = 200ms
    wal_receiver_timeout = 60s
    wal_retrieve_retry_interval = 5s
    listen_addresses = localhost
";

/// Choices that nobody should have made.
const MISTAKES: &str = "
    wal_receiver_timeout = 15s
    fsync = off
    full_page_writes = off
    synchronous_commit = off
    password_encryption = md5
    autovacuum = off
    default_transaction_read_only = on
";

async fn examine(server: &PrivateServer) -> Vec<Finding> {
    doctor::examine(&client(server).await, Requirements::default()).await
}

fn bad(findings: &[Finding]) -> Vec<(&str, Severity)> {
    findings
        .iter()
        .filter(|finding| finding.severity != Severity::Ok)
        .map(|finding| (finding.code.as_ref(), finding.severity))
        .collect()
}

#[tokio::test]
async fn a_private_server_is_healthy() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let session = client(&server).await;
    let here = Requirements {
        remote_peers: false,
        ..Requirements::default()
    };
    let findings = doctor::examine(&session, here).await;
    assert_eq!(bad(&findings), []);
    assert_eq!(bad(&examine(&server).await), [("SP018", Severity::Warning)]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn origins_of_others_are_counted_and_those_of_links_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let session = client(&server).await;
    for name in ["other", "starling_0000000000000001_0000000000000001"] {
        let statement = format!(
            "create subscription {name} connection 'host=127.0.0.1' publication p \
             with (connect = false, slot_name = none)"
        );
        session.batch_execute(&statement).await.unwrap();
    }
    session
        .batch_execute("select pg_replication_origin_create('tool')")
        .await
        .unwrap();
    let code = match server.version().major {
        18.. => "SP007",
        _ => "SP003",
    };
    let findings = examine(&server).await;
    let found = findings.iter().find(|finding| finding.code == code);
    let fix = found.unwrap().fix.as_deref().unwrap();
    assert!(fix.contains("'42'"), "{fix}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn every_default_that_does_not_do_is_found_and_its_command_fixes_it() {
    use Severity::{Critical, Warning};
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    fs::write(data(dir.path()).join("local.conf"), DEFAULTS).unwrap();
    server.restart().await.unwrap();
    let findings = examine(&server).await;
    let expected = [
        ("SP002", Critical),
        ("SP003", Warning),
        ("SP004", Warning),
        ("SP005", Critical),
        ("SP006", Warning),
        ("SP008", Warning),
        ("SP010", Warning),
        ("SP012", Warning),
        ("SP013", Warning),
        ("SP018", Warning),
    ];
    assert_eq!(bad(&findings), expected);
    assert_eq!(finding::worst(&findings), Critical);

    let session = client(&server).await;
    for fix in findings.iter().filter_map(|finding| finding.fix.as_ref()) {
        // A batch would run as one transaction, which `alter system` does not take.
        for command in fix
            .split_inclusive(';')
            .filter(|c| !c.trim_start().starts_with("--"))
        {
            session.batch_execute(command).await.unwrap();
        }
    }
    server.restart().await.unwrap();
    assert_eq!(bad(&examine(&server).await), []);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn every_mistake_is_found() {
    use Severity::{Critical, Warning};
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let session = client(&server).await;
    session.batch_execute("create schema crdv").await.unwrap();
    session
        .batch_execute("alter system set max_wal_senders = 100")
        .await
        .unwrap();
    session
        .query(
            "select pg_create_logical_replication_slot('starling_gone', 'pgoutput')",
            &[],
        )
        .await
        .unwrap();
    fs::write(data(dir.path()).join("local.conf"), MISTAKES).unwrap();
    session.query("select pg_reload_conf()", &[]).await.unwrap();
    let expected = [
        ("SP009", Warning),
        ("SP012", Warning),
        ("SP014", Critical),
        ("SP015", Critical),
        ("SP016", Warning),
        ("SP017", Warning),
        ("SP018", Warning),
        ("SP019", Warning),
        ("SP022", Warning),
        ("SP023", Warning),
    ];
    // A reload reaches new sessions when the server has got to it.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut findings = examine(&server).await;
    while bad(&findings) != expected && std::time::Instant::now() < deadline {
        findings = examine(&server).await;
    }
    assert_eq!(bad(&findings), expected);
    server.stop().await.unwrap();
}

/// A server with an ordinary role `app`, password `right`.
async fn with_app(dir: &std::path::Path) -> PrivateServer {
    let server = start(dir).await;
    client(&server)
        .await
        .batch_execute("create role app login password 'right'")
        .await
        .unwrap();
    server
}

fn url(server: &PrivateServer, password: &str, database: &str) -> String {
    format!(
        "postgresql://app:{password}@{}/{database}",
        server.address()
    )
}

#[tokio::test]
async fn attaching_tells_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_app(dir.path()).await;
    let error = attach(&url(&server, "wrong", "starling"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::WrongPassword { .. }), "{error}");
    assert!(
        !error.to_string().contains("wrong"),
        "no password in an error: {error}"
    );
    let without = format!("postgresql://app@{}/starling", server.address());
    let error = attach(&without).await.unwrap_err();
    assert!(matches!(error, Error::WrongPassword { .. }), "{error}");
    let error = attach(&url(&server, "right", "nowhere")).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchDatabase { .. }), "{error}");
    let error = attach(&url(&server, "right", "starling"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotPermitted { .. }), "{error}");
    server.stop().await.unwrap();
    let error = attach(&url(&server, "right", "starling"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_command_of_the_error_grants_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_app(dir.path()).await;
    let url = url(&server, "right", "starling");
    let Error::NotPermitted { fix, .. } = attach(&url).await.unwrap_err() else {
        panic!("an ordinary role was taken")
    };
    client(&server).await.batch_execute(&fix).await.unwrap();
    let attached = attach(&url).await.unwrap();
    assert_eq!(attached.version, server.version());
    starling::postgres::connect(&attached.connection)
        .await
        .unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_ordinary_role_can_have_a_server_examined() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_app(dir.path()).await;
    let config: Conninfo = url(&server, "right", "starling").parse().unwrap();
    let session = starling::postgres::connect(&config).await.unwrap();
    let here = Requirements {
        remote_peers: false,
        ..Requirements::default()
    };
    let findings = doctor::examine(&session, here).await;
    assert_eq!(bad(&findings), [("SP020", Severity::Critical)]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn something_that_is_no_postgresql_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let error = attach(&format!("postgresql://app:x@{address}/db"))
        .await
        .unwrap_err();
    answering.join().unwrap();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}
