//! The messages of the protocol, as the state machine sees them.
//!
//! ```text
//! spreading   p --Gossip--> each eager neighbour, p --IHave--> each lazy one
//! pruning     p gets a Gossip twice: --Prune--> the neighbour that was later; the link is lazy
//! repairing   p lacks what was announced: --Graft--> the announcer --Gossip--> p; the link is eager
//! exchanging  p --Digest--> neighbour: what p has; it announces what p lacks, and grafts the rest
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a message carries. Opaque to the machine.
pub type Payload = Arc<[u8]>;

/// The name of one message. No two messages share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId<I> {
    /// Who said it.
    pub origin: I,
    /// In which of its lives: a newer life supersedes all that an older one said.
    pub life: u64,
    /// Counts the messages of one life, from 1.
    pub seq: u64,
}

/// Which messages of one origin somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// The life they belong to; 0 with nothing held.
    pub life: u64,
    /// The greatest number.
    pub seq: u64,
    /// Bit `n` stands for `seq - 1 - n`: set when that message is not held. What is older than
    /// these 64 is neither held nor wanted.
    #[serde(default)]
    pub gaps: u64,
}

/// "I have this message."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement<I> {
    /// Which.
    pub id: MessageId<I>,
    /// Over how many links it came to the sender; 0 at its origin.
    pub hops: u16,
}

/// "Of this origin I have that."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position<I> {
    /// Whose messages.
    pub origin: I,
    /// Which of them.
    pub held: Held,
}

/// A message between two neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message<I> {
    /// A payload on its way.
    Gossip {
        /// Which message.
        id: MessageId<I>,
        /// Over how many links it will have come when it arrives; 1 from its origin.
        hops: u16,
        /// How long ago its origin sent it, in milliseconds, the time on links left out.
        age_ms: u32,
        /// What it says.
        #[serde(with = "as_bytes")]
        payload: Payload,
    },
    /// The sender has these, and will not push them.
    IHave {
        /// What it has.
        list: Vec<Announcement<I>>,
    },
    /// Push to me the messages of these origins from now on, and those that I lack at once. With one
    /// shared tree the link becomes eager for all origins; the list may then be empty.
    Graft {
        /// What the sender has of each origin.
        list: Vec<Position<I>>,
    },
    /// Push to me no messages of these origins, announce them. With one shared tree the list is empty
    /// and all origins are meant.
    Prune {
        /// The roots of the trees that the link leaves.
        origins: Vec<I>,
    },
    /// All that the sender can supply of the origins after `after` up to `upto`, without bound where
    /// there is none (R14).
    Digest {
        /// The origins after this one,
        after: Option<I>,
        /// up to and with this one.
        upto: Option<I>,
        /// What the sender can supply; nothing of an origin within the bounds that is not listed.
        list: Vec<Position<I>>,
    },
}

impl<I> Message<I> {
    /// The same message with every name passed through `name`.
    pub(crate) fn map<J>(self, name: impl Fn(I) -> J) -> Message<J> {
        let id = |id: MessageId<I>| MessageId {
            origin: name(id.origin),
            life: id.life,
            seq: id.seq,
        };
        let positions = |list: Vec<Position<I>>| {
            let position = |position: Position<I>| Position {
                origin: name(position.origin),
                held: position.held,
            };
            list.into_iter().map(position).collect()
        };
        match self {
            Self::Gossip {
                id: of,
                hops,
                age_ms,
                payload,
            } => Message::Gossip {
                id: id(of),
                hops,
                age_ms,
                payload,
            },
            Self::IHave { list } => Message::IHave {
                list: list
                    .into_iter()
                    .map(|announcement| Announcement {
                        id: id(announcement.id),
                        hops: announcement.hops,
                    })
                    .collect(),
            },
            Self::Graft { list } => Message::Graft {
                list: positions(list),
            },
            Self::Prune { origins } => Message::Prune {
                origins: origins.into_iter().map(name).collect(),
            },
            Self::Digest { after, upto, list } => Message::Digest {
                list: positions(list),
                after: after.map(&name),
                upto: upto.map(&name),
            },
        }
    }
}

/// A payload as a byte string.
mod as_bytes {
    use serde::{Deserialize, Deserializer, Serializer};
    use substream::cbor::ByteString;

    use super::Payload;

    pub(super) fn serialize<S: Serializer>(
        payload: &Payload,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(payload)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Payload, D::Error> {
        let ByteString(bytes) = ByteString::deserialize(deserializer)?;
        Ok(bytes.into())
    }
}
