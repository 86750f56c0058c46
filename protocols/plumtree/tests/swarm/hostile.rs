//! A peer that speaks the protocol's frames and says what it must not.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    identity::Keypair,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, SwarmEvent,
        ToSwarm,
    },
};
use plumtree::{Config, Event, Message, MessageId, Refusal};
use substream::{Counters, Fault, Frame, Limits, Order, Protocol, Report, Shared};

use crate::cluster::{Cluster, PROTOCOL, settings, swarm};

/// Frames per second that the nodes take of one peer. Far fewer than by default: a busy machine may need seconds to let
/// [`FLOOD`] through, and it stays a flood as long as that takes less than five minutes.
const FRAMES_PER_SECOND_MAX: u32 = 20;

const FLOOD: usize = 6_000;

/// Frames as they are.
#[derive(Clone)]
struct Raw;

impl Protocol for Raw {
    type Message = Vec<u8>;
    type Refusal = Fault;

    fn decode(&self, content: &[u8], _: PeerId) -> Result<(Vec<u8>, u32), Fault> {
        Ok((content.to_vec(), 0))
    }
}

/// Sends its frames to whoever connects.
struct Attacker {
    frames: Vec<Vec<u8>>,
    queue: VecDeque<ToSwarm<(), Order>>,
}

impl Attacker {
    fn handler(peer: PeerId) -> substream::Handler<Raw> {
        let patience = Duration::from_secs(10);
        let shared = Shared {
            name: PROTOCOL,
            limits: Limits {
                frame_timeout: patience,
                linger: patience,
                queue_frames_max: 10_000,
                full_pushes_max: 10,
                frames_per_second_max: 10_000,
            },
            protocol: Raw,
            counters: Counters::default(),
            start: Instant::now(),
        };
        substream::Handler::new(peer, true, shared)
    }
}

impl NetworkBehaviour for Attacker {
    type ConnectionHandler = substream::Handler<Raw>;
    type ToSwarm = ();

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        Ok(Self::handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        Ok(Self::handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionEstablished(new) = event {
            for content in self.frames.drain(..) {
                self.queue.push_back(ToSwarm::NotifyHandler {
                    peer_id: new.peer_id,
                    handler: NotifyHandler::One(new.connection_id),
                    event: Order::Send(Frame {
                        content: content.into(),
                        control: true,
                        ticket: Arc::new(()),
                    }),
                });
            }
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        _: Report<Vec<u8>, Fault>,
    ) {
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<(), Order>> {
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// What two honest nodes make of these frames: the first is connected to the attacker.
async fn attacked(frames: Vec<Vec<u8>>) -> Cluster {
    let settings = settings();
    let limits = Limits {
        frames_per_second_max: FRAMES_PER_SECOND_MAX,
        ..settings.limits()
    };
    let settings = settings.with_limits(limits);
    let mut cluster = Cluster::linked_with(2, &[(0, 1)], Config::default(), &settings).await;
    let key = Keypair::generate_ed25519();
    let queue = VecDeque::new();
    let (mut attacker, _) = swarm(&key, Attacker { frames, queue }).await;
    attacker.dial(cluster.nodes[0].address.clone()).unwrap();
    let driven = tokio::spawn(async move {
        loop {
            if let SwarmEvent::ConnectionClosed { .. } = attacker.select_next_some().await {
                return;
            }
        }
    });
    cluster
        .until("the attacker is dropped", |nodes| {
            let misbehaved = |event: &Event| matches!(event, Event::Misbehaved { .. });
            nodes[0].events.iter().any(misbehaved)
                && nodes[0].behaviour().state().neighbors().count() == 1
        })
        .await;
    driven.await.unwrap();
    cluster
}

/// A message as the wire has it.
fn encoded(message: Message<PeerId>) -> Vec<u8> {
    use std::collections::BTreeMap;
    use substream::cbor::{self, ByteString, WireId};

    #[derive(serde::Serialize)]
    struct Id {
        origin: WireId,
        life: u64,
        seq: u64,
    }
    #[derive(serde::Serialize)]
    struct Gossip {
        id: Id,
        hops: u16,
        age_ms: u32,
        payload: ByteString,
    }
    let Message::Gossip(plumtree::Gossip {
        id,
        hops,
        age_ms,
        payload,
    }) = message
    else {
        unreachable!("only gossip is forged here")
    };
    let gossip = Gossip {
        id: Id {
            origin: WireId(id.origin),
            life: id.incarnation,
            seq: id.seq,
        },
        hops,
        age_ms,
        payload: ByteString(payload.to_vec()),
    };
    cbor::encode(&BTreeMap::from([("Gossip", gossip)])).unwrap()
}

#[tokio::test]
async fn nobody_speaks_in_anothers_name() {
    let origin = Keypair::generate_ed25519().public().to_peer_id();
    let forged = Message::Gossip(plumtree::Gossip {
        id: MessageId {
            origin,
            incarnation: u64::MAX,
            seq: 1,
        },
        hops: 1,
        age_ms: 0,
        payload: vec![0; 80].into(),
    });
    let cluster = attacked(vec![encoded(forged)]).await;
    let forged = Refusal::Forged;
    let said = |event: &Event| matches!(event, Event::Misbehaved { what, .. } if *what == forged);
    assert!(cluster.nodes[0].events.iter().any(said));
    for node in &cluster.nodes {
        assert_eq!(node.behaviour().state().sizes().origins, 0);
    }
    assert_eq!(cluster.nodes[0].behaviour().counters().frames_refused, 1);
}

#[tokio::test]
async fn garbage_and_floods_end_the_connection_and_nothing_else() {
    let origins = encode_prune();
    for frames in [vec![vec![0xff, 0, 1]], vec![origins; FLOOD]] {
        let mut cluster = attacked(frames).await;
        let behaviour = cluster.nodes[0].swarm.behaviour_mut();
        behaviour.broadcast(b"still here").unwrap();
        cluster
            .until("the neighbours still talk", |nodes| {
                nodes[1].received(b"still here") == 1
            })
            .await;
    }
}

fn encode_prune() -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Prune {
        origins: Vec<u8>,
    }
    let origins = Vec::new();
    let message = std::collections::BTreeMap::from([("Prune", Prune { origins })]);
    substream::cbor::encode(&message).unwrap()
}
