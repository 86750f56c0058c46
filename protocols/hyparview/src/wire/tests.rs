use cbor4ii::serde::to_vec;
use libp2p::{Multiaddr, identity::Keypair};
use proptest::prelude::{any, prop};
use serde::Serialize;

use super::*;
use crate::{
    Bid, Contact, DisconnectReason, Echo, Epoch, Gauge, Priority, Pulse, RecordError, Tag, message,
};

struct Peer {
    id: PeerId,
    record: Record,
}

fn peer() -> Peer {
    let key = Keypair::generate_ed25519();
    let address: Multiaddr = "/ip4/192.0.2.1/tcp/7400".parse().unwrap();
    Peer {
        id: key.public().to_peer_id(),
        record: Record::sign(&key, 1, &[address]).unwrap(),
    }
}

fn contact(peer: &Peer) -> Contact<PeerId, Record> {
    Contact {
        id: peer.id,
        record: peer.record.clone(),
    }
}

/// One of each kind, with every optional part filled and left out.
#[expect(clippy::too_many_lines, reason = "one of each kind")]
fn all(sender: &Peer, other: &Peer) -> Vec<PeerMessage> {
    let epoch = Epoch {
        by: sender.id,
        incarnation: u64::MAX,
        serial: 7,
    };
    let pulse = Pulse {
        degree: 5,
        tag: Tag {
            root: other.id,
            incarnation: 1,
            beat: 2,
        },
        settled: true,
    };
    let record = || sender.record.clone();
    let bid = || {
        Some(Bid {
            record: other.record.clone(),
            gained_micros: 1000,
            lost_micros: 90_000,
        })
    };
    let sample = || vec![contact(other), contact(sender)];
    let gauge = |echo| {
        Some(Gauge {
            sent: u64::MAX,
            echo,
            unbiased: true,
        })
    };
    let heartbeat = |gauge| {
        Message::Heartbeat(message::Heartbeat {
            epoch,
            pulse,
            gauge,
        })
    };
    let disconnect = |reason| {
        Message::Disconnect(message::Disconnect {
            epoch,
            reason,
            sample: sample(),
        })
    };
    vec![
        Message::Join(message::Join {
            epoch,
            record: record(),
            pulse,
        }),
        Message::ForwardJoin(message::ForwardJoin {
            newcomer: contact(other),
            ttl: 6,
        }),
        Message::Neighbor(message::Neighbor {
            epoch,
            priority: Priority::Low,
            record: record(),
            pulse,
        }),
        Message::Neighbor(message::Neighbor {
            epoch,
            priority: Priority::High,
            record: record(),
            pulse,
        }),
        Message::Neighbor(message::Neighbor {
            epoch,
            priority: Priority::Switch(3),
            record: record(),
            pulse,
        }),
        Message::Accept(message::Accept {
            epoch,
            incarnation: 2,
            record: record(),
            pulse,
            sample: sample(),
        }),
        Message::Refuse(message::Refuse {
            epoch,
            sample: sample(),
        }),
        disconnect(DisconnectReason::Evicted),
        disconnect(DisconnectReason::Unwanted),
        disconnect(DisconnectReason::Leaving),
        disconnect(DisconnectReason::Switched { successor: None }),
        disconnect(DisconnectReason::Switched {
            successor: Some((9, contact(other))),
        }),
        Message::Shuffle(message::Shuffle {
            serial: 1,
            origin: contact(other),
            list: sample(),
            ttl: 6,
        }),
        Message::ShuffleReply(message::ShuffleReply {
            serial: 1,
            list: Vec::new(),
        }),
        heartbeat(None),
        heartbeat(gauge(None)),
        heartbeat(gauge(Some(Echo { sent: 1, held: 2 }))),
        Message::Moved(message::Moved { record: record() }),
        Message::Probe(message::Probe {
            serial: 1,
            record: record(),
        }),
        Message::ProbeReply(message::ProbeReply {
            serial: 1,
            record: record(),
            pulse,
            sample: sample(),
        }),
        Message::SwitchProposal(message::SwitchProposal {
            token: 1,
            record: record(),
            old: other.id,
            bid: None,
        }),
        Message::SwitchProposal(message::SwitchProposal {
            token: 1,
            record: record(),
            old: other.id,
            bid: bid(),
        }),
        Message::SwitchInvite(message::SwitchInvite {
            token: 1,
            partner: other.id,
            bid: None,
        }),
        Message::SwitchInvite(message::SwitchInvite {
            token: 1,
            partner: other.id,
            bid: bid(),
        }),
        Message::SwitchConsent(message::SwitchConsent { token: 1 }),
        Message::SwitchDecline(message::SwitchDecline { token: 1 }),
        Message::SwitchReady(message::SwitchReady {
            token: 1,
            partner: contact(other),
        }),
    ]
}

