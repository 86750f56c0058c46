//! Where settings come from, which of them counts, and what is said about the bad ones.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use starling::{
    api::Dissemination,
    config::{Loaded, Origin, PasswordSources, Problem, Sources, load, to_json, to_toml},
};
use tempfile::TempDir;

/// Settings from every source at once.
struct Given {
    dir: TempDir,
    sources: Sources,
}

impl Given {
    fn new(flags: &[(&str, &str)], variables: &[(&str, &str)], toml: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = toml.map(|text| {
            let file = dir.path().join("starling.toml");
            std::fs::write(&file, text).unwrap();
            file
        });
        let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (flag, value) in flags {
            given
                .entry((*flag).to_owned())
                .or_default()
                .push((*value).to_owned());
        }
        let environment = variables
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let sources = Sources {
            flags: given.into_iter().collect(),
            environment,
            file,
        };
        Self { dir, sources }
    }

    /// Writes a file beside the configuration and names it in a variable.
    fn with_file(mut self, variable: &str, name: &str, content: &str) -> Self {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        self.sources
            .environment
            .insert(variable.to_owned(), path.display().to_string());
        self
    }

    fn load(&self) -> Loaded {
        load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The single complaint, as it is printed, without the temporary directory's name.
    fn complaint(&self) -> String {
        let error = load(&self.sources).expect_err("this configuration should be refused");
        assert_eq!(error.problems.len(), 1, "{error}");
        error.problems[0]
            .to_string()
            .replace(&format!("{}/", self.dir.path().display()), "")
    }
}

#[test]
fn the_defaults_are_those_of_the_interface() {
    let config = Given::new(&[], &[], None).load().config;
    assert_eq!(config.node.cluster, "starling");
    assert!(config.node.data_dir.ends_with("starling-data") && config.node.data_dir.is_absolute());
    assert!(!config.node.name.is_empty());
    let listen: Vec<String> = config
        .network
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        listen,
        ["/ip4/0.0.0.0/tcp/7400", "/ip4/0.0.0.0/udp/7400/quic-v1"]
    );
    assert!(config.network.bootstrap.is_empty() && config.network.mdns);
    assert_eq!(config.overlay.active_view, 5);
    assert_eq!(config.store.pg_listen.to_string(), "127.0.0.1:7432");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:7480");
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let toml = "[node]\ncluster = 'file'\n";
    let variable = [("STARLING_CLUSTER", "environment")];
    let flag = [("cluster", "flag")];
    for (given, cluster, source) in [
        (
            Given::new(&flag, &variable, Some(toml)),
            "flag",
            "flag --cluster",
        ),
        (
            Given::new(&[], &variable, Some(toml)),
            "environment",
            "environment STARLING_CLUSTER",
        ),
        (
            Given::new(&[], &[], Some(toml)),
            "file",
            "starling.toml: node.cluster",
        ),
        (Given::new(&[], &[], None), "starling", "default"),
    ] {
        let loaded = given.load();
        assert_eq!(loaded.config.node.cluster, cluster);
        let origin = loaded
            .origins
            .get("node.cluster")
            .unwrap_or(&Origin::Default);
        assert!(origin.to_string().contains(source), "{origin}");
    }
}

#[test]
fn a_list_of_a_stronger_source_replaces_the_weaker_one_as_a_whole() {
    let toml = "[network]\nbootstrap = ['/ip4/10.0.0.1/tcp/1', '/ip4/10.0.0.2/tcp/1']\n";
    let given = Given::new(&[("bootstrap", "/ip4/10.0.0.3/tcp/1")], &[], Some(toml));
    assert_eq!(given.load().config.network.bootstrap.len(), 1);
}

