//! HyParView membership: a sans-I/O state machine and a libp2p `NetworkBehaviour` around it.

mod io;
mod message;

pub use io::{Command, Contact, DownReason, Event, Id, Input, Loss, Output, Timer};
pub use message::Message;
