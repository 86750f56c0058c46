//! PostgreSQL servers: one that we run ourselves ([`PrivateServer`]), one of the user's that we
//! attach to ([`attach()`]), and what either must be like to carry a store ([`doctor`]).
//!
//! Knows nothing of the CRDV schema, of links or of libp2p.
//!
//! A private server lives in `<data dir>/postgres`:
//!
//! | path | holds |
//! |---|---|
//! | `data/` | the data directory that `initdb` made, with our `starling.conf` and the user's `local.conf` |
//! | `run/` | the socket, in a folder that only root and the server's user may enter |
//! | `server.log` | what the server says; the previous part in `server.log.1` |
//! | `lock` | held by the controller that looks after the server |

mod account;
mod attach;
mod binaries;
mod conf;
mod connection;
mod conninfo;
mod diagnosis;
pub mod doctor;
mod error;
mod initdb;
mod installation;
mod launch;
mod layout;
mod lifecycle;
mod pid_file;
mod postmaster;
mod private;
mod process_group;
pub(crate) mod quote;
mod ready;
pub(crate) mod search_path;
pub(crate) mod session;
mod sizing;
mod supervisor;
mod tls;
mod version;
pub(crate) mod visibility;

pub use self::attach::{Attached, attach, attach_to};
pub use self::connection::{connect, open};
pub(crate) use self::connection::{connect_patient, open_with};
pub(crate) use self::conninfo::split_value;
pub use self::conninfo::{BadConninfo, Conninfo};
pub use self::error::Error;
pub use self::lifecycle::{Lifecycle, PrivateConfig};
pub use self::private::PrivateServer;
pub use self::sizing::{Sizing, links_max};
pub use self::tls::TlsTrouble;
pub use self::version::Version;

/// The bootstrap superuser of a private server. It has no password: it comes in over the local
/// socket only.
pub const SUPERUSER: &str = "starling";
