//! The program as it is started: what it prints, and with which exit code it ends.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use starling::finding::{Finding, Severity, worst};

fn starling(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command.args(arguments).env_clear();
    command
}

fn text(output: &Output) -> (String, String) {
    (
        String::from_utf8(output.stdout.clone()).unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

/// An HTTP server that gives the same answer to every request.
fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

/// An address that nobody listens on.
fn silence() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

#[test]
fn the_command_line_is_consistent() {
    starling::cli::command().debug_assert();
}

#[test]
fn help_lists_every_command_of_the_interface() {
    let (help, _) = text(&starling(&["--help"]).output().unwrap());
    for verb in [
        "up",
        "demo",
        "status",
        "nodes",
        "topology",
        "links",
        "doctor",
        "id",
        "leave",
        "evict",
        "config",
        "nested",
        "completions",
    ] {
        assert!(
            help.contains(&format!("\n  {verb} ")),
            "{verb} is missing in\n{help}"
        );
    }
    assert!(help.contains("Examples:"));
    assert!(!help.contains("exit-with-parent"));
}

#[test]
fn the_help_of_up_shows_every_flag_of_the_interface_with_its_default() {
    let (help, _) = text(&starling(&["up", "--help"]).output().unwrap());
    for flag in [
        "--data-dir",
        "--cluster",
        "--name",
        "--listen",
        "--bootstrap",
        "--mdns",
        "--swarm-key",
        "--active-view",
        "--passive-view",
        "--arwl",
        "--prwl",
        "--shuffle-interval",
        "--relay",
        "--dissemination",
        "--postgres",
        "--pg-bin",
        "--pg-listen",
        "--pg-advertise",
        "--http",
        "--log-level",
        "--log-format",
        "--config",
    ] {
        assert!(
            help.contains(&format!("      {flag} <")),
            "{flag} is missing in\n{help}"
        );
    }
    for default in [
        "./starling-data",
        "127.0.0.1:7432",
        "127.0.0.1:7480",
        "[default: flood]",
        "[default: normal]",
    ] {
        assert!(help.contains(default), "{default} is missing in\n{help}");
    }
    assert!(!help.contains("--password"), "secrets are not flags");
    let (short, _) = text(&starling(&["up", "-h"]).output().unwrap());
    assert!(
        !short.contains("--arwl"),
        "-h is for the flags that people need"
    );
}

#[test]
fn a_chain_of_views_becomes_a_query_without_a_node() {
    let (query, err) = text(&starling(&["nested", "MapAwLww", "SetAw"]).output().unwrap());
    assert!(
        query.starts_with("select l0.id, ") && query.contains("crdv.setaw"),
        "{query}{err}"
    );
    let named = starling(&["nested", "--name", "my \"view", "Counter"])
        .output()
        .unwrap();
    let (statement, _) = text(&named);
    assert!(
        statement.starts_with("create or replace view \"my \"\"view\" as select"),
        "{statement}"
    );
    for (chain, reason) in [
        (
            &["SetAwTuple"][..],
            "not a view that can be nested: SetAwTuple; these can: RegisterMvr",
        ),
        (&["Counter", "SetAw"], "SetAw cannot follow Counter"),
    ] {
        let output = starling(&[&["nested"], chain].concat()).output().unwrap();
        let (out, err) = text(&output);
        assert_eq!(
            (output.status.code(), out.as_str()),
            (Some(1), ""),
            "{chain:?}"
        );
        assert!(err.contains(reason), "{err}");
    }
    let (_, err) = text(&starling(&["nested"]).output().unwrap());
    assert!(err.contains("<VIEW>"), "{err}");
}

#[test]
fn without_a_node_the_address_and_the_way_out_are_named() {
    let address = silence();
    for verb in ["nodes", "topology", "links", "leave"] {
        let output = starling(&[verb, "--http", &address]).output().unwrap();
        let (out, err) = text(&output);
        assert_eq!(
            (output.status.code(), out.as_str()),
            (Some(1), ""),
            "{verb}"
        );
        assert!(
            err.contains(&address) && err.contains("starling up"),
            "{err}"
        );
    }
    let status = starling(&["status"])
        .env("STARLING_HTTP", &address)
        .output()
        .unwrap();
    assert_eq!(status.status.code(), Some(2));
    assert!(text(&status).1.contains(&address));
}

#[test]
fn what_is_no_node_is_told_from_one_that_refuses() {
    let stranger = answering("200 OK", "<html>");
    let output = starling(&["status", "--http", &stranger]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output).1.contains("no Starling node"),
        "{}",
        text(&output).1
    );

    let refusing = answering(
        "409 Conflict",
        r#"{"type":"about:blank","title":"t","status":409,"detail":"why not","code":"not_now"}"#,
    );
    let output = starling(&["leave", "--http", &refusing]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).1.contains("why not (not_now"),
        "{}",
        text(&output).1
    );
}

