//! A peer by name, and how it is reached.

use std::{fmt::Debug, hash::Hash};

use serde::{Deserialize, Serialize};

/// The name of a peer. Small, ordered and comparable; never a network type.
pub trait Id: Copy + Ord + Debug + Hash {}
impl<T: Copy + Ord + Debug + Hash> Id for T {}

/// A peer together with what is needed to reach it.
///
/// `A` is opaque to the machine: in the node it is a signed peer record, in a simulator `()`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact<I, A> {
    /// Who.
    pub id: I,
    /// How to reach it, and the proof that it said so itself.
    pub record: A,
}
