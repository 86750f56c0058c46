//! A neighbour goes for another peer only once that peer has shown that it hears: R3.

use super::bench::*;
use crate::{DisconnectReason, DownReason, Loss, Message, Priority, Timer, message};

#[test]
fn nobody_goes_for_a_peer_that_does_not_hear() {
    for ask in [join(60, 1), neighbor(60, 1, Priority::High, 0)] {
        let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
        let granted = bench.hear(60, ask);
        let serial = bench.state.serial;
        let accepted = tell(60, bench.accepted(theirs(60, 1), &[]));
        assert_eq!(granted, [accepted, expect(60, serial)]);
        assert_eq!(bench.active(), [1, 2, 3, 4, 5]);
        assert_eq!(
            bench.ring(Timer::Request { peer: 60, serial }),
            [release(60)]
        );
        assert_eq!(bench.suspects(), [60]);
        // Too late: there is no room any more.
        let late = bench.hear(60, bench.confirmation(60, 1));
        assert!(!late.contains(&up(60)), "{late:?}");
        assert_eq!(bench.active(), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_confirmed_peer_takes_the_place_of_a_neighbour_and_a_newcomer_is_introduced() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    bench.hear(60, join(60, 1));
    let outputs = bench.hear(60, bench.confirmation(60, 1));
    assert!(outputs.contains(&up(60)), "{outputs:?}");
    let walks = |one: &&Out| {
        matches!(
            one,
            crate::Output::Tell {
                message: Message::ForwardJoin(_),
                ..
            }
        )
    };
    assert_eq!(outputs.iter().filter(walks).count(), 4);
    assert_eq!((bench.active().len(), bench.passive().len()), (5, 1));
    assert_eq!(bench.hear(60, bench.confirmation(60, 1)), []);
}

#[test]
fn a_repeated_request_is_granted_again_and_an_older_one_is_not() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    bench.hear(60, join(60, 7));
    let accepted = tell(60, bench.accepted(theirs(60, 7), &[]));
    assert_eq!(bench.hear(60, join(60, 7)), [accepted]);
    assert_eq!(bench.hear(60, join(60, 6)), []);
    bench.hear(60, join(60, 8));
    let old = bench.hear(60, bench.confirmation(60, 7));
    assert!(!old.contains(&up(60)), "{old:?}");
    assert!(bench.hear(60, bench.confirmation(60, 8)).contains(&up(60)));
}

#[test]
fn who_withdraws_or_is_lost_is_waited_for_no_longer() {
    for lost in [false, true] {
        let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
        bench.hear(60, join(60, 1));
        let outputs = if lost {
            bench.lose(60, Loss::Closed)
        } else {
            bench.hear(
                60,
                disconnect(theirs(60, 1), DisconnectReason::Unwanted, &[]),
            )
        };
        assert!(
            !outputs
                .iter()
                .any(|output| matches!(output, crate::Output::Event(_)))
        );
        let late = bench.hear(60, bench.confirmation(60, 1));
        assert!(!late.contains(&up(60)), "{late:?}");
    }
}

#[test]
fn who_loses_its_place_meanwhile_is_told_so() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    bench.hear(60, join(60, 1));
    // Everybody else has told that we are their only neighbour.
    for peer in 1..=5 {
        let (epoch, pulse) = (bench.epoch(peer), pulse(1));
        let gauge = None;
        bench.hear(
            peer,
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse,
                gauge,
            }),
        );
    }
    let outputs = bench.hear(60, bench.confirmation(60, 1));
    let crate::Output::Tell {
        message:
            Message::Disconnect(message::Disconnect {
                epoch,
                reason,
                sample,
            }),
        ..
    } = &outputs[0]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        (*epoch, reason, sample.len()),
        (theirs(60, 1), &DisconnectReason::Unwanted, 5)
    );
    assert_eq!(bench.active(), [1, 2, 3, 4, 5]);
}

#[test]
fn an_eviction_is_told_only_after_the_confirmation() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    let evicts =
        |outputs: &[Out]| (1..=5).any(|peer| outputs.contains(&down(peer, DownReason::Evicted)));
    assert!(!evicts(&bench.hear(60, neighbor(60, 1, Priority::High, 0))));
    assert!(evicts(&bench.hear(60, bench.confirmation(60, 1))));
}
