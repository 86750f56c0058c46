//! How neighbour relations begin and end: R3, R4, R9, R11, R15.

use super::bench::*;
use crate::{
    Command, Config, DisconnectReason, DownReason, Input, Loss, Message, Output, Priority, message,
};

#[test]
fn a_low_priority_request_gets_a_free_slot_and_no_more() {
    let mut bench = Bench::with(&[1, 2, 3, 4]);
    let outputs = bench.hear(60, neighbor(60, 9, Priority::Low, 0));
    assert_eq!(
        outputs,
        [up(60), tell(60, bench.accepted(theirs(60, 9), &[]))]
    );
    assert_eq!(bench.pulse().degree, 5);

    bench.learn(&[70]);
    let outputs = bench.hear(61, neighbor(61, 1, Priority::Low, 0));
    let Output::Tell {
        peer: 61,
        message: Message::Refuse(message::Refuse { epoch, sample }),
    } = &outputs[0]
    else {
        panic!("not refused: {outputs:?}");
    };
    // The refusal carries backups and, these being few, neighbours.
    let mut ids: Vec<u64> = sample.iter().map(|contact| contact.id).collect();
    ids.sort_unstable();
    assert_eq!((*epoch, ids), (theirs(61, 1), vec![1, 2, 3, 4, 60, 70]));
    assert_eq!(outputs[1..], [release(61)]);
    assert_eq!(bench.passive(), [61, 70]);
}

#[test]
fn a_request_under_way_holds_its_slot() {
    let mut bench = Bench::with(&[1, 2, 3, 4]);
    bench.order(Command::Join(contact(9)));
    let outputs = bench.hear(60, neighbor(60, 1, Priority::Low, 0));
    assert!(matches!(
        outputs[0],
        Output::Tell {
            message: Message::Refuse(_),
            ..
        }
    ));
    let outputs = bench.hear(9, accept(ours(1), &[]));
    assert_eq!(outputs, [up(9), bench.confirms(9, ours(1)), grace()]);
}

#[test]
fn a_request_of_a_smaller_id_waits_for_the_answer_to_ours() {
    for refused in [false, true] {
        let mut bench = Bench::with(&[1, 2, 3, 4]);
        bench.order(Command::Join(contact(9)));
        assert_eq!(bench.hear(20, neighbor(20, 1, Priority::Low, 0)), []);
        // A request that was withdrawn waits no longer.
        bench.hear(21, neighbor(21, 1, Priority::Low, 0));
        bench.hear(
            21,
            disconnect(theirs(21, 1), DisconnectReason::Unwanted, &[]),
        );
        if refused {
            let outputs = bench.hear(9, refuse(ours(1), &[]));
            let accepted = tell(20, bench.accepted(theirs(20, 1), &[9]));
            assert_eq!(outputs, [release(9), up(20), accepted]);
        } else {
            let outputs = bench.hear(9, accept(ours(1), &[]));
            assert_eq!(outputs[..3], [up(9), bench.confirms(9, ours(1)), grace()]);
            let Output::Tell {
                peer: 20,
                message: Message::Refuse(_),
            } = &outputs[3]
            else {
                panic!("{outputs:?}");
            };
        }
    }
}

#[test]
fn a_high_priority_request_evicts_but_never_a_peer_that_would_be_left_alone() {
    let mut bench = Bench::with(&[1, 2, 3]);
    // 4 and 5 have told that we are their only neighbour.
    for peer in [4, 5] {
        bench.hear(peer, neighbor(peer, 1, Priority::Low, 0));
    }
    // 1 and 2 are told to have one link left as well.
    for peer in [1, 2] {
        let epoch = bench.epoch(peer);
        bench.hear(
            peer,
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse: pulse(1),
                gauge: None,
            }),
        );
    }
    let gone = bench.epoch(3);
    let outputs = bench.press(60, 1, neighbor(60, 1, Priority::High, 0));
    let [accepted, _, evicted, bye, let_go, come] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!(*evicted, down(3, DownReason::Evicted));
    let Output::Tell {
        peer: 3,
        message:
            Message::Disconnect(message::Disconnect {
                epoch,
                reason,
                sample,
            }),
    } = bye
    else {
        panic!("{bye:?}");
    };
    assert_eq!((*epoch, reason), (gone, &DisconnectReason::Evicted));
    assert_eq!(sample.len(), 4, "an evicted peer is told whom to turn to");
    assert_eq!((let_go, come), (&release(3), &up(60)));
    assert_eq!(*accepted, tell(60, bench.accepted(theirs(60, 1), &[])));
    assert_eq!(bench.passive(), [3]);
}

