//! Whatever happens: all directories become equal, and none grows without bound.

use std::time::Duration;

use proptest::prelude::*;

use super::{NOW, directory, exchange, name, process, words};
use crate::{
    api::NodeState,
    directory::{
        Announcement, Directory, Gossip, Held, NodeRecord, Pulse, Rumor, Settings, record,
    },
    identity::{Incarnation, Site},
};

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
                holds: Some(Held { run: process(7), upto: age_seconds.into() }),
                rumors: vec![Rumor { record, beat, age_seconds }],
                pulses: vec![Pulse {
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
