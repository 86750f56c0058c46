//! What a scenario asks of a membership, beyond what the world does.

use std::time::Duration;

use hyparview::{Command, Config, StateEvent};

use crate::{
    Adversaries, Defect, Member, Membership, NodeId, contact,
    tree::{News, TreeDefect, Wish},
};

/// How the nodes of a run are made.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The configuration of HyParView.
    pub config: Config,
    /// What is broken on purpose.
    pub defect: Option<Defect>,
    /// The configuration of the broadcast over it.
    pub tree: plumtree::Config,
    /// What is broken on purpose there.
    pub tree_defect: Option<TreeDefect>,
    /// Who works against the others.
    pub adversaries: Option<Adversaries>,
}

impl Setup {
    /// The same with what a scenario asks for: `count` links left to chance, the others exchanged for shorter ones.
    pub(crate) fn with_random_links(&self, count: Option<usize>) -> Self {
        let mut setup = self.clone();
        // With as many as there are nothing is left to exchange, so no link is compared with others.
        if let Some(count) = count.filter(|count| *count < setup.config.active_capacity()) {
            setup.config = setup.config.with_optimize(true).with_unbiased_min(count);
        }
        setup
    }
}

/// A membership that scenarios can be run with.
pub trait Subject: Membership + Sized {
    /// All that [`Subject::went`] may say.
    const ENDINGS: &'static [&'static str];

    /// A node in its `incarnation`, counted from 1.
    fn create(id: NodeId, setup: &Setup, incarnation: u32) -> Self;

    /// What has it join through `contacts`, which it is to keep for ever.
    fn enter(contacts: &[NodeId]) -> Vec<Self::Command>;

    /// What has it leave in good order, if it knows how to.
    fn leave() -> Option<Self::Command>;

    /// What tells it of peers that it knew in an earlier incarnation.
    fn recall(known: &[NodeId]) -> Vec<Self::Command>;

    /// Why a neighbour went, if this event says that one did.
    fn went(event: &Self::Event) -> Option<&'static str>;

    /// Whether an answer is awaited.
    fn waits(&self) -> bool;

    /// Most neighbours.
    fn capacity(setup: &Setup) -> usize;

    /// What of this node alone is broken.
    ///
    /// # Errors
    ///
    /// Names the invariant that does not hold.
    fn examine(&self, setup: &Setup, now: Duration) -> Result<(), String>;

    /// How many entries its state holds.
    fn entries(&self) -> usize;

    /// What is broken between this node and the one that it has just heard of.
    ///
    /// # Errors
    ///
    /// Names the invariant that does not hold.
    fn examine_pair<'a>(
        &self,
        me: NodeId,
        other: impl Fn(NodeId) -> Option<&'a Self>,
    ) -> Result<(), String>
    where
        Self: 'a;

    /// The machine that broadcasts over it, if there is one.
    fn tree(&self) -> Option<&plumtree::State<NodeId>> {
        None
    }

    /// What has happened to a broadcast of that machine, if this event says so.
    fn news(_event: &Self::Event) -> Option<News> {
        None
    }

    /// The command to that machine, if there is one.
    fn wish(_wish: Wish<()>) -> Option<Self::Command> {
        None
    }
}

impl Subject for Member {
    const ENDINGS: &'static [&'static str] = &[
        "evicted",
        "dropped",
        "closed",
        "silent",
        "slow",
        "left",
        "misbehaved",
        "switched",
    ];

    fn create(id: NodeId, setup: &Setup, incarnation: u32) -> Self {
        let config = match setup.defect {
            None => setup.config.clone(),
            Some(defect) => defect.spoil_config(setup.config.clone()),
        };
        Self::among(id, config, incarnation, setup.adversaries).with_defect(setup.defect)
    }

    fn enter(contacts: &[NodeId]) -> Vec<Self::Command> {
        let learn = |id: &NodeId| Command::Learn {
            contact: contact(*id),
            permanent: true,
        };
        let join = |id: &NodeId| Command::Join(contact(*id));
        // Learnt as well, as the node does with the addresses that it was given.
        contacts
            .iter()
            .map(learn)
            .chain(contacts.iter().map(join))
            .collect()
    }

    fn leave() -> Option<Self::Command> {
        Some(Command::Leave)
    }

    fn recall(known: &[NodeId]) -> Vec<Self::Command> {
        let learn = |id: &NodeId| Command::Learn {
            contact: contact(*id),
            permanent: false,
        };
        known.iter().map(learn).collect()
    }

    fn went(event: &Self::Event) -> Option<&'static str> {
        match event {
            StateEvent::NeighborDown { reason, .. } => Some(reason.name()),
            _ => None,
        }
    }

    fn waits(&self) -> bool {
        self.state().requests().next().is_some()
    }

    fn capacity(setup: &Setup) -> usize {
        setup.config.active_capacity()
    }

    fn examine(&self, setup: &Setup, now: Duration) -> Result<(), String> {
        crate::invariants::alone(self, &setup.config, now)
    }

    fn entries(&self) -> usize {
        self.state().entries()
    }

    fn examine_pair<'a>(
        &self,
        me: NodeId,
        other: impl Fn(NodeId) -> Option<&'a Self>,
    ) -> Result<(), String> {
        crate::invariants::together(self, me, other)
    }
}