#[test]
fn when_nobody_can_be_evicted_the_requester_is_sent_on() {
    let mut bench = Bench::idle(Config::default());
    for peer in 1..=5 {
        bench.hear(peer, neighbor(peer, 1, Priority::Low, 0));
    }
    let outputs = bench.hear(60, join(60, 1));
    let Output::Tell {
        message: Message::Refuse(message::Refuse { sample, .. }),
        ..
    } = &outputs[0]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(sample.len(), 5);
    assert_eq!(bench.active(), [1, 2, 3, 4, 5]);
}

#[test]
fn the_last_links_that_we_chose_ourselves_are_not_evicted() {
    let mut bench = Bench::idle(Config::default());
    bench.court(1);
    bench.court(2);
    for peer in 3..=5 {
        bench.befriend(peer);
    }
    for (peer, serial) in (60..70).zip(1..) {
        bench.pass(60);
        bench.press(peer, serial, neighbor(peer, serial, Priority::High, 2));
    }
    assert!(bench.active().starts_with(&[1, 2]), "{:?}", bench.active());
}

#[test]
fn high_priority_is_granted_to_one_peer_only_now_and_then() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    let mut granted = 0;
    for serial in 1..=10 {
        let outputs = bench.press(60, serial, neighbor(60, serial, Priority::High, 2));
        granted += outputs.iter().filter(|output| **output == up(60)).count();
        if bench.state.epoch(60).is_some() {
            let reason = DisconnectReason::Evicted;
            bench.hear(60, disconnect(theirs(60, serial), reason, &[]));
            bench.befriend(100 + serial);
        }
    }
    assert_eq!(granted, 3);
}

#[test]
fn a_request_is_accepted_again_when_repeated_and_ignored_when_late() {
    let mut bench = Bench::with(&[]);
    bench.hear(60, neighbor(60, 5, Priority::Low, 0));
    let again = bench.hear(60, neighbor(60, 5, Priority::Low, 0));
    assert_eq!(again, [tell(60, bench.accepted(theirs(60, 5), &[]))]);
    assert_eq!(bench.hear(60, neighbor(60, 4, Priority::High, 0)), []);
    // In the name of somebody else:
    assert_eq!(bench.hear(61, neighbor(60, 6, Priority::Low, 0)), []);
}

#[test]
fn a_restarted_peer_replaces_its_old_relation() {
    let mut bench = Bench::with(&[1, 60]);
    let epoch = crate::Epoch {
        by: 60,
        incarnation: PEER_INCARNATION + 1,
        serial: 1,
    };
    let (priority, record) = (Priority::Low, Home::default());
    let message = Message::Neighbor(message::Neighbor {
        epoch,
        priority,
        record,
        pulse: pulse(0),
    });
    let outputs = bench.hear(60, message);
    let accepted = tell(60, bench.accepted(epoch, &[]));
    assert_eq!(outputs, [down(60, DownReason::Closed), up(60), accepted]);
    assert_eq!(bench.epoch(60), epoch);
}

#[test]
fn of_two_crossing_requests_the_one_of_the_smaller_id_is_pursued() {
    // The machine is the greater one: it forgets its request and accepts.
    let mut bench = Bench::idle(Config::default());
    bench.order(Command::Join(contact(10)));
    let outputs = bench.hear(10, neighbor(10, 4, Priority::Low, 0));
    assert_eq!(
        outputs,
        [up(10), tell(10, bench.accepted(theirs(10, 4), &[]))]
    );
    assert_eq!(
        bench.ring(crate::Timer::Request {
            peer: 10,
            serial: 1
        }),
        []
    );

    // The machine is the smaller one: it waits for its answer, and knows the other request later.
    bench.order(Command::Join(contact(60)));
    assert_eq!(bench.hear(60, neighbor(60, 4, Priority::Low, 0)), []);
    let outputs = bench.hear(60, accept(ours(2), &[]));
    assert_eq!(outputs, [up(60), bench.confirms(60, ours(2)), grace()]);
    assert_eq!(bench.hear(60, neighbor(60, 4, Priority::Low, 0)), []);
    assert_eq!(bench.epoch(60), ours(2));
}

