//! HyParView membership: a sans-I/O state machine and a libp2p `NetworkBehaviour` around it.
#![doc = include_str!("../README.md")]

mod address;
mod behaviour;
mod config;
mod contact;
mod counters;
mod io;
pub mod message;
mod record;
mod refusal;
mod settings;
mod state;
mod wire;

/// The rules that comments name by their numbers.
#[doc = include_str!("rules.md")]
pub mod rules {}

pub use address::Address;
pub use behaviour::{Behaviour, Event, SetupError};
pub use config::Config;
pub use contact::{Contact, Id};
pub use counters::CountersSnapshot;
pub use substream::{ConfigError, FRAME_BYTES_MAX};
// The machine's own event is one level below the behaviour's and less often named.
pub use io::{Command, DownReason, Event as StateEvent, Input, Loss, Output, Timer};
pub use message::{Bid, DisconnectReason, Echo, Epoch, Gauge, Message, Priority, Pulse, Tag};
pub use record::{ADDRESSES_MAX, RECORD_BYTES_MAX, Record, RecordError};
pub use refusal::Refusal;
pub use settings::Settings;
pub use state::{State, Violation};
pub use wire::{CONTACTS_MAX, Handler};
