//! A store proves that it belongs to the peer that named it.
//!
//! A publisher says where its store is, and the subscriber connects there. A member that lies could name
//! a store of somebody else, even one on the subscriber's own machine, and its data would be copied from
//! one cluster to another. So the subscriber sends a random text with its request, the publisher's
//! controller writes it beside the link's publication, and nothing is taken from a store that does not
//! show it there.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::identity::NodeId;

/// What a subscriber asks a publisher to show. Any text that a stranger sends becomes a fixed number of
/// hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge(String);

/// The secret behind one subscriber's challenges.
#[derive(Debug)]
pub(crate) struct Challenger(u128);

impl Challenger {
    pub(crate) fn new() -> Self {
        Self(rand::random())
    }

    /// The same for each request to `peer`, because a publisher may answer a later one with what it began
    /// for an earlier one.
    pub(crate) fn to(&self, peer: &NodeId) -> Challenge {
        Challenge::new(digest([
            &self.0.to_be_bytes()[..],
            peer.as_str().as_bytes(),
        ]))
    }
}

impl Challenge {
    /// A challenge of this text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The comment on the publication of a link with `peer`, who sent the challenge.
    pub(crate) fn comment(&self, peer: &NodeId) -> String {
        format!("{peer} {}", digest([self.0.as_bytes()]))
    }
}

/// Who is named in the comment on a publication; `None` if it was written by somebody else.
pub(crate) fn peer_of(comment: &str) -> Option<NodeId> {
    let peer = comment.split_once(' ').map_or(comment, |(peer, _)| peer);
    peer.parse().ok()
}

fn digest<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    // As many bits as the secret has.
    hash.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Challenge, Challenger, peer_of};
    use crate::identity::NodeId;

    fn name(text: &str) -> NodeId {
        text.parse::<NodeId>().unwrap()
    }

    #[test]
    fn each_peer_and_each_run_has_its_own() {
        let (one, other) = (Challenger::new(), Challenger::new());
        assert_eq!(one.to(&name("a")), one.to(&name("a")));
        assert_ne!(one.to(&name("a")), one.to(&name("b")));
        assert_ne!(one.to(&name("a")), other.to(&name("a")));
    }

    #[test]
    fn the_comment_names_the_peer_whatever_was_sent() {
        let me = name("me");
        let hostile = Challenge::new("x'; drop table crdv.element; --".repeat(1000));
        let comment = hostile.comment(&me);
        assert_eq!(peer_of(&comment).as_ref(), Some(&me));
        assert_eq!(comment.len(), "me ".len() + 32);
        assert_ne!(comment, Challenger::new().to(&me).comment(&me));
        assert_eq!(
            peer_of("me"),
            Some(me),
            "of a link that was made without one"
        );
    }
}
