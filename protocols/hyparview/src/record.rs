//! How to reach a peer, and the proof that it said so itself.
//!
//! A [`Record`] travels inside messages as the peer's own signed libp2p envelope (RFC 0002 and 0003 of
//! the libp2p specifications, in the encoding shared with other implementations). Whatever a third
//! party claims about a peer is therefore either the peer's own word or refused. Addresses
//! learnt elsewhere (bootstrap list, address book, mDNS) are kept beside it as *hints*: we dial
//! them, we never pass them on.
//!
//! The sequence number of our records is in milliseconds, not in the seconds that libp2p's own constructor
//! uses, because addresses come in bursts at start and two records of one second could not be told apart.

mod book;

use std::sync::Arc;

use libp2p::{
    Multiaddr, PeerId,
    core::{PeerRecord, SignedEnvelope, peer_record::FromEnvelopeError},
    identity::{Keypair, SigningError},
    multiaddr::Protocol,
};

use crate::Address;

pub(crate) use book::Book;

/// Most addresses of one peer that are believed, dialled or advertised. A host with several interfaces
/// and two transports has about this many; more would only lengthen failed dials.
pub const ADDRESSES_MAX: usize = 8;

/// Longest encoded record, in bytes. Eight addresses with DNS names and a `/p2p` part fit.
pub const RECORD_BYTES_MAX: usize = 1024;

/// Payload type of a peer record envelope (RFC 0003).
const PAYLOAD_TYPE: &[u8] = &[0x03, 0x01];

/// Domain separation string of a peer record envelope (RFC 0003).
const DOMAIN: &str = "libp2p-peer-record";

/// How to reach one peer: what it signed itself, and what we were told locally.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    signed: Option<Arc<Signed>>,
    hints: Vec<Multiaddr>,
}

/// The content of a verified envelope. Only [`Signed::verify`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    peer: PeerId,
    seq: u64,
    addresses: Vec<Multiaddr>,
    encoded: Vec<u8>,
}

/// Why a record that a peer sent is refused. The record leaves no trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Longer than [`RECORD_BYTES_MAX`].
    #[error("record of {0} bytes exceeds the limit of {RECORD_BYTES_MAX}")]
    TooLong(usize),
    /// More addresses than [`ADDRESSES_MAX`].
    #[error("record with {0} addresses exceeds the limit of {ADDRESSES_MAX}")]
    TooManyAddresses(usize),
    /// Not an envelope.
    #[error("record is not a signed envelope")]
    Undecodable,
    /// The signature is wrong, or the envelope holds something else than a peer record.
    #[error("record is not what its peer signed")]
    Forged(#[source] Box<FromEnvelopeError>),
    /// A valid record, but of somebody else.
    #[error("record is that of {0}")]
    OfAnotherPeer(PeerId),
}

impl Record {
    /// Signs a record of our own. Addresses beyond the limits are left out, best first.
    ///
    /// `seq` orders the records of one peer over all its starts; the newest wins everywhere.
    ///
    /// # Errors
    ///
    /// Fails only when the key cannot sign.
    pub fn sign(key: &Keypair, seq: u64, addresses: &[Multiaddr]) -> Result<Self, SigningError> {
        let peer = key.public().to_peer_id();
        let mut kept = dialable(peer, addresses.iter().cloned());
        loop {
            let payload = encode_payload(peer, seq, &kept);
            let envelope =
                SignedEnvelope::new(key, DOMAIN.to_owned(), PAYLOAD_TYPE.to_vec(), payload)?;
            let encoded = envelope.into_protobuf_encoding();
            // The length is known only after signing; the last address is the one least likely to be of use.
            if encoded.len() <= RECORD_BYTES_MAX || kept.pop().is_none() {
                let signed = Signed {
                    peer,
                    seq,
                    addresses: kept,
                    encoded,
                };
                return Ok(Self {
                    signed: Some(Arc::new(signed)),
                    hints: Vec::new(),
                });
            }
        }
    }

    /// A record of plain addresses, for our own use only: it never goes on the wire.
    /// Addresses that name another peer than `peer` are left out.
    pub fn hint(peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>) -> Self {
        Self {
            signed: None,
            hints: dialable(peer, addresses),
        }
    }

