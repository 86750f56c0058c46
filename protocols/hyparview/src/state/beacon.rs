//! The component's tag (R7): the smallest id heard of, and its beat.
//!
//! The root of a component counts up its beat; everybody passes the newest beat on with its
//! heartbeats. A tag whose beat stands still is forgotten, and may not come back from a neighbour
//! that is slower to forget. So after a cut each side settles on a root of its own, and two nodes
//! with different settled roots are known to live in different components.

use std::{collections::VecDeque, time::Duration};

use crate::{Id, Tag};

/// Roots whose last beat is remembered after they fell silent.
const SILENT_MAX: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Heard<I> {
    tag: Tag<I>,
    at: Duration,
}

/// What one node knows of its component.
#[derive(Debug)]
pub(super) struct Beacon<I> {
    own: Tag<I>,
    timeout: Duration,
    /// A root smaller than this node, if one is alive.
    heard: Option<Heard<I>>,
    /// Since when the root is the same.
    since: Duration,
    /// Last tags of roots that fell silent, oldest first.
    silent: VecDeque<Tag<I>>,
}

impl<I: Id> Beacon<I> {
    pub(super) fn new(me: I, incarnation: u64, timeout: Duration) -> Self {
        Self {
            own: Tag {
                root: me,
                incarnation,
                beat: 0,
            },
            timeout,
            heard: None,
            since: Duration::ZERO,
            silent: VecDeque::new(),
        }
    }

    pub(super) fn start(&mut self, now: Duration) {
        self.since = now;
    }

    /// The tag to tell others.
    pub(super) fn tag(&self) -> Tag<I> {
        self.heard.map_or(self.own, |heard| heard.tag)
    }

    /// Whether the root has been the same for longer than a tag takes to cross the component, so that another
    /// root means another component.
    pub(super) fn settled(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= self.timeout
    }

    /// One heartbeat has passed.
    pub(super) fn beat(&mut self, now: Duration) {
        self.own.beat = self.own.beat.saturating_add(1);
        let Some(heard) = self.heard else { return };
        // The root has died, or is on the other side of a cut. Remembered, so that a slower neighbour does
        // not bring it back.
        if now.saturating_sub(heard.at) > self.timeout {
            self.heard = None;
            self.since = now;
            self.silent.retain(|tag| tag.root != heard.tag.root);
            self.silent.push_back(heard.tag);
            if self.silent.len() > SILENT_MAX {
                self.silent.pop_front();
            }
        }
    }

    /// A neighbour told us `tag`. Returns whether a settled component came under another root:
    /// two components have merged.
    pub(super) fn hear(&mut self, tag: Tag<I>, now: Duration) -> bool {
        let current = self.tag();
        // The smallest root wins, and of its own beat a node hears nothing new from others.
        if tag.root > current.root || tag.root == self.own.root {
            return false;
        }
        let newer = |than: &Tag<I>| (tag.incarnation, tag.beat) > (than.incarnation, than.beat);
        if self
            .silent
            .iter()
            .any(|last| last.root == tag.root && !newer(last))
        {
            return false;
        }
        // By another path, later: it shows no new sign of life.
        if tag.root == current.root && !newer(&current) {
            return false;
        }
        // While the root still changes it is the tags that spread, not components that meet.
        let merged = tag.root != current.root && self.settled(now);
        if tag.root != current.root {
            self.since = now;
        }
        self.heard = Some(Heard { tag, at: now });
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn tag(root: u64, beat: u64) -> Tag<u64> {
        Tag {
            root,
            incarnation: 1,
            beat,
        }
    }

    fn beacon() -> Beacon<u64> {
        Beacon::new(5, 1, at(15))
    }

    #[test]
    fn the_smallest_root_wins_and_only_its_own_node_counts_up() {
        let mut beacon = beacon();
        beacon.beat(at(1));
        assert_eq!(beacon.tag(), tag(5, 1));
        beacon.hear(tag(7, 9), at(1));
        assert_eq!(beacon.tag(), tag(5, 1));
        beacon.hear(tag(3, 9), at(1));
        beacon.hear(tag(4, 99), at(1));
        beacon.hear(tag(3, 8), at(1));
        beacon.beat(at(2));
        assert_eq!(beacon.tag(), tag(3, 9));
    }

    #[test]
    fn a_root_that_stands_still_is_forgotten_and_only_a_newer_beat_brings_it_back() {
        let mut beacon = beacon();
        beacon.hear(tag(3, 9), at(0));
        beacon.hear(tag(3, 9), at(14));
        beacon.beat(at(16));
        assert_eq!(beacon.tag().root, 5);
        beacon.hear(tag(3, 9), at(17));
        assert_eq!(beacon.tag().root, 5);
        beacon.hear(tag(3, 10), at(18));
        assert_eq!(beacon.tag(), tag(3, 10));
    }

    #[test]
    fn a_new_root_over_a_settled_component_is_a_merger() {
        let mut beacon = beacon();
        assert!(!beacon.hear(tag(4, 1), at(1)));
        assert!(!beacon.settled(at(15)));
        assert!(beacon.settled(at(16)));
        assert!(beacon.hear(tag(3, 1), at(16)));
        assert!(!beacon.hear(tag(3, 2), at(40)));
        assert!(!beacon.hear(tag(2, u64::MAX), at(17)));
    }
}