#[test]
fn every_kind_of_value_can_be_given_in_every_source() {
    let from_flags = Given::new(
        &[
            ("listen", "/ip4/127.0.0.1/tcp/1"),
            ("listen", "/ip4/127.0.0.1/tcp/2"),
            ("mdns", "off"),
            ("active-view", "7"),
            ("link-grace", "1m"),
            ("slot-bytes-max", "2GiB"),
            ("pg-advertise", "db:5432"),
        ],
        &[],
        None,
    );
    let from_environment = Given::new(
        &[],
        &[
            (
                "STARLING_LISTEN",
                "/ip4/127.0.0.1/tcp/1, /ip4/127.0.0.1/tcp/2",
            ),
            ("STARLING_NETWORK__MDNS", "false"),
            ("STARLING_OVERLAY__ACTIVE_VIEW", "7"),
            ("STARLING_LINK_GRACE", "60s"),
            ("STARLING_REPLICATION__SLOT_BYTES_MAX", "2048MiB"),
            ("STARLING_PG_ADVERTISE", "db:5432"),
        ],
        None,
    );
    let from_file = Given::new(
        &[],
        &[],
        Some(
            "[network]\nlisten = ['/ip4/127.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/2']\nmdns = false\n\
             [overlay]\nactive_view = 7\n\
             [replication]\nlink_grace = '1m'\nslot_bytes_max = 2147483648\n\
             [store]\npg_advertise = 'db:5432'\n",
        ),
    );
    let config = from_flags.load().config;
    assert_eq!(config.network.listen.len(), 2);
    assert!(!config.network.mdns);
    assert_eq!(config.overlay.active_view, 7);
    assert_eq!(config.replication.link_grace, Duration::from_secs(60));
    assert_eq!(config.replication.slot_bytes_max, 2 << 30);
    assert_eq!(from_environment.load().config, config);
    assert_eq!(from_file.load().config, config);
}

#[test]
fn numbers_that_look_like_text_and_text_that_looks_like_numbers_are_kept() {
    let given = Given::new(&[("name", "007")], &[("STARLING_CLUSTER", "5")], None);
    let config = given.load().config;
    assert_eq!(
        (config.node.name.as_str(), config.node.cluster.as_str()),
        ("007", "5")
    );
}

#[test]
fn data_floods_unless_it_is_told_to_follow_the_tree() {
    for (given, expected) in [
        (Given::new(&[], &[], None), Dissemination::Flood),
        (
            Given::new(&[("dissemination", "tree")], &[], None),
            Dissemination::Tree,
        ),
        (
            Given::new(&[], &[("STARLING_DISSEMINATION", "tree")], None),
            Dissemination::Tree,
        ),
        (
            Given::new(
                &[("dissemination", "flood")],
                &[],
                Some("[replication]\ndissemination = 'tree'"),
            ),
            Dissemination::Flood,
        ),
    ] {
        assert_eq!(given.load().config.replication.dissemination, expected);
    }
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let given = Given::new(
        &[],
        &[("STARLING_POSTGRES", ""), ("STARLING_CONFIG", "")],
        None,
    );
    assert_eq!(given.load().config.store.postgres, None);
}

#[test]
fn a_default_bends_to_what_somebody_set() {
    let given = Given::new(&[("active-view", "2"), ("arwl", "2")], &[], None);
    let overlay = given.load().config.overlay;
    assert_eq!((overlay.shuffle_active, overlay.prwl), (2, 2));
}

/// In the form that libp2p implementations share.
fn swarm_key() -> String {
    format!("/key/swarm/psk/1.0.0/\n/base16/\n{}\n", "5a".repeat(32))
}

#[test]
fn a_file_that_is_no_swarm_key_is_refused() {
    for content in ["key", "/key/swarm/psk/1.0.0/\n/base16/\n00\n", ""] {
        let given =
            Given::new(&[], &[], None).with_file("STARLING_SWARM_KEY", "swarm.key", content);
        let complaint = given.complaint();
        assert!(complaint.contains("is not a swarm key"), "{complaint}");
        assert!(complaint.contains("in the swarm key format"), "{complaint}");
    }
}

#[test]
fn a_swarm_key_turns_quic_off_by_default_and_refuses_it_when_asked_for() {
    let key = |given: Given| given.with_file("STARLING_SWARM_KEY", "swarm.key", &swarm_key());
    let default = key(Given::new(&[], &[], None)).load().config.network.listen;
    assert_eq!(default.len(), 1);
    let asked = key(Given::new(
        &[("listen", "/ip4/0.0.0.0/udp/1/quic-v1")],
        &[],
        None,
    ));
    assert!(
        asked.complaint().contains("without the swarm key"),
        "{}",
        asked.complaint()
    );
}

