//! The four-node switch, step by step, and what is left when a step fails (R8).

use super::bench::*;
use crate::{
    Config, DisconnectReason, DownReason, Input, Loss, Message, Output, Priority, Timer, message,
};

const FULL: [u64; 5] = [1, 2, 3, 4, 5];

fn proposal(old: u64) -> Said {
    Message::SwitchProposal(message::SwitchProposal {
        token: 9,
        record: Home::default(),
        old,
        bid: None,
    })
}

fn invite(partner: u64) -> Said {
    Message::SwitchInvite(message::SwitchInvite {
        token: 9,
        partner,
        bid: None,
    })
}

const DECLINE: Said = Message::SwitchDecline(message::SwitchDecline { token: 9 });

#[test]
fn the_initiator_proposes_and_then_exchanges_its_oldest_link() {
    let mut bench = Bench::started(Config::default(), &FULL);
    bench.learn(&[70]);
    let outputs = bench.ring(Timer::Remix);
    let (record, old) = (Home::default(), 1);
    let proposed = send(
        70,
        Message::SwitchProposal(message::SwitchProposal {
            token: 1,
            record,
            old,
            bid: None,
        }),
    );
    assert_eq!(outputs, [proposed, expect(70, 1)]);
    assert_eq!(bench.ring(Timer::Remix), [], "one switch at a time");

    let ready = |token| {
        Message::SwitchReady(message::SwitchReady {
            token,
            partner: contact(80),
        })
    };
    assert_eq!(bench.hear(70, ready(2)), []);
    assert_eq!(bench.hear(71, ready(1)), []);
    let epoch = bench.epoch(1);
    let outputs = bench.hear(70, ready(1));
    let successor = Some((1, contact(80)));
    let bye = disconnect(epoch, DisconnectReason::Switched { successor }, &[]);
    let Output::Tell {
        peer: 1,
        message: Message::Disconnect(message::Disconnect { reason, .. }),
    } = &outputs[1]
    else {
        panic!("{outputs:?}");
    };
    assert!(
        matches!(&bye, Message::Disconnect(message::Disconnect { reason: same, .. }) if same == reason)
    );
    assert_eq!(outputs[0], down(1, DownReason::Switched));
    let request = bench.request(2, Priority::Switch(1), 4);
    assert_eq!(outputs[2..], [release(1), send(70, request), expect(70, 2)]);
    // The slot is kept for c.
    let outputs = bench.hear(99, neighbor(99, 1, Priority::Low, 0));
    assert!(matches!(
        outputs[0],
        Output::Tell {
            message: Message::Refuse(_),
            ..
        }
    ));
    assert_eq!(bench.hear(70, accept(ours(2), &[])), [up(70)]);
    assert_eq!(bench.active(), [2, 3, 4, 5, 70]);
}

#[test]
fn the_mediator_asks_a_neighbour_and_swaps_it_for_the_initiator() {
    let mut bench = Bench::with(&[1]);
    let outputs = bench.hear(60, proposal(80));
    assert_eq!(outputs, [expect(60, 1), tell(1, invite(80))]);
    assert_eq!(
        bench.hear(61, proposal(80)),
        [tell(61, DECLINE), release(61)],
        "one at a time"
    );
    // Nobody switches before the neighbour has agreed.
    let early = bench.hear(60, neighbor(60, 1, Priority::Switch(9), 4));
    assert!(matches!(
        early[0],
        Output::Tell {
            message: Message::Refuse(_),
            ..
        }
    ));
    assert_eq!(
        bench.hear(
            2,
            Message::SwitchConsent(message::SwitchConsent { token: 9 })
        ),
        []
    );
    assert_eq!(
        bench.hear(
            1,
            Message::SwitchConsent(message::SwitchConsent { token: 9 })
        ),
        [tell(
            60,
            Message::SwitchReady(message::SwitchReady {
                token: 9,
                partner: contact(1)
            })
        )]
    );
    let epoch = bench.epoch(1);
    let outputs = bench.hear(60, neighbor(60, 2, Priority::Switch(9), 4));
    let bye = disconnect(
        epoch,
        DisconnectReason::Switched { successor: None },
        &[60, 61],
    );
    assert_eq!(outputs[0], down(1, DownReason::Switched));
    assert!(matches!(
        &outputs[1],
        Output::Tell {
            peer: 1,
            message: Message::Disconnect(_)
        }
    ));
    let Message::Disconnect(message::Disconnect { sample, .. }) = &bye else {
        unreachable!()
    };
    assert_eq!(sample.len(), 2);
    assert_eq!(outputs[2..4], [release(1), up(60)]);
    assert_eq!(bench.active(), [60]);
}