fn encoded(message: PeerMessage) -> Vec<u8> {
    encode(message, &Arc::new(())).unwrap().content.to_vec()
}

/// Encodes without any of our checks, as a hostile peer would.
fn forged(message: PeerMessage, lie: impl Fn(Record) -> Vec<u8>) -> Vec<u8> {
    let Ok(message) = translate(message, &WireId, &mut |_, record| {
        Ok::<_, Void>(Sealed(lie(record)))
    });
    to_vec(Vec::new(), &message).unwrap()
}

#[test]
fn every_message_survives_the_wire() {
    let (sender, other) = (peer(), peer());
    let book = Book::default();
    for message in all(&sender, &other) {
        let content = encoded(message.clone());
        let (back, _) = decode(&content, sender.id, &book).unwrap();
        assert_eq!(back, message);
    }
}

/// Names of fields and variants are the format: with small numbers for ids and records they can be read.
#[test]
fn the_bytes_of_each_message_stay_as_they_are() {
    let (sender, other) = (peer(), peer());
    let lines = all(&sender, &other).into_iter().map(|message| {
        let Ok(plain) = translate(message, &|id| u8::from(id == other.id), &mut |_, _| {
            Ok::<_, Void>(2_u8)
        });
        let content = to_vec(Vec::new(), &plain).unwrap();
        format!("{}\n", content.escape_ascii())
    });
    assert_eq!(lines.collect::<String>(), include_str!("bytes.txt"));
}

#[test]
fn signatures_are_checked_once() {
    let (sender, other) = (peer(), peer());
    let book = Book::default();
    let content = encoded(Message::Refuse(message::Refuse {
        epoch: Epoch {
            by: sender.id,
            incarnation: 1,
            serial: 1,
        },
        sample: vec![contact(&other), contact(&sender)],
    }));
    assert_eq!(decode(&content, sender.id, &book).unwrap().1, 2);
    assert_eq!(decode(&content, sender.id, &book).unwrap().1, 0);
}

#[test]
fn senders_record_must_be_the_senders_own() {
    let (sender, other) = (peer(), peer());
    let content = encoded(Message::Moved(message::Moved {
        record: other.record,
    }));
    let error = decode(&content, sender.id, &Book::default()).unwrap_err();
    let Refusal::Record { peer, source } = error else {
        panic!("{error}")
    };
    assert_eq!(peer, sender.id);
    assert!(matches!(*source, RecordError::OfAnotherPeer(_)), "{source}");
}

