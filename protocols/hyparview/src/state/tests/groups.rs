//! What a message may change, by groups of fields: the table in the documentation of `state`.

use super::bench::*;
use crate::{DisconnectReason, Message, Priority, Pulse, Tag, Timer, message};

/// A machine with a full view, in which nobody waits. It knows two backups.
fn full() -> Bench {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    bench.learn(&[80, 81]);
    bench.pass(1);
    bench
}

fn groups(bench: &Bench) -> [(&'static str, String); 6] {
    let state = &bench.state;
    [
        ("relations", format!("{:?}", state.relations)),
        ("reserve", format!("{:?}", state.reserve)),
        ("guards", format!("{:?}", state.guards)),
        ("switching", format!("{:?}", state.switching)),
        ("healing", format!("{:?}", state.healing)),
        ("offer", format!("{:?}", state.offer)),
    ]
}

/// The groups that `message` changes in this machine.
fn changed_in(bench: &mut Bench, from: u64, message: Said) -> Vec<&'static str> {
    let before = groups(bench);
    bench.hear(from, message);
    let both = before.into_iter().zip(groups(bench));
    let different = both.filter(|(before, after)| before != after);
    different.map(|((name, _), _)| name).collect()
}

/// The same in a machine with a full view.
fn changed(from: u64, message: Said) -> Vec<&'static str> {
    changed_in(&mut full(), from, message)
}

fn shuffle(ttl: u8) -> Said {
    Message::Shuffle(message::Shuffle {
        serial: 1,
        origin: contact(60),
        list: contacts(&[60, 61]),
        ttl,
    })
}

fn shuffle_reply() -> Said {
    Message::ShuffleReply(message::ShuffleReply {
        serial: 1,
        list: contacts(&[60]),
    })
}

fn walk(ttl: u8) -> Said {
    Message::ForwardJoin(message::ForwardJoin {
        newcomer: contact(60),
        ttl,
    })
}

#[test]
fn a_shuffle_changes_whom_this_node_knows_and_nothing_that_it_has() {
    assert_eq!(changed(1, shuffle(6)), ["guards"], "passes");
    assert_eq!(changed(1, shuffle(1)), ["reserve", "guards"], "ends here");
    assert_eq!(changed(60, shuffle(1)), [""; 0], "from a stranger");
    let mut bench = full();
    bench.ring(Timer::Shuffle);
    let answered = changed_in(&mut bench, 70, shuffle_reply());
    assert_eq!(answered, ["reserve", "offer"]);
}

#[test]
fn a_walk_is_passed_on_or_makes_a_request() {
    assert_eq!(changed(1, walk(6)), ["guards"], "passes");
    assert_eq!(changed(1, walk(3)), ["reserve", "guards"], "leaves a name");
    assert_eq!(changed(1, walk(0)), ["relations", "guards"], "ends here");
}

#[test]
fn a_request_costs_an_allowance_if_somebody_may_have_to_go_for_it() {
    let low = neighbor(60, 1, Priority::Low, 2);
    assert_eq!(changed(60, low), ["reserve"], "is refused");
    let mut bench = full();
    let granted = changed_in(&mut bench, 60, join(60, 1));
    assert_eq!(granted, ["relations", "guards"]);
    let confirmation = bench.confirmation(60, 1);
    let confirmed = changed_in(&mut bench, 60, confirmation);
    assert_eq!(confirmed, ["relations", "reserve"], "somebody goes for it");
}

#[test]
fn an_answer_changes_whom_this_node_has_and_knows() {
    for answer in [accept(ours(1), &[61]), refuse(ours(1), &[61])] {
        let mut bench = full();
        bench.hear(1, walk(0));
        let answered = changed_in(&mut bench, 60, answer);
        assert_eq!(answered, ["relations", "reserve"]);
    }
}

#[test]
fn an_end_keeps_out_who_leaves_for_good() {
    let end = |serial, reason| disconnect(theirs(1, serial), reason, &[60]);
    let evicted = end(1, DisconnectReason::Evicted);
    assert_eq!(changed(1, evicted), ["relations", "reserve"]);
    let left = end(1, DisconnectReason::Leaving);
    assert_eq!(changed(1, left), ["relations", "reserve", "guards"]);
    let past = end(9, DisconnectReason::Leaving);
    assert_eq!(changed(1, past), [""; 0], "of a relation of the past");
}

#[test]
fn a_heartbeat_brings_a_tag() {
    let beat = |pulse| heartbeat(theirs(1, 1), pulse);
    assert_eq!(changed(1, beat(pulse(3))), ["relations"]);
    let smaller = Pulse {
        tag: Tag {
            root: 1,
            incarnation: 1,
            beat: 1,
        },
        ..pulse(3)
    };
    assert_eq!(changed(1, beat(smaller)), ["relations", "healing"]);
}

#[test]
fn a_probe_and_a_record_change_what_is_known() {
    let record = Home {
        version: 1,
        ..Home::default()
    };
    let probe = Message::Probe(message::Probe { serial: 1, record });
    assert_eq!(changed(60, probe), ["reserve", "guards"]);
    let moved = || Message::Moved(message::Moved { record });
    assert_eq!(changed(1, moved()), ["relations"], "of a neighbour");
    assert_eq!(changed(80, moved()), ["reserve"], "of a backup");
}

#[test]
fn the_answer_to_a_probe_makes_a_request_where_it_comes_from_another_component() {
    for (settled, expected) in [
        (false, &["reserve", "healing"][..]),
        (true, &["relations", "reserve", "healing"]),
    ] {
        let mut bench = full();
        bench.ring(Timer::Probe);
        let probe = bench.state.healing.probe.as_ref().unwrap();
        let (peer, serial) = (probe.peer, probe.serial);
        let reply = Message::ProbeReply(message::ProbeReply {
            serial,
            record: Home::default(),
            pulse: Pulse {
                settled,
                ..pulse(3)
            },
            sample: contacts(&[60]),
        });
        assert_eq!(changed_in(&mut bench, peer, reply), expected);
    }
}

#[test]
fn the_steps_of_a_switch_cut_nothing_before_all_have_agreed() {
    let proposal = Message::SwitchProposal(message::SwitchProposal {
        token: 9,
        record: Home::default(),
        old: 70,
        bid: None,
    });
    assert_eq!(changed(60, proposal), ["reserve", "guards", "switching"]);
    let invite = Message::SwitchInvite(message::SwitchInvite {
        token: 9,
        partner: 60,
        bid: None,
    });
    assert_eq!(changed(1, invite), ["switching"]);
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let decline = Message::SwitchDecline(message::SwitchDecline { token: 9 });
    let consent = Message::SwitchConsent(message::SwitchConsent { token: 9 });
    for answer in [
        shuffle_reply(),
        accept(ours(1), &[60]),
        refuse(ours(1), &[60]),
        decline,
        consent,
    ] {
        assert_eq!(changed(80, answer), [""; 0]);
    }
}
