//! What others can make a node do, and what they cannot (R11).

use std::{collections::BTreeSet, time::Duration};

use rand::{SeedableRng, rngs::SmallRng};

use crate::{Config, Contact, Epoch, Input, Message, Output, Priority, Pulse, State, Tag, message};

const ME: u64 = 1000;

fn contact(id: u64) -> Contact<u64, ()> {
    Contact { id, record: () }
}

fn epoch(by: u64) -> Epoch<u64> {
    Epoch {
        by,
        incarnation: 1,
        serial: 1,
    }
}

fn pulse(from: u64, degree: u8) -> Pulse<u64> {
    let tag = Tag {
        root: from,
        incarnation: 1,
        beat: 1,
    };
    Pulse {
        degree,
        tag,
        settled: false,
    }
}

struct Node {
    state: State<u64, ()>,
    rng: SmallRng,
}

impl Node {
    fn new(config: Config) -> Self {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut state = State::new(contact(ME), config, 1);
        state.start(Duration::ZERO, &mut rng);
        Self { state, rng }
    }

    /// What it says to a message that comes at `second`.
    fn hear(&mut self, second: u64, from: u64, message: Message<u64, ()>) -> Vec<Output<u64, ()>> {
        let input = Input::Received { from, message };
        let now = Duration::from_secs(second);
        self.state.handle(now, input, &mut self.rng);
        std::iter::from_fn(|| self.state.poll_output()).collect()
    }

    /// Neighbours 1 to 5 come, a second apart, with `degree` links each.
    fn with_neighbors(config: Config, degree: u8) -> Self {
        let mut node = Self::new(config);
        for peer in 1..=5 {
            node.ask(peer, peer, Priority::Low, degree);
        }
        assert_eq!(node.old(), 5);
        node
    }

    /// A peer asks, and confirms that it has heard the answer.
    fn ask(&mut self, second: u64, from: u64, priority: Priority, degree: u8) {
        let (epoch, pulse) = (epoch(from), pulse(from, degree));
        let message = Message::Neighbor(message::Neighbor {
            epoch,
            priority,
            record: (),
            pulse,
        });
        self.hear(second, from, message);
        self.confirm(second, from, degree);
    }

    fn confirm(&mut self, second: u64, from: u64, degree: u8) {
        let (epoch, pulse) = (epoch(from), pulse(from, degree));
        let message = Message::Heartbeat(message::Heartbeat {
            epoch,
            pulse,
            gauge: None,
        });
        self.hear(second, from, message);
    }

    fn shuffle(&mut self, second: u64, from: u64, first: u64, ttl: u8) -> Vec<Output<u64, ()>> {
        let message = Message::Shuffle(message::Shuffle {
            serial: first,
            origin: contact(from),
            list: (first..first + 8).map(contact).collect(),
            ttl,
        });
        self.hear(second, from, message)
    }

    /// How many of the neighbours 1 to 5 are left.
    fn old(&self) -> usize {
        self.state.active().filter(|peer| *peer <= 5).count()
    }
}

#[test]
fn strangers_that_press_in_get_the_place_of_the_latest_neighbor_only() {
    let press = |config: Config| {
        let mut node = Node::with_neighbors(config, 4);
        for stranger in 10..60 {
            node.ask(90 + stranger, stranger, Priority::High, 4);
        }
        node.old()
    };
    assert_eq!(press(Config::default()), 4);
    let unprotected = Config::default().with_tenure_min(Duration::MAX);
    assert_eq!(press(unprotected), 0);
}

/// Each of them was granted its request while the latest link was an honest one.
#[test]
fn strangers_that_confirm_all_at_once_get_the_place_of_the_latest_neighbor_only() {
    let mut node = Node::with_neighbors(Config::default(), 4);
    let mut accepted = 0;
    for stranger in 10..16 {
        let message = Message::Neighbor(message::Neighbor {
            epoch: epoch(stranger),
            priority: Priority::High,
            record: (),
            pulse: pulse(stranger, 4),
        });
        let said = node.hear(100, stranger, message);
        let accepts = |output: &&Output<u64, ()>| {
            matches!(
                output,
                Output::Tell {
                    message: Message::Accept(_),
                    ..
                }
            )
        };
        accepted += said.iter().filter(accepts).count();
    }
    assert!(accepted > 1);
    assert_eq!(node.old(), 5);
    for stranger in 10..16 {
        node.confirm(100, stranger, 4);
    }
    assert_eq!(node.old(), 4);
}

