//! Messages as they travel: CBOR maps with the field names of [`Message`], ids and payloads as byte
//! strings.
//!
//! Unknown fields are ignored, so that a later version may add some; unknown variants are refused.

use std::sync::Arc;

use libp2p::PeerId;
use substream::{
    Frame,
    cbor::{self, Unencodable, WireId},
};

use crate::{Message, Refusal};

/// A message between peers of this network.
pub(crate) type PeerMessage = Message<PeerId>;

/// The substreams of one connection.
pub type Handler = substream::Handler<Wire>;

/// How frames of this protocol are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire;

impl substream::Protocol for Wire {
    type Message = PeerMessage;
    type Refusal = Refusal;

    fn decode(&self, content: &[u8], _: PeerId) -> Result<(PeerMessage, u32), Refusal> {
        Ok((decode(content)?, 0))
    }
}

/// Encodes a message.
pub(crate) fn encode(message: PeerMessage, ticket: &Arc<()>) -> Result<Frame, Unencodable> {
    // What is not pushed is announced by others, what is not announced comes out at the next
    // exchange. But a tree whose links disagree loses time with every message.
    let control = match message {
        Message::Gossip(_) | Message::IHave(_) => false,
        Message::Graft(_) | Message::Prune(_) | Message::Digest(_) => true,
    };
    Ok(Frame {
        content: cbor::encode(&message.map(WireId))?.into(),
        control,
        ticket: Arc::clone(ticket),
    })
}

/// Decodes what a peer sent.
pub(crate) fn decode(content: &[u8]) -> Result<PeerMessage, Refusal> {
    let message: Message<WireId> = cbor::decode(content).map_err(Refusal::Malformed)?;
    Ok(message.map(|WireId(peer)| peer))
}

#[cfg(test)]
mod tests;
