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
    /// In which of its incarnations: a later one supersedes all that an earlier one said.
    // Its name on the wire is older than the word, and stays.
    #[serde(rename = "life")]
    pub incarnation: u64,
    /// Counts the messages of one incarnation, from 1.
    pub seq: u64,
}

/// Which messages of one origin somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// The incarnation of the origin that they belong to; 0 with nothing held.
    #[serde(rename = "life")]
    pub incarnation: u64,
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

/// A message between two neighbours. On the wire it is a map with one entry, its kind, which holds a map of
/// the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message<I> {
    /// A payload on its way.
    Gossip(Gossip<I>),
    /// The sender has these, and will not push them.
    IHave(IHave<I>),
    /// Push to me from now on, and send what I lack at once.
    Graft(Graft<I>),
    /// Do not push to me, announce.
    Prune(Prune<I>),
    /// All that the sender can supply of some origins (R14).
    Digest(Digest<I>),
}

/// A payload on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip<I> {
    /// Which message.
    pub id: MessageId<I>,
    /// Over how many links it will have come when it arrives; 1 from its origin.
    pub hops: u16,
    /// How long ago its origin sent it, in milliseconds, the time on links left out.
    pub age_ms: u32,
    /// What it says.
    #[serde(with = "as_bytes")]
    pub payload: Payload,
}

/// The sender has these, and will not push them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IHave<I> {
    /// What it has.
    pub list: Vec<Announcement<I>>,
}

/// Push to me the messages of these origins from now on, and those that I lack at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graft<I> {
    /// What the sender has of each origin. With one shared tree the link becomes eager for all origins,
    /// whatever is listed; the list may then be empty.
    pub list: Vec<Position<I>>,
}

/// Push to me no messages of these origins, announce them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prune<I> {
    /// The roots of the trees that the link leaves. With one shared tree the list is empty and all origins
    /// are meant.
    pub origins: Vec<I>,
}

/// All that the sender can supply of the origins after `after` up to `upto`, without bound where there is
/// none (R14).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest<I> {
    /// The origins after this one,
    pub after: Option<I>,
    /// up to and with this one.
    pub upto: Option<I>,
    /// What the sender can supply; nothing of an origin within the bounds that is not listed.
    pub list: Vec<Position<I>>,
}

impl<I> Message<I> {
    /// The same message with every name passed through `name`.
    pub(crate) fn map<J>(self, name: impl Fn(I) -> J) -> Message<J> {
        match self {
            Self::Gossip(gossip) => Message::Gossip(gossip.map(&name)),
            Self::IHave(ihave) => Message::IHave(ihave.map(&name)),
            Self::Graft(graft) => Message::Graft(graft.map(&name)),
            Self::Prune(prune) => Message::Prune(prune.map(&name)),
            Self::Digest(digest) => Message::Digest(digest.map(&name)),
        }
    }
}

impl<I> MessageId<I> {
    fn map<J>(self, name: impl Fn(I) -> J) -> MessageId<J> {
        MessageId {
            origin: name(self.origin),
            incarnation: self.incarnation,
            seq: self.seq,
        }
    }
}

impl<I> Position<I> {
    fn map<J>(self, name: impl Fn(I) -> J) -> Position<J> {
        Position {
            origin: name(self.origin),
            held: self.held,
        }
    }
}

impl<I> Gossip<I> {
    fn map<J>(self, name: impl Fn(I) -> J) -> Gossip<J> {
        Gossip {
            id: self.id.map(name),
            hops: self.hops,
            age_ms: self.age_ms,
            payload: self.payload,
        }
    }
}

impl<I> IHave<I> {
    fn map<J>(self, name: impl Fn(I) -> J) -> IHave<J> {
        let announcement = |announcement: Announcement<I>| Announcement {
            id: announcement.id.map(&name),
            hops: announcement.hops,
        };
        IHave {
            list: self.list.into_iter().map(announcement).collect(),
        }
    }
}

impl<I> Graft<I> {
    fn map<J>(self, name: impl Fn(I) -> J) -> Graft<J> {
        let positions = self.list.into_iter();
        Graft {
            list: positions.map(|position| position.map(&name)).collect(),
        }
    }
}

impl<I> Prune<I> {
    fn map<J>(self, name: impl Fn(I) -> J) -> Prune<J> {
        Prune {
            origins: self.origins.into_iter().map(name).collect(),
        }
    }
}

impl<I> Digest<I> {
    fn map<J>(self, name: impl Fn(I) -> J) -> Digest<J> {
        let positions = self.list.into_iter();
        Digest {
            list: positions.map(|position| position.map(&name)).collect(),
            after: self.after.map(&name),
            upto: self.upto.map(&name),
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
