//! Joining, walks and shuffles (paper 4.2 and 4.4, R9).

use super::bench::*;
use crate::{
    Command, Config, Contact, DownReason, Message, Output, Priority, Pulse, Timer, message,
};

fn forward_join(newcomer: u64, ttl: u8) -> Said {
    Message::ForwardJoin(message::ForwardJoin {
        newcomer: contact(newcomer),
        ttl,
    })
}

fn shuffle(origin: u64, list: &[u64], ttl: u8) -> Said {
    Message::Shuffle(message::Shuffle {
        serial: 5,
        origin: contact(origin),
        list: contacts(list),
        ttl,
    })
}

#[test]
fn joining_asks_the_contact_once_and_gives_up_in_time() {
    let mut bench = Bench::idle(Config::default());
    let outputs = bench.order(Command::Join(contact(9)));
    let (record, pulse) = (Home::default(), bench.pulse());
    let message = Message::Join(message::Join {
        epoch: ours(1),
        record,
        pulse,
    });
    assert_eq!(outputs, [send(9, message), expect(9, 1)]);
    assert_eq!(bench.order(Command::Join(contact(9))), []);
    assert_eq!(bench.order(Command::Join(contact(ME))), []);
}

#[test]
fn a_join_starts_a_walk_through_every_other_neighbour() {
    let mut bench = Bench::with(&[1, 2]);
    let outputs = bench.hear(60, join(60, 1));
    let walk = forward_join(60, 6);
    let accepted = tell(60, bench.accepted(theirs(60, 1), &[]));
    assert_eq!(
        outputs,
        [up(60), accepted, tell(1, walk.clone()), tell(2, walk)]
    );
}

#[test]
fn a_full_contact_makes_room_for_a_newcomer() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    let outputs = bench.press(60, 1, join(60, 1));
    assert!(outputs.contains(&up(60)), "{outputs:?}");
    assert_eq!(bench.active().len(), 5);
    assert!(bench.active().contains(&60));
    assert_eq!(bench.passive().len(), 1);
}

#[test]
fn joins_beyond_the_rate_are_sent_on() {
    let mut bench = Bench::idle(Config::default().with_admission_rate(2));
    bench.befriend(1);
    assert_eq!(bench.hear(60, join(60, 1))[0], up(60));
    assert_eq!(bench.hear(61, join(61, 1))[0], up(61));
    let outputs = bench.hear(62, join(62, 1));
    let Output::Tell {
        message: Message::Refuse(message::Refuse { sample, .. }),
        ..
    } = &outputs[0]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(sample.len(), 3);
    bench.pass(1);
    assert_eq!(bench.hear(62, join(62, 2))[0], up(62));
}

#[test]
fn a_walk_goes_on_to_one_other_neighbour() {
    let mut bench = Bench::with(&[1, 2]);
    assert_eq!(
        bench.hear(1, forward_join(60, 6)),
        [tell(2, forward_join(60, 5))]
    );
    assert_eq!(bench.passive(), Vec::<u64>::new());
    // At PRWL the newcomer is noted.
    assert_eq!(
        bench.hear(1, forward_join(60, 3)),
        [tell(2, forward_join(60, 2))]
    );
    assert_eq!(bench.passive(), [60]);
    // No walk is longer than an honest one.
    assert_eq!(
        bench.hear(1, forward_join(61, 200)),
        [tell(2, forward_join(61, 5))]
    );
    // Strangers start none, and nobody introduces us to ourselves.
    assert_eq!(bench.hear(9, forward_join(61, 6)), []);
    assert_eq!(bench.hear(1, forward_join(ME, 6)), []);
}

#[test]
fn where_a_walk_ends_the_newcomer_is_asked() {
    for (neighbors, ttl) in [(&[1, 2][..], 0), (&[1][..], 6)] {
        let mut bench = Bench::with(neighbors);
        let outputs = bench.hear(1, forward_join(60, ttl));
        let degree = u8::try_from(neighbors.len()).unwrap();
        let request = bench.request(1, Priority::Low, degree);
        assert_eq!(outputs, [send(60, request), expect(60, 1)]);
    }
}

#[test]
fn a_walks_end_gives_up_a_neighbour_only_when_the_newcomer_accepts() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    let outputs = bench.hear(1, forward_join(60, 0));
    assert_eq!(requests(&outputs), [(60, Priority::Low)]);
    assert_eq!(bench.active().len(), 5);
    let outputs = bench.hear(60, accept(ours(1), &[]));
    let evicted = |one: &Out| {
        let reason = DownReason::Evicted;
        (1..=5).any(|peer| *one == down(peer, reason))
    };
    assert!(evicted(&outputs[0]), "{outputs:?}");
    assert_eq!(outputs.last(), Some(&up(60)));
    assert_eq!(bench.active().len(), 5);
}

