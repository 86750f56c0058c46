//! Why something that a peer sent is refused.

use libp2p::PeerId;
use substream::{FRAME_BYTES_MAX, Fault};

use crate::record::RecordError;

/// Why something that a peer sent is refused. Nothing of the frame was acted upon; its connection
/// is closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The announced length is zero or beyond [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes, allowed are 1 to {FRAME_BYTES_MAX}")]
    Size(u32),
    /// The stream ended, or nothing more came in time, inside a frame. A crash or a broken network
    /// does that too.
    #[error("frame was cut short")]
    Truncated,
    /// Not CBOR, not a message that we know, or followed by more bytes.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// More contacts than a message may carry.
    #[error("message with {0} contacts")]
    TooManyContacts(usize),
    /// A peer's record that is not this peer's own word.
    #[error("record of {peer} refused")]
    Record {
        /// Whose record it claimed to be.
        peer: PeerId,
        /// What is wrong with it.
        #[source]
        source: Box<RecordError>,
    },
    /// More frames per second than allowed.
    #[error("flood of frames")]
    Flood,
    /// Substreams opened again and again on one connection.
    #[error("too many substreams")]
    TooManyStreams,
}

impl Refusal {
    /// Whether no correct peer could have caused it.
    #[must_use]
    pub fn is_misbehaviour(&self) -> bool {
        !matches!(self, Self::Truncated)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Size(bytes) => Self::Size(bytes),
            Fault::Truncated => Self::Truncated,
            Fault::Flood => Self::Flood,
            Fault::TooManyStreams => Self::TooManyStreams,
        }
    }
}
