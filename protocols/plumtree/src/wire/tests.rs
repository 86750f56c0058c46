use libp2p::identity::Keypair;
use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::{
    Config,
    message::{Announcement, Held, MessageId, Payload, Position},
};

fn peer() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

fn id(origin: PeerId) -> MessageId<PeerId> {
    MessageId {
        origin,
        life: u64::MAX,
        seq: u64::MAX,
    }
}

/// One of each kind, with lists of `len` and every number as long as it can be.
fn all(len: usize) -> Vec<PeerMessage> {
    let held = Held {
        life: u64::MAX,
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
        Message::Gossip {
            id: id(peer()),
            hops: u16::MAX,
            age_ms: u32::MAX,
            payload: Payload::from(vec![7; Config::default().payload_bytes_max()]),
        },
        Message::IHave {
            list: origins
                .iter()
                .map(|origin| Announcement {
                    id: id(*origin),
                    hops: u16::MAX,
                })
                .collect(),
        },
        Message::Graft {
            list: positions.clone(),
        },
        Message::Digest {
            after: None,
            upto: Some(peer()),
            list: positions,
        },
        Message::Prune { origins },
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
        Ok(Message::Prune { origins })
    );
    let refused = decode(&content(Foreign::Paint(fields())));
    assert!(matches!(refused, Err(Refusal::Malformed(_))));
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