#[test]
fn the_partner_swaps_the_mediator_for_the_initiators_old_neighbour() {
    let mut bench = Bench::with(&FULL);
    assert_eq!(bench.hear(99, invite(80)), [], "a stranger cannot invite");
    let outputs = bench.hear(1, invite(80));
    let consent = tell(
        1,
        Message::SwitchConsent(message::SwitchConsent { token: 9 }),
    );
    assert_eq!(outputs, [expect(80, 1), consent]);
    // c parts first, and the slot is kept.
    let bye = disconnect(
        bench.epoch(1),
        DisconnectReason::Switched { successor: None },
        &[],
    );
    assert_eq!(
        bench.hear(1, bye),
        [down(1, DownReason::Switched), release(1)]
    );
    let outputs = bench.hear(99, neighbor(99, 1, Priority::Low, 0));
    assert!(matches!(
        outputs[0],
        Output::Tell {
            message: Message::Refuse(_),
            ..
        }
    ));
    let outputs = bench.hear(80, neighbor(80, 1, Priority::Switch(9), 4));
    assert_eq!(outputs[0], up(80));
    assert_eq!(bench.active(), [2, 3, 4, 5, 80]);
}

#[test]
fn the_old_neighbour_turns_to_its_successor() {
    let mut bench = Bench::with(&FULL);
    let successor = Some((9, contact(80)));
    let bye = disconnect(
        bench.epoch(1),
        DisconnectReason::Switched { successor },
        &[],
    );
    let outputs = bench.hear(1, bye);
    let request = send(80, bench.request(1, Priority::Switch(9), 4));
    assert_eq!(
        outputs,
        [
            down(1, DownReason::Switched),
            release(1),
            request,
            expect(80, 1)
        ]
    );
}

#[test]
fn a_switch_is_declined_when_it_makes_no_sense() {
    let mut bench = Bench::with(&FULL);
    let declined = |peer| [tell(peer, DECLINE), release(peer)];
    assert_eq!(bench.hear(60, proposal(ME)), declined(60), "o is c");
    let mut alone = Bench::with(&[1]);
    assert_eq!(
        alone.hear(60, proposal(1)),
        declined(60),
        "nobody but o to give up"
    );
    // d: o is a neighbour already, or is d.
    assert_eq!(bench.hear(1, invite(2)), [tell(1, DECLINE)]);
    assert_eq!(bench.hear(1, invite(ME)), [tell(1, DECLINE)]);
    // A neighbour cannot propose: the link would be double.
    assert_eq!(bench.hear(1, proposal(80)), [tell(1, DECLINE)]);
}

#[test]
fn a_decline_frees_everybody() {
    let mut bench = Bench::with(&[1]);
    bench.hear(60, proposal(80));
    assert_eq!(bench.hear(1, DECLINE), [tell(60, DECLINE), release(60)]);
    let outputs = bench.hear(61, proposal(80));
    assert_eq!(outputs[1], tell(1, invite(80)), "free for another");
    // i withdraws: d is told.
    assert_eq!(bench.hear(61, DECLINE), [tell(1, DECLINE), release(61)]);
}

#[test]
fn a_switch_that_never_ends_is_given_up() {
    let mut bench = Bench::with(&FULL);
    bench.hear(1, invite(80));
    bench.lose(1, Loss::Closed);
    assert_eq!(bench.state.free_slots(), 0);
    bench.ring(Timer::Request {
        peer: 80,
        serial: 1,
    });
    assert_eq!(bench.state.free_slots(), 1);
}

#[test]
fn the_links_that_we_chose_are_not_given_to_whoever_proposes() {
    let mut bench = Bench::idle(Config::default());
    bench.court(1);
    bench.court(2);
    assert_eq!(
        bench.hear(60, proposal(80)),
        [tell(60, DECLINE), release(60)]
    );
    bench.befriend(3);
    assert_eq!(bench.hear(60, proposal(80))[1], tell(3, invite(80)));
}