#[test]
fn a_shuffle_tells_of_oneself_some_neighbours_and_some_backups() {
    let mut bench = Bench::started(Config::default(), &[1]);
    bench.learn(&[70, 71]);
    let outputs = bench.ring(Timer::Shuffle);
    let Some(Output::Tell {
        peer: 1,
        message: Message::Shuffle(message::Shuffle {
            origin, list, ttl, ..
        }),
    }) = outputs.first()
    else {
        panic!("{outputs:?}");
    };
    let mut ids: Vec<u64> = list.iter().map(|contact| contact.id).collect();
    ids.sort_unstable();
    assert_eq!((origin.id, ids, *ttl), (ME, vec![ME, 70, 71], 6));
}

#[test]
fn a_shuffle_goes_on_and_its_end_answers_the_origin_itself() {
    let mut bench = Bench::with(&[1, 2]);
    bench.learn(&[70, 71, 72]);
    assert_eq!(
        bench.hear(1, shuffle(60, &[60, 80], 6)),
        [tell(2, shuffle(60, &[60, 80], 5))]
    );
    let outputs = bench.hear(1, shuffle(60, &[60, 80], 1));
    let [
        Output::Send {
            to,
            message: Message::ShuffleReply(message::ShuffleReply { serial: 5, list }),
        },
        released,
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((to.id, list.len(), released), (60, 2, &release(60)));
    assert_eq!(bench.passive(), [60, 70, 71, 72, 80]);
    // A neighbour is answered over the connection that exists.
    let outputs = bench.hear(1, shuffle(1, &[1, 81], 1));
    assert!(
        matches!(outputs.as_slice(), [Output::Tell { peer: 1, .. }]),
        "{outputs:?}"
    );
    // Lists are cut, strangers and echoes ignored.
    let long: Vec<u64> = (100..200).collect();
    bench.hear(1, shuffle(60, &long, 1));
    assert_eq!(bench.passive().iter().filter(|id| **id >= 100).count(), 8);
    assert_eq!(bench.hear(9, shuffle(60, &[90], 1)), []);
    assert_eq!(bench.hear(1, shuffle(ME, &[90], 1)), []);
    assert!(!bench.passive().contains(&90));
}

/// A passive view of this size, as in the paper.
fn fleeting(capacity: usize) -> Config {
    Config::default()
        .with_passive_capacity(capacity)
        .with_passive_sampled_percent(0)
}

#[test]
fn a_reply_counts_once_and_replaces_what_was_sent() {
    let mut bench = Bench::started(fleeting(2), &[1]);
    bench.learn(&[70, 71]);
    let outputs = bench.ring(Timer::Shuffle);
    let Some(Output::Tell {
        message: Message::Shuffle(message::Shuffle { serial, .. }),
        ..
    }) = outputs.first()
    else {
        panic!("{outputs:?}");
    };
    let reply = |list: &[u64]| {
        Message::ShuffleReply(message::ShuffleReply {
            serial: *serial,
            list: contacts(list),
        })
    };
    let other = Message::ShuffleReply(message::ShuffleReply {
        serial: serial + 1,
        list: contacts(&[90]),
    });
    bench.hear(9, other);
    assert_eq!(bench.passive(), [70, 71]);
    bench.hear(9, reply(&[80, 81]));
    assert_eq!(bench.passive(), [80, 81]);
    bench.hear(9, reply(&[90, 91]));
    assert_eq!(bench.passive(), [80, 81]);
}

#[test]
fn what_was_sent_in_a_reply_goes_first() {
    let mut bench = Bench::idle(fleeting(4));
    bench.befriend(1);
    bench.learn(&[70, 71, 72, 73]);
    let outputs = bench.hear(1, shuffle(60, &[60], 1));
    let Some(Output::Send {
        message: Message::ShuffleReply(message::ShuffleReply { list, .. }),
        ..
    }) = outputs.first()
    else {
        panic!("{outputs:?}");
    };
    let sent = list[0].id;
    assert!(!bench.passive().contains(&sent));
    assert!(bench.passive().contains(&60));
}

#[test]
fn a_peer_is_known_once_with_neighbours_first() {
    let mut bench = Bench::with(&[60]);
    bench.learn(&[10]);
    for id in [10, 60, 20] {
        bench.order(Command::Learn {
            contact: contact(id),
            permanent: true,
        });
    }
    let ids =
        |known: Vec<Contact<u64, Home>>| known.iter().map(|contact| contact.id).collect::<Vec<_>>();
    assert_eq!(ids(bench.state.known()), [60, 10, 20]);
}

#[test]
fn a_pulse_tells_the_degree() {
    let bench = Bench::with(&[1, 2]);
    assert!(matches!(
        bench.pulse(),
        Pulse {
            degree: 2,
            settled: true,
            ..
        }
    ));
}
