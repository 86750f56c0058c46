//! Messages as they travel: how large each kind is, and what reading and writing it takes.

use std::fmt;

use divan::{Bencher, black_box};
use hyparview::Message as Member;
use libp2p::core::{PeerRecord, SignedEnvelope};
use plumtree::Message as Broadcast;
use serde::{Serialize, de::DeserializeOwned};
use substream::cbor::{self, ByteString, WireId};

use crate::{
    broadcast,
    peers::{self, Known, Names, Sealed},
};

/// A message of either protocol.
enum Any {
    Member(Member<WireId, ByteString>),
    Broadcast(Broadcast<WireId>),
}

/// A message, with its length.
struct Sized {
    name: &'static str,
    message: Any,
    content: Vec<u8>,
}

impl fmt::Display for Sized {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {} B", self.name, self.content.len())
    }
}

fn write(message: &impl Serialize) -> Vec<u8> {
    cbor::encode(message).expect("it fits into a frame")
}

fn read<T: DeserializeOwned>(content: &[u8]) -> T {
    cbor::decode(content).expect("it was encoded")
}

fn all() -> Vec<Sized> {
    let member = peers::messages::<Sealed>().into_iter();
    let member = member.map(|(name, message)| Sized {
        name,
        content: write(&message),
        message: Any::Member(message),
    });
    let broadcast = broadcast::messages::<Sealed>().into_iter();
    let broadcast = broadcast.map(|(name, message)| Sized {
        name,
        content: write(&message),
        message: Any::Broadcast(message),
    });
    member.chain(broadcast).collect()
}

#[divan::bench(args = all(), max_time = 0.1)]
fn encode(sized: &Sized) -> Vec<u8> {
    match &sized.message {
        Any::Member(message) => write(message),
        Any::Broadcast(message) => write(message),
    }
}

#[divan::bench(args = all(), max_time = 0.1)]
fn decode(sized: &Sized) -> Any {
    match &sized.message {
        Any::Member(_) => Any::Member(read(&sized.content)),
        Any::Broadcast(_) => Any::Broadcast(read(&sized.content)),
    }
}

/// What a record costs that has not been seen before, beyond decoding the message that it came in.
#[divan::bench(max_time = 1)]
fn verify_a_record(bencher: Bencher<'_, '_>) {
    let ByteString(content) = Sealed::record(1);
    bencher.bench_local(|| {
        let envelope = SignedEnvelope::from_protobuf_encoding(black_box(&content));
        PeerRecord::from_signed_envelope_interop(envelope.expect("an envelope")).expect("genuine")
    });
}

/// The length of a record in which two addresses are signed.
pub(crate) fn record_bytes() -> usize {
    Known::record(1).encoded().map_or(0, <[u8]>::len)
}