/// Flags, variables, file; part of the complaint; part of the advice.
type Row = (
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
    &'static str,
    &'static str,
);

const COMPLAINTS: &[Row] = &[
    (
        &[("active-view", "many")],
        &[],
        None,
        "overlay.active_view (flag --active-view)",
        "a number",
    ),
    (
        &[("active-view", "0")],
        &[],
        None,
        "0 is out of range",
        "from 1 to 64",
    ),
    (
        &[("prwl", "7")],
        &[],
        None,
        "more than overlay.arwl, which is 6",
        "raise overlay.arwl",
    ),
    (
        &[("shuffle-interval", "5")],
        &[],
        None,
        "(flag --shuffle-interval): `5` is not a duration",
        "TIME",
    ),
    (
        &[("silence-deadline", "1s")],
        &[],
        None,
        "(flag --silence-deadline)",
        "at least twice",
    ),
    (
        &[("mdns", "maybe")],
        &[],
        None,
        "`maybe` is neither on nor off",
        "on or off",
    ),
    (
        &[("listen", "foo")],
        &[],
        None,
        "(flag --listen): `foo` is not a multiaddr",
        "MULTIADDR",
    ),
    (
        &[("bootstrap", "10.1.2.3:4001")],
        &[],
        None,
        "you may mean /ip4/10.1.2.3/tcp/4001",
        "MULTIADDR",
    ),
    (
        &[("bootstrap", "shop-1.example:4001")],
        &[],
        None,
        "you may mean /dns/shop-1.example/tcp/4001",
        "MULTIADDR",
    ),
    (
        &[("postgres", "mysql://u:secret@h/d")],
        &[],
        None,
        "begins with postgresql://",
        "URL",
    ),
    (
        &[("listen", "/ip4/1.2.3.4/udp/7")],
        &[],
        None,
        "not an address to listen on",
        "quic-v1",
    ),
    (
        &[("bootstrap", "/ip4/1.2.3.4/tcp/0")],
        &[],
        None,
        "cannot be dialled: it is not a whole address",
        "/dns/<name>",
    ),
    (
        &[("bootstrap", "/dnsaddr/a.example")],
        &[],
        None,
        "network.bootstrap (flag --bootstrap): `/dnsaddr/a.example` cannot be dialled: its records",
        "use /dns/<name>",
    ),
    (
        &[("bootstrap", "/ip4/1.2.3.4/tcp/7400/ws")],
        &[],
        None,
        "cannot be dialled: nodes do not speak ws",
        "/dns/<name>",
    ),
    (
        &[("bootstrap", "/ip4/1.2.3.4/udp/7400/quic")],
        &[],
        None,
        "cannot be dialled: nodes do not speak quic",
        "quic-v1",
    ),
    (
        &[],
        &[],
        Some("[network]\nexternal = ['/ip4/1.2.3.4/tcp/7400/p2p-circuit']"),
        "network.external: `/ip4/1.2.3.4/tcp/7400/p2p-circuit` cannot be dialled: nodes do not speak",
        "/dns/<name>",
    ),
    (
        &[],
        &[],
        Some("[network]\nexternal = ['/dns/a.example/tcp/7400']"),
        "they look up no names",
        "the IP address",
    ),
    (
        &[("cluster", "a/b")],
        &[],
        None,
        "(flag --cluster): `a/b` cannot be",
        "protocol ids",
    ),
    (
        &[("name", " ")],
        &[],
        None,
        "node.name (flag --name)",
        "control characters",
    ),
    (
        &[("http", "here")],
        &[],
        None,
        "http.listen (flag --http): invalid socket address",
        "ADDR:PORT",
    ),
    (
        &[("http-host", "http://x")],
        &[],
        None,
        "`http://x` is not a host name",
        "bare name",
    ),
    (
        &[],
        &[(
            "STARLING_NETWORK__LISTEN",
            "/ip4/0.0.0.0/tpc/1, /ip4/0.0.0.0/tcp/2",
        )],
        None,
        "`/ip4/0.0.0.0/tpc/1` is not a multiaddr: unknown protocol string: tpc",
        "MULTIADDR",
    ),
    (
        &[("log-level", "inof")],
        &[],
        None,
        "log.level (flag --log-level): `inof` is not a log level",
        "debug or trace",
    ),
    (
        &[("log-level", "info=loud")],
        &[],
        None,
        "log.level (flag --log-level)",
        "debug or trace",
    ),
    (
        &[("log-format", "xml")],
        &[],
        None,
        "(flag --log-format): unknown variant",
        "text|json",
    ),
    (
        &[("dissemination", "wood")],
        &[],
        None,
        "(flag --dissemination): unknown variant",
        "flood|tree",
    ),
    (
        &[],
        &[("STARLING_RELAY", "always")],
        None,
        "overlay.relay (environment STARLING_RELAY): unknown variant",
        "preferred|normal|avoid",
    ),
    (
        &[("slot-bytes-max", "1")],
        &[],
        None,
        "at least 16MiB",
        "such as 1GiB",
    ),
    (
        &[("slot-bytes-max", "big")],
        &[],
        None,
        "`big` is not a size",
        "SIZE",
    ),
    (
        &[("link-grace", "1h")],
        &[],
        None,
        "longer than its slot",
        "slot_inactive_max",
    ),
    (
        &[("checkpoint-interval", "1h")],
        &[],
        None,
        "1h is out of range",
        "from 10ms to 1m",
    ),
    (
        &[("shared-buffers", "5kB")],
        &[],
        None,
        "below 1MiB",
        "128MiB",
    ),
    (
        &[("run-as", "root")],
        &[],
        None,
        "does not run as root",
        "postgres",
    ),
    (
        &[("run-as", "nosuch")],
        &[],
        None,
        "there is no user `nosuch`",
        "unprivileged user",
    ),
    (
        &[("pg-bin", "/nowhere")],
        &[],
        None,
        "no `postgres` in `/nowhere`",
        "initdb",
    ),
    (
        &[("pg-advertise", "h:x")],
        &[],
        None,
        "`h:x` is not HOST:PORT",
        "HOST:PORT",
    ),
    (
        &[("swarm-key", "/nowhere")],
        &[],
        None,
        "cannot read `/nowhere`",
        "swarm key format",
    ),
    (
        &[
            ("postgres", "postgresql://u@h/d"),
            ("pg-listen", "127.0.0.1:1"),
        ],
        &[],
        None,
        "store.pg_listen (flag --pg-listen)",
        "store.pg_advertise",
    ),
    (
        &[],
        &[("STARLING_ACTIVE_VIEW", "x")],
        None,
        "(environment STARLING_ACTIVE_VIEW)",
        "a number",
    ),
    (
        &[],
        &[("STARLING_NODE__CLUSTR", "x")],
        None,
        "node.clustr (environment STARLING_NODE__CLUSTR): unknown key",
        "did you mean STARLING_NODE__CLUSTER?",
    ),
    (
        &[],
        &[("STARLING_CLUSTER", "a"), ("STARLING_NODE__CLUSTER", "b")],
        None,
        "STARLING_CLUSTER says the same",
        "set one of them",
    ),
    (
        &[],
        &[("STARLING_STORE__PASSWORD", "x")],
        None,
        "(environment STARLING_STORE__PASSWORD)",
        "set store.postgres too",
    ),
    (
        &[],
        &[("STARLING_POSTGRES_FILE", "/nowhere")],
        None,
        "cannot read `/nowhere`",
        "readable file",
    ),
    (
        &[],
        &[("STARLING_CONFIG", "/nowhere")],
        None,
        "/nowhere: cannot be read",
        "--config",
    ),
    (
        &[],
        &[],
        Some("[node]\nclustr = 'x'"),
        "starling.toml: node.clustr: unknown key",
        "did you mean `node.cluster`?",
    ),
    (
        &[],
        &[],
        Some("cluster = 'x'"),
        "starling.toml: cluster: unknown key",
        "did you mean `node.cluster`?",
    ),
    (
        &[],
        &[],
        Some("[nod]\n"),
        "starling.toml: nod: unknown section",
        "node, network, overlay",
    ),
    (
        &[],
        &[],
        Some("node = 5"),
        "starling.toml: node: is a section",
        "write [node]",
    ),
    (
        &[],
        &[],
        Some("[overlay]\nactive_view = 'x'"),
        "starling.toml: overlay.active_view: invalid type",
        "give N",
    ),
    (
        &[],
        &[],
        Some("[overlay]\nactive_view = -1"),
        "starling.toml: overlay.active_view",
        "give N",
    ),
    (
        &[],
        &[],
        Some("[network]\nlisten = 'x'"),
        "starling.toml: network.listen: invalid type",
        "MULTIADDR",
    ),
    (
        &[],
        &[],
        Some(
            "[store]\npostgres = 'postgresql://u@h/d'\npassword_file = '/nowhere'\npassword = 'x'",
        ),
        "starling.toml: store.password: store.password_file says the same",
        "set one of them",
    ),
    (
        &[],
        &[],
        Some("[store]\npostgres_file = '/nowhere'\npostgres = 'postgresql://u@h/d'"),
        "starling.toml: store.postgres: store.postgres_file says the same",
        "set one of them",
    ),
    (
        &[],
        &[],
        Some("[store]\npassword_file = 5"),
        "store.password_file: is not a path",
        "in quotes",
    ),
    (
        &[],
        &[],
        Some("[node\n"),
        "starling.toml: is not TOML",
        "config show",
    ),
];