#[test]
fn up_refuses_a_bad_configuration_before_it_touches_anything() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let output = starling(&[
        "up",
        "--cluster",
        "a b",
        "--data-dir",
        data.to_str().unwrap(),
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = text(&output);
    assert_eq!(out, "");
    assert!(
        err.contains("error: the configuration has a problem"),
        "{err}"
    );
    assert!(
        err.contains("node.cluster (flag --cluster)") && err.contains("fix:"),
        "{err}"
    );
    assert!(!data.exists());
}

#[test]
fn config_check_ends_with_the_code_of_its_verdict() {
    let check = |arguments: &[&str]| {
        let output = starling(&[&["config", "check"], arguments].concat())
            .output()
            .unwrap();
        (output.status.code(), text(&output))
    };
    assert_eq!(check(&[]).0, Some(0));
    let (code, (out, err)) = check(&["--mdns", "perhaps"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("--mdns"), "{err}");
    let (code, (out, _)) = check(&["--mdns", "perhaps", "-o", "json"]);
    let problems: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &problems["problems"][0]["key"]),
        (Some(2), &"network.mdns".into())
    );
    let remarked = starling(&["config", "check"])
        .env("STARLING_CLUSTR", "x")
        .output()
        .unwrap();
    assert_eq!(remarked.status.code(), Some(1));
    assert!(text(&remarked).1.contains("STARLING_CLUSTER"));
    let told = starling(&["config", "check", "-o", "json"])
        .env("STARLING_CLUSTR", "x")
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let warning = told["warnings"][0].as_str().unwrap();
    assert!(warning.contains("STARLING_CLUSTER"), "{told}");
}

#[test]
fn config_show_names_the_origin_of_each_value() {
    let output = starling(&["config", "show", "--active-view", "3"])
        .env("STARLING_CLUSTER", "flock")
        .output()
        .unwrap();
    let (out, _) = text(&output);
    let line = |start: &str| {
        out.lines()
            .find(|line| line.starts_with(start))
            .unwrap()
            .to_owned()
    };
    assert!(line("cluster").ends_with("# environment STARLING_CLUSTER"));
    assert!(line("active_view").ends_with("# flag --active-view"));
    assert!(line("prwl").ends_with("# default"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = starling(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output).1);
}

#[test]
fn a_simulation_that_is_interrupted_ends_at_once_and_says_how_far_it_was() {
    let mut child = starling(&["simulate", "all", "--small", "--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut table = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    table.read_line(&mut line).expect("the first table");
    assert!(line.starts_with("sequential-join: "), "{line}");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130));
    let (_, complaint) = text(&ended);
    let told = complaint.contains("interrupted: ") && complaint.contains("runs were done");
    assert!(told, "{complaint}");
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = text(&starling(&["completions", shell]).output().unwrap());
        assert!(
            script.contains("starling") && script.contains("bootstrap"),
            "{shell}"
        );
    }
}

#[test]
fn an_identity_is_made_once_and_then_shown() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new").join("data");
    let id = || {
        let output = starling(&["id", "-o", "json", "--data-dir", data.to_str().unwrap()])
            .output()
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let first = id();
    assert!(
        first["peer_id"].as_str().unwrap().starts_with("12D3KooW"),
        "{first}"
    );
    assert!(first["site"].is_null(), "there is no store yet");
    assert_eq!(id(), first);
}

