//! What travels on the link protocol: a request of the data plane or a round of gossip, in CBOR.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::error;

use super::members::twins::{Presence, Seen};
use crate::{
    directory::{Gossip, Rumor, roles::RoleRecord},
    replication,
};

/// A question to a neighbour.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// About links; the data plane answers.
    Link(replication::Request),
    /// What we know of the nodes; answered with what the neighbour knows.
    Status(Gossip),
    /// Asks for the time of the store. Answered at once.
    Clock,
    /// Asks whether another process with the asker's key is seen. Answered at once.
    Presence(Presence),
    /// All application roles that we know; answered with those that the neighbour knows.
    Roles(Vec<RoleRecord>),
}

/// What a node says to all, see [`network::Handle::broadcast`](crate::network::Handle::broadcast).
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum BroadcastMessage {
    /// Its own record.
    Status(Rumor),
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Answer to [`Request::Link`].
    Link(replication::Reply),
    /// Answer to [`Request::Status`].
    Status(Gossip),
    /// Answer to [`Request::Clock`]; `None` while the store's clock was not read yet.
    Clock(Option<Time>),
    /// Answer to [`Request::Presence`].
    Presence(Option<Seen>),
    /// Answer to [`Request::Roles`].
    Roles(Vec<RoleRecord>),
    /// The request made no sense to this version.
    Unknown,
}

/// A store's time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Time {
    /// Unix time in microseconds, when the request was answered.
    pub(super) at: i64,
    /// How far `at` may be off either way, in microseconds.
    pub(super) error: i64,
}

impl Reply {
    /// The answer to questions about links while there is no data plane yet.
    pub(super) fn not_ready() -> Self {
        let code = replication::protocol::code::STORE_DOWN;
        Self::Link(replication::Reply::refused(code, "the store is not up yet"))
    }
}

/// The bytes of a message. Encoding into memory cannot fail for these types; should it, the peer
/// gets an empty body, which it refuses.
pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    cbor4ii::serde::to_vec(Vec::new(), message).unwrap_or_else(|error| {
        error!(%error, "cannot encode a message");
        Vec::new()
    })
}

/// The message in `body`, if it is one that this version knows.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    cbor4ii::serde::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::{Reply, Request, decode, encode};

    #[test]
    fn a_message_comes_back_as_it_went() {
        let request = Request::Link(crate::replication::Request::Leave);
        assert!(matches!(
            decode(&encode(&request)),
            Some(Request::Link(crate::replication::Request::Leave))
        ));
    }

    #[test]
    fn garbage_is_no_message() {
        for body in [&b""[..], b"\xff", b"\xa1\x64Link\x01", &[0x9b; 64]] {
            assert!(decode::<Request>(body).is_none());
            assert!(decode::<Reply>(body).is_none());
        }
    }
}
