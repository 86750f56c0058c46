use super::{
    names::Names,
    observed::{Setting, Slot},
    store::StoreState,
    *,
};
use crate::finding::worst;

/// A server as a private one is, with the role of a superuser.
fn good() -> Observed {
    let settings = [
        ("wal_level", "logical"),
        ("max_replication_slots", "40"),
        ("max_wal_senders", "48"),
        ("max_logical_replication_workers", "40"),
        ("max_worker_processes", "48"),
        ("max_active_replication_origins", "40"),
        ("max_slot_wal_keep_size", "2048"),
        ("wal_writer_delay", "1"),
        ("wal_receiver_timeout", "600000"),
        ("wal_retrieve_retry_interval", "500"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("password_encryption", "scram-sha-256"),
        ("listen_addresses", "0.0.0.0"),
        ("autovacuum", "on"),
        ("synchronous_standby_names", ""),
        ("default_transaction_isolation", "read committed"),
        ("data_checksums", "on"),
    ];
    let setting = |value: &str| Setting {
        value: value.to_owned(),
        pending_restart: false,
        source: String::new(),
    };
    Observed {
        version: Version {
            major: 18,
            minor: 4,
        },
        settings: settings
            .iter()
            .map(|(n, v)| ((*n).to_owned(), setting(v)))
            .collect(),
        role: Role {
            name: "starling".to_owned(),
            database: "starling".to_owned(),
            superuser: true,
            temporary: true,
            admit_links: true,
            use_plpgsql: true,
            use_origins: true,
            ..Role::default()
        },
        acts_for: None,
        encoding: "UTF8".to_owned(),
        in_recovery: false,
        names: Some(Names {
            reachable: true,
            ..Names::default()
        }),
        store: StoreState::default(),
        slots: Vec::new(),
        other_slots: 0,
        other_subscriptions: 0,
        other_origins: 0,
        clock_skew_seconds: 0.01,
    }
}

fn with(name: &str, value: &str) -> Observed {
    let mut observed = good();
    let setting = observed.settings.get_mut(name).unwrap();
    value.clone_into(&mut setting.value);
    observed
}

/// Code and severity of everything that is not good.
fn bad(observed: &Observed) -> Vec<(String, Severity)> {
    judge(observed, Requirements::default())
        .into_iter()
        .filter(|finding| finding.severity != Severity::Ok)
        .map(|finding| (finding.code.into_owned(), finding.severity))
        .collect()
}

fn finding(observed: &Observed, code: &str) -> Finding {
    judge(observed, Requirements::default())
        .into_iter()
        .find(|f| f.code == code)
        .unwrap()
}

#[test]
fn a_good_server_has_only_good_findings_each_code_once_and_in_order() {
    assert_eq!(bad(&good()), []);
    let findings = judge(&good(), Requirements::default());
    let codes: Vec<_> = findings
        .iter()
        .map(|finding| finding.code.clone())
        .collect();
    assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    assert_eq!(worst(&findings), Severity::Ok);
}

#[test]
fn each_wrong_setting_is_found_under_its_own_code() {
    let table = [
        ("wal_level", "replica", "SP002", Severity::Critical),
        ("max_replication_slots", "4", "SP003", Severity::Critical),
        ("max_replication_slots", "10", "SP003", Severity::Warning),
        ("max_wal_senders", "4", "SP004", Severity::Critical),
        ("max_wal_senders", "10", "SP004", Severity::Warning),
        (
            "max_logical_replication_workers",
            "4",
            "SP005",
            Severity::Critical,
        ),
        ("max_worker_processes", "5", "SP006", Severity::Critical),
        ("max_worker_processes", "8", "SP006", Severity::Warning),
        (
            "max_active_replication_origins",
            "10",
            "SP007",
            Severity::Warning,
        ),
        ("max_slot_wal_keep_size", "-1", "SP008", Severity::Warning),
        ("wal_writer_delay", "200", "SP010", Severity::Warning),
        ("wal_receiver_timeout", "60000", "SP012", Severity::Warning),
        (
            "wal_retrieve_retry_interval",
            "5000",
            "SP013",
            Severity::Warning,
        ),
        ("fsync", "off", "SP014", Severity::Critical),
        ("full_page_writes", "off", "SP015", Severity::Critical),
        ("synchronous_commit", "off", "SP016", Severity::Warning),
        ("password_encryption", "md5", "SP017", Severity::Warning),
        (
            "listen_addresses",
            "localhost, 127.0.0.2",
            "SP018",
            Severity::Warning,
        ),
        ("listen_addresses", "", "SP018", Severity::Warning),
        ("autovacuum", "off", "SP019", Severity::Warning),
    ];
    for (name, value, code, severity) in table {
        let observed = with(name, value);
        assert_eq!(
            bad(&observed),
            [(code.to_owned(), severity)],
            "{name} = {value}"
        );
        let fix = finding(&observed, code).sql().unwrap().to_owned();
        assert!(
            fix.starts_with(&format!("alter system set {name} = '")),
            "{fix}"
        );
    }
}

#[test]
fn another_isolation_level_is_fixed_for_the_links_role_alone() {
    let observed = with("default_transaction_isolation", "serializable");
    assert_eq!(bad(&observed), [("SP024".to_owned(), Severity::Critical)]);
    let fix = finding(&observed, "SP024").fix.unwrap();
    assert!(fix.starts_with("alter role \"starling\" in database \"starling\" set"));
}

#[test]
fn a_link_is_no_synchronous_standby_and_its_fix_is_for_people() {
    for names in ["*", "ANY 1 (*)", "FIRST 1 (ha, Starling_00ff)", "ha, \"*\""] {
        let observed = with("synchronous_standby_names", names);
        let expected = [("SP026".to_owned(), Severity::Critical)];
        assert_eq!(bad(&observed), expected, "{names}");
        assert_eq!(finding(&observed, "SP026").sql(), None);
        assert!(finding(&observed, "SP026").fix.is_some());
    }
}

#[test]
fn standbys_that_are_named_are_left_alone() {
    for names in [
        "ha",
        "FIRST 2 (a, \"b c\")",
        "ANY 1 (ha_1,star)",
        "2 (\"a*\", b)",
    ] {
        assert_eq!(
            bad(&with("synchronous_standby_names", names)),
            [],
            "{names}"
        );
    }
}

#[test]
fn what_others_take_is_asked_for_on_top() {
    let mut observed = good();
    observed.other_slots = 3;
    assert!(finding(&observed, "SP003").fix.unwrap().contains("'43'"));
    assert!(finding(&observed, "SP004").fix.unwrap().contains("'51'"));
}

#[test]
fn origins_of_others_count_where_their_number_is_bound() {
    let mut observed = good();
    observed.other_slots = 1;
    observed.other_origins = 3;
    let asked = |observed: &Observed, code| finding(observed, code).fix.unwrap();
    assert!(asked(&observed, "SP003").contains("max_replication_slots = '41'"));
    assert!(asked(&observed, "SP007").contains("max_active_replication_origins = '43'"));
    observed.version.major = 17;
    assert!(asked(&observed, "SP003").contains("max_replication_slots = '43'"));
}

#[test]
fn origins_are_a_setting_of_their_own_only_from_18() {
    let mut observed = with("max_active_replication_origins", "0");
    observed.version.major = 17;
    assert_eq!(bad(&observed), []);
}

#[test]
fn a_loopback_address_is_fine_where_all_peers_are_local() {
    let observed = with("listen_addresses", "127.0.0.1");
    let here = Requirements {
        remote_peers: false,
        ..Requirements::default()
    };
    assert_eq!(worst(&judge(&observed, here)), Severity::Ok);
}

#[test]
fn a_server_is_not_to_give_a_slot_up_before_its_node_does() {
    let found = |megabytes: &str, slot_bytes_max: u64| {
        let requirements = Requirements {
            slot_bytes_max,
            ..Requirements::default()
        };
        let findings = judge(&with("max_slot_wal_keep_size", megabytes), requirements);
        findings.into_iter().find(|f| f.code == "SP008").unwrap()
    };
    let early = found("1023", 1 << 30);
    assert_eq!(early.severity, Severity::Warning);
    assert!(early.detail.contains("1024 MB"), "{early:?}");
    assert_eq!(found("1024", 1 << 30).severity, Severity::Ok);
    for (megabytes, slot_bytes_max, set_to) in [
        ("2048", 3 << 30, "'6GB'"),
        ("0", 20 << 20, "'40MB'"),
        ("-1", 20 << 20, "'40MB'"),
        ("-1", 1 << 30, "'2GB'"),
    ] {
        let finding = found(megabytes, slot_bytes_max);
        assert_eq!(finding.severity, Severity::Warning);
        let fix = finding.fix.unwrap();
        assert!(fix.contains(set_to), "{fix}");
    }
    // No more can be set, whatever the node allows.
    let most = i32::MAX.to_string();
    assert_eq!(found(&most, u64::MAX).severity, Severity::Ok);
}

#[test]
fn a_changed_setting_not_in_effect_is_named() {
    let mut observed = good();
    observed
        .settings
        .get_mut("wal_level")
        .unwrap()
        .pending_restart = true;
    assert!(finding(&observed, "SP009").summary.contains("wal_level"));
}

#[test]
fn an_old_version_is_critical() {
    let mut observed = good();
    observed.version = Version {
        major: 14,
        minor: 9,
    };
    assert_eq!(bad(&observed), [("SP001".to_owned(), Severity::Critical)]);
}

#[test]
fn an_ordinary_role_is_told_what_it_lacks() {
    let mut observed = good();
    observed.role.superuser = false;
    observed.role.replication = true;
    observed.role.name = "o\"neill".to_owned();
    assert_eq!(
        finding(&observed, "SP020").fix.unwrap(),
        "alter role \"o\"\"neill\" createrole; grant pg_create_subscription to \"o\"\"neill\"; \
         grant create on database \"starling\" to \"o\"\"neill\";"
    );
    observed.role.use_origins = false;
    assert!(
        finding(&observed, "SP020")
            .fix
            .unwrap()
            .contains("pg_replication_origin_advance(text, pg_lsn) to \"o\"\"neill\";")
    );
    observed.version.major = 15;
    assert_eq!(
        finding(&observed, "SP020").fix.unwrap(),
        "alter role \"o\"\"neill\" superuser;"
    );
}

#[test]
fn a_database_that_cannot_hold_a_store_is_critical() {
    let mut observed = good();
    observed.encoding = "LATIN1".to_owned();
    observed.in_recovery = true;
    let expected = [("SP021", Severity::Critical), ("SP022", Severity::Critical)];
    assert_eq!(
        bad(&observed),
        expected.map(|(code, severity)| (code.to_owned(), severity))
    );
}

#[test]
fn a_schema_out_of_reach_is_a_warning() {
    let mut observed = good();
    observed.names = Some(Names::default());
    assert_eq!(bad(&observed), [("SP023".to_owned(), Severity::Warning)]);
    observed.names = None;
    assert_eq!(bad(&observed), []);
}

#[test]
fn names_of_the_database_stay_names_in_its_fix() {
    let mut observed = good();
    observed.names = Some(Names {
        path: "public, a;drop/**/table/**/t".to_owned(),
        ..Names::default()
    });
    observed.role.database = "d".to_owned();
    assert_eq!(
        finding(&observed, "SP023").fix.unwrap(),
        "alter database \"d\" set search_path = public, \"a;drop/**/table/**/t\", crdv;"
    );
    observed.slots = vec![Slot {
        name: "s'), t('".to_owned(),
        active: false,
        lost: true,
        retained_bytes: 16,
    }];
    assert_eq!(
        finding(&observed, "SP031").fix.unwrap(),
        "select pg_drop_replication_slot('s''), t(''');"
    );
}

#[test]
fn names_that_collide_are_told_and_are_wrong_only_where_ours_win() {
    let mut observed = good();
    let shared = vec!["public.data".to_owned()];
    let names = |reachable, taken: &[String]| {
        Some(Names {
            reachable,
            shared: shared.clone(),
            taken: taken.to_vec(),
            ..Names::default()
        })
    };
    observed.names = names(false, &[]);
    assert_eq!(bad(&observed), []);
    assert!(finding(&observed, "SP023").summary.contains("public.data"));
    observed.names = names(true, &[]);
    assert_eq!(bad(&observed), []);
    observed.names = names(true, &shared);
    assert_eq!(bad(&observed), [("SP027".to_owned(), Severity::Warning)]);
}

#[test]
fn a_path_that_is_off_as_asked_for_is_well() {
    let mut observed = good();
    observed.names = Some(Names::default());
    let off = Requirements {
        plain_names: false,
        ..Requirements::default()
    };
    let findings = judge(&observed, off);
    assert_eq!(worst(&findings), Severity::Ok, "{findings:?}");
}

#[test]
fn where_a_private_store_listens_is_its_nodes_affair() {
    let mut observed = good();
    let local = Setting {
        value: "127.0.0.1".to_owned(),
        pending_restart: false,
        source: "configuration file".to_owned(),
    };
    observed
        .settings
        .insert("listen_addresses".to_owned(), local);
    for (is_private, is_sql) in [(true, false), (false, true)] {
        let requirements = Requirements {
            is_private,
            ..Requirements::default()
        };
        let findings = judge(&observed, requirements);
        let finding = findings.iter().find(|finding| finding.code == "SP018");
        let finding = finding.unwrap();
        assert_eq!(finding.sql().is_some(), is_sql, "{finding:?}");
        let fix = finding.fix.as_deref().unwrap();
        assert_eq!(fix.contains("--pg-listen"), is_private, "{fix}");
    }
}

#[test]
fn dead_slots_are_named_with_the_command_that_drops_them() {
    let slot = |name: &str, active, lost, retained_bytes| Slot {
        name: name.to_owned(),
        active,
        lost,
        retained_bytes,
    };
    let mut observed = good();
    // A link that is being made, or has lost its connection a moment ago.
    observed.slots = vec![slot("starling_b", false, false, 32 << 10)];
    assert_eq!(bad(&observed), []);
    observed.slots = vec![
        slot("starling_a", true, false, 1 << 30),
        slot("starling_b", false, false, 64 << 20),
        slot("starling_c", false, true, 16),
    ];
    let expected = [("SP030", Severity::Warning), ("SP031", Severity::Warning)];
    assert_eq!(
        bad(&observed),
        expected.map(|(code, severity)| (code.to_owned(), severity))
    );
    let fix = |code| finding(&observed, code).fix.unwrap();
    assert_eq!(
        fix("SP030"),
        "start the peers or the node again; where no node runs on this store: \
         select pg_drop_replication_slot('starling_b');"
    );
    assert_eq!(
        fix("SP031"),
        "select pg_drop_replication_slot('starling_c');"
    );
}

#[test]
fn a_wrong_clock_is_found_in_both_directions() {
    for (skew, severity) in [(1.5, Severity::Warning), (-90.0, Severity::Critical)] {
        let mut observed = good();
        observed.clock_skew_seconds = skew;
        assert_eq!(bad(&observed), [("SP040".to_owned(), severity)]);
    }
}

#[test]
fn missing_checksums_are_said_and_are_no_reason_to_worry() {
    let observed = with("data_checksums", "off");
    assert_eq!(bad(&observed), []);
    assert!(finding(&observed, "SP041").summary.contains("off"));
}

#[test]
fn exit_codes_are_those_of_monitoring() {
    let codes = [
        Severity::Ok,
        Severity::Warning,
        Severity::Critical,
        Severity::Unknown,
    ]
    .map(Severity::exit_code);
    assert_eq!(codes, [0, 1, 2, 3]);
}

#[test]
fn what_was_altered_in_the_store_is_critical_and_comes_with_its_fix() {
    let mut observed = good();
    observed.store.flaws = vec![("one".to_owned(), "fix one".to_owned())];
    observed.store.parked = Some(3);
    let findings = judge(&observed, Requirements::default());
    let of = |code| {
        findings
            .iter()
            .find(|finding| finding.code == code)
            .unwrap()
    };
    assert_eq!(of("SP050").severity, Severity::Critical);
    assert_eq!(of("SP050").fix.as_deref(), Some("fix one"));
    assert_eq!(of("SP051").severity, Severity::Warning);
    observed.store = StoreState::default();
    assert_eq!(
        worst(&judge(&observed, Requirements::default())),
        Severity::Ok
    );
}

#[test]
fn the_fix_of_a_setting_is_said_for_where_it_was_made() {
    let mut observed = good();
    for (source, fix) in [
        (
            "configuration file",
            "alter system set default_transaction_read_only = 'off'; select pg_reload_conf();",
        ),
        (
            "database",
            "alter database \"starling\" reset default_transaction_read_only;",
        ),
        (
            "command line",
            "start the server with -c default_transaction_read_only='off': its command line wins over files",
        ),
        (
            "user",
            "alter role \"starling\" reset default_transaction_read_only;",
        ),
        (
            "database user",
            "alter role \"starling\" in database \"starling\" reset default_transaction_read_only;",
        ),
    ] {
        let setting = Setting {
            value: "on".to_owned(),
            pending_restart: false,
            source: source.to_owned(),
        };
        let name = "default_transaction_read_only".to_owned();
        observed.settings.insert(name, setting);
        assert_eq!(finding(&observed, "SP022").fix.as_deref(), Some(fix));
    }
}
