//! Keeping the views full, alive and whole: R4 to R8.

use std::time::Duration;

use super::bench::*;
use crate::{
    Command, Config, DisconnectReason, DownReason, Input, Loss, Message, Output, Priority, Pulse,
    Tag, Timer, io::Event, message,
};

/// Two neighbours are enough.
fn small() -> Config {
    Config::default()
        .with_active_capacity(2)
        .with_outbound_min(1)
}

const ISOLATED: Out = Output::Event(Event::Isolated);
const WANTING: Out = Output::Event(Event::Wanting);

#[test]
fn a_lost_neighbour_is_replaced_by_asking_three_at_once() {
    let mut bench = Bench::started(Config::default(), &[1, 2, 3, 4, 5]);
    bench.learn(&[70, 71, 72, 73]);
    assert_eq!(
        requests(&bench.lose(1, Loss::Closed)).len(),
        1,
        "one slot, one request"
    );
    bench.lose(2, Loss::Closed);
    let outputs = bench.lose(3, Loss::Closed);
    assert_eq!(requests(&outputs).len(), 1);
    assert_eq!(
        bench.lose(4, Loss::Closed),
        [down(4, DownReason::Closed)],
        "three are enough"
    );
}

#[test]
fn the_next_candidate_is_asked_at_once_and_each_only_once_in_a_pass() {
    let mut bench = Bench::started(Config::default(), &[1, 2, 3, 4, 5]);
    bench.learn(&[70, 71, 72]);
    let mut asked = requests(&bench.lose(1, Loss::Closed));
    for serial in 1..=3 {
        let (peer, priority) = *asked.last().unwrap();
        assert_eq!(priority, Priority::Low);
        let outputs = match serial {
            1 => bench.hear(peer, refuse(ours(serial), &[])),
            2 => bench.give(Input::Unreachable { peer }),
            _ => bench.ring(Timer::Request { peer, serial }),
        };
        asked.extend(requests(&outputs));
    }
    asked.sort_unstable_by_key(|(peer, _)| *peer);
    let all: Vec<u64> = asked.iter().map(|(peer, _)| *peer).collect();
    assert_eq!(all, [70, 71, 72]);
    // A new pass begins later; the one that refused is asked again, the others are suspects.
    bench.pass(7);
    let outputs = bench.give(Input::Timer(Timer::Refill));
    assert!(!requests(&outputs).is_empty(), "{outputs:?}");
}

#[test]
fn a_candidate_that_keeps_us_waiting_loses_its_slot_to_the_next() {
    let mut bench = Bench::started(Config::default(), &[1, 2, 3, 4, 5]);
    bench.learn(&[70, 71]);
    let first = requests(&bench.lose(1, Loss::Closed));
    bench.now += Duration::from_millis(500);
    let second = requests(&bench.give(Input::Timer(Timer::Refill)));
    assert_eq!(second.len(), 1);
    // Both accept: the slow one is declined.
    bench.hear(second[0].0, accept(ours(2), &[]));
    let outputs = bench.hear(first[0].0, accept(ours(1), &[]));
    let declined = disconnect(ours(1), DisconnectReason::Unwanted, &[]);
    assert_eq!(outputs, [tell(first[0].0, declined), release(first[0].0)]);
}

#[test]
fn a_lonely_node_asks_with_high_priority_all_it_ever_knew() {
    let mut bench = Bench::started(Config::default(), &[1]);
    bench.order(Command::Learn {
        contact: contact(9),
        permanent: true,
    });
    bench.give(Input::Unreachable { peer: 9 });
    let outputs = bench.lose(1, Loss::Closed);
    let mut asked = requests(&outputs);
    asked.sort_unstable_by_key(|(peer, _)| *peer);
    assert_eq!(asked, [(1, Priority::High), (9, Priority::High)]);
    bench.give(Input::Unreachable { peer: 1 });
    let outputs = bench.give(Input::Unreachable { peer: 9 });
    assert_eq!(outputs.last(), Some(&ISOLATED));
    // Again and again, with longer and longer pauses; permanent contacts stay known.
    let mut cries = 0;
    for _ in 0..120 {
        bench.pass(1);
        let outputs = bench.give(Input::Timer(Timer::Refill));
        for (peer, _) in requests(&outputs) {
            let outputs = bench.give(Input::Unreachable { peer });
            cries += outputs.iter().filter(|output| **output == ISOLATED).count();
        }
    }
    assert!((5..=12).contains(&cries), "{cries} cries");
    assert_eq!(bench.state.permanent().count(), 1);
}

