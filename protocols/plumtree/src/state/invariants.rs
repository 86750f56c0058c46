//! What holds after every input.

use super::{State, neighbors::SlotSet};
use crate::{Id, Keep, Timer};

/// A broken invariant, found by [`State::check`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A set of neighbours holds one that is none. Says which set, with the origin as it prints itself: `the
    /// tree of 7`, `what is missing of 7`.
    #[error("{0} names a peer that is no neighbour")]
    Stranger(String),
    /// The parent of a tree is not eager, or we are the root and have one. Says whose tree: the origin as it
    /// prints itself, or `all` for the shared one.
    #[error("the parent in the tree of {0} is not eager")]
    Parent(String),
    /// A list is longer than it may be. Says which, and its length.
    #[error("{0} is over its bound with {1}")]
    Full(&'static str, usize),
    /// Two records of the same thing differ. Says which thing.
    #[error("{0} does not agree with its index")]
    Index(&'static str),
    /// Something waits for a timer that nobody asked for. Says what waits.
    #[error("{0} waits and no timer is set")]
    Timer(&'static str),
}

impl<I: Id> State<I> {
    /// Whether all invariants hold: trees are made of neighbours, a parent is eager, whatever waits
    /// has a timer, everything is within its bound.
    ///
    /// # Errors
    ///
    /// The first invariant that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_trees()?;
        self.check_missing()?;
        self.check_waiting()?;
        self.check_sizes()
    }

    fn check_trees(&self) -> Result<(), Violation> {
        let all = self.neighbors.all();
        let trees = self
            .shelf
            .origins
            .iter()
            .map(|(id, origin)| (format!("{id:?}"), &origin.tree, origin.from))
            .chain([("all".to_owned(), &self.shared, None)]);
        for (name, tree, from) in trees {
            let named = from.into_iter().fold(tree.eager, SlotSet::with);
            if !named.without(all).is_empty() {
                return Err(Violation::Stranger(format!("the tree of {name}")));
            }
            if tree.parent.is_some_and(|slot| !tree.eager.contains(slot)) {
                return Err(Violation::Parent(name));
            }
            if name == format!("{:?}", self.me) && tree.parent.is_some() {
                return Err(Violation::Parent(name));
            }
        }
        Ok(())
    }

    fn check_missing(&self) -> Result<(), Violation> {
        let mut claims = 0;
        for (origin, missing) in &self.missing {
            let claimants = missing.claimants().fold(SlotSet::default(), SlotSet::with);
            if claimants.is_empty() || !claimants.without(self.neighbors.all()).is_empty() {
                return Err(Violation::Stranger(format!(
                    "what is missing of {origin:?}"
                )));
            }
            if !self.due.contains(&(missing.due(), *origin)) {
                return Err(Violation::Timer("a missing message"));
            }
            claims += missing.claimants().count();
        }
        if self.due.len() != self.missing.len() {
            return Err(Violation::Index("the missing list"));
        }
        if claims != self.neighbors.iter().map(|neighbor| neighbor.claims).sum() {
            return Err(Violation::Index("the count of claims"));
        }
        // What is overdue is as good as due now: the timer cannot have been set for the past.
        let first = self.due.first().map(|(due, _)| *due);
        let timer = self.alarms.due(Timer::Graft);
        if first.is_some_and(|first| timer.is_none_or(|timer| timer > first.max(self.now))) {
            return Err(Violation::Timer("the missing list"));
        }
        Ok(())
    }

    fn check_waiting(&self) -> Result<(), Violation> {
        let waits = self.neighbors.iter().any(|neighbor| {
            !neighbor.announcements.is_empty()
                || !neighbor.prunes.is_empty()
                || neighbor.pass != super::neighbors::Pass::Idle
        });
        if waits && self.alarms.due(Timer::Flush).is_none() {
            return Err(Violation::Timer("a batch"));
        }
        if !self.shelf.by_age.is_empty() && self.alarms.due(Timer::Age).is_none() {
            return Err(Violation::Timer("a payload"));
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), Violation> {
        let config = &self.config;
        let kept = || self.shelf.origins.values().flat_map(|origin| &origin.kept);
        if kept().count() != self.shelf.by_age.len() {
            return Err(Violation::Index("the number of payloads"));
        }
        if kept().map(|kept| kept.payload.len()).sum::<usize>() != self.shelf.bytes {
            return Err(Violation::Index("the bytes of payloads"));
        }
        let per_origin = self.shelf.origins.values().map(|origin| origin.kept.len());
        let longest = |len: fn(&super::neighbors::Neighbor<I>) -> usize| {
            self.neighbors.iter().map(len).max().unwrap_or(0)
        };
        let per_origin_max = match config.keep() {
            Keep::Latest => 1,
            Keep::All => usize::MAX,
        };
        let sizes = [
            (
                "payloads",
                self.shelf.by_age.len(),
                config.cache_messages_max(),
            ),
            ("bytes", self.shelf.bytes, config.cache_bytes_max()),
            (
                "payloads of one origin",
                per_origin.max().unwrap_or(0),
                per_origin_max,
            ),
            // Our own is not refused.
            (
                "origins",
                self.shelf.origins.len(),
                config.origins_max() + 1,
            ),
            ("missing", self.missing.len(), config.missing_max()),
            (
                "announcements",
                longest(|neighbor| neighbor.announcements.len()),
                config.announcements_max(),
            ),
            (
                "prunes",
                longest(|neighbor| neighbor.prunes.len()),
                config.announcements_max(),
            ),
            (
                "claims of a neighbour",
                longest(|neighbor| neighbor.claims),
                config.missing_max() / 8,
            ),
        ];
        match sizes.into_iter().find(|(_, len, most)| len > most) {
            Some((what, len, _)) => Err(Violation::Full(what, len)),
            None => Ok(()),
        }
    }
}
