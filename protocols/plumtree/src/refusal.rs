//! Why something that a peer sent is refused.

use substream::Fault;

/// Why something that a peer sent is refused. It had no effect; the peer's connections are closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It broke the rules of frames.
    #[error(transparent)]
    Frame(#[from] Fault),
    /// Not CBOR, not a message that we know, or followed by more bytes.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// A payload that its origin did not sign. The sender should have refused it.
    #[error("payload without the signature of its origin")]
    Forged,
}

impl Refusal {
    /// Whether no correct peer could have caused it.
    #[must_use]
    pub fn is_misbehaviour(&self) -> bool {
        *self != Self::Frame(Fault::Truncated)
    }
}