/// Two nodes that only have each other do not know that there is more.
#[test]
fn a_node_with_free_slots_asks_for_others_when_it_has_asked_all_in_vain_twice() {
    let wanting = |neighbors: &[u64]| {
        let mut bench = Bench::started(Config::default(), neighbors);
        bench.learn(&[70]);
        bench.give(Input::Unreachable { peer: 70 });
        let mut cries = Vec::new();
        for second in 0..300 {
            bench.pass(1);
            let mut outputs = bench.give(Input::Timer(Timer::Refill));
            for (peer, _) in requests(&outputs) {
                outputs.extend(bench.give(Input::Unreachable { peer }));
            }
            if outputs.contains(&WANTING) {
                cries.push(second);
            }
            assert!(!outputs.contains(&ISOLATED));
        }
        cries
    };
    assert_eq!(wanting(&[1, 2, 3, 4, 5]), []);
    let cries = wanting(&[1]);
    assert!((8..=14).contains(&cries.len()), "{cries:?}");
    // The first pass is in vain easily, and the pauses come to be as long as those of the refill.
    assert!((3..=20).contains(&cries[0]), "{cries:?}");
    let last = cries[cries.len() - 1] - cries[cries.len() - 2];
    assert!((22..=38).contains(&last), "{cries:?}");
}

#[test]
fn whom_it_is_told_of_a_node_with_free_slots_asks_at_once_and_without_priority() {
    let mut bench = Bench::started(Config::default(), &[1]);
    for _ in 0..30 {
        bench.pass(1);
        bench.give(Input::Timer(Timer::Refill));
    }
    let outputs = bench.order(Command::Learn {
        contact: contact(70),
        permanent: false,
    });
    assert_eq!(requests(&outputs), [(70, Priority::Low)]);
}

#[test]
fn a_peer_that_dropped_us_is_left_alone_for_a_while() {
    let mut bench = Bench::started(Config::default(), &[1, 2]);
    let outputs = bench.hear(
        1,
        disconnect(bench.epoch(1), DisconnectReason::Evicted, &[]),
    );
    assert_eq!(requests(&outputs), []);
    assert_eq!(bench.passive(), [1]);
    bench.pass(31);
    assert_eq!(
        requests(&bench.give(Input::Timer(Timer::Refill))),
        [(1, Priority::Low)]
    );
}

#[test]
fn heartbeats_go_to_all_neighbours_and_silence_is_cut() {
    let mut bench = Bench::started(small(), &[1, 2]);
    let outputs = bench.ring(Timer::Heartbeat);
    let beat = |bench: &Bench, peer| {
        let (epoch, pulse) = (bench.epoch(peer), bench.pulse());
        tell(
            peer,
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse,
                gauge: None,
            }),
        )
    };
    assert_eq!(outputs, [beat(&bench, 1), beat(&bench, 2)]);
    for _ in 0..3 {
        bench.pass(1);
        let epoch = bench.epoch(2);
        bench.hear(
            2,
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse: pulse(4),
                gauge: None,
            }),
        );
        // About another relation: proves nothing.
        bench.hear(
            1,
            Message::Heartbeat(message::Heartbeat {
                epoch: theirs(1, 99),
                pulse: pulse(4),
                gauge: None,
            }),
        );
        assert_eq!(bench.ring(Timer::Heartbeat).len(), 2);
    }
    bench.pass(1);
    let outputs = bench.ring(Timer::Heartbeat);
    let silent = down(1, DownReason::Silent);
    assert_eq!(
        outputs[..3],
        [Output::Cut { peer: 1 }, silent, beat(&bench, 2)]
    );
    assert_eq!(bench.suspects(), [1]);
}

#[test]
fn a_node_that_stood_still_itself_blames_nobody() {
    let mut bench = Bench::started(small(), &[1, 2]);
    bench.ring(Timer::Heartbeat);
    bench.pass(60);
    assert_eq!(bench.ring(Timer::Heartbeat).len(), 2);
    assert_eq!(bench.active(), [1, 2]);
}

#[test]
fn a_stray_heartbeat_is_answered_by_a_handshake_if_there_is_room() {
    let mut bench = Bench::with(&[1]);
    bench.learn(&[60]);
    let stray = Message::Heartbeat(message::Heartbeat {
        epoch: theirs(60, 4),
        pulse: pulse(1),
        gauge: None,
    });
    let outputs = bench.hear(60, stray.clone());
    assert_eq!(
        outputs,
        [send(60, bench.request(1, Priority::Low, 1)), expect(60, 1)]
    );
    assert_eq!(bench.hear(60, stray), [], "one handshake at a time");
}

