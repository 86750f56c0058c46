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
    tasks::Panicked,
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
        settings.dissemination = config.replication.dissemination;
        settings.link_grace = config.replication.link_grace;
        settings.slot_bytes_max = config.replication.slot_bytes_max;
        settings.slot_inactive_max = config.replication.slot_inactive_max;
        settings.checkpoint_interval = config.replication.checkpoint_interval;
        settings.confirm_within = store
            .continuity
            .needs_confirmation
            .then_some(config.replication.confirm_within);
        settings.lineage = store.continuity.lineage();
        let generation = settings.lineage.last().map_or(0, |start| start.generation);
        let handle = replication::start(settings, OverNetwork(network.clone()));
        Self::over(handle, store.continuity.site(), generation)
    }

    fn over(handle: replication::Handle, site: Site, generation: u64) -> Self {
        Self {
            site,
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

    /// Waits until something of it looks different. Safe to drop and call again.
    ///
    /// # Errors
    ///
    /// A task of it has panicked: what that one has shown will not change any more.
    pub(super) async fn changed(&mut self) -> Result<(), Panicked> {
        tokio::select! {
            biased;
            panicked = self.handle.panicked() => Err(panicked),
            // What has ended in order tells nothing more, and keeps nobody from hearing of the others.
            Ok(()) = self.links.changed() => Ok(()),
            Ok(()) = self.vector.changed() => Ok(()),
            Ok(()) = self.level.changed() => Ok(()),
            Ok(()) = self.insisted.changed() => Ok(()),
            Ok(()) = self.confirmation.changed() => Ok(()),
            Ok(()) = self.leaving.changed() => Ok(()),
        }
    }

    /// The store takes no writes until its peers have confirmed it.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::time::timeout;

    use super::DataPlane;
    use crate::{
        identity::{NodeId, Site},
        postgres::Conninfo,
        replication::{self, Advertise, Reply, Request, Settings, Transport, TransportError},
    };

    /// Only reached where the wait would never end.
    const LIMIT: Duration = Duration::from_mins(1);

    /// Peers of which none is there.
    #[derive(Debug)]
    struct Nobody;

    impl Transport for Nobody {
        async fn request(&self, _: &NodeId, _: Request) -> Result<Reply, TransportError> {
            Err(TransportError::Unreachable("nobody is there".to_owned()))
        }
    }

    /// A data plane of a store that does not answer.
    fn plane() -> DataPlane {
        let advertise = Advertise {
            host: None,
            port: 1,
        };
        let store: Conninfo = "postgresql://u@127.0.0.1:1/d".parse().unwrap();
        let node = "n".parse().unwrap();
        let settings = Settings::new(node, "c".to_owned(), store, advertise);
        let handle = replication::start(settings, Nobody);
        DataPlane::over(handle, Site::new(1).unwrap(), 1)
    }

    #[tokio::test]
    async fn who_watches_a_data_plane_hears_of_the_panic_of_a_task_and_can_shut_down_the_others() {
        let mut plane = plane();
        plane.handle.panic();
        let watching = async {
            loop {
                if let Err(panicked) = plane.changed().await {
                    return panicked;
                }
            }
        };
        let panicked = timeout(LIMIT, watching).await.unwrap().to_string();
        assert!(panicked.contains("replication (test)"), "{panicked}");
        timeout(LIMIT, plane.handle.shutdown()).await.unwrap();
    }

    #[tokio::test]
    async fn what_one_task_shows_is_watched_after_another_has_ended() {
        let mut plane = plane();
        // All that tasks show, all of which ends with them; what is left is what the handle itself tells.
        timeout(LIMIT, plane.handle.shutdown()).await.unwrap();
        let changed = async {
            // What was shown until then.
            while plane.changed().now_or_never().is_some() {}
            plane.handle.neighbor_up(replication::Neighbor {
                name: "m".parse().unwrap(),
                hosts: Vec::new(),
            });
            plane.changed().await
        };
        assert_eq!(timeout(LIMIT, changed).await.unwrap(), Ok(()));
        assert!(!*plane.level.borrow());
    }
}
