//! Others under this node's own name.

use std::time::Duration;

use super::{NOW, directory, exchange, name, process, rumor, words};
use crate::{
    directory::{Directory, Settings},
    identity::{Incarnation, Start},
};

#[test]
fn a_record_about_ourselves_is_outranked() {
    let mut a = directory(0);
    let mut old = a.me().clone();
    old.incarnation = Incarnation::new(5_000);
    old.counter = 70;
    old.name = "before the clock was set back".to_owned();
    let mut b = directory(1);
    b.receive(&name(2), rumor(old.clone()), NOW);
    exchange(&mut a, &mut b, NOW);
    assert!(a.me().rank() > old.rank());
    assert_eq!(a.me().name, "shop 0");
    exchange(&mut a, &mut b, NOW);
    assert_eq!(b.record(&name(0)), Some(a.me()));
}

#[test]
fn two_with_one_name_notice_one_another_and_a_new_run_notices_nobody() {
    let (mut hub, mut one) = (directory(0), directory(1));
    let mut twin = Directory::new(
        name(1),
        Incarnation::new(2_000),
        process(2),
        Settings::default(),
    );
    twin.announce(words(2));
    for _ in 0..8 {
        exchange(&mut one, &mut hub, NOW);
        exchange(&mut twin, &mut hub, NOW);
    }
    assert_eq!(one.twin(NOW), Some(process(2)));
    assert_eq!(twin.twin(NOW), Some(process(1)));
    // The twin ends.
    let later = NOW + Duration::from_secs(10);
    exchange(&mut one, &mut hub, later);
    exchange(&mut one, &mut hub, later);
    assert_eq!(one.twin(later + Duration::from_secs(10)), None);

    // The clock was set back between two runs, and every neighbour remembers another word of the first.
    let mut before = directory(1);
    let mut hubs: Vec<Directory> = (2..9).map(directory).collect();
    for (number, hub) in hubs.iter_mut().enumerate() {
        before.announce(words(20 + number));
        exchange(&mut before, hub, NOW);
    }
    let mut after = Directory::new(
        name(1),
        Incarnation::new(500),
        process(2),
        Settings::default(),
    );
    after.announce(words(1));
    for _ in 0..20 {
        for hub in &mut hubs {
            exchange(&mut after, hub, NOW);
        }
    }
    assert_eq!(after.twin(NOW), None);
}

#[test]
fn who_has_written_as_our_site_under_our_name_is_remembered_until_we_have_another() {
    let (mut hub, mut one) = (directory(0), directory(1));
    let mut twin = Directory::new(
        name(1),
        Incarnation::new(2_000),
        process(2),
        Settings::default(),
    );
    twin.announce(words(1));
    exchange(&mut twin, &mut hub, NOW);
    exchange(&mut one, &mut hub, NOW);
    assert_eq!(one.claimed(), None, "it asks whether it may");

    let mut writes = words(1);
    writes.generation = 5;
    twin.announce(writes);
    exchange(&mut twin, &mut hub, NOW);
    exchange(&mut one, &mut hub, NOW);
    let start = Start {
        generation: 5,
        run: process(2),
    };
    assert_eq!(one.claimed(), Some(start));
    one.announce(words(3));
    assert_eq!(one.claimed(), None);
}