#[test]
fn an_acceptance_that_nobody_waits_for_is_declined() {
    let mut bench = Bench::idle(Config::default());
    bench.order(Command::Join(contact(60)));
    let overdue = bench.ring(crate::Timer::Request {
        peer: 60,
        serial: 1,
    });
    let declined = tell(60, disconnect(ours(1), DisconnectReason::Unwanted, &[]));
    assert_eq!(overdue, [declined.clone(), release(60)]);
    assert_eq!(bench.suspects(), [60]);
    // The late answer: it is alive after all.
    assert_eq!(
        bench.hear(60, accept(ours(1), &[])),
        [declined, release(60)]
    );
    assert_eq!(
        (bench.active(), bench.passive(), bench.suspects()),
        (vec![], vec![60], vec![])
    );
}

#[test]
fn an_acceptance_without_a_free_slot_is_declined() {
    let mut bench = Bench::with(&[1, 2, 3, 4]);
    bench.order(Command::Join(contact(9)));
    bench.pass(1);
    bench.befriend(5);
    let outputs = bench.hear(9, accept(ours(1), &[]));
    let declined = tell(9, disconnect(ours(1), DisconnectReason::Unwanted, &[]));
    assert_eq!(outputs, [declined, release(9)]);
    assert_eq!(bench.passive(), [9]);
}

#[test]
fn only_a_disconnect_of_the_current_relation_counts() {
    let mut bench = Bench::with(&[1, 60]);
    let epoch = bench.epoch(60);
    assert_eq!(
        bench.hear(
            60,
            disconnect(theirs(60, 99), DisconnectReason::Evicted, &[70])
        ),
        []
    );
    assert_eq!(
        bench.hear(61, disconnect(epoch, DisconnectReason::Evicted, &[70])),
        []
    );
    assert_eq!(bench.passive(), Vec::<u64>::new());
    let outputs = bench.hear(60, disconnect(epoch, DisconnectReason::Evicted, &[70, 71]));
    assert_eq!(outputs, [down(60, DownReason::Dropped), release(60)]);
    assert_eq!(bench.passive(), [60, 70, 71]);
}

#[test]
fn a_peer_that_leaves_for_good_is_forgotten_even_if_others_speak_of_it() {
    let mut bench = Bench::with(&[1, 60, 61]);
    let outputs = bench.hear(
        60,
        disconnect(bench.epoch(60), DisconnectReason::Leaving, &[]),
    );
    assert_eq!(outputs, [down(60, DownReason::Left), release(60)]);
    bench.hear(
        61,
        disconnect(bench.epoch(61), DisconnectReason::Evicted, &[60, 70]),
    );
    assert_eq!(bench.passive(), [61, 70]);
    // Until it comes back by itself.
    assert_eq!(bench.hear(60, neighbor(60, 9, Priority::Low, 0))[0], up(60));
}

#[test]
fn a_slow_peer_is_kept_out_for_a_while() {
    let mut bench = Bench::with(&[1, 60]);
    assert_eq!(bench.lose(60, Loss::Slow), [down(60, DownReason::Slow)]);
    let outputs = bench.hear(60, join(60, 9));
    assert!(matches!(
        outputs[0],
        Output::Tell {
            message: Message::Refuse(_),
            ..
        }
    ));
    bench.pass(10);
    assert_eq!(bench.hear(60, join(60, 10))[0], up(60));
}

#[test]
fn a_lonely_node_takes_in_even_a_peer_in_quarantine() {
    let mut bench = Bench::with(&[10]);
    bench.lose(10, Loss::Misbehaved);
    assert_eq!(bench.hear(10, neighbor(10, 9, Priority::Low, 0))[0], up(10));
}

#[test]
fn a_flapping_peer_is_kept_out_for_a_while() {
    let mut bench = Bench::with(&[1]);
    for serial in 1..=4 {
        assert_eq!(
            bench.hear(60, neighbor(60, serial, Priority::Low, 0))[0],
            up(60)
        );
        assert_eq!(bench.lose(60, Loss::Closed), [down(60, DownReason::Closed)]);
    }
    let outputs = bench.hear(60, neighbor(60, 5, Priority::Low, 0));
    assert!(matches!(
        outputs[0],
        Output::Tell {
            message: Message::Refuse(_),
            ..
        }
    ));
    assert_eq!(bench.suspects(), [60]);
}

