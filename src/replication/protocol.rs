//! What two controllers say to each other about links.
//!
//! The subscriber drives: it asks the publisher to open its end, copies what it lacks straight from
//! the publisher's store, and creates its subscription. Additions are new optional fields (unknown
//! ones are ignored) or new variants (a peer that does not know one refuses it).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    challenge::Challenge,
    names::{Epoch, LinkName},
};
use crate::{
    identity::{Lineage, Site},
    vector::Seq,
};

/// A question of a subscriber to its publisher, or a farewell of either to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Open the publisher's end of a new link: role, publication, slot.
    Open {
        /// The subscriber's site.
        site: Site,
        /// What the publisher's store has to show before anything is taken from it.
        challenge: Challenge,
    },
    /// Asks whether this link, which the subscriber found in its store, is still whole at the publisher.
    Resume {
        /// The subscriber's site.
        site: Site,
        /// The site that the subscriber takes the publisher for.
        publisher: Site,
        /// The link's epoch.
        epoch: Epoch,
        /// How long nothing has streamed here, in milliseconds: a sender that is older serves a
        /// connection that is broken, and holds the slot. Absent while the link streams.
        #[serde(default)]
        down_ms: Option<u64>,
    },
    /// The subscriber has dropped its end of this link.
    Close {
        /// The subscriber's site.
        site: Site,
        /// The link's epoch.
        epoch: Epoch,
    },
    /// Asks what the peer has of the sender's site beyond the site's own checkpoint, before a link is made:
    /// a store that lacks any of it is an older copy of itself.
    // Its name on the wire is that of the first version.
    #[serde(rename = "Witness")]
    Confirm {
        /// The sender's site.
        site: Site,
        /// Its own checkpoint.
        upto: Seq,
        /// What has this number or a higher one has been told already.
        below: Seq,
        /// The starts of the site's controller, the one that asks last.
        #[serde(default)]
        lineage: Option<Lineage>,
        /// The store is open: this was asked before.
        #[serde(default)]
        is_confirmed: bool,
    },
    /// The sender leaves the cluster: take down both directions now.
    Leave,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The publisher's end is open; its slot holds everything that commits from now on.
    Opened(Offer),
    /// The link is whole.
    Resumed {
        /// Where the slot would go on.
        confirmed: u64,
        /// Whether a walsender is streaming from it right now.
        active: bool,
        /// The end of the publisher's WAL.
        end: u64,
        /// The link's own sender was seen at `confirmed`: nobody else has moved the slot since.
        #[serde(default)]
        is_own: bool,
    },
    /// The publisher has nothing left of this link.
    Closed,
    /// The operations of the site that are present, newest first.
    // Its name on the wire is that of the first version.
    #[serde(rename = "Witnessed")]
    Known {
        /// As many as fit into a message.
        known: Vec<Known>,
        /// There are more, with lower numbers.
        more: bool,
    },
    /// The receiver has nothing left of any link with the sender.
    Left,
    /// No; nothing was changed.
    Refused {
        /// Stable and machine-readable, see [`code`].
        code: String,
        /// For people.
        message: String,
        /// What mends it, at the one who refuses.
        #[serde(default)]
        fix: Option<String>,
    },
}

/// Where an operation of a site is to be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Type of its element, one letter.
    pub kind: String,
    /// Id of its element.
    pub id: String,
    /// Key of its element.
    pub key: String,
    /// Its number.
    pub seq: Seq,
}

impl Reply {
    pub(crate) fn refused(code: &str, message: impl Into<String>) -> Self {
        Self::Refused {
            code: code.to_owned(),
            message: message.into(),
            fix: None,
        }
    }
}

/// Why a request was refused.
pub mod code {
    /// The sender is not a neighbour.
    pub const NOT_A_NEIGHBOR: &str = "not_a_neighbor";
    /// The work goes on; ask again. Opening waits for transactions that write.
    pub const BUSY: &str = "busy";
    /// The store cannot be reached.
    pub const STORE_DOWN: &str = "store_down";
    /// The store refused, for example because all its slots are in use.
    pub const STORE_REFUSED: &str = "store_refused";
    /// The store listens on loopback only, and the sender is on another machine.
    pub const LOOPBACK_ONLY: &str = "loopback_only";
    /// There is no such link (any more); open a new one.
    pub const NO_SUCH_LINK: &str = "no_such_link";
    /// The link belongs to another peer.
    pub const NOT_YOURS: &str = "not_yours";
    /// The store must go on as another site: another process has used this one, or does.
    pub const ANOTHER_SITE: &str = "another_site";
    /// The node is leaving or stopping.
    pub const STOPPING: &str = "stopping";
    /// The request is not known to this version.
    pub const UNKNOWN_REQUEST: &str = "unknown_request";
}

