//! Neighbours that lie, flood and make no sense.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::rules::{Bench, gossip, id, ihave};
use crate::{
    Announcement, Command, Config, Digest, Gossip, Graft, Held, IHave, Input, Keep, Message,
    MessageId, Output, Position, Prune, State, Timer, Trees, io::Event,
};

const SECOND: Duration = Duration::from_secs(1);

fn sends(outputs: &[Output<u64>]) -> usize {
    let is_send = |output: &&Output<u64>| matches!(output, Output::Send { .. });
    outputs.iter().filter(is_send).count()
}

#[test]
fn strangers_are_not_heard() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1]);
    assert_eq!(bench.hear(9, gossip(8, 1, 1)), []);
    assert_eq!(bench.hear(9, ihave(8, 2, 1)), []);
    assert_eq!(bench.after(SECOND), []);
    assert_eq!(bench.state.counters().refused, 2);
}

#[test]
fn promises_that_are_not_kept_stay_bounded_and_do_not_hide_what_others_have() {
    let config = Config::default().with_missing_max(80).with_list_max(1000);
    let mut bench = Bench::with_neighbors(config, &[1, 2]);
    for batch in 0..50_u64 {
        let list = (0..1000)
            .map(|n| Announcement {
                id: id(1000 + batch * 1000 + n, u64::MAX),
                hops: 0,
            })
            .collect();
        bench.hear(1, Message::IHave(IHave { list }));
    }
    assert_eq!(bench.state.sizes().missing, 10);
    // The liar also claims more of the origin that 2 has something of.
    bench.hear(2, ihave(8, 3, 1));
    bench.hear(1, ihave(8, 99, 0));
    let asked = bench.after(SECOND);
    let of_two = |output: &&Output<u64>| matches!(output, Output::Send { to: 2, message: Message::Graft(Graft { list }) } if list[0].origin == 8);
    assert_eq!(asked.iter().filter(of_two).count(), 1);
    bench.after(SECOND * 2);
    assert_eq!(bench.state.sizes().missing, 0);
    assert_eq!(bench.state.sizes().origins, 0);
}

#[test]
fn forged_hops_are_believed_only_once() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    bench.hear(1, gossip(8, 1, 9));
    bench.hear(2, gossip(8, 1, 0));
    bench.hear(3, gossip(8, 1, u16::MAX));
    bench.hear(2, ihave(8, 1, 0));
    assert_eq!(bench.state.parent(8), Some(2));
    // Nothing comes from the liar; 1 has it and is asked. From then on the liar is not preferred.
    bench.hear(1, ihave(8, 2, 8));
    bench.after(SECOND);
    bench.hear(1, gossip(8, 2, 9));
    assert_eq!(bench.state.parent(8), Some(1));
    bench.hear(2, gossip(8, 2, 1));
    assert!(bench.state.eager(8).all(|peer| peer != 2));
    bench.hear(2, ihave(8, 2, 0));
    assert_eq!(bench.state.parent(8), Some(1));
}

#[test]
fn the_greatest_hop_count_is_no_trouble() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2]);
    let outputs = bench.hear(1, gossip(8, 1, u16::MAX));
    assert!(outputs.contains(&Output::Send {
        to: 2,
        message: gossip(8, 1, u16::MAX)
    }));
}

#[test]
fn a_storm_of_prunes_and_grafts_costs_no_more_than_it_sends() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    bench.hear(1, gossip(8, 1, 3));
    bench.after(SECOND);
    let mut answers = 0;
    for _ in 0..1000 {
        answers += sends(&bench.hear(
            1,
            Message::Prune(Prune {
                origins: vec![8; 512],
            }),
        ));
    }
    assert_eq!(answers, 1, "one of those below is asked for a way, once");
    let list = vec![
        Position {
            origin: 8,
            held: Held::default(),
        };
        512
    ];
    for _ in 0..1000 {
        let list = list.clone();
        answers += sends(&bench.hear(1, Message::Graft(Graft { list })));
    }
    assert!(bench.state.counters().served <= 512_000);
    assert!(answers > 0);
}

#[test]
fn one_neighbour_cannot_ask_for_more_bytes_than_it_may() {
    let config = Config::default()
        .with_payload_bytes_max(1000)
        .with_serve_bytes_per_second(10_000);
    let mut bench = Bench::with_neighbors(config, &[1, 2]);
    let payload = Arc::from(vec![0_u8; 1000]);
    bench.feed(Input::Command(Command::Broadcast(payload)));
    let list = vec![
        Position {
            origin: 0,
            held: Held::default(),
        };
        512
    ];
    let mut answers = 0;
    for _ in 0..10 {
        let list = list.clone();
        answers += sends(&bench.hear(1, Message::Graft(Graft { list })));
        bench.now += SECOND / 10;
    }
    assert!((10..=20).contains(&answers), "{answers}");
    assert_eq!(sends(&bench.hear(2, Message::Graft(Graft { list }))), 10);
}

#[test]
fn origins_without_end_do_not_displace_those_that_are_heard_of() {
    let config = Config::default().with_origins_max(20);
    let mut bench = Bench::with_neighbors(config, &[1]);
    for origin in 100..1000 {
        bench.hear(1, gossip(origin, 1, 1));
    }
    let sizes = bench.state.sizes();
    assert_eq!((sizes.origins, sizes.payloads), (20, 20));
    assert_eq!(bench.hear(1, gossip(100, 1, 1)), [], "still known");
    assert_eq!(bench.hear(1, gossip(100, 2, 1)).len(), 1, "delivered");
    // Our own is not refused.
    let payload = Arc::from([1]);
    bench.feed(Input::Command(Command::Broadcast(payload)));
    assert_eq!(bench.state.sizes().origins, 21);
}

