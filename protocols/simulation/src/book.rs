//! What a node keeps of whom it knew, and gives back when the machine asks for it: the address book, with the
//! counts and pauses of production.

use std::{collections::VecDeque, time::Duration};

use hyparview::Contact;

use crate::{NodeId, Place};

/// Peers in the book.
const BOOK_MAX: usize = 256;
/// How many of them a node without neighbours joins through at a time.
const JOINED: usize = 3;
/// How many of them the machine is told of when it wants more.
const LEARNT: usize = 10;
/// First and longest pause between two such times.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));

/// The address book.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// The one whose turn was last at the end.
    entries: VecDeque<NodeId>,
    /// How often the machine was told of others since a neighbour was lost.
    lessons: u32,
    next_lesson: Duration,
}

impl Book {
    /// As the node does now and then.
    pub(crate) fn write_down(&mut self, known: &[Contact<NodeId, Place>]) {
        for contact in known {
            if !self.entries.contains(&contact.id) {
                self.entries.push_back(contact.id);
            }
        }
        // At the front are those that have been there for longest since their last turn.
        let beyond = self.entries.len().saturating_sub(BOOK_MAX);
        self.entries.drain(..beyond);
    }

    /// A neighbour was lost.
    pub(crate) fn lost(&mut self) {
        self.lessons = 0;
    }

    /// Whom a node without neighbours joins through.
    pub(crate) fn joined(&mut self) -> Vec<NodeId> {
        self.turns(JOINED, |_| true)
    }

    /// Whom a node that wants more neighbours is told of.
    pub(crate) fn learnt(&mut self, now: Duration, suits: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        if now < self.next_lesson {
            return Vec::new();
        }
        // After 16 doublings the longest pause is long reached, and a shift by 32 would overflow.
        let pause = PAUSE.0.saturating_mul(1 << self.lessons.min(16));
        self.next_lesson = now + pause.min(PAUSE.1);
        self.lessons += 1;
        self.turns(LEARNT, suits)
    }

    fn turns(&mut self, count: usize, suits: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let suitable = self.entries.iter().copied().filter(|id| suits(*id));
        let chosen: Vec<NodeId> = suitable.take(count).collect();
        // Whose turn it was waits until all others had theirs: many of them may be gone.
        self.entries.retain(|id| !chosen.contains(id));
        self.entries.extend(&chosen);
        chosen
    }
}
