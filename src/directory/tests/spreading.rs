//! How records and signs of life spread, and what is not said twice.

use std::time::Duration;

use super::{NOW, directory, exchange, name, process, rumor, words};
use crate::{
    api::NodeState,
    directory::{Announcement, Directory, Gossip, HEARTBEAT, Held, Pulse, Settings},
    identity::{Incarnation, NodeId, Site},
};

#[test]
fn what_a_node_says_to_all_is_taken_in_and_what_it_says_of_others_is_not() {
    let (mut a, mut b) = (directory(0), directory(1));
    assert!(b.hear_status(&name(0), a.status(), NOW));
    assert_eq!(b.record(&name(0)), Some(a.me()));
    assert!(!b.hear_status(&name(0), a.status(), NOW), "no news");

    // A sign of life keeps it counted as alive although nothing changed.
    let later = NOW + Settings::default().alive_after * 2;
    assert!(!b.is_alive(&name(0), later));
    a.beat(later);
    b.hear_status(&name(0), a.status(), later);
    assert!(b.is_alive(&name(0), later));

    let before = b.refused();
    assert!(!b.hear_status(&name(2), a.status(), later));
    assert_eq!(b.refused(), before + 1);
    assert_eq!(b.record(&name(2)), None);
}

#[test]
fn a_record_reaches_a_node_two_hops_away() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    exchange(&mut a, &mut b, NOW);
    exchange(&mut b, &mut c, NOW);
    assert_eq!(c.record(&name(0)), Some(a.me()));
    assert!(c.is_alive(&name(0), NOW));
    assert_eq!(c.node_of(Site::new(1).unwrap()), Some(&name(0)));
}

#[test]
fn what_a_neighbour_holds_is_not_sent_again() {
    let (mut a, mut b) = (directory(0), directory(1));
    exchange(&mut a, &mut b, NOW);
    exchange(&mut a, &mut b, NOW);
    assert!(a.gossip_for(&name(1), NOW).rumors.is_empty());
    assert!(b.gossip_for(&name(0), NOW).rumors.is_empty());
    a.announce(words(0));
    assert!(
        a.gossip_for(&name(1), NOW).rumors.is_empty(),
        "nothing changed"
    );
    a.announce(Announcement {
        state: NodeState::Degraded,
        ..words(0)
    });
    assert_eq!(a.gossip_for(&name(1), NOW).rumors.len(), 1);
}

#[test]
fn a_lost_message_is_sent_again() {
    let (mut a, mut b) = (directory(0), directory(1));
    let lost = a.gossip_for(&name(1), NOW);
    assert_eq!(lost.rumors.len(), 1);
    exchange(&mut a, &mut b, NOW);
    assert_eq!(b.record(&name(0)), Some(a.me()));
}

#[test]
fn a_neighbour_that_restarted_gets_everything_even_from_those_it_told_itself() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    exchange(&mut b, &mut c, NOW);
    exchange(&mut a, &mut b, NOW);
    exchange(&mut a, &mut b, NOW);
    assert!(a.record(&name(2)).is_some(), "b told a of c");

    a.neighbor_down(&name(1), false);
    let mut b = Directory::new(
        name(1),
        Incarnation::new(2_000),
        process(2),
        Settings::default(),
    );
    b.announce(words(1));
    exchange(&mut a, &mut b, NOW);
    exchange(&mut a, &mut b, NOW);
    assert!(b.record(&name(2)).is_some());
    assert_eq!(a.record(&name(1)), Some(b.me()));
}

#[test]
fn a_neighbour_that_restarted_unnoticed_gets_everything() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    exchange(&mut a, &mut c, NOW);
    exchange(&mut a, &mut b, NOW);
    exchange(&mut a, &mut b, NOW);
    let mut b = Directory::new(
        name(1),
        Incarnation::new(2_000),
        process(2),
        Settings::default(),
    );
    b.announce(words(1));
    for _ in 0..3 {
        exchange(&mut a, &mut b, NOW);
    }
    assert!(b.record(&name(2)).is_some());
}

#[test]
fn signs_of_life_travel_without_records() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    let mut now = NOW;
    for _ in 0..10 {
        for directory in [&mut a, &mut b, &mut c] {
            directory.beat(now);
        }
        exchange(&mut a, &mut b, now);
        exchange(&mut b, &mut c, now);
        now += HEARTBEAT;
    }
    assert!(c.is_alive(&name(0), now));
    a.beat(now);
    let gossip = a.gossip_for(&name(1), now);
    assert!(gossip.rumors.is_empty() && !gossip.pulses.is_empty());

    let silent = now + Settings::default().alive_after;
    assert!(!c.is_alive(&name(0), silent));
    assert!(c.record(&name(0)).is_some(), "absent, not forgotten");
}

#[test]
fn a_node_long_gone_does_not_look_alive_to_newcomers_and_is_forgotten_by_all() {
    let (mut a, mut b) = (directory(0), directory(1));
    exchange(&mut a, &mut b, NOW);
    let forget_after = Settings::default().forget_after;
    let late = NOW + forget_after - Duration::from_secs(60);
    b.beat(late);
    // A process that started just now: its clock counts from zero.
    let mut c = directory(2);
    let soon = Duration::from_secs(1);
    c.receive(&name(1), b.gossip_for(&name(2), late), soon);
    assert!(c.record(&name(0)).is_some());
    assert!(!c.is_alive(&name(0), soon));
    let later = Duration::from_secs(120);
    c.beat(later);
    assert!(
        c.record(&name(0)).is_none(),
        "the age travelled with the record"
    );
}

#[test]
fn who_forgot_a_silent_node_hears_of_it_when_it_speaks_again() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    for _ in 0..3 {
        exchange(&mut a, &mut b, NOW);
        exchange(&mut b, &mut c, NOW);
    }
    c.others.remove(&name(0));
    let later = NOW + Duration::from_secs(3_600);
    a.beat(later);
    exchange(&mut a, &mut b, later);
    exchange(&mut b, &mut c, later);
    assert!(c.is_alive(&name(0), later));
}

#[test]
fn a_gossip_survives_the_wire_and_unknown_fields() {
    let mut a = directory(0);
    let gossip = a.gossip_for(&name(1), NOW);
    let bytes = cbor4ii::serde::to_vec(Vec::new(), &gossip).unwrap();
    assert_eq!(
        cbor4ii::serde::from_slice::<Gossip>(&bytes).unwrap(),
        gossip
    );
    // The run's name is that of the first version, and what is held is a pair.
    let said = serde_json::to_value(rumor(a.me().clone())).unwrap();
    assert_eq!(said["life"], 1);
    let held = Held {
        run: process(7),
        upto: 3,
    };
    assert_eq!(serde_json::to_string(&held).unwrap(), "[7,3]");

    #[derive(serde::Serialize)]
    struct Later {
        node: NodeId,
        incarnation: u64,
        beat: u64,
        colour: &'static str,
    }
    let later = Later {
        node: name(1),
        incarnation: 1,
        beat: 2,
        colour: "blue",
    };
    let bytes = cbor4ii::serde::to_vec(Vec::new(), &later).unwrap();
    assert!(cbor4ii::serde::from_slice::<Pulse>(&bytes).is_ok());
}
