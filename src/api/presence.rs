//! Whether a node is there.

use serde::{Deserialize, Serialize};

/// Whether a node is there, as another one knows it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// A member that was heard of lately.
    #[default]
    Here,
    /// A member that said that it stops, and comes back.
    Stopped,
    /// A member that has not been heard of for a while, without a word.
    Silent,
    /// It left for good, or stopped before its store had ever been up: nobody has to wait for it.
    Left,
    /// It was declared gone for good.
    Evicted,
}

impl Presence {
    /// It is no member any more.
    #[must_use]
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Left | Self::Evicted)
    }

    /// As it is written everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Stopped => "stopped",
            Self::Silent => "silent",
            Self::Left => "left",
            Self::Evicted => "evicted",
        }
    }
}
