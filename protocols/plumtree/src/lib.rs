//! Epidemic broadcast trees: a sans-I/O state machine and a libp2p `NetworkBehaviour` around it.
#![doc = include_str!("../README.md")]

mod behaviour;
mod config;
mod counters;
mod io;
mod message;
mod refusal;
mod seal;
mod settings;
mod state;
mod totals;
mod wire;

/// The rules that comments name by their numbers.
#[doc = include_str!("rules.md")]
pub mod rules {}

pub use behaviour::{Behaviour, BroadcastError, Event, SetupError};
pub use config::{Config, Keep, Trees};
pub use counters::Counters;
// The machine's own event is one level below the behaviour's and less often named.
pub use io::{Command, Event as StateEvent, Id, Input, Link, Output, Timer};
pub use message::{Announcement, Held, Message, MessageId, Payload, Position};
pub use refusal::Refusal;
pub use seal::SealError;
pub use settings::Settings;
pub use state::{Sizes, State, Violation};
pub use substream::ConfigError;
pub use totals::Totals;
pub use wire::Handler;
