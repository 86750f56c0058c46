//! The messages of the protocol, as the state machine sees them.

/// A message between two peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<I, A> {
    /// To be completed by the state machine's author.
    Placeholder(I, A),
}
