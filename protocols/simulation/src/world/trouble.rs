//! What befalls nodes: crashes, cuts, and processes that stand still.

use std::time::Duration;

use super::{Event, Health, Observer, World};
use crate::{NodeId, Protocol, network::nanos};

/// How a node dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crash {
    /// The process dies: its host closes all connections at once.
    Reset,
    /// As in the paper: nobody is told, but who sends to it learns that it is gone.
    Quiet,
    /// The host is gone: nothing comes back, ever.
    Vanish,
}

impl<P: Protocol, O: Observer<P>> World<P, O> {
    /// `node` dies.
    pub fn crash(&mut self, node: NodeId, how: Crash) {
        let state = self.node_mut(node);
        state.machine = None;
        // What waited for the process dies with it.
        state.parked.clear();
        // A host that lost only a process still answers for it.
        self.reach[node as usize].vanished = how == Crash::Vanish;
        if how == Crash::Reset {
            self.break_all(node);
        }
    }

    /// Puts nodes on sides that cannot reach each other. With `notice` the ends of broken connections
    /// learn of it; else messages vanish, and the silence must be noticed.
    pub fn cut(&mut self, side: impl Fn(NodeId) -> u8, notice: bool) {
        for (id, reach) in (0..).zip(&mut self.reach) {
            reach.side = side(id);
        }
        if notice {
            self.break_crossing();
        }
    }

    /// All nodes reach each other again.
    pub fn heal(&mut self) {
        self.cut(|_| 0, false);
    }

    /// Stops the process, or lets it go on with all that it has missed.
    pub fn freeze(&mut self, node: NodeId, frozen: bool) {
        self.set_health(node, if frozen { Health::Frozen } else { Health::Well });
    }

    /// Whether the process stands still.
    pub fn is_frozen(&self, node: NodeId) -> bool {
        self.node(node).health == Health::Frozen
    }

    /// Has the node read nothing any more, or read again.
    pub fn wedge(&mut self, node: NodeId, wedged: bool) {
        self.set_health(node, if wedged { Health::Wedged } else { Health::Well });
    }

    /// Has each thing that the node does take `time`.
    pub fn slow_down(&mut self, node: NodeId, time: Duration) {
        let time = nanos(time);
        self.set_health(
            node,
            if time == 0 {
                Health::Well
            } else {
                Health::Slow(time)
            },
        );
    }

    fn set_health(&mut self, node: NodeId, health: Health) {
        let state = self.node_mut(node);
        state.health = health;
        // As an event, for whoever sets a node's health does not expect it to act meanwhile.
        if health != Health::Frozen && !state.parked.is_empty() {
            self.push(0, Event::Resume { at: node });
        }
    }

    /// A node takes up what has waited: all of it, or if it is slow the first thing.
    pub(super) fn resume(&mut self, at: NodeId) {
        loop {
            let now = self.now;
            let node = self.node_mut(at);
            if node.health == Health::Frozen {
                return;
            }
            let Some(event) = node.parked.pop_front() else {
                return;
            };
            // One thing at a time: the rest waits until this is done.
            if let Health::Slow(time) = node.health {
                // What comes meanwhile waits until then, see `hand_to`.
                node.busy_until = now + time;
                if !node.parked.is_empty() {
                    self.push(time, Event::Resume { at });
                }
                return self.take(at, event);
            }
            self.take(at, event);
        }
    }
}