/// All that a subscriber needs to connect to the publisher's store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The publisher's site.
    pub publisher: Site,
    /// The new link's epoch.
    pub epoch: Epoch,
    /// Where the slot starts.
    pub start: u64,
    /// Host of the store if the publisher was told one; else one of the peer's own addresses.
    pub host: Option<String>,
    /// Port of the store.
    pub port: u16,
    /// The store listens on loopback only, so that just peers on its machine can reach it.
    #[serde(default)]
    pub loopback_only: bool,
    /// Database of the store.
    pub database: String,
    /// Role of this link.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Offer {
    /// Name of slot and publication, as the publisher's store knows them.
    #[must_use]
    pub fn slot(&self, subscriber: Site) -> LinkName {
        LinkName::new(subscriber, self.epoch)
    }

    /// Name of the subscription.
    #[must_use]
    pub fn subscription(&self) -> LinkName {
        LinkName::new(self.publisher, self.epoch)
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("publisher", &self.publisher)
            .field("epoch", &self.epoch)
            .field("start", &self.start)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("loopback_only", &self.loopback_only)
            .field("database", &self.database)
            .field("user", &self.user)
            // Without the password: replies are logged.
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Challenge, Epoch, Offer, Reply, Request};
    use crate::{
        identity::{NodeId, Site},
        replication::challenge::Challenger,
        vector::Seq,
    };

    fn offer() -> Offer {
        Offer {
            publisher: Site::new(7).unwrap(),
            epoch: Epoch::new(9),
            start: 0x10,
            host: None,
            port: 5432,
            loopback_only: false,
            database: "starling".to_owned(),
            user: "someone".to_owned(),
            password: "hunter2".to_owned(),
        }
    }

    fn cbor<T: serde::Serialize>(value: &T) -> Vec<u8> {
        cbor4ii::serde::to_vec(Vec::new(), value).unwrap()
    }

    #[test]
    fn the_password_is_sent_but_never_shown() {
        let reply = Reply::Opened(offer());
        assert!(!format!("{reply:?}").contains("hunter2"));
        let bytes = cbor(&reply);
        assert_eq!(cbor4ii::serde::from_slice::<Reply>(&bytes).unwrap(), reply);
    }

    #[test]
    fn what_was_renamed_has_its_first_name_on_the_wire() {
        let question = Request::Confirm {
            site: Site::new(7).unwrap(),
            upto: Seq::new(1),
            below: Seq::MAX,
            lineage: None,
            is_confirmed: false,
        };
        let answer = Reply::Known {
            known: Vec::new(),
            more: false,
        };
        let [question, answer] = [serde_json::to_value(question), serde_json::to_value(answer)]
            .map(|said| said.unwrap().to_string());
        assert!(question.starts_with(r#"{"Witness":{"#), "{question}");
        assert_eq!(answer, r#"{"Witnessed":{"known":[],"more":false}}"#);
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_variants_are_errors() {
        #[derive(serde::Serialize)]
        enum Later {
            Open {
                site: i64,
                challenge: Challenge,
                colour: &'static str,
            },
            Dance {
                partner: i64,
            },
        }
        let challenge = Challenger::new().to(&"a".parse::<NodeId>().unwrap());
        let known = cbor(&Later::Open {
            site: 3,
            challenge: challenge.clone(),
            colour: "blue",
        });
        let expected = Request::Open {
            site: Site::new(3).unwrap(),
            challenge,
        };
        assert_eq!(
            cbor4ii::serde::from_slice::<Request>(&known).unwrap(),
            expected
        );
        let unknown = cbor(&Later::Dance { partner: 3 });
        assert!(cbor4ii::serde::from_slice::<Request>(&unknown).is_err());
    }
}
