//! What the data plane needs to be told.

use std::time::Duration;

use super::failpoint::Failpoints;
use crate::{
    api::Dissemination,
    identity::{Lineage, NodeId},
    postgres::Conninfo,
};

/// Settings of the data plane of one node.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: String,
    /// How to reach the local store as its administrator: the only privileged role ever used.
    pub store: Conninfo,
    /// Where other stores reach this store.
    pub advertise: Advertise,
    /// Hosts of other stores that peers may name beside their own addresses. Default none.
    pub store_hosts: Vec<String>,
    /// How long the links of a lost peer stay as they are. Long enough for a controller to be
    /// restarted, short enough that a dead peer's slot holds little WAL. Defaults to [`Self::LINK_GRACE`].
    pub link_grace: Duration,
    /// A slot that holds back more WAL than this is dropped; its link is opened again and caught up
    /// by vector, which costs what is missing, not what was written. Defaults to [`Self::SLOT_BYTES_MAX`].
    pub slot_bytes_max: u64,
    /// A slot that nobody streams from for longer is dropped. Defaults to [`Self::SLOT_INACTIVE_MAX`].
    pub slot_inactive_max: Duration,
    /// How often the links are looked at while nothing happens. Default 3 s: two short queries.
    pub tick: Duration,
    /// How often a checkpoint is tried while there is something new to say. Defaults to
    /// [`Self::CHECKPOINT_INTERVAL`].
    pub checkpoint_interval: Duration,
    /// The store may be an older copy of itself, and is closed to writers: all peers that are known to be
    /// alive have to confirm it within this time before it is used, or it goes on as another site. `None`,
    /// the default: it is what it was, for certain.
    pub confirm_within: Option<Duration>,
    /// The starts of this node's controller with the store's site, this one last. Default none, which
    /// others make nothing of.
    pub lineage: Lineage,
    /// How data goes through the overlay. Default [`Dissemination::Flood`].
    pub dissemination: Dissemination,
    /// Called at every failpoint; does nothing unless a test sets it.
    pub failpoints: Failpoints,
}

/// The configuration has the same defaults of these four.
impl Settings {
    /// Of [`link_grace`](Self::link_grace): long enough for a controller to be restarted.
    pub const LINK_GRACE: Duration = Duration::from_secs(30);
    /// Of [`slot_bytes_max`](Self::slot_bytes_max): 1 GiB.
    pub const SLOT_BYTES_MAX: u64 = 1 << 30;
    /// Of [`slot_inactive_max`](Self::slot_inactive_max): 10 minutes.
    pub const SLOT_INACTIVE_MAX: Duration = Duration::from_mins(10);
    /// Of [`checkpoint_interval`](Self::checkpoint_interval): a second.
    pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

    /// Settings with the defaults, and a look at the links every three seconds.
    #[must_use]
    pub fn new(
        node: NodeId,
        cluster: String,
        store: impl Into<Conninfo>,
        advertise: Advertise,
    ) -> Self {
        Self {
            node,
            cluster,
            store: store.into(),
            advertise,
            store_hosts: Vec::new(),
            link_grace: Self::LINK_GRACE,
            slot_bytes_max: Self::SLOT_BYTES_MAX,
            slot_inactive_max: Self::SLOT_INACTIVE_MAX,
            tick: Duration::from_secs(3),
            checkpoint_interval: Self::CHECKPOINT_INTERVAL,
            confirm_within: None,
            lineage: Lineage::default(),
            dissemination: Dissemination::default(),
            failpoints: Failpoints::default(),
        }
    }
}

/// Where other stores reach this store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// Name or address; `None` leaves it to the subscriber to use the address by which its
    /// controller knows ours.
    pub host: Option<String>,
    /// Port; 0 leaves it to the store to say what it listens on.
    pub port: u16,
}