#[test]
fn a_stray_heartbeat_is_answered_by_disconnect_if_there_is_none() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    let epoch = theirs(60, 4);
    let outputs = bench.hear(
        60,
        Message::Heartbeat(message::Heartbeat {
            epoch,
            pulse: pulse(1),
            gauge: None,
        }),
    );
    let Output::Tell {
        peer: 60,
        message: Message::Disconnect(message::Disconnect { epoch: named, .. }),
    } = &outputs[0]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((*named, &outputs[1..]), (epoch, &[release(60)][..]));
}

#[test]
fn a_relation_that_we_ended_does_not_come_back_by_a_late_heartbeat() {
    let mut bench = Bench::with(&[1, 60]);
    let epoch = bench.epoch(60);
    bench.lose(60, Loss::Closed);
    let outputs = bench.hear(
        60,
        Message::Heartbeat(message::Heartbeat {
            epoch,
            pulse: pulse(1),
            gauge: None,
        }),
    );
    assert!(
        matches!(
            &outputs[0],
            Output::Tell {
                message: Message::Disconnect(_),
                ..
            }
        ),
        "{outputs:?}"
    );
}

#[test]
fn unreachable_peers_are_remembered_until_they_speak() {
    let mut bench = Bench::with(&[1, 2]);
    bench.learn(&[70, 71]);
    bench.give(Input::Unreachable { peer: 70 });
    bench.give(Input::Unreachable { peer: 99 });
    assert_eq!((bench.passive(), bench.suspects()), (vec![71], vec![70]));
    // Hearsay does not clear it, unless it knows of a new address.
    let sample = bench.hear(
        1,
        disconnect(bench.epoch(1), DisconnectReason::Evicted, &[70]),
    );
    assert_eq!(sample.len(), 2);
    assert_eq!(bench.suspects(), [70]);
    bench.hear(
        70,
        Message::Probe(message::Probe {
            serial: 1,
            record: Home::default(),
        }),
    );
    assert_eq!(
        (bench.passive(), bench.suspects()),
        (vec![1, 70, 71], vec![])
    );
}

#[test]
fn a_flood_of_invented_names_does_not_wash_out_the_peers_we_knew() {
    let mut bench = Bench::idle(Config::default().with_suspect_capacity(4));
    bench.befriend(1);
    bench.lose(1, Loss::Closed);
    for peer in 100..200 {
        bench.learn(&[peer]);
        bench.give(Input::Unreachable { peer });
    }
    assert_eq!(bench.suspects().len(), 4);
    assert!(bench.suspects().contains(&1));
}

fn found(bench: &Bench, serial: u64, root: u64, settled: bool) -> Said {
    let pulse = Pulse {
        tag: Tag {
            root,
            incarnation: 1,
            beat: 9,
        },
        settled,
        ..bench.pulse()
    };
    Message::ProbeReply(message::ProbeReply {
        serial,
        record: Home::default(),
        pulse,
        sample: contacts(&[80]),
    })
}

#[test]
fn a_suspect_is_probed_and_the_next_one_soon_if_it_answers() {
    let mut bench = Bench::started(Config::default(), &[1, 2, 3, 4, 5]);
    bench.learn(&[70, 71]);
    bench.give(Input::Unreachable { peer: 70 });
    bench.give(Input::Unreachable { peer: 71 });
    let outputs = bench.ring(Timer::Probe);
    let Some(Output::Send {
        to,
        message: Message::Probe(message::Probe { serial, .. }),
    }) = outputs.first()
    else {
        panic!("{outputs:?}");
    };
    let peer = to.id;
    assert_eq!(outputs[1..], [expect(peer, *serial)]);
    assert_eq!(bench.ring(Timer::Probe), [], "one probe at a time");
    let outputs = bench.hear(peer, found(&bench, *serial, ME, true));
    let after = Duration::from_millis(500);
    let soon = Output::Schedule {
        after,
        timer: Timer::Probe,
    };
    assert_eq!(outputs, [soon, release(peer)]);
    assert_eq!(bench.passive(), [peer, 80]);
    let outputs = bench.ring(Timer::Probe);
    assert!(
        matches!(&outputs[0], Output::Send { to, .. } if to.id == 141 - peer),
        "{outputs:?}"
    );
}

#[test]
fn a_probe_is_answered_and_its_sender_remembered() {
    let mut bench = Bench::with(&[1]);
    bench.learn(&[70]);
    let outputs = bench.hear(
        60,
        Message::Probe(message::Probe {
            serial: 3,
            record: Home::default(),
        }),
    );
    let Output::Tell {
        peer: 60,
        message:
            Message::ProbeReply(message::ProbeReply {
                serial: 3,
                pulse,
                sample,
                ..
            }),
    } = &outputs[0]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((*pulse, sample.len()), (bench.pulse(), 2));
    assert_eq!(outputs[1..], [release(60)]);
    assert_eq!(bench.passive(), [60, 70]);
}

