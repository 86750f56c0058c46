//! The data plane as the node uses it.

use std::collections::BTreeSet;

use hyparview::DownReason;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tracing::warn;

use super::{
    peer_protocol::{self, Reply, Request},
    store::{continuity::Why, open::OpenStore},
};
use crate::{
    api::LinkStatus,
    config::Config,
    identity::{NodeId, Site},
    network,
    replication::{
        self, Confirmation, Departure, LeaveError, LeaveStage, Left, Reading, Settings, Terms,
        Transport, TransportError,
    },
    vector::Vector,
};

// The data plane gives up first, because it knows what it waited for.
const _: () = assert!(
    replication::REQUEST_LIMIT.as_millis() < network::Settings::REQUEST_TIMEOUT.as_millis()
);

/// Carries the data plane's requests over the link protocol.
#[derive(Debug)]
struct OverNetwork(network::Handle);

impl Transport for OverNetwork {
    async fn request(
        &self,
        peer: &NodeId,
        request: replication::Request,
    ) -> Result<replication::Reply, TransportError> {
        let body = peer_protocol::encode(&Request::Link(request));
        let sent = self.0.request(peer.clone(), body).await;
        let answer = sent.map_err(|error| TransportError::Unreachable(error.to_string()))?;
        match peer_protocol::decode(&answer) {
            Some(Reply::Link(reply)) => Ok(reply),
            _ => Err(TransportError::Malformed(
                "not an answer about links".to_owned(),
            )),
        }
    }
}

/// A running data plane.
#[derive(Debug, Clone)]
pub(super) struct DataPlane {
    /// The site as which the store writes.
    pub(super) site: Site,
    /// Which start of the site this is.
    pub(super) generation: u64,
    pub(super) handle: replication::Handle,
    pub(super) links: watch::Receiver<Vec<LinkStatus>>,
    pub(super) vector: watch::Receiver<Vector>,
    pub(super) level: watch::Receiver<bool>,
    /// Which neighbours it insists on being linked with.
    pub(super) insisted: watch::Receiver<BTreeSet<NodeId>>,
    confirmation: watch::Receiver<Confirmation>,
    pub(super) clock: watch::Receiver<Option<Reading>>,
    pub(super) leaving: watch::Receiver<Option<LeaveStage>>,
}

impl DataPlane {
    pub(super) fn start(
        config: &Config,
        me: &NodeId,
        network: &network::Handle,
        store: &OpenStore,
    ) -> Self {
        let server = &store.server;
        let mut settings = Settings::new(
            me.clone(),
            config.node.cluster.clone(),
            server.connection(),
            server.advertise.clone(),
        );
        settings
            .store_hosts
            .clone_from(&config.replication.store_hosts);
        settings.link_grace = config.replication.link_grace;
        settings.slot_bytes_max = config.replication.slot_bytes_max;
        settings.slot_inactive_max = config.replication.slot_inactive_max;
        settings.checkpoint_interval = config.replication.checkpoint_interval;
        settings.confirm_within = store
            .continuity
            .is_unproven
            .then_some(config.replication.confirm_within);
        settings.lineage = store.continuity.lineage();
        let generation = settings.lineage.last().map_or(0, |start| start.generation);
        let handle = replication::start(settings, OverNetwork(network.clone()));
        Self {
            site: store.continuity.site(),
            generation,
            links: handle.links(),
            vector: handle.vector(),
            level: handle.level(),
            insisted: handle.insisted(),
            confirmation: handle.confirmation(),
            clock: handle.clock(),
            leaving: handle.leaving(),
            handle,
        }
    }

    /// Waits until something of it looks different.
    pub(super) async fn changed(&mut self) {
        let changed = tokio::select! {
            changed = self.links.changed() => changed,
            changed = self.vector.changed() => changed,
            changed = self.level.changed() => changed,
            changed = self.insisted.changed() => changed,
            changed = self.confirmation.changed() => changed,
            changed = self.leaving.changed() => changed,
        };
        if changed.is_err() {
            // The data plane has ended: nothing will change any more.
            std::future::pending::<()>().await;
        }
    }

    /// The store takes no writes until a peer has confirmed it.
    pub(super) fn is_unconfirmed(&self) -> bool {
        *self.confirmation.borrow() == Confirmation::Unconfirmed
    }

    /// The store is written to.
    pub(super) fn is_confirmed(&self) -> bool {
        *self.confirmation.borrow() == Confirmation::Confirmed
    }

    /// Why the store must go on as another site, if it must.
    pub(super) fn must_change(&self) -> Option<Why> {
        match &*self.confirmation.borrow() {
            Confirmation::Behind(why) => Some(Why::Behind(why.clone())),
            Confirmation::Shared(why) => Some(Why::Shared(why.clone())),
            Confirmation::Unconfirmed | Confirmation::Confirmed => None,
        }
    }

    /// Answers a peer's request, however long it takes.
    pub(super) fn serve(
        &self,
        from: NodeId,
        request: replication::Request,
        reply: oneshot::Sender<Vec<u8>>,
    ) {
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let answer = handle.serve(&from, request).await;
            let _ = reply.send(peer_protocol::encode(&Reply::Link(answer)));
        });
    }

    /// Takes down whatever is left of the links with a member that is gone for good.
    pub(super) fn forget(&self, peer: NodeId) {
        let handle = self.handle.clone();
        tokio::spawn(async move {
            if let Err(error) = handle.forget(&peer).await {
                warn!(%peer, %error, "links of a member that is gone are still there");
            }
        });
    }

    /// Starts leaving: peers are to have all that only we have, and to drop what is ours.
    pub(super) fn leave(&self, terms: Terms) -> JoinHandle<Result<Left, LeaveError>> {
        let handle = self.handle.clone();
        tokio::spawn(async move { handle.leave(terms).await })
    }
}

/// What the end of a neighbour relation means for its links.
///
/// A relation that either side ended in words ends its links; one that broke may be whole underneath.
pub(super) fn departure(reason: DownReason) -> Departure {
    match reason {
        DownReason::Evicted
        | DownReason::Dropped
        | DownReason::Left
        | DownReason::Switched
        | DownReason::Misbehaved => Departure::Deliberate,
        DownReason::Closed | DownReason::Silent | DownReason::Slow => Departure::Lost,
    }
}
