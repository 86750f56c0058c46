//! Messages as they travel: CBOR maps with the field names of [`Message`], ids as bytes, records as
//! signed envelopes.
//!
//! Unknown fields are ignored, so that a later version may add some; unknown variants are refused. A
//! decoded message holds verified records only: the machine never sees another.

mod translate;

use std::sync::Arc;

use libp2p::PeerId;
use substream::{
    Frame,
    cbor::{self, ByteString as Sealed, Unencodable, WireId},
};
use void::Void;

use crate::{
    FRAME_BYTES_MAX, Message, RECORD_BYTES_MAX, Record, Refusal, counters::Counters, record::Book,
};
use translate::{Owner, translate};

/// A message between peers of this network.
pub(crate) type PeerMessage = Message<PeerId, Record>;

/// Most contacts in one message. The default lists have 8; more is work for the receiver.
pub const CONTACTS_MAX: usize = 48;

// A full list of full records, with 128 bytes of names and ids each, fits into a frame.
const _: () = assert!((CONTACTS_MAX + 1) * (RECORD_BYTES_MAX + 128) < FRAME_BYTES_MAX);

/// The substreams of one connection.
pub type Handler = substream::Handler<Wire>;

/// How frames of this protocol are read.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    pub(crate) book: Book,
    pub(crate) counters: Counters,
}

impl substream::Protocol for Wire {
    type Message = PeerMessage;
    type Refusal = Refusal;

    fn decode(&self, content: &[u8], from: PeerId) -> Result<(PeerMessage, u32), Refusal> {
        let (message, verified) = decode(content, from, &self.book)?;
        self.counters.records_verified.add(verified.into());
        Ok((message, verified))
    }
}

/// A message of ours that cannot be sent. It is a defect of the caller, not of a peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsendable {
    /// It names a peer for which there is only a local hint.
    #[error("message holds the unsigned record of {0:?}")]
    Unsigned(Option<PeerId>),
    /// It has no encoded form, or too long a one.
    #[error(transparent)]
    Content(#[from] Unencodable),
}

/// Encodes a message.
pub(crate) fn encode(message: PeerMessage, ticket: &Arc<()>) -> Result<Frame, Unsendable> {
    let control = is_control(&message);
    // An error here is a defect of ours: nobody is told of a peer whose word for it we do not have.
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
    Ok(Frame {
        content: cbor::encode(&message)?.into(),
        control,
        ticket: Arc::clone(ticket),
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
        Ok::<_, Refusal>(record)
    })?;
    Ok((message, verified))
}

fn parse(content: &[u8]) -> Result<Message<WireId, Sealed>, Refusal> {
    cbor::decode(content).map_err(Refusal::Malformed)
}

/// Whether losing the message costs a view change; gossip and heartbeats are said again anyway.
fn is_control(message: &PeerMessage) -> bool {
    match message {
        Message::Join(_)
        | Message::ForwardJoin(_)
        | Message::Neighbor(_)
        | Message::Accept(_)
        | Message::Refuse(_)
        | Message::Disconnect(_)
        | Message::Moved(_)
        | Message::SwitchProposal(_)
        | Message::SwitchInvite(_)
        | Message::SwitchConsent(_)
        | Message::SwitchDecline(_)
        | Message::SwitchReady(_) => true,
        Message::Shuffle(_)
        | Message::ShuffleReply(_)
        | Message::Heartbeat(_)
        | Message::Probe(_)
        | Message::ProbeReply(_) => false,
    }
}

#[cfg(test)]
mod tests;