#[test]
fn who_steps_in_between_two_others_gets_the_latest_link_only() {
    let invited = |config: Config| {
        let mut invited: Vec<u64> = Vec::new();
        for stranger in 10..40 {
            let mut node = Node::with_neighbors(config.clone(), 4);
            node.rng = SmallRng::seed_from_u64(stranger);
            let message = Message::SwitchProposal(message::SwitchProposal {
                token: 1,
                record: (),
                old: stranger,
                bid: None,
            });
            let said = node.hear(100, stranger, message);
            invited.extend(said.iter().filter_map(|output| match output {
                Output::Tell {
                    peer,
                    message: Message::SwitchInvite(_),
                } => Some(*peer),
                _ => None,
            }));
        }
        invited.sort_unstable();
        invited.dedup();
        invited
    };
    assert_eq!(invited(Config::default()), [5]);
    let unprotected = Config::default().with_tenure_min(Duration::MAX);
    assert!(invited(unprotected).len() > 1);
}

#[test]
fn a_neighbor_that_claims_to_have_no_other_is_believed_for_a_while_only() {
    let mut node = Node::with_neighbors(Config::default(), 0);
    node.ask(20, 10, Priority::High, 4);
    assert_eq!(node.old(), 5, "nobody is left alone");
    node.ask(100, 11, Priority::High, 4);
    assert_eq!(node.old(), 4, "nobody is alone for a minute");
}

#[test]
fn shuffles_beyond_a_neighbors_allowance_are_dropped() {
    let taken = |config: Config| {
        let mut node = Node::with_neighbors(config, 4);
        let passed_on = |said: Vec<Output<u64, ()>>| {
            let walk = |output: &Output<u64, ()>| {
                matches!(
                    output,
                    Output::Tell {
                        message: Message::Shuffle(_),
                        ..
                    }
                )
            };
            said.iter().filter(|output| walk(output)).count()
        };
        let count = (0..100).map(|turn| passed_on(node.shuffle(50 + turn / 4, 1, 100, 6)));
        count.sum::<usize>()
    };
    // Ten at once, and one every 2.1 s.
    assert_eq!(taken(Config::default()), 21);
    let unlimited = Config::default().with_shuffle_excess(u32::MAX);
    assert_eq!(taken(unlimited), 100);
}

/// Each of the neighbours 1 to 5 has told of eight peers once, and number 1 then of the same 64 others, from 2000
/// on, for a quarter of an hour.
fn poisoned(config: Config) -> Node {
    let mut node = Node::with_neighbors(config, 4);
    for peer in 1..=5 {
        node.shuffle(50, peer, 100 * peer, 1);
    }
    for round in 0..200 {
        node.shuffle(60 + 5 * round, 1, 2000 + 8 * (round % 8), 1);
    }
    node
}

#[test]
fn who_is_named_a_hundred_times_does_not_push_out_who_is_named_once() {
    let honest = |config: Config| {
        let node = poisoned(config);
        let honest = |contact: &&Contact<u64, ()>| contact.id < 2000;
        node.state.passive().filter(honest).count()
    };
    // 15 of 104 are a sample, of which 40 are honest.
    let kept = honest(Config::default());
    assert!((4..=8).contains(&kept), "{kept}");
    assert_eq!(honest(Config::default().with_passive_sampled_percent(0)), 0);
}

#[test]
fn backups_of_the_sample_are_asked_first() {
    let asked = |config: Config| {
        let mut node = poisoned(config);
        let mut rng = SmallRng::seed_from_u64(2);
        let asked = (0..1000).filter_map(|_| {
            let backup = node.state.reserve.backup(|_| true, &mut rng);
            backup.map(|backup| backup.contact.id)
        });
        let asked: BTreeSet<u64> = asked.collect();
        // The next one when none of these is there.
        let others = node
            .state
            .reserve
            .backup(|backup| !asked.contains(&backup.contact.id), &mut node.rng);
        (asked.len(), others.is_some())
    };
    assert_eq!(asked(Config::default()), (15, true));
    let unsampled = Config::default().with_passive_sampled_percent(0);
    assert_eq!(asked(unsampled), (30, false));
}