#[test]
fn a_node_that_nobody_has_room_for_steps_between_two_others() {
    let mut bench = Bench::started(Config::default(), &[1, 2, 3]);
    bench.learn(&[70]);
    // The learnt peer is asked, and is full.
    let outputs = bench.hear(70, refuse(ours(1), &[]));
    let (record, old) = (Home::default(), ME);
    let proposed = send(
        70,
        Message::SwitchProposal(message::SwitchProposal {
            token: 2,
            record,
            old,
            bid: None,
        }),
    );
    assert!(outputs.contains(&proposed), "{outputs:?}");
    let outputs = bench.hear(
        70,
        Message::SwitchReady(message::SwitchReady {
            token: 2,
            partner: contact(80),
        }),
    );
    let switch = Priority::Switch(2);
    assert_eq!(requests(&outputs), [(80, switch), (70, switch)]);
    bench.hear(80, accept(ours(3), &[]));
    bench.hear(70, accept(ours(4), &[]));
    assert_eq!(bench.active(), [1, 2, 3, 70, 80]);
}

#[test]
fn a_link_made_in_a_crowd_is_exchanged_first_but_not_while_the_node_is_new() {
    let mut bench = Bench::started(Config::default().with_active_capacity(2), &[]);
    // One from a walk's end, whose own view is full, and then one from another newcomer.
    bench.hear(1, neighbor(1, 1, Priority::Low, 2));
    bench.pass(1);
    bench.hear(2, neighbor(2, 1, Priority::Low, 1));
    bench.learn(&[70]);
    let given_up = |outputs: &[Out]| match outputs {
        [
            Output::Send {
                message: Message::SwitchProposal(message::SwitchProposal { old, .. }),
                ..
            },
            ..,
        ] => *old,
        other => panic!("{other:?}"),
    };
    let outputs = bench.ring(Timer::Remix);
    assert_eq!(given_up(&outputs), 1, "the oldest");
    bench.hear(
        70,
        Message::SwitchDecline(message::SwitchDecline { token: 1 }),
    );
    bench.pass(60);
    let outputs = bench.ring(Timer::Remix);
    assert_eq!(given_up(&outputs), 2, "the one made in a crowd");
}

#[test]
fn exchanges_of_links_made_in_a_crowd_leave_shuffles_time() {
    let config = Config::default();
    let mut bench = Bench::started(config.clone(), &[]);
    for peer in [1, 2] {
        bench.hear(peer, neighbor(peer, 1, Priority::Low, 1));
    }
    bench.learn(&[70]);
    bench.pass(60);
    bench.state.alarms.clear();
    bench.state.alarms.force(Timer::Remix, bench.now);
    let outputs = bench.give(Input::Timer(Timer::Remix));
    let next = outputs.iter().find_map(|output| match output {
        Output::Schedule {
            after,
            timer: Timer::Remix,
        } => Some(*after),
        _ => None,
    });
    let mean = config.settle_time();
    let between = mean / 4 * 3..=mean / 4 * 5;
    assert!(next.is_some_and(|next| between.contains(&next)), "{next:?}");
}

#[test]
fn who_lacks_one_neighbor_gives_up_one_that_lacks_one_as_well() {
    let proposed = |degree_of_third: u8| {
        let mut bench = Bench::started(Config::default(), &[1, 2, 3, 4]);
        for (peer, degree) in [(1, 5), (2, 5), (3, degree_of_third), (4, 5)] {
            let heartbeat = Message::Heartbeat(message::Heartbeat {
                epoch: bench.epoch(peer),
                pulse: pulse(degree),
                gauge: None,
            });
            bench.hear(peer, heartbeat);
        }
        bench.learn(&[70]);
        bench.hear(70, refuse(ours(1), &[]));
        // Nor does the next pass over all backups find anybody.
        bench.pass(60);
        bench.ring(Timer::Refill);
        let outputs = bench.hear(70, refuse(ours(2), &[]));
        outputs.into_iter().find_map(|output| match output {
            Output::Send {
                message: Message::SwitchProposal(message::SwitchProposal { old, .. }),
                ..
            } => Some(old),
            _ => None,
        })
    };
    assert_eq!(proposed(4), Some(3));
    assert_eq!(proposed(5), None);
}
