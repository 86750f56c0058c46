//! The four-node switches of this node: the one under way, and those that it wants (R8).

use super::{crowd::Crowd, optimize::Optimizer, remix::Mixing, switch::Switch};
use crate::{Address, Id};

/// What is known of switches. No relation depends on it: who forgets it all is left with free slots.
#[derive(Debug)]
pub(super) struct Switching<I, A> {
    /// The one that this node takes part in.
    pub(super) switch: Option<Switch<I>>,
    /// Those wanted to mix two components that have come together.
    pub(super) mixing: Mixing,
    /// What is being measured for the sake of nearer neighbours.
    pub(super) optimizer: Optimizer<I, A>,
    /// Those wanted to leave the crowd in which this node came.
    pub(super) crowd: Crowd,
}

impl<I, A> Default for Switching<I, A> {
    fn default() -> Self {
        Self {
            switch: None,
            mixing: Mixing::default(),
            optimizer: Optimizer::default(),
            crowd: Crowd::default(),
        }
    }
}

impl<I: Id, A: Address> Switching<I, A> {
    /// Whether the connection to `peer` is needed.
    pub(super) fn needs(&self, peer: I) -> bool {
        let switch = self.switch.as_ref();
        self.optimizer.needs(peer) || switch.is_some_and(|switch| switch.awaits(peer))
    }

    /// Nothing is under way and nothing wanted.
    pub(super) fn stop(&mut self) {
        self.switch = None;
        self.optimizer = Optimizer::default();
        self.mixing = Mixing::default();
    }
}
