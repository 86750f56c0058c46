//! The tree over the machine of production, as a scenario runs it.

use std::time::Duration;

use plumtree::State;

use super::{News, Reported, Tree, Wish};
use crate::{Member, NodeId, Protocol, Setup, Subject};

impl Subject for Tree<Member> {
    const ENDINGS: &'static [&'static str] = Member::ENDINGS;

    fn create(id: NodeId, setup: &Setup, incarnation: u32) -> Self {
        let config = match setup.tree_defect {
            None => setup.tree.clone(),
            Some(defect) => defect.spoil_config(setup.tree.clone()),
        };
        let below = Member::create(id, setup, incarnation);
        Self::new(id, below, config, incarnation).with_defect(setup.tree_defect)
    }

    fn enter(contacts: &[NodeId]) -> Vec<Self::Command> {
        Member::enter(contacts)
            .into_iter()
            .map(Wish::Below)
            .collect()
    }

    fn leave() -> Option<Self::Command> {
        Member::leave().map(Wish::Below)
    }

    fn recall(known: &[NodeId]) -> Vec<Self::Command> {
        Member::recall(known).into_iter().map(Wish::Below).collect()
    }

    fn went(event: &Self::Event) -> Option<&'static str> {
        match event {
            Reported::Below(event) => Member::went(event),
            Reported::Tree(_) => None,
        }
    }

    fn waits(&self) -> bool {
        self.below().waits()
    }

    fn capacity(setup: &Setup) -> usize {
        Member::capacity(setup)
    }

    fn examine(&self, setup: &Setup, now: Duration) -> Result<(), String> {
        self.below().examine(setup, now)
    }

    fn entries(&self) -> usize {
        self.below().entries()
    }

    fn examine_pair<'a>(
        &self,
        me: NodeId,
        other: impl Fn(NodeId) -> Option<&'a Self>,
    ) -> Result<(), String> {
        let below = |peer| other(peer).map(Self::below);
        self.below().examine_pair(me, below)
    }

    fn tree(&self) -> Option<&State<NodeId>> {
        Some(self.state())
    }

    fn news(event: &<Self as Protocol>::Event) -> Option<News> {
        match event {
            Reported::Below(_) => None,
            Reported::Tree(news) => Some(*news),
        }
    }

    fn wish(wish: Wish<()>) -> Option<Self::Command> {
        match wish {
            Wish::Below(()) => None,
            Wish::Broadcast(bytes) => Some(Wish::Broadcast(bytes)),
            Wish::SetRoot(root) => Some(Wish::SetRoot(root)),
            Wish::Hold => Some(Wish::Hold),
        }
    }
}
