//! Rules of the tree that are broken on purpose, from outside the machine, by what it says and hears.

use plumtree::{Config, Graft, Input, Message, Position, State};

use super::Cause;
use crate::NodeId;

/// A rule that is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TreeDefect {
    /// Later copies cut nothing off: every message is flooded.
    NeverPrunes,
    /// A new link carries the payloads of all trees until it is cut off (the paper's rule).
    NewLinksEager,
    /// Who loses the way to a root asks nobody for another until a message is missed (the paper's rule).
    NeverPromotes,
    /// What is not pushed is not announced: delivery depends on the tree and the exchange.
    NeverAnnounces,
    /// What was announced and does not come is not asked for.
    NeverAsks,
    /// Positions are not compared: who missed the announcements as well misses the message.
    NeverExchanges,
    /// No shorter way is ever taken.
    NeverShortens,
}

impl TreeDefect {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NeverPrunes,
        Self::NewLinksEager,
        Self::NeverPromotes,
        Self::NeverAnnounces,
        Self::NeverAsks,
        Self::NeverExchanges,
        Self::NeverShortens,
    ];

    /// The configuration of a node with this defect.
    pub(super) fn spoil_config(self, config: Config) -> Config {
        match self {
            Self::NeverShortens => config.with_optimise_threshold(0),
            _ => config,
        }
    }
}

/// Plants a defect, if there is one.
#[derive(Debug, Default)]
pub(super) struct Spoiler(Option<TreeDefect>);

impl Spoiler {
    pub(super) fn new(defect: Option<TreeDefect>) -> Self {
        Self(defect)
    }

    /// Whether a payload that was there already goes unnoticed.
    pub(super) fn overlooks_duplicates(&self) -> bool {
        self.0 == Some(TreeDefect::NeverPrunes)
    }

    /// Whether a message is not sent that should be. `why` says why, if it is a graft.
    pub(super) fn swallows(&self, message: &Message<NodeId>, why: Cause) -> bool {
        match (self.0, message) {
            (Some(TreeDefect::NeverAnnounces), Message::IHave(_))
            | (Some(TreeDefect::NeverExchanges), Message::Digest(_)) => true,
            (Some(TreeDefect::NeverPromotes), Message::Graft(_)) => why == Cause::Orphaned,
            (Some(TreeDefect::NeverAsks), Message::Graft(_)) => why == Cause::Late,
            _ => false,
        }
    }

    /// What the machine hears beyond that it has a new neighbour.
    pub(super) fn on_neighbor_up(
        &self,
        peer: NodeId,
        state: &State<NodeId>,
    ) -> Option<Input<NodeId>> {
        (self.0 == Some(TreeDefect::NewLinksEager)).then(|| {
            let list: Vec<Position<NodeId>> = state.positions().collect();
            let message = Message::Graft(Graft { list });
            Input::Received {
                from: peer,
                message,
            }
        })
    }
}