#[test]
fn caches_keep_their_bounds_and_forget_the_oldest() {
    let config = Config::default()
        .with_keep(Keep::All)
        .with_payload_bytes_max(100)
        .with_cache_bytes_max(1000)
        .with_cache_messages_max(15);
    let mut bench = Bench::with_neighbors(config, &[1, 2]);
    for seq in 1..200_u64 {
        let payload = Arc::from(vec![0; if seq % 2 == 0 { 100 } else { 1 }]);
        bench.now += Duration::from_millis(1);
        bench.feed(Input::Command(Command::Broadcast(payload)));
    }
    let sizes = bench.state.sizes();
    assert!(sizes.bytes <= 1000 && sizes.payloads <= 15, "{sizes:?}");
    assert!(!bench.state.is_news(&id(0, 1)));
    let held = Held::default();
    let list = vec![Position { origin: 0, held }];
    let served = bench.hear(1, Message::Graft(Graft { list }));
    assert_eq!(sends(&served), sizes.payloads);
}

fn any_held() -> impl Strategy<Value = Held> {
    let number = || prop_oneof![0_u64..4, Just(u64::MAX), any::<u64>()];
    (0_u64..4, number(), any::<u64>()).prop_map(|(incarnation, seq, gaps)| Held {
        incarnation,
        seq,
        gaps,
    })
}

fn any_id() -> impl Strategy<Value = MessageId<u64>> {
    let seq = prop_oneof![0_u64..6, Just(u64::MAX), Just(70_u64)];
    (0_u64..6, 0_u64..4, seq).prop_map(|(origin, incarnation, seq)| MessageId {
        origin,
        incarnation,
        seq,
    })
}

fn any_message() -> impl Strategy<Value = Message<u64>> {
    let hops = || prop_oneof![0_u16..9, Just(u16::MAX)];
    let positions = || {
        let position = (0_u64..6, any_held());
        let position = position.prop_map(|(origin, held)| Position { origin, held });
        prop::collection::vec(position, 0..6)
    };
    let age = prop_oneof![Just(0_u32), 0_u32..800_000, Just(u32::MAX)];
    prop_oneof![
        4 => (any_id(), hops(), age, 0_usize..40).prop_map(|(id, hops, age_ms, len)| {
            let payload = Arc::from(vec![0; len]);
            Message::Gossip(Gossip { id, hops, age_ms, payload })
        }),
        2 => prop::collection::vec((any_id(), hops()), 0..6).prop_map(|list| Message::IHave(IHave {
            list: list.into_iter().map(|(id, hops)| Announcement { id, hops }).collect(),
        })),
        2 => positions().prop_map(|list| Message::Graft(Graft { list })),
        2 => prop::collection::vec(0_u64..6, 0..6).prop_map(|origins| Message::Prune(Prune { origins })),
        1 => (prop::option::of(0_u64..6), prop::option::of(0_u64..6), positions())
            .prop_map(|(after, upto, list)| Message::Digest(Digest { after, upto, list })),
    ]
}

fn any_input() -> impl Strategy<Value = Input<u64>> {
    let peer = || 0_u64..6;
    prop_oneof![
        3 => peer().prop_map(|peer| Input::NeighborUp { peer }),
        2 => peer().prop_map(|peer| Input::NeighborDown { peer }),
        12 => (peer(), any_message())
            .prop_map(|(from, message)| Input::Received { from, message }),
        1 => (peer(), 0_u64..5000).prop_map(|(peer, ms)| Input::Measured {
            peer,
            round_trip: Duration::from_millis(ms),
        }),
        4 => prop::sample::select(vec![Timer::Flush, Timer::Graft, Timer::Exchange, Timer::Age])
            .prop_map(Input::Timer),
        1 => (0_usize..50).prop_map(|len| {
            Input::Command(Command::Broadcast(Arc::from(vec![0; len])))
        }),
        1 => prop::option::of(peer()).prop_map(|root| Input::Command(Command::SetRoot(root))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever comes in whatever order: all invariants hold, nothing is delivered twice, and every
    /// timer that was asked for and came leaves nothing waiting.
    #[test]
    fn no_sequence_of_inputs_breaks_an_invariant(
        inputs in prop::collection::vec((any_input(), 0_u64..400), 1..80),
        trees in prop::sample::select(vec![Trees::PerOrigin, Trees::Shared, Trees::Flood]),
        keep in prop::sample::select(vec![Keep::Latest, Keep::All]),
    ) {
        let config = Config::default()
            .with_trees(trees)
            .with_keep(keep)
            .with_payload_bytes_max(30)
            .with_cache_bytes_max(100)
            .with_cache_messages_max(8)
            .with_origins_max(4)
            .with_list_max(3)
            .with_announcements_max(5)
            .with_missing_max(16);
        let mut state = State::new(0, config.validate().unwrap(), 2);
        let mut now = Duration::ZERO;
        let mut delivered = std::collections::BTreeSet::new();
        for (input, pause) in inputs {
            now += Duration::from_millis(pause);
            state.handle(now, input);
            prop_assert_eq!(state.check(), Ok(()));
            while let Some(output) = state.poll_output() {
                match output {
                    Output::Event(Event::Deliver { id, .. }) => {
                        prop_assert!(delivered.insert(id), "{:?} twice", id);
                        prop_assert_ne!(id.origin, 0);
                    }
                    Output::Send { to, .. } => {
                        prop_assert!(state.neighbors().any(|peer| peer == to));
                    }
                    _ => {}
                }
            }
        }
    }
}
