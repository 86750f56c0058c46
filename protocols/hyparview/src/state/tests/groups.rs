//! What a message may change, by groups of fields: the table in the documentation of `state`.

use super::bench::*;
use crate::{Message, message};

/// The groups that `message` changes in a machine with a full view, in which nobody waits.
fn changed(from: u64, message: Said) -> Vec<&'static str> {
    let mut bench = Bench::with(&[1, 2, 3, 4, 5]);
    bench.learn(&[80, 81]);
    bench.pass(1);
    let groups = |bench: &Bench| {
        let state = &bench.state;
        [
            ("relations", format!("{:?}", state.relations)),
            ("reserve", format!("{:?}", state.reserve)),
            ("guards", format!("{:?}", state.guards)),
            ("switching", format!("{:?}", state.switching)),
            ("healing", format!("{:?}", state.healing)),
        ]
    };
    let before = groups(&bench);
    bench.hear(from, message);
    let both = before.into_iter().zip(groups(&bench));
    let different = both.filter(|(before, after)| before != after);
    different.map(|((name, _), _)| name).collect()
}

fn shuffle(ttl: u8) -> Said {
    Message::Shuffle(message::Shuffle {
        serial: 1,
        origin: contact(60),
        list: contacts(&[60, 61]),
        ttl,
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
}

#[test]
fn a_walk_is_passed_on_or_makes_a_request() {
    assert_eq!(changed(1, walk(6)), ["guards"], "passes");
    assert_eq!(changed(1, walk(3)), ["reserve", "guards"], "leaves a name");
    assert_eq!(changed(1, walk(0)), ["relations", "guards"], "ends here");
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
fn answers_that_nobody_waits_for_change_nothing() {
    let reply = Message::ShuffleReply(message::ShuffleReply {
        serial: 1,
        list: contacts(&[60]),
    });
    for answer in [reply, accept(ours(1), &[60]), refuse(ours(1), &[60])] {
        assert_eq!(changed(80, answer), [""; 0]);
    }
}
