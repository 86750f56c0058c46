use libp2p::identity::Keypair;
use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::{
    Config,
    message::{
        Announcement, Digest, Gossip, Graft, Held, IHave, MessageId, Payload, Position, Prune,
    },
};

fn peer() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

fn id(origin: PeerId) -> MessageId<PeerId> {
    MessageId {
        origin,
        incarnation: u64::MAX,
        seq: u64::MAX,
    }
}

/// One of each kind, with lists of `len` and every number as long as it can be.
fn all(len: usize) -> Vec<PeerMessage> {
    let held = Held {
        incarnation: u64::MAX,
        seq: u64::MAX,
        gaps: u64::MAX,
    };
    let origins: Vec<PeerId> = (0..len).map(|_| peer()).collect();
    let positions: Vec<Position<PeerId>> = origins
        .iter()
        .map(|origin| Position {
            origin: *origin,
            held,
        })
        .collect();
    vec![
        Message::Gossip(Gossip {
            id: id(peer()),
            hops: u16::MAX,
            age_ms: u32::MAX,
            payload: Payload::from(vec![7; Config::default().payload_bytes_max()]),
        }),
        Message::IHave(IHave {
            list: origins
                .iter()
                .map(|origin| Announcement {
                    id: id(*origin),
                    hops: u16::MAX,
                })
                .collect(),
        }),
        Message::Graft(Graft {
            list: positions.clone(),
        }),
        Message::Digest(Digest {
            after: None,
            upto: Some(peer()),
            list: positions,
        }),
        Message::Prune(Prune { origins }),
    ]
}

fn encoded(message: PeerMessage) -> Vec<u8> {
    encode(message, &Arc::new(())).unwrap().content.to_vec()
}

#[test]
fn every_message_survives_the_journey_and_the_longest_fit_into_a_frame() {
    for len in [0, 3, Config::default().list_max()] {
        for message in all(len) {
            assert_eq!(decode(&encoded(message.clone())), Ok(message));
        }
    }
}

#[test]
fn a_message_cut_short_or_with_bytes_after_it_is_refused() {
    for message in all(2) {
        let content = encoded(message);
        let step = (content.len() / 200).max(1);
        for end in (0..content.len()).step_by(step) {
            assert!(matches!(
                decode(&content[..end]),
                Err(Refusal::Malformed(_))
            ));
        }
        let longer = [&content[..], &[0]].concat();
        assert!(matches!(decode(&longer), Err(Refusal::Malformed(_))));
    }
}

#[test]
fn unknown_fields_are_ignored_and_unknown_kinds_refused() {
    #[derive(Serialize)]
    struct Fields {
        origins: Vec<WireId>,
        colour: &'static str,
        nested: Vec<Vec<u64>>,
    }
    #[derive(Serialize)]
    enum Foreign {
        Prune(Fields),
        Paint(Fields),
    }
    let origin = peer();
    let fields = || Fields {
        origins: vec![WireId(origin)],
        colour: "red",
        nested: vec![vec![1], vec![]],
    };
    let origins = vec![origin];
    let content = |foreign| cbor::encode(&foreign).unwrap();
    assert_eq!(
        decode(&content(Foreign::Prune(fields()))),
        Ok(Message::Prune(Prune { origins }))
    );
    let refused = decode(&content(Foreign::Paint(fields())));
    assert!(matches!(refused, Err(Refusal::Malformed(_))));
}

/// Names of fields and variants are the format: with small numbers for ids they can be read.
#[test]
fn the_bytes_of_each_message_stay_as_they_are() {
    let id = MessageId {
        origin: 1,
        incarnation: 2,
        seq: 3,
    };
    let held = Held {
        incarnation: 3,
        seq: 4,
        gaps: 5,
    };
    let positions = || vec![Position { origin: 1, held }];
    let messages: [Message<u8>; 6] = [
        Message::Gossip(Gossip {
            id,
            hops: 4,
            age_ms: 5,
            payload: Payload::from(*b"hello"),
        }),
        Message::IHave(IHave {
            list: vec![Announcement { id, hops: 4 }],
        }),
        Message::Graft(Graft { list: positions() }),
        Message::Prune(Prune {
            origins: vec![1, 2],
        }),
        Message::Digest(Digest {
            after: None,
            upto: None,
            list: Vec::new(),
        }),
        Message::Digest(Digest {
            after: Some(1),
            upto: Some(2),
            list: positions(),
        }),
    ];
    let lines = messages.map(|message| {
        let content = cbor::encode(&message).unwrap();
        assert_eq!(cbor::decode(&content), Ok(message));
        format!("{}\n", content.escape_ascii())
    });
    assert_eq!(lines.concat(), include_str!("bytes.txt"));
}

#[test]
fn an_id_is_a_byte_string() {
    let origin = peer();
    let origins = vec![origin];
    let expected = [
        &b"\xa1ePrune\xa1gorigins\x81\x58\x26"[..],
        &origin.to_bytes(),
    ]
    .concat();
    assert_eq!(encoded(Message::Prune(Prune { origins })), expected);
}

#[test]
fn a_position_that_says_nothing_of_gaps_has_none() {
    let content = b"\xa1eGraft\xa1dlist\x81\xa2forigin\x01dheld\xa2dlife\x03cseq\x04";
    let held = Held {
        incarnation: 3,
        seq: 4,
        gaps: 0,
    };
    let list = vec![Position { origin: 1_u8, held }];
    assert_eq!(cbor::decode(content), Ok(Message::Graft(Graft { list })));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(content in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&content);
    }

    #[test]
    fn no_changed_byte_does_harm(kind in 0_usize..5, at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut content = encoded(all(3).swap_remove(kind));
        let at = at.index(content.len());
        content[at] = to;
        let _ = decode(&content);
    }
}
