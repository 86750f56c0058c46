//! What is too much.

use std::time::Duration;

use super::{NOW, directory, exchange, name, process, rumor, words};
use crate::{
    directory::{Directory, Settings},
    identity::Incarnation,
};

#[test]
fn records_out_of_bounds_are_refused() {
    let mut a = directory(0);
    let good = directory(1).me().clone();
    let mut long = good.clone();
    long.name = "x".repeat(300);
    let mut many = good.clone();
    many.neighbors = (0..100).map(name).collect();
    let mut nameless = good.clone();
    nameless.node = serde_json::from_value("".into()).unwrap();
    let mut strange = good.clone();
    strange.neighbors = vec![serde_json::from_value("o'peer".into()).unwrap()];
    let mut ahead = good.clone();
    ahead.incarnation = Incarnation::new(u64::MAX);
    let mut follower = good.clone();
    follower.follows = Some(serde_json::from_value("o'peer".into()).unwrap());
    let mut late = good;
    late.started = u64::MAX;
    let all = [long, many, ahead, nameless, strange, follower, late];
    for (count, bad) in all.into_iter().enumerate() {
        assert!(!a.receive(&name(9), rumor(bad), NOW));
        assert_eq!(a.refused(), count as u64 + 1);
    }
    assert_eq!(a.len(), 1);
}

#[test]
fn when_full_the_longest_silent_makes_room_and_the_living_do_not() {
    let settings = Settings {
        nodes_max: 3,
        ..Settings::default()
    };
    let mut a = Directory::new(name(0), Incarnation::new(1), process(1), settings);
    a.receive(&name(1), rumor(directory(1).me().clone()), NOW);
    a.receive(
        &name(1),
        rumor(directory(2).me().clone()),
        NOW + Duration::from_secs(15),
    );
    let now = NOW + Duration::from_secs(16);
    assert!(
        !a.receive(&name(1), rumor(directory(3).me().clone()), now),
        "both are alive"
    );
    let now = NOW + Duration::from_secs(300);
    assert!(a.receive(&name(1), rumor(directory(3).me().clone()), now));
    assert!(a.record(&name(1)).is_none() && a.record(&name(2)).is_some());
    assert_eq!(a.len(), 3);
}

#[test]
fn messages_are_bounded_and_the_rest_follows() {
    let settings = Settings {
        message_bytes_max: 2_000,
        ..Settings::default()
    };
    let mut a = Directory::new(name(0), Incarnation::new(1_000), process(1), settings);
    a.announce(words(0));
    for number in 2..52 {
        a.receive(&name(99), rumor(directory(number).me().clone()), NOW);
    }
    let mut b = directory(1);
    let first = a.gossip_for(&name(1), NOW);
    assert!(
        first.rumors.len() < 20,
        "{} records at once",
        first.rumors.len()
    );
    for _ in 0..20 {
        exchange(&mut a, &mut b, NOW);
    }
    assert_eq!(b.len(), 52);
}
