mod bytes;

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::{Announcement, Directory, Gossip, NodeRecord, Relay, Rumor, Settings, record};
use crate::{
    api::{NodeState, Presence},
    identity::{Incarnation, NodeId, Run, Site, Start},
    vector::Vector,
};

const NOW: Duration = Duration::from_secs(100);

fn name(number: usize) -> NodeId {
    format!("node{number}").parse().unwrap()
}

fn process(number: u64) -> Run {
    Run::new(number).unwrap()
}

fn words(number: usize) -> Announcement {
    Announcement {
        name: format!("shop {number}"),
        site: Site::new(number as i64 + 1),
        generation: 0,
        state: NodeState::Ready,
        store: format!("10.0.0.{number}:7432"),
        vector: Vector::default(),
        neighbors: Vec::new(),
        version: "0.1.0".to_owned(),
        started: 0,
        relay: Relay::Normal,
        follows: None,
    }
}

fn directory(number: usize) -> Directory {
    let mut directory = Directory::new(
        name(number),
        Incarnation::new(1_000),
        process(1),
        Settings::default(),
    );
    directory.announce(words(number));
    directory
}

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

/// One request and its reply.
fn exchange(a: &mut Directory, b: &mut Directory, now: Duration) {
    let (na, nb) = (a.me().node.clone(), b.me().node.clone());
    let request = a.gossip_for(&nb, now);
    b.receive(&na, request, now);
    let reply = b.gossip_for(&na, now);
    a.receive(&nb, reply, now);
}

fn rumor(record: NodeRecord) -> Gossip {
    Gossip {
        run: process(1),
        upto: 1,
        holds: None,
        rumors: vec![Rumor {
            record,
            beat: 1,
            age_seconds: 0,
        }],
        pulses: Vec::new(),
    }
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
        now += super::HEARTBEAT;
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

fn presence(directory: &Directory, node: usize, now: Duration) -> Presence {
    let of_node =
        |(record, presence): (&NodeRecord, _)| (record.node == name(node)).then_some(presence);
    directory.others(now).find_map(of_node).unwrap()
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

#[test]
fn topology_names_each_pair_once_and_says_if_both_agree() {
    let (mut a, mut b, mut c) = (directory(0), directory(1), directory(2));
    a.announce(Announcement {
        neighbors: vec![name(1)],
        ..words(0)
    });
    b.announce(Announcement {
        neighbors: vec![name(0), name(2)],
        ..words(1)
    });
    c.announce(Announcement {
        neighbors: vec![name(7)],
        ..words(2)
    });
    exchange(&mut a, &mut b, NOW);
    exchange(&mut b, &mut c, NOW);
    let topology = c.topology(NOW);
    assert_eq!(topology.nodes.len(), 3);
    let edges: Vec<_> = topology
        .edges
        .iter()
        .map(|e| (e.a.as_str(), e.b.as_str(), e.symmetric))
        .collect();
    assert_eq!(edges, [("node0", "node1", true), ("node1", "node2", false)]);
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
    let held = super::Held {
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
    assert!(cbor4ii::serde::from_slice::<super::Pulse>(&bytes).is_ok());
}

/// One thing that can happen in a cluster.
#[derive(Debug, Clone)]
enum Step {
    Announce(usize, NodeState),
    Restart(usize),
    Evict(usize, usize),
    Leave(usize),
    /// The first forgets what it and the second exchanged.
    Down(usize, usize),
    /// A message that may be lost, or kept and delivered later, twice.
    Send {
        from: usize,
        to: usize,
        fate: Fate,
    },
    Deliver,
    Beat(usize),
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Lost,
    Late,
}

const NODES: usize = 5;

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let state = prop_oneof![Just(NodeState::Ready), Just(NodeState::Degraded)];
    let fate = prop_oneof![Just(Fate::Arrives), Just(Fate::Lost), Just(Fate::Late)];
    prop_oneof![
        3 => (node.clone(), state).prop_map(|(n, s)| Step::Announce(n, s)),
        1 => node.clone().prop_map(Step::Restart),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Evict(a, b)),
        1 => node.clone().prop_map(Step::Leave),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Down(a, b)),
        12 => (node.clone(), node.clone(), fate)
            .prop_map(|(from, to, fate)| Step::Send { from, to, fate }),
        3 => Just(Step::Deliver),
        2 => node.prop_map(Step::Beat),
    ]
}

