//! How the production machine of HyParView is named here: peers by numbers, their records by places.

use hyparview::{Address, Contact, Input, Message, State, StateEvent, Timer};

use crate::{NodeId, Output};

/// The machine.
pub(crate) type Machine = State<NodeId, Place>;
/// What the machine is given.
pub(crate) type Heard = Input<NodeId, Place>;
/// A message of the machine.
pub type Said = Message<NodeId, Place>;
/// What a node of HyParView does, as the world sees it.
pub(crate) type MemberOutput = Output<Said, Timer<NodeId>, StateEvent<NodeId, Place>>;

/// Where in the network a node lives, as its signed record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Its subnet, if that counts.
    pub subnet: Option<u32>,
}

impl Address for Place {
    fn group(&self) -> Option<u64> {
        self.subnet.map(u64::from)
    }

    fn supersedes(&self, known: &Self) -> bool {
        self != known && self.subnet.is_some()
    }
}

/// A peer as the machine names it.
#[must_use]
pub fn contact(id: NodeId) -> Contact<NodeId, Place> {
    Contact {
        id,
        record: Place::default(),
    }
}
