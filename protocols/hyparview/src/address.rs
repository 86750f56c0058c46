//! What the state machine asks of an address record.

use std::fmt::Debug;

/// How to reach a peer, and the proof that it said so itself. Opaque to the machine but for three
/// questions, each with an answer that suits a test or a closed network.
pub trait Address: Clone + Debug + PartialEq {
    /// The share of the network the address belongs to (a subnet), if shares are to be capped
    /// (R11). `None`: counts towards no share.
    fn group(&self) -> Option<u64> {
        None
    }

    /// Whether this record, heard of later, replaces `known`. A record with a sequence number
    /// compares it here, so that an old record relayed late changes nothing.
    fn supersedes(&self, known: &Self) -> bool {
        self != known
    }

    /// Whether third parties may be told of it. An unsigned hint (mDNS, command line) is dialled
    /// but never sent on.
    fn shareable(&self) -> bool {
        true
    }
}

impl Address for () {}