#[test]
fn a_peer_of_another_component_becomes_a_neighbour_by_priority_but_not_every_time() {
    let mut bench = Bench::started(Config::default(), &[1, 2, 3, 4, 5]);
    bench.learn(&[70]);
    bench.pass(15);
    let probe = |bench: &mut Bench, root, settled| {
        let outputs = bench.ring(Timer::Probe);
        let Some(Output::Send {
            to,
            message: Message::Probe(message::Probe { serial, .. }),
        }) = outputs.first()
        else {
            panic!("{outputs:?}");
        };
        let reply = found(bench, *serial, root, settled);
        bench.hear(to.id, reply)
    };
    assert_eq!(
        requests(&probe(&mut bench, 10, false)),
        [],
        "not settled there"
    );
    assert_eq!(
        requests(&probe(&mut bench, ME, true)),
        [],
        "the same component"
    );
    let asked = requests(&probe(&mut bench, 10, true));
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].1, Priority::High);
    // Both sides make room.
    let serial = bench.state.serial;
    let outputs = bench.hear(asked[0].0, accept(ours(serial), &[]));
    assert!(outputs.contains(&up(asked[0].0)), "{outputs:?}");
    assert_eq!(bench.active().len(), 5);
    bench.learn(&[90, 91]);
    assert_eq!(requests(&probe(&mut bench, 10, true)), [], "too soon");
}

#[test]
fn a_merger_makes_a_node_that_misses_several_peers_mix() {
    for (missing, mixes) in [(2, false), (3, true)] {
        let mut bench = Bench::started(Config::default(), &[60]);
        for peer in 0..missing {
            bench.learn(&[70 + peer]);
            bench.give(Input::Unreachable { peer: 70 + peer });
        }
        bench.pass(15);
        let tag = Tag {
            root: 1,
            incarnation: 1,
            beat: 500,
        };
        let (epoch, pulse) = (bench.epoch(60), Pulse { tag, ..pulse(3) });
        let outputs = bench.hear(
            60,
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse,
                gauge: None,
            }),
        );
        let soon = |output: &Out| {
            matches!(output, Output::Schedule { after, timer: Timer::Remix }
                if *after <= Duration::from_secs(3))
        };
        assert_eq!(outputs.iter().any(soon), mixes, "{outputs:?}");
    }
}

/// Whether the machine is about to mix.
fn mixes_soon(outputs: &[Out]) -> bool {
    outputs.iter().any(|output| {
        matches!(output, Output::Schedule { after, timer: Timer::Remix }
            if *after <= Duration::from_secs(3))
    })
}

#[test]
fn neighbours_that_were_lost_together_and_come_back_together_mean_that_a_cut_has_healed() {
    // Seconds between the losses, seconds between the returns.
    for (lost, back, mixes) in [(0, 0, true), (3, 15, true), (4, 0, false), (0, 16, false)] {
        let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
        bench.lose(1, Loss::Closed);
        bench.pass(lost);
        bench.lose(2, Loss::Closed);
        bench.pass(60);
        let knock = Message::Probe(message::Probe {
            serial: 1,
            record: Home::default(),
        });
        assert!(!mixes_soon(&bench.hear(1, knock.clone())));
        assert!(!mixes_soon(&bench.hear(1, knock.clone())), "one peer only");
        bench.pass(back);
        assert_eq!(mixes_soon(&bench.hear(2, knock)), mixes, "{lost} {back}");
    }
}

#[test]
fn a_request_that_comes_once_more_does_not_revive_what_has_ended() {
    let mut bench = Bench::with(&[1, 2, 3]);
    bench.hear(60, neighbor(60, 1, Priority::Low, 0));
    bench.hear(
        60,
        disconnect(theirs(60, 1), DisconnectReason::Evicted, &[]),
    );
    assert_eq!(bench.hear(60, neighbor(60, 1, Priority::Low, 0)), []);
    assert_eq!(bench.active(), [1, 2, 3]);
}

#[test]
fn timers_that_ring_early_are_ignored() {
    let mut bench = Bench::started(Config::default(), &[1, 2, 3, 4, 5]);
    for timer in [Timer::Shuffle, Timer::Probe, Timer::Remix] {
        bench.ring(timer);
        bench.ring(Timer::Heartbeat);
        assert_eq!(bench.give(Input::Timer(timer)), []);
    }
}
