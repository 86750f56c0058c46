use super::reach::candidates;
use super::{Incoming, Lsn, Neighbor, Offer, Standing, create_subscription, judge};
use crate::identity::{NodeName, Site};
use crate::replication::names::Epoch;

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
        name: NodeName("o'peer".to_owned()),
        hosts,
    }
}

#[test]
fn a_link_is_resumed_only_without_a_hole() {
    let down = Incoming {
        applied: Lsn(100),
        ..Incoming::default()
    };
    let running = Incoming {
        streaming: true,
        ..down.clone()
    };
    let whole = Standing::Whole { end: Lsn(500) };
    for (what, link, heard, confirmed, active, end, expected) in [
        (
            "the slot stands where we do",
            &down,
            0,
            100,
            false,
            500,
            whole,
        ),
        ("the slot stands before us", &down, 0, 40, false, 500, whole),
        (
            "the slot stands beyond us",
            &down,
            0,
            101,
            false,
            500,
            Standing::Broken,
        ),
        (
            "only chatter lies between",
            &down,
            300,
            250,
            false,
            500,
            whole,
        ),
        (
            "it runs: the server knows best",
            &running,
            0,
            400,
            true,
            500,
            whole,
        ),
        (
            "it seems to run, not for the publisher",
            &running,
            0,
            400,
            false,
            500,
            Standing::Broken,
        ),
        (
            "the publisher went back in time",
            &running,
            0,
            90,
            true,
            99,
            Standing::Broken,
        ),
    ] {
        let standing = judge(link, Lsn(heard), Lsn(confirmed), active, Lsn(end));
        assert_eq!(standing, expected, "{what}");
    }
}

#[test]
fn a_link_that_never_carried_anything_stands_where_its_slot_started() {
    let fresh = Incoming {
        applied: Lsn(100),
        ..Incoming::default()
    };
    let standing = judge(&fresh, Lsn(0), Lsn(100), false, Lsn(100));
    assert_eq!(standing, Standing::Whole { end: Lsn(100) });
}

#[test]
fn the_advertised_host_is_the_only_one() {
    let offer = Offer {
        host: Some("db.example.org".to_owned()),
        ..offer()
    };
    assert_eq!(
        candidates(&neighbor(&["10.0.0.1"]), &offer),
        ["db.example.org"]
    );
}

#[test]
fn a_store_on_loopback_is_sought_on_this_machine_only() {
    let local = Offer {
        loopback_only: true,
        ..offer()
    };
    assert_eq!(
        candidates(&neighbor(&["10.0.0.1", "127.0.0.1"]), &local),
        ["127.0.0.1"]
    );
    assert_eq!(candidates(&neighbor(&["10.0.0.1"]), &local), ["127.0.0.1"]);
    assert_eq!(
        candidates(&neighbor(&["10.0.0.1", "::1"]), &offer()),
        ["10.0.0.1", "::1"]
    );
}

#[test]
fn strange_values_stay_inside_their_quotes() {
    let sql = create_subscription(Site::new(3).unwrap(), &neighbor(&[]), &offer(), "h");
    // Backslashes of the connection string are doubled once more by the literal around it.
    assert!(sql.contains(r"dbname=''data\\''base''"), "{sql}");
    assert!(sql.contains("is 'o''peer'"), "{sql}");
    assert!(
        sql.contains("slot_name = 'starling_0000000000000003_0000000000000009'"),
        "{sql}"
    );
    assert!(
        sql.contains(r#"subscription "starling_0000000000000007_0000000000000009""#),
        "{sql}"
    );
}
