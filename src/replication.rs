//! The data plane: maps neighbours to PostgreSQL's logical replication, one subscription per link and
//! direction.
//!
//! ```text
//!   neighbours -> desired --\
//!                            plan (pure) -> steps -> subscriber, publisher -> stores
//!   stores -> observed -----/                            |        |
//!        ^--------------------- reconciler <------------/        serve <- peers' requests
//! ```
//!
//! A link is made by its subscriber. The publisher opens its end (role and publication, then slot);
//! the subscriber copies what it lacks in one transaction, then subscribes to the slot, which holds
//! everything since. At any point of a link's stream the subscriber has everything that the publisher
//! had at that point; every guarantee of the cluster rests on that.
//!
//! There is one known disorder. A publisher ships a commit once it is on its disk, a moment before it
//! is visible at home (as long as a synchronous standby keeps it waiting, if there is one). In that
//! moment another store's answer to it can be visible at its home, and in a catch-up from there, before
//! it is itself: at home until the moment is over, at the subscriber until its stream begins. No stream
//! carries the two in the wrong order, and nothing is lost. At home the two then stand side by side until
//! the next checkpoint, which drops what is covered.
//!
//! Nothing that matters is remembered outside the stores: a new run of the controller looks, asks
//! the peers, and goes on. A controller may be killed at any [`Failpoint`].
//!
//! This module knows PostgreSQL and nothing of libp2p: peers are asked through a [`Transport`].

pub mod challenge;
mod checkpoint;
mod clear;
mod clock;
mod confirm;
mod context;
mod counters;
mod database;
mod denials;
mod error;
mod failpoint;
mod handle;
mod holders;
mod leave;
mod limits;
mod links;
pub mod names;
mod position;
pub mod protocol;
mod publisher;
mod reason;
mod settings;
mod subscriber;
mod vectors;

pub use clear::{clear, count_links, drop_group};
pub use clock::{Asked, Reading};
pub use confirm::{Confirmation, Members};
pub use counters::{CountersSnapshot, Outcome};
pub use error::{Error, TransportError};
pub use failpoint::{Failpoint, Failpoints};
pub use handle::{Handle, Unfinished, start};
pub use leave::{LeaveError, LeaveStage, Left, Lost, Member, Terms};
pub use limits::REQUEST_LIMIT;
pub use links::desired::{Departure, Doubt, Neighbor};
pub use position::{Position, TreePlace};
pub use protocol::{Reply, Request};
pub use settings::{Advertise, Settings};
pub use subscriber::Progress;

use crate::identity::NodeId;

/// Carries requests to the controllers of peers.
pub trait Transport: std::fmt::Debug + Send + Sync + 'static {
    /// Asks `peer` and waits for its answer. May take as long as it likes; the caller has a limit.
    fn request(
        &self,
        peer: &NodeId,
        request: Request,
    ) -> impl Future<Output = Result<Reply, TransportError>> + Send;
}
