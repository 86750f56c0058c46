//! What directories say to each other, as bytes: names of fields and variants are the format.

use std::{fmt::Debug, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{name, process, words};
use crate::{
    api::NodeState,
    directory::{
        Announcement, Directory, Gossip, Held, NodeRecord, Pulse, Relay, Rumor, Settings,
        roles::RoleRecord,
    },
    identity::{Incarnation, Site},
    vector::{Seq, Vector},
};

/// With every optional part filled.
fn record() -> NodeRecord {
    let site = Site::new(3).unwrap();
    NodeRecord {
        node: name(1),
        incarnation: Incarnation::new(1),
        counter: 2,
        name: "shop".to_owned(),
        site: Some(site),
        state: NodeState::Ready,
        store: "host:1".to_owned(),
        vector: Vector::from_iter([(site, Seq::new(4))]),
        neighbors: vec![name(2)],
        version: "0.1".to_owned(),
        run: Some(process(5)),
        rival: Some(process(6)),
        generation: 7,
        left: false,
        stopped: true,
        evicted: false,
        started: 8,
        relay: Relay::Avoid,
        follows: Some(name(3)),
    }
}

fn full() -> Gossip {
    Gossip {
        run: process(5),
        upto: 6,
        holds: Some(Held {
            run: process(7),
            upto: 8,
        }),
        rumors: vec![Rumor {
            record: record(),
            beat: 2,
            age_seconds: 3,
        }],
        pulses: vec![Pulse {
            node: name(2),
            incarnation: Incarnation::new(1),
            beat: 2,
        }],
    }
}

fn empty() -> Gossip {
    Gossip {
        run: process(5),
        upto: 6,
        holds: None,
        rumors: Vec::new(),
        pulses: Vec::new(),
    }
}

fn role(is_removed: bool) -> RoleRecord {
    let key = "k".repeat(43);
    let verifier = format!("SCRAM-SHA-256$4096:c2FsdA==${key}=:{key}=");
    RoleRecord {
        name: "till".parse().unwrap(),
        version: 1,
        author: name(2),
        verifier: (!is_removed).then(|| verifier.parse().unwrap()),
    }
}

/// The bytes of a value, which come back as the same.
fn line<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> String {
    let content = cbor4ii::serde::to_vec(Vec::new(), value).unwrap();
    let back: T = cbor4ii::serde::from_slice(&content).unwrap();
    assert_eq!(back, *value);
    format!("{}\n", content.escape_ascii())
}

#[test]
fn the_bytes_stay_as_they_are() {
    let states = [
        NodeState::Starting,
        NodeState::Joining,
        NodeState::Ready,
        NodeState::Degraded,
        NodeState::Leaving,
    ];
    let lines = [
        line(&empty()),
        line(&full()),
        line(&role(true)),
        line(&role(false)),
        states.iter().map(line).collect(),
        [Relay::Preferred, Relay::Normal, Relay::Avoid]
            .iter()
            .map(line)
            .collect(),
    ];
    assert_eq!(lines.concat(), include_str!("bytes.txt"));
}

/// As the first version said it.
#[test]
fn a_record_without_what_came_later_is_read() {
    let content = b"\xaadnodeenode1kincarnation\x01gcounter\x02dnamedshopdsite\xf6\
        estateereadyestorefhost:1fvector\xa0ineighbors\x80gversionc0.1";
    let expected = NodeRecord {
        site: None,
        vector: Vector::default(),
        neighbors: Vec::new(),
        run: None,
        rival: None,
        generation: 0,
        stopped: false,
        started: 0,
        relay: Relay::Normal,
        follows: None,
        ..record()
    };
    let read: NodeRecord = cbor4ii::serde::from_slice(content).unwrap();
    assert_eq!(read, expected);
}

/// What an earlier version makes of it when it passes it on.
fn stripped(record: NodeRecord) -> NodeRecord {
    NodeRecord {
        started: 0,
        relay: Relay::Normal,
        follows: None,
        ..record
    }
}

fn hears(directory: &mut Directory, from: usize, record: NodeRecord) {
    let rumor = Rumor {
        record,
        beat: 1,
        age_seconds: 0,
    };
    let gossip = Gossip {
        rumors: vec![rumor],
        ..empty()
    };
    directory.receive(&name(from), gossip, Duration::ZERO);
}

#[test]
fn a_record_that_an_earlier_version_passes_on_takes_the_place_of_none() {
    let directory = |number| {
        let settings = Settings::default();
        Directory::new(name(number), Incarnation::new(1), process(9), settings)
    };
    let whole = NodeRecord {
        relay: Relay::Preferred,
        ..record()
    };
    // At others the whole one wins, in either order.
    for said in [
        [whole.clone(), stripped(whole.clone())],
        [stripped(whole.clone()), whole.clone()],
    ] {
        let mut other = directory(2);
        for record in said {
            hears(&mut other, 3, record);
        }
        assert_eq!(other.record(&name(1)), Some(&whole));
    }
    // At its own node it is no news: outranked, it would come back without end.
    let mut own = directory(1);
    own.announce(Announcement {
        started: 8,
        relay: Relay::Preferred,
        follows: Some(name(1)),
        ..words(1)
    });
    let mine = own.me().clone();
    hears(&mut own, 3, stripped(mine.clone()));
    assert_eq!(*own.me(), mine);
    // Another word of the same rank is outranked as before.
    hears(
        &mut own,
        3,
        NodeRecord {
            name: "another".to_owned(),
            ..stripped(mine.clone())
        },
    );
    assert_eq!(own.me().counter, mine.counter + 1);
}