#[test]
fn one_part_of_the_network_gets_its_share_of_the_views() {
    let config = Config::default()
        .with_group_active_max(Some(2))
        .with_group_passive_max(Some(3));
    let mut bench = Bench::idle(config);
    let home = Home {
        group: Some(1),
        ..Home::default()
    };
    for peer in 1..=10 {
        let (epoch, record) = (theirs(peer, 1), home);
        let message = Message::Neighbor(message::Neighbor {
            epoch,
            priority: Priority::High,
            record,
            pulse: pulse(0),
        });
        bench.hear(peer, message);
    }
    assert_eq!(bench.active(), [1, 2]);
    assert_eq!(bench.passive().len(), 3);
    bench.befriend(60);
    assert_eq!(bench.active(), [1, 2, 60]);
}

#[test]
fn leaving_tells_the_neighbours_and_empties_the_views() {
    let mut bench = Bench::with(&[60]);
    bench.learn(&[70]);
    let epoch = bench.epoch(60);
    let outputs = bench.order(Command::Leave);
    let bye = tell(60, disconnect(epoch, DisconnectReason::Leaving, &[70]));
    assert_eq!(outputs, [down(60, DownReason::Left), bye, release(60)]);
    assert_eq!(bench.state.known(), []);
    // From now on everybody is refused, and told so if it believes otherwise.
    let refused = bench.hear(61, join(61, 1));
    assert_eq!(refused, [tell(61, refuse(theirs(61, 1), &[])), release(61)]);
    let stray = bench.hear(
        60,
        Message::Heartbeat(message::Heartbeat {
            epoch,
            pulse: pulse(1),
            gauge: None,
        }),
    );
    let unwanted = tell(60, disconnect(epoch, DisconnectReason::Unwanted, &[]));
    assert_eq!(stray, [unwanted, release(60)]);
    assert_eq!(bench.state.known(), []);
}

#[test]
fn a_new_record_is_told_to_neighbours_and_taken_from_them() {
    let mut bench = Bench::with(&[60]);
    let record = Home {
        version: 2,
        ..Home::default()
    };
    let outputs = bench.order(Command::SetRecord(record));
    assert_eq!(
        outputs,
        [tell(60, Message::Moved(message::Moved { record }))]
    );
    let outputs = bench.hear(60, Message::Moved(message::Moved { record }));
    let moved = crate::Contact { id: 60, record };
    assert_eq!(
        outputs,
        [Output::Event(crate::io::Event::NeighborMoved(moved))]
    );
}

#[test]
fn hints_are_kept_to_oneself_and_old_records_do_not_replace_new_ones() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    let learn = |bench: &mut Bench, id, record| {
        let contact = crate::Contact { id, record };
        bench.order(Command::Learn {
            contact,
            permanent: false,
        });
    };
    learn(
        &mut bench,
        70,
        Home {
            hint: true,
            ..Home::default()
        },
    );
    learn(
        &mut bench,
        71,
        Home {
            version: 2,
            ..Home::default()
        },
    );
    learn(
        &mut bench,
        71,
        Home {
            version: 1,
            ..Home::default()
        },
    );
    let outputs = bench.hear(60, neighbor(60, 1, Priority::Low, 0));
    let Output::Tell {
        message: Message::Refuse(message::Refuse { sample, .. }),
        ..
    } = &outputs[0]
    else {
        panic!("{outputs:?}");
    };
    let known = sample
        .iter()
        .find(|contact| contact.id == 71)
        .expect("told");
    assert_eq!(known.record.version, 2);
    assert!(sample.iter().all(|contact| contact.id != 70));
}

#[test]
fn a_connection_that_closes_under_a_request_does_not_make_a_suspect() {
    let mut bench = Bench::idle(Config::default());
    bench.order(Command::Join(contact(60)));
    assert_eq!(bench.lose(60, Loss::Closed), []);
    assert_eq!((bench.passive(), bench.suspects()), (vec![60], vec![]));
    bench.order(Command::Join(contact(60)));
    assert_eq!(bench.give(Input::Unreachable { peer: 60 }), []);
    assert_eq!((bench.passive(), bench.suspects()), (vec![], vec![60]));
}
