//! Epidemic broadcast trees: a sans-I/O state machine and a libp2p `NetworkBehaviour` around it.

mod config;
mod io;
mod message;
mod state;
mod totals;

pub use config::{Config, ConfigError, Keep, Trees};
pub use io::{Command, Event as StateEvent, Id, Input, Link, Output, Timer};
pub use message::{Announcement, Held, Message, MessageId, Payload, Position};
pub use state::{Sizes, State, Violation};
pub use totals::Totals;
