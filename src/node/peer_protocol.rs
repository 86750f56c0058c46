//! What nodes say to each other, in CBOR: requests and replies of the link protocol (about links, nodes, clocks, keys
//! and application roles), and what is broadcast.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::error;

use crate::{
    directory::{Gossip, Rumor, roles::RoleRecord},
    identity::{Run, Site, Start},
    replication,
};

/// A question to another node.
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
    /// What we hold, and whether we insist on a link with the neighbour; answered with its own. Answered at once.
    Position(replication::Position),
}

/// The answer to a [`Request`].
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
    /// Answer to [`Request::Position`].
    Position(replication::Position),
    /// The request made no sense to this version.
    Unknown,
}

/// What a process tells of itself when it asks whether there is another one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Presence {
    /// Which process asks.
    pub(super) run: Run,
    /// The site as which it writes, if it does.
    pub(super) site: Option<Site>,
    /// Which start of that site this is.
    pub(super) generation: u64,
}

impl Presence {
    /// As what it writes.
    pub(super) fn writes(&self) -> Option<(Site, Start)> {
        let Self {
            run,
            site,
            generation,
        } = *self;
        let site = site.and_then(|site| Site::new(site.get()))?;
        (generation > 0).then_some((site, Start { generation, run }))
    }
}

/// Another process with the key of the one that asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Which process it is.
    pub(super) run: Run,
    /// Where it was seen.
    pub(super) address: String,
    /// The site as which it writes, if that is known.
    pub(super) site: Option<Site>,
}

/// A store's time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Time {
    /// Unix time in microseconds, when the request was answered.
    pub(super) at: i64,
    /// How far `at` may be off either way, in microseconds.
    pub(super) error: i64,
}

/// What a node says to all, see [`network::Handle::broadcast`](crate::network::Handle::broadcast).
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum BroadcastMessage {
    /// Its own record.
    Status(Rumor),
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
    use serde::{Deserialize, Serialize, de::DeserializeOwned};

    use super::{BroadcastMessage, Presence, Reply, Request, Seen, Time, decode, encode};
    use crate::{
        directory::{Directory, Gossip, Settings, roles::RoleRecord},
        identity::{Incarnation, Run, Site},
        replication::{self, Position},
        vector::{Seq, Vector},
    };

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

    /// The bytes of a message, which come back as the same.
    fn bytes<T: Serialize + DeserializeOwned>(message: &T) -> String {
        let body = encode(message);
        let back = decode::<T>(&body).map(|back| encode(&back));
        assert_eq!(back.as_ref(), Some(&body));
        body.escape_ascii().to_string()
    }

    fn gossip() -> Gossip {
        Gossip {
            run: Run::new(1).unwrap(),
            upto: 2,
            holds: None,
            rumors: Vec::new(),
            pulses: Vec::new(),
        }
    }

    fn position(insists: bool) -> Position {
        let vector = Vector::from_iter([(Site::new(3).unwrap(), Seq::new(4))]);
        Position { vector, insists }
    }

    const GOSSIP: &str = r"\xa5dlife\x01dupto\x02eholds\xf6frumors\x80fpulses\x80";

    /// Names of fields and variants are the format. Records have a test of their own where they are defined.
    #[test]
    fn the_bytes_of_each_request_stay_as_they_are() {
        let run = Run::new(1).unwrap();
        let presence = |site, generation| {
            Request::Presence(Presence {
                run,
                site,
                generation,
            })
        };
        let status = format!(r"\xa1fStatus{GOSSIP}");
        for (request, expected) in [
            (
                Request::Link(replication::Request::Leave),
                r"\xa1dLinkeLeave",
            ),
            (Request::Status(gossip()), status.as_str()),
            (Request::Clock, "eClock"),
            (
                presence(None, 0),
                r"\xa1hPresence\xa3crun\x01dsite\xf6jgeneration\x00",
            ),
            (
                presence(Site::new(2), 3),
                r"\xa1hPresence\xa3crun\x01dsite\x02jgeneration\x03",
            ),
            (Request::Roles(Vec::new()), r"\xa1eRoles\x80"),
            (
                Request::Position(position(true)),
                r"\xa1hPosition\xa2fvector\xa1\x03\x04ginsists\xf5",
            ),
        ] {
            assert_eq!(bytes(&request), expected);
        }
    }

    #[test]
    fn the_bytes_of_each_reply_stay_as_they_are() {
        let seen = |site| {
            Reply::Presence(Some(Seen {
                run: Run::new(1).unwrap(),
                address: "a".to_owned(),
                site,
            }))
        };
        let status = format!(r"\xa1fStatus{GOSSIP}");
        for (reply, expected) in [
            (Reply::Link(replication::Reply::Left), r"\xa1dLinkdLeft"),
            (Reply::Status(gossip()), status.as_str()),
            (Reply::Clock(None), r"\xa1eClock\xf6"),
            (
                Reply::Clock(Some(Time { at: 1, error: 2 })),
                r"\xa1eClock\xa2bat\x01eerror\x02",
            ),
            (Reply::Presence(None), r"\xa1hPresence\xf6"),
            (seen(None), r"\xa1hPresence\xa3crun\x01gaddressaadsite\xf6"),
            (
                seen(Site::new(2)),
                r"\xa1hPresence\xa3crun\x01gaddressaadsite\x02",
            ),
            (Reply::Roles(Vec::new()), r"\xa1eRoles\x80"),
            (
                Reply::Position(position(false)),
                r"\xa1hPosition\xa2fvector\xa1\x03\x04ginsists\xf4",
            ),
            (Reply::Unknown, "gUnknown"),
        ] {
            assert_eq!(bytes(&reply), expected);
        }
    }

    /// A request as an earlier version knows it, but for the others.
    #[derive(Debug, Deserialize)]
    enum Earlier {
        Roles(Vec<RoleRecord>),
    }

    #[test]
    fn a_position_makes_no_sense_to_an_earlier_version() {
        let roles = decode(&encode(&Request::Roles(Vec::new())));
        assert!(matches!(roles, Some(Earlier::Roles(all)) if all.is_empty()));
        let told = encode(&Request::Position(position(true)));
        assert!(decode::<Earlier>(&told).is_none());
    }

    #[test]
    fn the_bytes_of_a_broadcast_stay_as_they_are() {
        let directory = Directory::new(
            "a".parse().unwrap(),
            Incarnation::new(1),
            Run::new(1).unwrap(),
            Settings::default(),
        );
        let rumor = directory.status();
        let expected = format!(r"\xa1fStatus{}", bytes(&rumor));
        assert_eq!(bytes(&BroadcastMessage::Status(rumor)), expected);
    }

    #[test]
    fn a_process_that_does_not_write_yet_claims_no_site() {
        let presence = |site, generation| Presence {
            run: Run::draw(),
            site: Site::new(site),
            generation,
        };
        assert_eq!(presence(7, 0).writes(), None);
        assert_eq!(presence(0, 1).writes(), None);
        let (site, start) = presence(7, 3).writes().unwrap();
        assert_eq!((site.get(), start.generation), (7, 3));
    }
}