    /// Whether the peer itself vouches for this record, so that it may be passed on.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// Orders the records that one peer signed. Zero for a hint.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.seq)
    }

    /// All addresses, those that the peer signed first, each once.
    pub fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        let signed = self
            .signed
            .as_ref()
            .map_or(&[][..], |signed| &signed.addresses);
        signed
            .iter()
            .chain(self.hints.iter().filter(move |hint| !signed.contains(hint)))
    }

    /// The envelope as it goes on the wire. `None` for a hint.
    pub fn encoded(&self) -> Option<&[u8]> {
        self.signed.as_ref().map(|signed| signed.encoded.as_slice())
    }
}

impl Address for Record {
    /// The network of the first address: 24 bits of IPv4, 48 of IPv6.
    fn group(&self) -> Option<u64> {
        self.addresses()
            .find_map(|address| match address.iter().next()? {
                Protocol::Ip4(ip) => Some(u64::from(ip.to_bits() >> 8)),
                Protocol::Ip6(ip) => u64::try_from(ip.to_bits() >> 80)
                    .ok()
                    .map(|net| net | 1 << 63),
                _ => None,
            })
    }

    fn supersedes(&self, known: &Self) -> bool {
        match (&self.signed, &known.signed) {
            (Some(new), Some(old)) => new.seq > old.seq,
            (Some(_), None) => true,
            // What the peer signed is worth more than what was configured, or found in the network.
            (None, Some(_)) => false,
            (None, None) => self.hints != known.hints,
        }
    }

    /// Only what a peer signed itself, and only when that helps to reach it.
    fn shareable(&self) -> bool {
        self.signed
            .as_ref()
            .is_some_and(|signed| !signed.addresses.is_empty())
    }
}

impl Signed {
    /// Accepts an envelope as the word of `expected`, or says what is wrong with it.
    fn verify(expected: PeerId, encoded: &[u8]) -> Result<Self, RecordError> {
        // Before anything is decoded or verified: both cost more than looking.
        if encoded.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong(encoded.len()));
        }
        let envelope = SignedEnvelope::from_protobuf_encoding(encoded)
            .map_err(|_| RecordError::Undecodable)?;
        let record = PeerRecord::from_signed_envelope_interop(envelope)
            .map_err(|error| RecordError::Forged(Box::new(error)))?;
        // Well signed, but by another: somebody passes its address off as that of `expected`.
        if record.peer_id() != expected {
            return Err(RecordError::OfAnotherPeer(record.peer_id()));
        }
        if record.addresses().len() > ADDRESSES_MAX {
            return Err(RecordError::TooManyAddresses(record.addresses().len()));
        }
        Ok(Self {
            peer: expected,
            seq: record.seq(),
            addresses: dialable(expected, record.addresses().iter().cloned()),
            encoded: encoded.to_vec(),
        })
    }
}

/// The first [`ADDRESSES_MAX`] addresses that could lead to `peer`, each once and without a final `/p2p`
/// part (the dialler adds it).
fn dialable(peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>) -> Vec<Multiaddr> {
    let mut kept: Vec<Multiaddr> = Vec::new();
    for mut address in addresses {
        if let Some(Protocol::P2p(named)) = address.iter().last() {
            // It leads to another peer: a dial would end with a wrong id.
            if named != peer {
                continue;
            }
            address.pop();
        }
        if kept.len() < ADDRESSES_MAX && !address.is_empty() && !kept.contains(&address) {
            kept.push(address);
        }
    }
    kept
}

/// The protobuf message `PeerRecord` of RFC 0003: 1 = peer id, 2 = seq, 3 = addresses, each a message
/// with 1 = the address. Written out here because libp2p's constructor fixes `seq` itself.
fn encode_payload(peer: PeerId, seq: u64, addresses: &[Multiaddr]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    put_bytes(&mut out, 1, &peer.to_bytes());
    put_varint(&mut out, 2 << 3);
    put_varint(&mut out, seq);
    for address in addresses {
        let mut info = Vec::with_capacity(64);
        put_bytes(&mut info, 1, address.as_ref());
        put_bytes(&mut out, 3, &info);
    }
    out
}

/// A length-delimited protobuf field.
fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests;
