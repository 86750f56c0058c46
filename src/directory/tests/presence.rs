//! Who is there, and who has stopped, left, or was evicted.

use std::time::{Duration, SystemTime};

use super::{NOW, directory, exchange, name, process, words};
use crate::{
    api::{NodeState, Presence},
    directory::{Announcement, Directory, NodeRecord, Settings},
    identity::{Incarnation, Site},
};

fn presence(directory: &Directory, node: usize, now: Duration) -> Presence {
    let of_node =
        |(record, presence): (&NodeRecord, _)| (record.node == name(node)).then_some(presence);
    directory.others(now).find_map(of_node).unwrap()
}

#[test]
fn leaving_is_told_and_ends_membership() {
    let (mut a, mut b) = (directory(0), directory(1));
    exchange(&mut a, &mut b, NOW);
    a.leave();
    exchange(&mut a, &mut b, NOW);
    assert!(!b.is_alive(&name(0), NOW));
    assert_eq!(b.members().count(), 1);
    let nodes = b.nodes(NOW, SystemTime::UNIX_EPOCH);
    assert_eq!((nodes[0].state, nodes[0].presence), (None, Presence::Left));
    assert!(!nodes[0].alive);
}

#[test]
fn who_says_that_it_stops_is_stopped_at_once_and_here_again_in_its_next_run() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    exchange(&mut a, &mut b, NOW);
    exchange(&mut b, &mut c, NOW);
    a.stop();
    assert!(b.hear_status(&name(0), a.status(), NOW));
    exchange(&mut b, &mut c, NOW);
    for other in [&b, &c] {
        assert_eq!(presence(other, 0, NOW), Presence::Stopped);
        assert!(!other.is_alive(&name(0), NOW));
        assert_eq!(other.members().count(), 3, "it is a member all the same");
    }

    let mut next = Directory::new(
        name(0),
        Incarnation::new(2_000),
        process(7),
        Settings::default(),
    );
    next.announce(words(0));
    exchange(&mut next, &mut b, NOW);
    exchange(&mut b, &mut c, NOW);
    assert_eq!(presence(&c, 0, NOW), Presence::Here);

    // A clock that was set back does not keep it down.
    next.stop();
    exchange(&mut next, &mut b, NOW);
    let mut last = Directory::new(
        name(0),
        Incarnation::new(500),
        process(8),
        Settings::default(),
    );
    last.announce(words(0));
    exchange(&mut last, &mut b, NOW);
    exchange(&mut last, &mut b, NOW);
    assert_eq!(presence(&b, 0, NOW), Presence::Here);
}

#[test]
fn a_neighbour_that_is_lost_is_silent_until_somebody_hears_of_it() {
    let (mut a, mut b) = (directory(0), directory(1));
    exchange(&mut a, &mut b, NOW);
    b.neighbor_down(&name(0), false);
    assert_eq!(presence(&b, 0, NOW), Presence::Here, "both agreed to part");
    b.neighbor_down(&name(0), true);
    assert_eq!(presence(&b, 0, NOW), Presence::Silent);
    assert!(!b.is_alive(&name(0), NOW));
    b.hear_status(&name(0), a.status(), NOW);
    assert_eq!(presence(&b, 0, NOW), Presence::Silent, "an old beat");
    a.beat(NOW);
    b.hear_status(&name(0), a.status(), NOW);
    assert_eq!(presence(&b, 0, NOW), Presence::Here);
    b.neighbor_down(&name(0), true);
    b.neighbor_up(&name(0));
    assert_eq!(presence(&b, 0, NOW), Presence::Here);
}

#[test]
fn an_eviction_holds_for_the_site_and_reaches_its_node() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    exchange(&mut a, &mut b, NOW);
    exchange(&mut b, &mut c, NOW);
    assert!(c.evict(&name(0)));
    assert!(!c.evict(&name(0)), "once is enough");
    // Meanwhile the evicted node says something newer.
    a.announce(Announcement {
        state: NodeState::Degraded,
        ..words(0)
    });
    exchange(&mut a, &mut b, NOW);
    exchange(&mut b, &mut c, NOW);
    exchange(&mut a, &mut b, NOW);
    for directory in [&a, &b, &c] {
        assert!(directory.record(&name(0)).unwrap().evicted);
        assert!(!directory.is_alive(&name(0), NOW));
    }
    assert!(a.am_evicted());

    // It comes back with a new site: a new member.
    a.announce(Announcement {
        site: Site::new(99),
        ..words(0)
    });
    assert!(!a.am_evicted());
    exchange(&mut a, &mut b, NOW);
    exchange(&mut b, &mut c, NOW);
    assert!(c.is_alive(&name(0), NOW));
}

#[test]
fn an_evicted_node_that_still_beats_does_not_make_records_travel() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    for _ in 0..3 {
        exchange(&mut a, &mut b, NOW);
        exchange(&mut b, &mut c, NOW);
    }
    b.evict(&name(0));
    for _ in 0..3 {
        exchange(&mut a, &mut b, NOW);
        exchange(&mut b, &mut c, NOW);
    }
    a.beat(NOW);
    exchange(&mut a, &mut b, NOW);
    assert!(b.gossip_for(&name(2), NOW).rumors.is_empty());
}
