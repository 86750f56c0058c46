use std::net::IpAddr;

use super::{
    Found, Incoming, Lsn, Neighbor, Offer, Past, Resumption, create_subscription, judge,
    reach::candidates,
};
use crate::{identity::Site, replication::names::Epoch};

fn offer() -> Offer {
    Offer {
        publisher: Site::new(7).unwrap(),
        epoch: Epoch::new(9),
        start: 0,
        host: None,
        port: 5432,
        loopback_only: false,
        database: "data'base".to_owned(),
        user: "user".to_owned(),
        password: "pass".to_owned(),
    }
}

fn neighbor(hosts: &[&str]) -> Neighbor {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Neighbor {
        name: "peer".parse().unwrap(),
        hosts,
    }
}

/// A worker that has ended, and one that runs; both stores know that everything up to 100 was applied.
fn down_and_running() -> [Incoming; 2] {
    [false, true].map(|streaming| Incoming {
        remote_lsn: Lsn(100),
        streaming,
        ..Incoming::default()
    })
}

/// A slot at `confirmed`, in a WAL that ends at 500.
fn idle(confirmed: u64) -> Found {
    Found {
        confirmed: Lsn(confirmed),
        active: false,
        end: Lsn(500),
        is_own: false,
    }
}

fn active(confirmed: u64) -> Found {
    Found {
        active: true,
        ..idle(confirmed)
    }
}

fn own(found: Found) -> Found {
    Found {
        is_own: true,
        ..found
    }
}

/// It has streamed in this run of the server, up to here when it was last looked at.
fn seen_at(latest_end_lsn: u64) -> Past {
    Past {
        has_streamed: true,
        latest_end_lsn: Lsn(latest_end_lsn),
        down: None,
    }
}

const WHOLE: Resumption = Resumption::Whole { end: Lsn(500) };

#[test]
fn a_link_is_resumed_only_without_a_hole() {
    let [down, _] = down_and_running();
    let (none, seen, broken) = (Past::default(), seen_at(300), Resumption::Broken);
    for (what, past, found, expected) in [
        ("where we do", none, idle(100), WHOLE),
        ("before us", none, idle(40), WHOLE),
        ("beyond us", none, idle(101), broken),
        ("beyond us, held by somebody", none, active(101), broken),
        ("after chatter that we saw", seen, idle(250), WHOLE),
        ("after what we did not see", seen, idle(301), broken),
        ("where our worker left it", seen, own(idle(301)), WHOLE),
        ("its sender is left", seen, own(active(301)), WHOLE),
        ("where a later copy left it", none, own(idle(101)), broken),
    ] {
        assert_eq!(judge(&down, past, found), expected, "the slot: {what}");
    }
}

#[test]
fn what_runs_at_both_ends_is_whole_unless_it_is_another_history() {
    let [_, running] = down_and_running();
    let another_history = Found {
        end: Lsn(99),
        ..active(90)
    };
    let (none, broken) = (Past::default(), Resumption::Broken);
    for (what, past, found, expected) in [
        ("the server knows best", none, active(400), WHOLE),
        ("it runs here only", none, idle(400), broken),
        ("history", seen_at(300), own(another_history), broken),
    ] {
        assert_eq!(judge(&running, past, found), expected, "{what}");
    }
}

#[test]
fn a_link_that_never_carried_anything_stands_where_its_slot_started() {
    let [fresh, _] = down_and_running();
    assert_eq!(judge(&fresh, Past::default(), idle(100)), WHOLE);
}

/// Where the store is sought, on a machine that has the address 10.0.0.1.
fn sought(peer: &[&str], offer: &Offer, allowed: &[&str]) -> Option<Vec<String>> {
    let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let is_ours = |address: &IpAddr| address.to_string() == "10.0.0.1";
    candidates(&neighbor(peer), offer, &allowed, is_ours).ok()
}

#[test]
fn an_advertised_host_is_one_of_the_peers_own_or_allowed() {
    let at = |host: &str| Offer {
        host: Some(host.to_owned()),
        ..offer()
    };
    let only = |host: &str| Some(vec![host.to_owned()]);
    let peer = ["10.0.0.1", "fd00::1"];
    for own in peer {
        assert_eq!(sought(&peer, &at(own), &[]), only(own));
    }
    for foreign in [
        "db.example.org",
        "10.0.0.2",
        "127.0.0.1",
        "localhost",
        "/var/run/postgresql",
        "@socket",
        "10.0.0.1,127.0.0.1",
        "",
    ] {
        assert_eq!(sought(&peer, &at(foreign), &[]), None, "{foreign}");
        assert_eq!(sought(&peer, &at(foreign), &["other"]), None, "{foreign}");
    }
    let allowed = ["DB.example.org", "10.0.0.2"];
    assert_eq!(
        sought(&peer, &at("db.example.org"), &allowed),
        only("db.example.org")
    );
    assert_eq!(sought(&peer, &at("10.0.0.2"), &allowed), only("10.0.0.2"));
    for (pattern, host, is_allowed) in [
        ("store-*", "store-two", true),
        ("*.example.org", "a.b.example.org", true),
        ("*.example.org", "example.org", false),
        ("store-*", "store-one,localhost", false),
        ("store-*", "other", false),
        ("*", "db", true),
        ("*", "localhost", false),
        ("*", "127.0.0.2", false),
        ("*", "0.0.0.0", false),
        ("*", "/tmp", false),
        ("ab*ba", "aba", false),
    ] {
        let found = sought(&peer, &at(host), &[pattern]);
        assert_eq!(found.is_some(), is_allowed, "{pattern} {host}");
    }
}

#[test]
fn a_store_on_loopback_is_sought_on_this_machine_only() {
    let local = Offer {
        loopback_only: true,
        ..offer()
    };
    let loopback = Some(vec!["127.0.0.1".to_owned()]);
    assert_eq!(sought(&["10.0.0.9", "127.0.0.1"], &local, &[]), loopback);
    assert_eq!(sought(&["10.0.0.1"], &local, &[]), loopback);
    assert_eq!(sought(&["10.0.0.9"], &local, &[]), Some(Vec::new()));
    assert_eq!(
        sought(&["10.0.0.9", "::1"], &offer(), &[]),
        Some(vec!["10.0.0.9".to_owned(), "::1".to_owned()])
    );
}

#[test]
fn strange_values_stay_inside_their_quotes() {
    let sql = create_subscription(Site::new(3).unwrap(), &neighbor(&[]), &offer(), "h");
    // Backslashes of the connection string are doubled once more by the literal around it.
    assert!(sql.contains(r"dbname=''data\\''base''"), "{sql}");
    assert!(sql.contains("is 'peer'"), "{sql}");
    assert!(
        sql.contains("slot_name = 'starling_0000000000000003_0000000000000009'"),
        "{sql}"
    );
    assert!(
        sql.contains(r#"subscription "starling_0000000000000007_0000000000000009""#),
        "{sql}"
    );
}
