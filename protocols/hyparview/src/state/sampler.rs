//! Backups that nobody can push out (R11): a part of the passive view is a random sample of all the names that
//! this node has ever heard, however often it heard each (min-wise sampling, as in Brahms: Bortnikov,
//! Gurevich, Keidar, Kliot, Shraer, 2009).
//!
//! A secret of the node gives every name a rank, and the names with the lowest ranks stay. Who names its
//! like a thousand times gains no more than by naming them once, so that their share here comes to their
//! share of all names, whatever shuffles bring. The other part of the view is fresh, as in the paper. Where a backup is
//! asked for anything, one of the sample comes first; the dead among them go when they do not answer.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::{Rng, RngExt};

use crate::{Config, Id};

/// What gives names their ranks.
#[derive(Debug)]
pub(super) struct Sampler {
    secret: [u64; 2],
    /// How many of the passive view are a sample.
    size: usize,
}

impl Sampler {
    pub(super) fn new(config: &Config) -> Self {
        let percent = config.passive_sampled_percent().min(100);
        Self {
            secret: [0; 2],
            size: config.passive_capacity() * percent / 100,
        }
    }

    /// Others must not know which names have low ranks.
    pub(super) fn draw<R: Rng>(&mut self, rng: &mut R) {
        self.secret = rng.random();
    }

    pub(super) fn rank<I: Id>(&self, id: I) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.secret, id).hash(&mut hasher);
        hasher.finish()
    }

    /// The highest rank in the sample of names with these ranks; 0 without a sample.
    pub(super) fn last(&self, mut ranks: Vec<u64>) -> u64 {
        match self.size.checked_sub(1) {
            None => 0,
            Some(last) if last < ranks.len() => *ranks.select_nth_unstable(last).1,
            Some(_) => u64::MAX,
        }
    }
}