#[tokio::test]
async fn doctor_examines_a_server_and_ends_with_the_code_of_its_worst_finding() {
    let dir = tempfile::tempdir().unwrap();
    let server = super::postgres::start(dir.path()).await;
    let url = server.url();
    let doctor = |url: String| {
        tokio::task::spawn_blocking(move || {
            let output = starling(&["doctor", &url, "-o", "json"]).output().unwrap();
            let findings: Vec<Finding> = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {}", text(&output).1));
            (output.status.code(), findings)
        })
    };
    let (code, findings) = doctor(url.clone()).await.unwrap();
    let worst = worst(&findings);
    assert!(findings.len() > 10, "{findings:?}");
    assert!(worst <= Severity::Warning, "{findings:?}");
    assert_eq!(code, Some(worst.exit_code().into()));

    // The password that a node would use, whatever else the environment sets.
    super::postgres::client(&server)
        .await
        .batch_execute("create role checker superuser login password 'known'")
        .await
        .unwrap();
    let by_password = format!("postgresql://checker@{}/postgres", server.address());
    let folder = dir.path().to_path_buf();
    let given = move |password: &str| {
        let (url, file) = (by_password.clone(), folder.join(password));
        std::fs::write(&file, password).unwrap();
        tokio::task::spawn_blocking(move || {
            let output = starling(&["doctor", "--postgres", &url, "-o", "json"])
                .env("STARLING_STORE__PASSWORD_FILE", file)
                .env("STARLING_STORE__PG_LISTEN", "127.0.0.1:7432")
                .output()
                .unwrap();
            let findings: Vec<Finding> = serde_json::from_slice(&output.stdout).unwrap();
            findings[0].code == "SP000"
        })
    };
    assert!(!given("known").await.unwrap(), "the server is reached");
    assert!(given("guessed").await.unwrap(), "it refuses a wrong one");

    server.stop().await.unwrap();
    let (code, findings) = doctor(url).await.unwrap();
    assert_eq!(
        (code, &*findings[0].code),
        (Some(2), "SP000"),
        "{findings:?}"
    );
}

#[test]
fn what_no_sql_mends_goes_to_standard_error_and_leaves_the_script_empty() {
    let url = format!("postgresql://me@{}/shop", silence());
    let output = starling(&["doctor", "--sql", &url]).output().unwrap();
    let (out, err) = text(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(2), ""));
    assert!(
        err.contains("SP000: the server cannot be connected to"),
        "{err}"
    );
}

#[test]
fn the_demo_refuses_a_directory_that_holds_something() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("precious"), "data").unwrap();
    let keep = dir.path().to_str().unwrap();
    let output = starling(&["demo", "--once", "--keep", keep])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).1.contains("is not empty"),
        "{}",
        text(&output).1
    );
    assert!(Path::new(keep).join("precious").exists());
}

/// Somebody waits for that file, and would wait for ever.
#[test]
fn a_node_that_cannot_write_where_it_is_ends_in_order_and_says_so() {
    let root = tempfile::Builder::new()
        .prefix("starling-test-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let data = root.path().join("data");
    std::fs::create_dir_all(data.join("node.json/in the way")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_starling"))
        .args(["up", "--data-dir", data.to_str().unwrap(), "--mdns", "off"])
        .args(["--http", "127.0.0.1:0", "--pg-listen", "127.0.0.1:0"])
        .args(["--listen", "/ip4/127.0.0.1/tcp/0"])
        .output()
        .unwrap();
    let (_, errors) = text(&output);
    assert!(!output.status.success(), "{errors}");
    assert!(errors.contains("cannot write node.json in"), "{errors}");
    let server = data.join("postgres/data");
    assert!(server.join("PG_VERSION").exists(), "it has had a store");
    assert!(!server.join("postmaster.pid").exists(), "{errors}");
}
