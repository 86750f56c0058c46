//! A deterministic discrete-event simulator that runs the protocols' own state machines.
#![doc = include_str!("../README.md")]

mod defect;
mod flood;
mod graph;
mod member;
mod network;
mod protocol;
mod queue;
mod world;

pub use defect::Defect;
pub use flood::{Carried, Flood, Order, Told};
pub use graph::{Graph, Paths};
pub use member::{Member, Said, contact};
pub use network::{Distances, Network};
pub use protocol::{Input, InputOf, Membership, NodeId, Output, OutputOf, Protocol};
pub use world::{Crash, Load, Observer, Totals, World};
