//! How a scenario's broadcast tree is made.

use plumtree::{Keep, Trees};
use serde::Deserialize;

use crate::Setup;

/// Which tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One per origin.
    #[default]
    PerOrigin,
    /// One for all.
    Shared,
    /// None: every message goes over every link.
    Flood,
}

/// How the broadcast tree is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Branches {
    /// Which tree.
    #[serde(default)]
    pub kind: Kind,
    /// How many links shorter a way must be to be taken instead; the node's without it.
    pub threshold: Option<u16>,
}

impl Setup {
    /// The same with what a scenario asks for. Every message counts, so every one is kept.
    pub(crate) fn with_branches(mut self, branches: &Branches) -> Self {
        let trees = match branches.kind {
            Kind::PerOrigin => Trees::PerOrigin,
            Kind::Shared => Trees::Shared,
            Kind::Flood => Trees::Flood,
        };
        // What a scenario leaves out is as in the node, whose defaults it tests.
        let threshold = branches.threshold.unwrap_or(self.tree.optimise_threshold());
        self.tree = self
            .tree
            .with_trees(trees)
            .with_keep(Keep::All)
            .with_optimise_threshold(threshold);
        self
    }
}