#[test]
fn every_place_for_a_record_is_verified() {
    let (sender, other) = (peer(), peer());
    let break_signature = |record: Record| {
        let mut bytes = record.encoded().unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    for message in all(&sender, &other) {
        let content = forged(message.clone(), break_signature);
        let holds_records =
            content != forged(message.clone(), |record| record.encoded().unwrap().to_vec());
        let result = decode(&content, sender.id, &Book::default());
        let refused = matches!(
            result,
            Err(Refusal::Record { source, .. }) if matches!(*source, RecordError::Forged(_))
        );
        assert_eq!(refused, holds_records, "{message:?}");
    }
}

#[test]
fn record_under_another_name_is_refused() {
    let (sender, other) = (peer(), peer());
    let newcomer = Contact {
        id: sender.id,
        record: other.record,
    };
    let content = encoded(Message::ForwardJoin(message::ForwardJoin {
        newcomer,
        ttl: 1,
    }));
    let error = decode(&content, other.id, &Book::default()).unwrap_err();
    let Refusal::Record { peer, source } = error else {
        panic!("{error}")
    };
    assert_eq!(peer, sender.id);
    assert!(matches!(*source, RecordError::OfAnotherPeer(_)), "{source}");
}

#[test]
fn hints_do_not_leave_the_host() {
    let peer = PeerId::random();
    let hint = Record::hint(peer, ["/ip4/10.0.0.1/tcp/1".parse().unwrap()]);
    let newcomer = Contact {
        id: peer,
        record: hint,
    };
    let error = encode(
        Message::ForwardJoin(message::ForwardJoin { newcomer, ttl: 1 }),
        &Arc::new(()),
    )
    .unwrap_err();
    assert!(
        matches!(error, Unsendable::Unsigned(Some(of)) if of == peer),
        "{error}"
    );
}

#[test]
fn long_lists_are_refused_before_any_signature_is_checked() {
    let other = peer();
    // Were a record looked at, it would be refused as something else.
    let message = |n| {
        Message::ShuffleReply(message::ShuffleReply {
            serial: 1,
            list: vec![contact(&other); n],
        })
    };
    let content = forged(message(CONTACTS_MAX + 1), |_| vec![0]);
    assert!(matches!(
        decode(&content, other.id, &Book::default()),
        Err(Refusal::TooManyContacts(n)) if n == CONTACTS_MAX + 1
    ));
    let content = encoded(message(CONTACTS_MAX));
    assert!(decode(&content, other.id, &Book::default()).is_ok());
}

/// The future and the broken, as maps built by hand.
#[derive(Serialize)]
#[serde(untagged)]
enum Foreign {
    Variant(std::collections::BTreeMap<&'static str, Fields>),
}

#[derive(Serialize)]
struct Fields {
    token: u64,
    colour: &'static str,
    nested: Vec<Vec<u64>>,
}

fn foreign(variant: &'static str) -> Vec<u8> {
    let fields = Fields {
        token: 5,
        colour: "red",
        nested: vec![vec![1], vec![]],
    };
    to_vec(Vec::new(), &Foreign::Variant([(variant, fields)].into())).unwrap()
}

#[test]
fn unknown_fields_are_ignored_and_unknown_variants_refused() {
    let from = PeerId::random();
    let book = Book::default();
    let (message, _) = decode(&foreign("SwitchConsent"), from, &book).unwrap();
    assert_eq!(
        message,
        Message::SwitchConsent(message::SwitchConsent { token: 5 })
    );
    assert!(matches!(
        decode(&foreign("Teleport"), from, &book),
        Err(Refusal::Malformed(_))
    ));
}

#[test]
fn what_follows_the_message_is_refused() {
    let mut content = encoded(Message::SwitchConsent(message::SwitchConsent { token: 5 }));
    content.push(0);
    assert!(matches!(
        decode(&content, PeerId::random(), &Book::default()),
        Err(Refusal::Malformed(_))
    ));
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    // {"SwitchConsent": {"x": [[[[...]]]]}}
    let mut content = vec![0xa1, 0x6d];
    content.extend_from_slice(b"SwitchConsent");
    content.extend_from_slice(&[0xa1, 0x61, b'x']);
    content.resize(FRAME_BYTES_MAX, 0x81);
    assert!(matches!(
        decode(&content, PeerId::random(), &Book::default()),
        Err(Refusal::Malformed(_))
    ));
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(content: Vec<u8>) {
        let _ = decode(&content, PeerId::random(), &Book::default());
    }

    #[test]
    fn a_message_cut_or_changed_anywhere_never_panics(
        kind in any::<prop::sample::Index>(),
        at in 0_usize..4096,
        bit in 0_u8..8,
        cut in proptest::bool::ANY,
    ) {
        let (sender, other) = (peer(), peer());
        let mut messages = all(&sender, &other);
        let kind = kind.index(messages.len());
        let mut content = encoded(messages.swap_remove(kind));
        let at = at % content.len();
        if cut {
            content.truncate(at);
            proptest::prop_assert!(decode(&content, sender.id, &Book::default()).is_err());
        } else {
            content[at] ^= 1 << bit;
            let _ = decode(&content, sender.id, &Book::default());
        }
    }
}