#[test]
fn every_complaint_names_the_source_and_its_fix() {
    for (flags, variables, toml, what, fix) in COMPLAINTS {
        let complaint = Given::new(flags, variables, *toml).complaint();
        let (said, advice) = complaint.split_once("\n    fix: ").expect("advice");
        assert!(said.contains(what), "`{said}` does not contain `{what}`");
        assert!(advice.contains(fix), "`{advice}` does not contain `{fix}`");
    }
}

#[test]
fn with_a_swarm_key_no_address_is_taken_that_cannot_carry_it() {
    let toml = "[network]\nbootstrap = ['/ip4/1.2.3.4/udp/7400/quic-v1', '/ip4/1.2.3.4/tcp/7400']";
    let given = Given::new(&[], &[], Some(toml));
    given.load();
    let given = given.with_file("STARLING_SWARM_KEY", "swarm.key", &swarm_key());
    let complaint = given.complaint();
    assert!(
        complaint.contains("quic-v1` cannot be dialled: QUIC cannot carry the swarm key"),
        "{complaint}"
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let given = Given::new(
        &[("active-view", "x"), ("passive-view", "0"), ("cluster", "")],
        &[("STARLING_HTTP", "x")],
        Some("[log]\nlevel = 5\n[nothing]\n"),
    );
    let error = load(&given.sources).unwrap_err();
    let keys: Vec<&str> = error
        .problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    let expected = [
        "nothing",
        "overlay.active_view",
        "http.listen",
        "log.level",
        "node.cluster",
        "overlay.passive_view",
    ];
    assert_eq!(
        std::collections::BTreeSet::from_iter(keys.iter().copied()),
        std::collections::BTreeSet::from(expected),
        "{error}"
    );
    assert_eq!(keys.len(), expected.len());
}

#[test]
fn each_item_of_a_list_is_judged_by_itself() {
    let listen = ["foo", "/ip4/1.2.3.4/udp/7", "bar", "/ip4/127.0.0.1/tcp/1"];
    let toml = "[network]\nexternal = ['shop-1.example:1', 7, '/ip4/1.2.3.4/tcp/0']\n\
                bootstrap = ['10.1.2.3:4001', '/ip4/1.2.3.4/tcp/7400']\n\
                [http]\nhosts = [1, 'http://x', 'a.example']";
    let given = Given::new(&listen.map(|address| ("listen", address)), &[], Some(toml));
    let error = load(&given.sources).unwrap_err();
    let expected = [
        ("network.listen", "`foo` is not a multiaddr"),
        ("network.listen", "`bar` is not a multiaddr"),
        ("network.listen", "`/ip4/1.2.3.4/udp/7` is not an address"),
        ("network.external", "mean /dns/shop-1.example/tcp/1"),
        ("network.external", "int `7`"),
        ("network.external", "`/ip4/1.2.3.4/tcp/0` cannot be dialled"),
        ("network.bootstrap", "mean /ip4/10.1.2.3/tcp/4001"),
        ("http.hosts", "int `1`"),
        ("http.hosts", "`http://x` is not a host name"),
    ];
    for (key, what) in expected {
        let told = |problem: &&Problem| problem.key == key && problem.message.contains(what);
        assert_eq!(
            error.problems.iter().filter(told).count(),
            1,
            "{what}: {error}"
        );
    }
    assert_eq!(error.problems.len(), expected.len(), "{error}");
}

#[test]
fn unknown_variables_without_a_section_are_remarked_on_and_service_links_are_not() {
    let given = Given::new(
        &[],
        &[
            ("STARLING_CLUSTR", "x"),
            ("STARLING_SERVICE_HOST", "x"),
            ("STARLING_PORT", "tcp://x:1"),
        ],
        None,
    );
    let warnings = given.load().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("STARLING_CLUSTR: did you mean STARLING_CLUSTER?"));
}

