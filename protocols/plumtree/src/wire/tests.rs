use libp2p::identity::Keypair;
use proptest::prelude::*;
use serde::Serialize;
use substream::cbor::ByteString;

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

/// What is on the wire, field by field, without the types of this crate.
mod bytes {
    use serde::Serialize;
    use substream::cbor::{ByteString, WireId};

    #[derive(Serialize)]
    pub(super) struct Id {
        pub(super) origin: WireId,
        pub(super) life: u64,
        pub(super) seq: u64,
    }

    #[derive(Serialize)]
    pub(super) struct Announcement {
        pub(super) id: Id,
        pub(super) hops: u16,
    }

    #[derive(Serialize)]
    pub(super) struct Held {
        pub(super) life: u64,
        pub(super) seq: u64,
        pub(super) gaps: u64,
    }

    #[derive(Serialize)]
    pub(super) struct Position {
        pub(super) origin: WireId,
        pub(super) held: Held,
    }

    #[derive(Serialize)]
    pub(super) enum Message {
        Gossip {
            id: Id,
            hops: u16,
            age_ms: u32,
            payload: ByteString,
        },
        IHave {
            list: Vec<Announcement>,
        },
        Graft {
            list: Vec<Position>,
        },
        Prune {
            origins: Vec<WireId>,
        },
        Digest {
            after: Option<WireId>,
            upto: Option<WireId>,
            list: Vec<Position>,
        },
    }
}

/// The same message as it is on the wire.
fn plain(message: PeerMessage) -> bytes::Message {
    let id = |id: MessageId<PeerId>| bytes::Id {
        origin: WireId(id.origin),
        life: id.incarnation,
        seq: id.seq,
    };
    let position = |position: Position<PeerId>| bytes::Position {
        origin: WireId(position.origin),
        held: bytes::Held {
            life: position.held.incarnation,
            seq: position.held.seq,
            gaps: position.held.gaps,
        },
    };
    match message {
        Message::Gossip(gossip) => bytes::Message::Gossip {
            id: id(gossip.id),
            hops: gossip.hops,
            age_ms: gossip.age_ms,
            payload: ByteString(gossip.payload.to_vec()),
        },
        Message::IHave(ihave) => {
            let announcement = |announcement: Announcement<PeerId>| bytes::Announcement {
                id: id(announcement.id),
                hops: announcement.hops,
            };
            let list = ihave.list.into_iter().map(announcement).collect();
            bytes::Message::IHave { list }
        }
        Message::Graft(graft) => bytes::Message::Graft {
            list: graft.list.into_iter().map(position).collect(),
        },
        Message::Prune(prune) => bytes::Message::Prune {
            origins: prune.origins.into_iter().map(WireId).collect(),
        },
        Message::Digest(digest) => bytes::Message::Digest {
            after: digest.after.map(WireId),
            upto: digest.upto.map(WireId),
            list: digest.list.into_iter().map(position).collect(),
        },
    }
}

#[test]
fn the_bytes_are_those_that_nodes_of_the_first_version_read() {
    for len in [0, 3] {
        for message in all(len) {
            let expected = cbor::encode(&plain(message.clone())).unwrap();
            assert_eq!(encoded(message), expected);
        }
    }
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
