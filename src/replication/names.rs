//! Names that live on a server: one type builds, parses and limits them.
//!
//! A link has one name at the publisher, shared by its slot, its publication and its role, and one
//! at the subscriber, its subscription. Both carry the same epoch; each carries the *other* end's
//! site. The apply trigger reads the publisher's site from the subscription's name, so the format
//! is a contract with the store.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::{identity::Site, unix_time};

/// What all our names on a server begin with.
pub const PREFIX: &str = "starling_";

/// The role that holds what every link's role may do. It cannot log in.
pub const GROUP_ROLE: &str = "starling_replication";

/// The shape of a link's name, for the server's own regular expressions.
pub(crate) const LINK_PATTERN: &str = "^starling_[0-9a-f]{16}_[0-9a-f]{16}$";

const HEX_DIGITS: usize = 16;

/// The number of a link. Drawn by the publisher and never reused: a slot that was dropped and made
/// again under an old name would go on with a silent hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// A new epoch, greater than all that this process drew before.
    ///
    /// The upper 48 bits are milliseconds, so that of two epochs of one publisher the greater is
    /// nearly always the newer; 16 random bits keep two processes apart whose clocks agree.
    #[must_use]
    pub fn draw() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let millis = unix_time::now_milliseconds();
        let fresh = (millis << 16) | u64::from(rand::random::<u16>());
        // Greater than the last one also while the clock stands still or was set back.
        let last = LAST
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(fresh.max(last + 1))
            })
            .unwrap_or_else(|last| last);
        Self(fresh.max(last + 1))
    }

    /// The epoch with this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The name of one end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName {
    /// The site at the other end.
    pub site: Site,
    /// The epoch of the link.
    pub epoch: Epoch,
}

impl LinkName {
    /// The end of the link `epoch` that faces `site`.
    #[must_use]
    pub fn new(site: Site, epoch: Epoch) -> Self {
        Self { site, epoch }
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:016x}_{:016x}", self.site.get(), self.epoch.0)
    }
}

/// The text is not the name of a link of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a link")]
pub struct NotALink;

impl FromStr for LinkName {
    type Err = NotALink;

    fn from_str(text: &str) -> Result<Self, NotALink> {
        let (site, epoch) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(NotALink)?;
        let site = i64::try_from(hex(site)?)
            .ok()
            .and_then(Site::new)
            .ok_or(NotALink)?;
        Ok(Self {
            site,
            epoch: Epoch(hex(epoch)?),
        })
    }
}

/// Exactly what `{:016x}` writes; `from_str_radix` alone would take signs and capitals as well.
fn hex(digits: &str) -> Result<u64, NotALink> {
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != HEX_DIGITS || !digits.bytes().all(lower) {
        return Err(NotALink);
    }
    u64::from_str_radix(digits, 16).map_err(|_| NotALink)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::{Epoch, LinkName, NotALink};
    use crate::identity::Site;

    fn site(number: i64) -> Site {
        Site::new(number).unwrap()
    }

    #[test]
    fn a_name_has_the_form_that_the_store_parses() {
        let name = LinkName::new(site(0x2a), Epoch::new(7));
        assert_eq!(
            name.to_string(),
            "starling_000000000000002a_0000000000000007"
        );
    }

    #[test]
    fn what_we_did_not_build_we_do_not_parse() {
        for text in [
            "",
            "starling_",
            "starling_replication",
            "starling_000000000000002a",
            "starling_000000000000002A_0000000000000007",
            "starling_+00000000000002a_0000000000000007",
            "starling_000000000000002a_0000000000000007_",
            "starling_000000000000002a_00000000000000070",
            "starling_0000000000000000_0000000000000007",
            "starling_ffffffffffffffff_0000000000000007",
            "other_000000000000002a_0000000000000007",
        ] {
            assert_eq!(text.parse::<LinkName>(), Err(NotALink), "{text:?}");
        }
    }

    #[test]
    fn epochs_of_one_process_are_distinct_and_grow() {
        let drawn: Vec<_> = (0..10_000).map(|_| Epoch::draw()).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
    }

    proptest! {
        #[test]
        fn names_survive_the_server(number in 1..=i64::MAX, epoch in any::<u64>().prop_map(Epoch::new)) {
            let name = LinkName::new(site(number), epoch);
            let text = name.to_string();
            // PostgreSQL cuts longer names silently.
            prop_assert_eq!(text.len(), 42);
            prop_assert_eq!(text.parse::<LinkName>(), Ok(name));
        }
    }
}