fn run(nodes: &mut [Directory], steps: &[Step]) {
    let mut now = NOW;
    let mut late: Vec<(usize, usize, Gossip)> = Vec::new();
    for (count, step) in steps.iter().enumerate() {
        now += Duration::from_secs(1);
        match step {
            Step::Announce(n, state) => {
                let site = nodes[*n].me().site;
                nodes[*n].announce(Announcement {
                    state: *state,
                    site,
                    ..words(*n)
                });
            }
            Step::Restart(n) => {
                let site = nodes[*n].me().site;
                // The clock may have been set back.
                let incarnation = if count % 3 == 0 {
                    10
                } else {
                    1_000 + count as u64
                };
                nodes[*n] = Directory::new(
                    name(*n),
                    Incarnation::new(incarnation),
                    process(10 + count as u64),
                    Settings::default(),
                );
                nodes[*n].announce(Announcement { site, ..words(*n) });
            }
            Step::Evict(a, b) => {
                nodes[*a].evict(&name(*b));
            }
            Step::Leave(n) => nodes[*n].leave(),
            Step::Down(a, b) => nodes[*a].neighbor_down(&name(*b), true),
            Step::Beat(n) => nodes[*n].beat(now),
            Step::Send { from, to, .. } if from == to => {}
            Step::Send { from, to, fate } => {
                let gossip = nodes[*from].gossip_for(&name(*to), now);
                match fate {
                    Fate::Arrives => {
                        nodes[*to].receive(&name(*from), gossip, now);
                    }
                    Fate::Late => late.push((*from, *to, gossip)),
                    Fate::Lost => {}
                }
            }
            Step::Deliver => {
                if let Some((from, to, gossip)) = late.last().cloned() {
                    nodes[to].receive(&name(from), gossip, now);
                }
            }
        }
    }
}

proptest! {
    /// Whatever happened, and whatever was lost, late or repeated: once messages go through
    /// along a line of nodes, all directories are equal and everyone's own word holds.
    #[test]
    fn directories_converge(steps in prop::collection::vec(step(), 0..120)) {
        let mut nodes: Vec<Directory> = (0..NODES).map(directory).collect();
        run(&mut nodes, &steps);
        let now = NOW + Duration::from_secs(200);
        for _ in 0..4 * NODES {
            for left in 0..NODES - 1 {
                let (a, b) = nodes.split_at_mut(left + 1);
                exchange(&mut a[left], &mut b[0], now);
            }
        }
        for node in &nodes {
            prop_assert_eq!(node.len(), NODES);
            for other in &nodes {
                prop_assert_eq!(other.record(&node.me().node), Some(node.me()));
            }
        }
    }

    /// The join of records is a semilattice, which is why order and repetition cannot matter.
    #[test]
    fn joining_records_is_commutative_associative_and_idempotent(
        parts in prop::collection::vec((0_u64..4, 0_u64..3, any::<bool>(), 0_u8..3), 3)
    ) {
        let record = |(incarnation, counter, evicted, word): (u64, u64, bool, u8)| {
            let mut record = NodeRecord::blank(name(0), Incarnation::new(incarnation), process(7));
            record.counter = counter;
            record.evicted = evicted;
            // A site belongs to a stretch of starts and never comes back.
            record.site = Site::new(1 + incarnation as i64 / 2);
            record.name = word.to_string();
            record
        };
        let [a, b, c] = [record(parts[0]), record(parts[1]), record(parts[2])];
        let join = |a: &NodeRecord, b: &NodeRecord| a.clone().join(b.clone());
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(join(&a, &a), a);
    }

    /// No message, however odd, makes a directory panic or grow beyond its bound.
    #[test]
    fn odd_messages_are_survived(
        parts in prop::collection::vec(
            (0..8_usize, any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>()), 0..40)
    ) {
        let settings = Settings { nodes_max: 4, ..Settings::default() };
        let mut a = Directory::new(name(0), Incarnation::new(7), process(7), settings);
        for (number, incarnation, counter, beat, age_seconds) in parts {
            let mut record = NodeRecord::blank(name(number), Incarnation::new(incarnation), process(7));
            record.counter = counter;
            let gossip = Gossip {
                run: process(beat.max(1)),
                upto: incarnation,
                holds: Some(super::Held { run: process(7), upto: age_seconds.into() }),
                rumors: vec![Rumor { record, beat, age_seconds }],
                pulses: vec![super::Pulse {
                    node: name(number),
                    incarnation: Incarnation::new(incarnation),
                    beat,
                }],
            };
            a.receive(&name(number), gossip, NOW);
            a.beat(NOW);
            a.gossip_for(&name(number), NOW);
            prop_assert!(a.len() <= 4);
            prop_assert!(a.me().incarnation <= record::INCARNATION_MAX);
        }
    }
}
