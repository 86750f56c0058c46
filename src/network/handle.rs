//! What the node holds of the network.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Counters, Neighbors, Other, Overlay, ProtocolCounters, REQUEST_BYTES_MAX, RequestError,
    neighbors::node_id, requests::Answer, runs::Runs,
};
use crate::{
    identity::{NodeId, Run},
    tasks::{Panicked, Tasks},
};

/// Commands that the event loop has not taken yet; whoever sends one more waits.
pub(super) const COMMANDS_MAX: usize = 64;
/// The event loop answers every request; if it does not, the asker is not left waiting.
const GRACE: Duration = Duration::from_secs(5);

/// What the event loop is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Request {
        peer: PeerId,
        body: Vec<u8>,
        answer: Answer,
    },
    OverlayCounters(oneshot::Sender<hyparview::CountersSnapshot>),
    Broadcast(Vec<u8>),
    BroadcastCounters(oneshot::Sender<plumtree::CountersSnapshot>),
    Follow(Option<PeerId>),
    Leave(oneshot::Sender<()>),
    #[cfg(test)]
    Panic,
}

/// The way to the network. Clones are alike; when the last is dropped the network stops.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) node_id: NodeId,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) overlay: watch::Receiver<Overlay>,
    pub(super) protocols: watch::Receiver<ProtocolCounters>,
    pub(super) listening: watch::Receiver<Vec<Multiaddr>>,
    pub(super) counters: Arc<Counters>,
    pub(super) runs: Arc<Mutex<Runs>>,
    pub(super) stop: CancellationToken,
    /// The one that owns the swarm.
    pub(super) tasks: Tasks,
    pub(super) request_timeout: Duration,
}

impl Handle {
    /// Our own id.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// Sends a request to `peer` and waits for its reply. A peer that is not connected is
    /// dialled if an address of it is known.
    ///
    /// # Errors
    ///
    /// See [`RequestError`]; at the latest when the request's time is over.
    pub async fn request(&self, peer: NodeId, body: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let Ok(id) = peer.as_str().parse::<PeerId>() else {
            return Err(RequestError::NotANode(peer));
        };
        if body.len() > REQUEST_BYTES_MAX {
            let (size, most) = (body.len(), REQUEST_BYTES_MAX);
            return Err(RequestError::TooLarge { size, most });
        }
        let (answer, reply) = oneshot::channel();
        let command = Command::Request {
            peer: id,
            body,
            answer,
        };
        let exchange = async {
            self.commands
                .send(command)
                .await
                .map_err(|_| RequestError::Stopped)?;
            reply.await.unwrap_or(Err(RequestError::Stopped))
        };
        // The way into the loop counts as well: its queue may be full.
        tokio::time::timeout(self.request_timeout + GRACE, exchange)
            .await
            .unwrap_or(Err(RequestError::Timeout))
    }

    /// Who is connected with us and belongs to the cluster, neighbour or not.
    #[must_use]
    pub fn acquaintances(&self) -> Vec<NodeId> {
        self.runs().peers().map(node_id).collect()
    }

    /// The processes with `peer`'s key that are connected with us besides `run`, which asks.
    #[must_use]
    pub fn others(&self, peer: &NodeId, run: Run) -> Vec<Other> {
        let peer = peer.as_str().parse::<PeerId>();
        peer.map(|peer| self.runs().others(&peer, run, Instant::now()))
            .unwrap_or_default()
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's place in the overlay, as it changes.
    #[must_use]
    pub fn overlay(&self) -> watch::Receiver<Overlay> {
        self.overlay.clone()
    }

    /// The same, for whoever wants to know what has happened to the relations since the last look. Begins
    /// with all that there is, and with the ends that are still told.
    #[must_use]
    pub fn neighbors(&self) -> Neighbors {
        Neighbors::new(self.overlay.clone())
    }

    /// The addresses we listen on, with the ports that were chosen, as they change.
    #[must_use]
    pub fn listening(&self) -> watch::Receiver<Vec<Multiaddr>> {
        self.listening.clone()
    }

    /// The addresses we listen on now.
    #[must_use]
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.listening.borrow().clone()
    }

    /// What happened since start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What happened in the protocols since start, as it was some seconds ago: for whoever cannot wait.
    #[must_use]
    pub fn protocol_counters(&self) -> ProtocolCounters {
        *self.protocols.borrow()
    }

    /// What happened in the overlay protocol since start; `None` after the end.
    pub async fn overlay_counters(&self) -> Option<hyparview::CountersSnapshot> {
        let (answer, reply) = oneshot::channel();
        self.commands
            .send(Command::OverlayCounters(answer))
            .await
            .ok()?;
        reply.await.ok()
    }

    /// Sends `content` to every node of the cluster, whoever its neighbours are; it takes the place
    /// of what was broadcast before. `false` if the network has too much to do, or has ended: then
    /// nothing was sent. Longer ones than [`BROADCAST_BYTES_MAX`](super::BROADCAST_BYTES_MAX) are not
    /// sent either.
    #[must_use]
    pub fn broadcast(&self, content: Vec<u8>) -> bool {
        self.commands.try_send(Command::Broadcast(content)).is_ok()
    }

    /// Follows the broadcast tree of `root` from now on, or no tree: [`Neighbor::role`](super::Neighbor::role)
    /// says what each edge is in it. `false` if the network has too much to do, or has ended: then nothing has
    /// changed. Whom nobody can be, because it is no PeerId, nobody can hear either: that is no tree.
    #[must_use]
    pub fn follow(&self, root: Option<&NodeId>) -> bool {
        let root = root.and_then(|root| root.as_str().parse().ok());
        self.commands.try_send(Command::Follow(root)).is_ok()
    }

    /// What happened in the broadcast protocol since start; `None` after the end.
    pub async fn broadcast_counters(&self) -> Option<plumtree::CountersSnapshot> {
        let (answer, reply) = oneshot::channel();
        self.commands
            .send(Command::BroadcastCounters(answer))
            .await
            .ok()?;
        reply.await.ok()
    }

    /// Leaves the overlay for good: the neighbours are told, and nobody is looked for any more.
    /// Returns when they have been told, or could not be for two seconds.
    /// [`shutdown`](Self::shutdown) is still to be called.
    pub async fn leave(&self) {
        let (answer, reply) = oneshot::channel();
        if self.commands.send(Command::Leave(answer)).await.is_ok() {
            // An error means that the loop has ended: there is nothing left to leave.
            drop(reply.await);
        }
    }

    /// Closes all connections, saves the address book and ends. The neighbours take it for a
    /// failure and repair their views; this node is welcome when it comes back.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.ended().await;
    }

    /// Returns once the task has panicked that owns the swarm; never as long as it does not. From then on
    /// nobody is reached, nothing is heard, and all that is shown stays as it is.
    pub async fn panicked(&self) -> Panicked {
        self.tasks.panicked().await
    }

    /// Has the task panic that owns the swarm.
    #[cfg(test)]
    pub(crate) async fn panic(&self) {
        let _ = self.commands.send(Command::Panic).await;
    }
}
