//! Requests under way, in both directions.

use std::{collections::BTreeMap, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    PeerId,
    request_response::{OutboundFailure, OutboundRequestId, ResponseChannel},
};
use tokio::sync::oneshot;

use super::RequestError;

/// Most requests of ours under way.
const OUTBOUND_MAX: usize = 256;
/// Most requests of peers that the node is working on.
const INBOUND_MAX: usize = 64;
/// Most of these from one peer, so that one cannot take all the places.
const INBOUND_PER_PEER_MAX: usize = 16;

pub(super) type Answer = oneshot::Sender<Result<Vec<u8>, RequestError>>;

/// A finished piece of the node's work: where the reply goes, and the reply unless it refused.
pub(super) struct Reply {
    from: PeerId,
    pub(super) channel: ResponseChannel<Vec<u8>>,
    pub(super) body: Option<Vec<u8>>,
}

#[derive(Default)]
pub(super) struct Requests {
    outbound: BTreeMap<OutboundRequestId, Answer>,
    inbound: FuturesUnordered<BoxFuture<'static, Reply>>,
    inbound_by_peer: BTreeMap<PeerId, usize>,
}

impl Requests {
    /// Whether one more request of ours may be sent.
    pub(super) fn may_send(&self) -> bool {
        self.outbound.len() < OUTBOUND_MAX
    }

    pub(super) fn sent(&mut self, id: OutboundRequestId, answer: Answer) {
        self.outbound.insert(id, answer);
    }

    pub(super) fn answered(&mut self, id: OutboundRequestId, body: Vec<u8>) {
        if let Some(answer) = self.outbound.remove(&id) {
            // The asker may have given up.
            let _ = answer.send(Ok(body));
        }
    }

    pub(super) fn failed(&mut self, id: OutboundRequestId, failure: &OutboundFailure) {
        if let Some(answer) = self.outbound.remove(&id) {
            let _ = answer.send(Err(meaning(failure)));
        }
    }

    /// Whether one more request of `peer` may be handed to the node.
    pub(super) fn may_serve(&self, peer: &PeerId) -> bool {
        let of_peer = self.inbound_by_peer.get(peer).copied().unwrap_or_default();
        self.inbound.len() < INBOUND_MAX && of_peer < INBOUND_PER_PEER_MAX
    }

    /// The node works on a request; its reply is awaited no longer than `patience`.
    pub(super) fn serving(
        &mut self,
        from: PeerId,
        channel: ResponseChannel<Vec<u8>>,
        reply: oneshot::Receiver<Vec<u8>>,
        patience: Duration,
    ) {
        *self.inbound_by_peer.entry(from).or_default() += 1;
        self.inbound.push(
            async move {
                // To be late and to be refused are the same for the peer: it gets no reply.
                let body = tokio::time::timeout(patience, reply)
                    .await
                    .ok()
                    .and_then(Result::ok);
                Reply {
                    from,
                    channel,
                    body,
                }
            }
            .boxed(),
        );
    }

    /// The next reply of the node. Waits for ever while it works on none.
    pub(super) async fn next_reply(&mut self) -> Reply {
        // An empty set is ready at once: the loop would never rest.
        let Some(reply) = self.inbound.next().await else {
            return std::future::pending().await;
        };
        if let Some(count) = self.inbound_by_peer.get_mut(&reply.from) {
            *count -= 1;
            if *count == 0 {
                self.inbound_by_peer.remove(&reply.from);
            }
        }
        reply
    }
}

fn meaning(failure: &OutboundFailure) -> RequestError {
    match failure {
        OutboundFailure::DialFailure => RequestError::Unreachable,
        OutboundFailure::Timeout => RequestError::Timeout,
        OutboundFailure::ConnectionClosed => RequestError::Closed,
        OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
        // Our codec says so of a frame above the bound.
        OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            RequestError::Oversized
        }
        // The stream ended without an answer: the peer's node has dropped the request.
        OutboundFailure::Io(_) => RequestError::Refused,
    }
}
