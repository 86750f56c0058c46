//! What a store vouches for: of each site, everything up to a number.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::identity::Site;

/// Most sites of a vector that a peer is believed: one per member, and as many again for former ones.
const SITES_MAX: usize = 8192;

/// The number that a site gives to an operation: one for its first, one more for each. Zero is before
/// the first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(i64);

impl Seq {
    /// Before the first.
    pub const NONE: Self = Self(0);
    /// After any that will ever be given.
    pub const MAX: Self = Self(i64::MAX);

    /// A number that a store or a peer names. What is below one is before the first.
    #[must_use]
    pub fn new(value: i64) -> Self {
        Self(value)
    }

    /// The number as the store holds it.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A checkpoint for each site: a store with this vector holds, or has covered, every operation of the site
/// up to the number. `crdv.vector` has it; nodes tell theirs to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vector(BTreeMap<Site, Seq>);

impl Vector {
    /// How far `site` is here; [`Seq::NONE`] if it was never heard of.
    #[must_use]
    pub fn get(&self, site: Site) -> Seq {
        self.0.get(&site).copied().unwrap_or_default()
    }

    /// Whether everything of `site` up to `seq` is here.
    #[must_use]
    pub fn covers(&self, site: Site, seq: Seq) -> bool {
        self.get(site) >= seq
    }

    /// Of this, the sites of which `other` has less, with what is here of them.
    #[must_use]
    pub fn missing_from(&self, other: &Self) -> Self {
        self.iter()
            .filter(|(site, seq)| !other.covers(*site, *seq))
            .collect()
    }

    /// Every site with its number, in the order of the sites.
    pub fn iter(&self) -> impl Iterator<Item = (Site, Seq)> {
        self.0.iter().map(|(site, seq)| (*site, *seq))
    }

    /// The number of sites.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing of anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a peer may say so: not too many sites, and each a positive number.
    #[must_use]
    pub(crate) fn is_bounded(&self) -> bool {
        self.len() <= SITES_MAX && self.iter().all(|(site, _)| site.get() > 0)
    }

    /// As two columns in the same order, as the functions of the store take it.
    #[must_use]
    pub(crate) fn columns(&self) -> (Vec<i64>, Vec<i64>) {
        self.iter()
            .map(|(site, seq)| (site.get(), seq.get()))
            .unzip()
    }
}

impl FromIterator<(Site, Seq)> for Vector {
    fn from_iter<I: IntoIterator<Item = (Site, Seq)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{SITES_MAX, Seq, Vector};
    use crate::identity::Site;

    /// A vector of these sites and numbers.
    pub(crate) fn vector(entries: &[(i64, i64)]) -> Vector {
        let entry = |(site, seq): &(i64, i64)| (Site::new(*site).unwrap(), Seq::new(*seq));
        entries.iter().map(entry).collect()
    }

    #[test]
    fn a_site_that_was_never_heard_of_is_at_none() {
        let [one, two] = [1, 2].map(|site| Site::new(site).unwrap());
        let here = vector(&[(1, 5)]);
        assert_eq!(here.get(two), Seq::NONE);
        assert!(here.covers(one, Seq::new(5)) && here.covers(two, Seq::NONE));
        assert!(!here.covers(one, Seq::new(6)) && !here.covers(two, Seq::new(1)));
    }

    #[test]
    fn what_is_missing_is_told_site_by_site() {
        let here = vector(&[(1, 5), (2, 7), (3, 1)]);
        let there = vector(&[(1, 5), (2, 6), (4, 9)]);
        assert_eq!(here.missing_from(&there), vector(&[(2, 7), (3, 1)]));
        assert_eq!(there.missing_from(&here), vector(&[(4, 9)]));
        assert_eq!(here.missing_from(&here), Vector::default());
    }

    #[test]
    fn a_peer_may_not_say_everything() {
        let sites = |count: usize| {
            let site = |number: usize| Site::new(number as i64 + 1).unwrap();
            (0..count)
                .map(|number| (site(number), Seq::NONE))
                .collect::<Vector>()
        };
        assert!(sites(0).is_bounded() && sites(SITES_MAX).is_bounded());
        assert!(!sites(SITES_MAX + 1).is_bounded());
        // A message may hold numbers that are no sites.
        for (text, is_bounded) in [
            (r#"{"1":5}"#, true),
            (r#"{"0":5}"#, false),
            (r#"{"-1":5}"#, false),
        ] {
            let said: Vector = serde_json::from_str(text).unwrap();
            assert_eq!(said.is_bounded(), is_bounded, "{text}");
        }
    }

    #[test]
    fn messages_hold_plain_numbers() {
        let here = vector(&[(1, 5), (2, 7)]);
        let json = serde_json::to_string(&here).unwrap();
        assert_eq!(json, r#"{"1":5,"2":7}"#);
        assert_eq!(serde_json::from_str::<Vector>(&json).unwrap(), here);
    }
}
