//! Peers with real names and records, as the state machines and as the wire know them.

use std::sync::LazyLock;

use hyparview::{
    Bid, Contact, DisconnectReason, Echo, Epoch, Gauge, Message, Priority, Pulse, Record, Tag,
    message,
};
use libp2p::{Multiaddr, PeerId, identity::Keypair};
use substream::cbor::{ByteString, WireId};

/// Names to be had; the first is that of the machine under test.
pub(crate) const COUNT: usize = 1100;
/// Those that have records.
const RECORDS: usize = 64;
/// As many contacts as a list has by default.
const LIST: usize = 8;

struct Peer {
    id: PeerId,
    record: Record,
}

/// Each reached under two addresses.
static PEERS: LazyLock<Vec<Peer>> = LazyLock::new(|| {
    (0..COUNT)
        .map(|number| {
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let key = Keypair::ed25519_from_bytes(seed).expect("32 bytes are a key");
            let [high, low] = u16::try_from(number).expect("a small number").to_be_bytes();
            let addresses = [
                format!("/ip4/203.0.{high}.{low}/tcp/7400"),
                format!("/ip6/2001:db8::{number:x}/tcp/7400"),
            ];
            let addresses =
                addresses.map(|address| address.parse::<Multiaddr>().expect("an address"));
            let record = if number < RECORDS {
                Record::sign(&key, 1_790_000_000_000, &addresses).expect("a record")
            } else {
                Record::default()
            };
            Peer {
                id: key.public().to_peer_id(),
                record,
            }
        })
        .collect()
});

/// A way to name peers.
pub(crate) trait Names {
    type Id: Copy;
    type Record;
    fn id(number: usize) -> Self::Id;
    fn record(number: usize) -> Self::Record;

    fn contact(number: usize) -> Contact<Self::Id, Self::Record> {
        Contact {
            id: Self::id(number),
            record: Self::record(number),
        }
    }

    fn contacts(first: usize, count: usize) -> Vec<Contact<Self::Id, Self::Record>> {
        (first..first + count).map(Self::contact).collect()
    }
}

/// As the state machines know them.
pub(crate) struct Known;

impl Names for Known {
    type Id = PeerId;
    type Record = Record;

    fn id(number: usize) -> PeerId {
        PEERS[number].id
    }

    fn record(number: usize) -> Record {
        PEERS[number].record.clone()
    }
}

/// As they travel.
pub(crate) struct Sealed;

impl Names for Sealed {
    type Id = WireId;
    type Record = ByteString;

    fn id(number: usize) -> WireId {
        WireId(PEERS[number].id)
    }

    fn record(number: usize) -> ByteString {
        let encoded = PEERS[number].record.encoded().expect("it is signed");
        ByteString(encoded.to_vec())
    }
}

/// The relation that `by` asked for with its `serial`th request.
pub(crate) fn epoch<I>(by: I, serial: u64) -> Epoch<I> {
    Epoch {
        by,
        incarnation: 1_790_000_000_000,
        serial,
    }
}

/// What a node of the same component says of itself.
pub(crate) fn pulse<N: Names>(degree: u8) -> Pulse<N::Id> {
    Pulse {
        degree,
        tag: Tag {
            root: N::id(1),
            incarnation: 1_790_000_000_000,
            beat: 50_000,
        },
        settled: true,
    }
}

/// A measurement of the round trip under way.
pub(crate) fn gauge() -> Gauge {
    Gauge {
        sent: 86_400_000_000,
        echo: Some(Echo {
            sent: 86_400_000_000,
            held: 500_000,
        }),
        unbiased: false,
    }
}

/// A message and what it is called.
type Named<N> = (
    &'static str,
    Message<<N as Names>::Id, <N as Names>::Record>,
);

/// One message of each kind, as a node of a large network sends it.
#[expect(clippy::too_many_lines, reason = "one of each kind")]
pub(crate) fn messages<N: Names>() -> Vec<Named<N>> {
    let (epoch, pulse, record) = (epoch(N::id(1), 4711), pulse::<N>(5), || N::record(1));
    let bid = || Bid {
        record: N::record(3),
        gained_micros: 20_000,
        lost_micros: 90_000,
    };
    vec![
        (
            "Join",
            Message::Join(message::Join {
                epoch,
                record: record(),
                pulse,
            }),
        ),
        (
            "ForwardJoin",
            Message::ForwardJoin(message::ForwardJoin {
                newcomer: N::contact(6),
                ttl: 3,
            }),
        ),
        (
            "Neighbor",
            Message::Neighbor(message::Neighbor {
                epoch,
                priority: Priority::Low,
                record: record(),
                pulse,
            }),
        ),
        (
            "Accept",
            Message::Accept(message::Accept {
                epoch,
                incarnation: 1_790_000_000_000,
                record: record(),
                pulse,
                sample: N::contacts(10, LIST),
            }),
        ),
        (
            "Refuse",
            Message::Refuse(message::Refuse {
                epoch,
                sample: N::contacts(10, LIST),
            }),
        ),
        (
            "Disconnect",
            Message::Disconnect(message::Disconnect {
                epoch,
                reason: DisconnectReason::Evicted,
                sample: N::contacts(10, LIST),
            }),
        ),
        (
            "Shuffle",
            Message::Shuffle(message::Shuffle {
                serial: 4711,
                origin: N::contact(9),
                list: N::contacts(9, LIST),
                ttl: 6,
            }),
        ),
        (
            "ShuffleReply",
            Message::ShuffleReply(message::ShuffleReply {
                serial: 4711,
                list: N::contacts(10, LIST),
            }),
        ),
        (
            "Heartbeat",
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse,
                gauge: None,
            }),
        ),
        (
            "Heartbeat with gauge",
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse,
                gauge: Some(gauge()),
            }),
        ),
        ("Moved", Message::Moved(message::Moved { record: record() })),
        (
            "Probe",
            Message::Probe(message::Probe {
                serial: 4711,
                record: record(),
            }),
        ),
        (
            "ProbeReply",
            Message::ProbeReply(message::ProbeReply {
                serial: 4711,
                record: record(),
                pulse,
                sample: N::contacts(10, LIST),
            }),
        ),
        (
            "SwitchProposal",
            Message::SwitchProposal(message::SwitchProposal {
                token: u64::MAX / 3,
                record: record(),
                old: N::id(3),
                bid: None,
            }),
        ),
        (
            "SwitchProposal with bid",
            Message::SwitchProposal(message::SwitchProposal {
                token: u64::MAX / 3,
                record: record(),
                old: N::id(3),
                bid: Some(bid()),
            }),
        ),
        (
            "SwitchInvite",
            Message::SwitchInvite(message::SwitchInvite {
                token: u64::MAX / 3,
                partner: N::id(3),
                bid: None,
            }),
        ),
        (
            "SwitchConsent",
            Message::SwitchConsent(message::SwitchConsent {
                token: u64::MAX / 3,
            }),
        ),
        (
            "SwitchDecline",
            Message::SwitchDecline(message::SwitchDecline {
                token: u64::MAX / 3,
            }),
        ),
        (
            "SwitchReady",
            Message::SwitchReady(message::SwitchReady {
                token: u64::MAX / 3,
                partner: N::contact(3),
            }),
        ),
    ]
}