#[test]
fn a_secret_is_read_from_a_file_that_any_source_names() {
    let url = "postgresql://u@h/d";
    let by_variable = Given::new(&[("postgres", url)], &[], None).with_file(
        "STARLING_STORE__PASSWORD_FILE",
        "password",
        "geheim\n",
    );
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join("password");
    std::fs::write(&file, "geheim").unwrap();
    let toml = format!(
        "[store]\npostgres = '{url}'\npassword_file = '{}'\n",
        file.display()
    );
    let by_file = Given::new(&[], &[], Some(&toml));
    for given in [by_variable, by_file] {
        let store = given.load().config.store;
        let connection = store.connection(&PasswordSources::default()).unwrap();
        assert_eq!(connection.get_password(), Some(&b"geheim"[..]));
    }
    let whole = Given::new(&[], &[], None).with_file(
        "STARLING_POSTGRES_FILE",
        "url",
        "postgresql://u:geheim@h/d\n",
    );
    assert!(whole.load().config.store.postgres.is_some());
}

#[test]
fn secrets_are_masked_wherever_the_configuration_is_shown() {
    let url = "postgresql://u:geheim@h/d";
    let given = Given::new(
        &[("postgres", url)],
        &[("STARLING_STORE__PASSWORD", "geheim")],
        None,
    );
    let loaded = given.load();
    let shown = [
        to_toml(&loaded),
        to_json(&loaded).to_string(),
        format!("{loaded:?}"),
    ];
    for text in shown {
        assert!(!text.contains("geheim"), "{text}");
        assert!(text.contains("***"), "{text}");
    }
    // Nor is it repeated when it is wrong.
    for (flags, toml) in [
        (vec![("postgres", "postgresql://u:geheim@h:port/d")], None),
        (vec![], Some("[store]\npostgres = ['geheim']")),
        (
            vec![("postgres", url)],
            Some("[store]\npassword = ['geheim']"),
        ),
    ] {
        let complaint = Given::new(&flags, &[], toml).complaint();
        assert!(!complaint.contains("geheim"), "{complaint}");
    }
}

#[test]
fn what_is_shown_is_a_file_that_says_the_same() {
    let given = Given::new(
        &[
            ("listen", "/ip4/127.0.0.1/tcp/0"),
            ("name", "a \"quoted\" näme"),
            ("link-grace", "90s"),
        ],
        &[("STARLING_POSTGRES", "postgresql://u@h/d")],
        None,
    );
    let loaded = given.load();
    let again = Given::new(&[], &[], Some(&to_toml(&loaded))).load();
    assert_eq!(again.config, loaded.config);
    assert!(to_toml(&loaded).contains("# flag --link-grace"));
    assert_eq!(to_json(&loaded)["origins"]["node.name"], "flag --name");
    assert_eq!(to_json(&loaded)["node"]["cluster"], "starling");
}
