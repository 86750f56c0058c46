//! Messages as they travel: CBOR maps with the field names of [`Message`], ids as bytes, records as
//! signed envelopes.
//!
//! Unknown fields are ignored, so that a later version may add some; unknown variants are refused. A
//! decoded message holds verified records only: the machine never sees another.

mod translate;

use std::{collections::TryReserveError, sync::Arc};

use cbor4ii::{
    core::{dec::Read, utils::SliceReader},
    serde::{Deserializer, EncodeError, to_vec},
};
use libp2p::PeerId;
use serde::{
    Deserialize, Serialize, Serializer,
    de::{self, Visitor},
};
use void::Void;

use crate::{
    FRAME_BYTES_MAX, Message, RECORD_BYTES_MAX, Record, Refusal, handler::Frame, record::Book,
};
use translate::{Owner, translate};

/// A message between peers of this network.
pub(crate) type PeerMessage = Message<PeerId, Record>;

/// Most contacts in one message. The default lists have 8; more is work for the receiver.
pub const CONTACTS_MAX: usize = 48;

// A full list of full records, with 128 bytes of names and ids each, fits into a frame.
const _: () = assert!((CONTACTS_MAX + 1) * (RECORD_BYTES_MAX + 128) < FRAME_BYTES_MAX);

/// A message of ours that cannot be sent. It is a defect of the caller, not of a peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsendable {
    /// It names a peer for which there is only a local hint.
    #[error("message holds the unsigned record of {0:?}")]
    Unsigned(Option<PeerId>),
    #[error("message of {0} bytes exceeds the limit of a frame")]
    TooLong(usize),
    #[error("message cannot be encoded")]
    Encoding(#[from] EncodeError<TryReserveError>),
}

/// Encodes a message.
pub(crate) fn encode(message: PeerMessage, ticket: &Arc<()>) -> Result<Frame, Unsendable> {
    let control = is_control(&message);
    let message = translate(message, &WireId, &mut |owner, record: Record| {
        let unsigned = || match owner {
            Owner::Sender => Unsendable::Unsigned(None),
            Owner::Peer(WireId(peer)) => Unsendable::Unsigned(Some(peer)),
        };
        record
            .encoded()
            .map(|bytes| Sealed(bytes.to_vec()))
            .ok_or_else(unsigned)
    })?;
    let content = to_vec(Vec::with_capacity(256), &message)?;
    if content.len() > FRAME_BYTES_MAX {
        return Err(Unsendable::TooLong(content.len()));
    }
    Ok(Frame {
        content: content.into(),
        control,
        _ticket: Arc::clone(ticket),
    })
}

/// Decodes what `from` sent and verifies every record in it. Also says how many signatures that took.
pub(crate) fn decode(
    content: &[u8],
    from: PeerId,
    book: &Book,
) -> Result<(PeerMessage, u32), Refusal> {
    let message = parse(content)?;
    // Counted before the first signature is checked.
    let mut contacts = 0;
    let Ok(message) = translate(message, &|WireId(peer)| peer, &mut |_, sealed: Sealed| {
        contacts += 1;
        Ok::<_, Void>(sealed)
    });
    if contacts > CONTACTS_MAX {
        return Err(Refusal::TooManyContacts(contacts));
    }
    let mut verified = 0;
    let message = translate(message, &|peer| peer, &mut |owner, sealed: Sealed| {
        let peer = match owner {
            Owner::Sender => from,
            Owner::Peer(peer) => peer,
        };
        let (record, checked) = book
            .accept(peer, &sealed.0)
            .map_err(|source| Refusal::Record {
                peer,
                source: Box::new(source),
            })?;
        verified += u32::from(checked);
        Ok(record)
    })?;
    Ok((message, verified))
}

fn parse(content: &[u8]) -> Result<Message<WireId, Sealed>, Refusal> {
    let mut deserializer = Deserializer::new(SliceReader::new(content));
    let message = Message::deserialize(&mut deserializer)
        .map_err(|error| Refusal::Malformed(error.to_string()))?;
    let Ok(rest) = deserializer
        .into_inner()
        .fill(1)
        .map(|rest| rest.as_ref().len());
    match rest {
        0 => Ok(message),
        _ => Err(Refusal::Malformed("bytes after the message".to_owned())),
    }
}

/// Whether losing the message costs a view change; gossip and heartbeats are said again anyway.
fn is_control(message: &PeerMessage) -> bool {
    match message {
        Message::Join { .. }
        | Message::ForwardJoin { .. }
        | Message::Neighbor { .. }
        | Message::Accept { .. }
        | Message::Refuse { .. }
        | Message::Disconnect { .. }
        | Message::Moved { .. }
        | Message::SwitchProposal { .. }
        | Message::SwitchInvite { .. }
        | Message::SwitchConsent { .. }
        | Message::SwitchDecline { .. }
        | Message::SwitchReady { .. } => true,
        Message::Shuffle { .. }
        | Message::ShuffleReply { .. }
        | Message::Heartbeat { .. }
        | Message::Probe { .. }
        | Message::ProbeReply { .. } => false,
    }
}

/// A peer id as a byte string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WireId(PeerId);

impl Serialize for WireId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.to_bytes())
    }
}

impl<'de> Deserialize<'de> for WireId {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_bytes(Bytes)?;
        PeerId::from_bytes(&bytes)
            .map(Self)
            .map_err(de::Error::custom)
    }
}

/// An envelope that nobody has looked into yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sealed(Vec<u8>);

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes).map(Self)
    }
}

/// Reads a byte string.
struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests;
