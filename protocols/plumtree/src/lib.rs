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
mod wire;

/// The rules that comments name by their numbers.
#[doc = include_str!("rules.md")]
pub mod rules {}

pub use behaviour::{Behaviour, BroadcastError, Event, SetupError};
pub use config::{Config, Keep, Trees};
pub use counters::{Counters, CountersSnapshot};
// The machine's own event is one level below the behaviour's and less often named.
pub use io::{Command, EdgeRole, Event as StateEvent, Id, Input, Output, Timer};
pub use message::{
    Announcement, Digest, Gossip, Graft, Held, IHave, Message, MessageId, Payload, Position, Prune,
};
pub use refusal::Refusal;
pub use seal::SealError;
pub use settings::Settings;
pub use state::{Sizes, State, Violation};
pub use substream::ConfigError;
pub use wire::Handler;
