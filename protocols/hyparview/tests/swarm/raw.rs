//! A peer that speaks on raw substreams and may say anything.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use hyparview::{Contact, Epoch, Message, Pulse, Tag, message};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, PeerRecord, transport::PortUse, upgrade::ReadyUpgrade},
    identity::Keypair,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, SubstreamProtocol, ToSwarm, handler::ConnectionEvent,
    },
};
use serde::{Serialize, Serializer};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::cluster::{Node, PROTOCOL, swarm};

/// Bytes where a message has an id or a record.
#[derive(Debug, Clone)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl From<PeerId> for Bytes {
    fn from(id: PeerId) -> Self {
        Self(id.to_bytes())
    }
}

pub(crate) type RawMessage = Message<Bytes, Bytes>;

/// A frame with this content.
pub(crate) fn frame(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_be_bytes(), content].concat()
}

pub(crate) fn encode(message: &RawMessage) -> Vec<u8> {
    cbor4ii::serde::to_vec(Vec::new(), message).unwrap()
}

/// A record that is what it should be.
pub(crate) fn honest_record(key: &Keypair, addresses: &[Multiaddr]) -> Bytes {
    let record = PeerRecord::new_interop(key, addresses.to_vec()).unwrap();
    Bytes(record.into_signed_envelope().into_protobuf_encoding())
}

/// A peer of whom nothing else exists.
pub(crate) fn invented_contact() -> Contact<Bytes, Bytes> {
    let key = Keypair::generate_ed25519();
    let record = honest_record(&key, &["/ip4/127.0.0.1/tcp/1".parse().unwrap()]);
    Contact {
        id: key.public().to_peer_id().into(),
        record,
    }
}

/// A connection to one node, with a substream to speak on.
pub(crate) struct Hostile {
    pub(crate) key: Keypair,
    pub(crate) stream: Stream,
    /// Substreams that the node opened to us.
    pub(crate) accepted: mpsc::Receiver<Stream>,
    /// More substreams of ours.
    pub(crate) opened: mpsc::Receiver<Stream>,
    pub(crate) orders: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Hostile {
    /// Must be driven together with the node.
    pub(crate) fn connect(node: &Node) -> impl Future<Output = Self> + use<> {
        let (to, address) = (node.id(), node.address.clone());
        async move {
            let key = Keypair::generate_ed25519();
            let mut swarm = swarm(&key, Raw::default());
            swarm.dial(address).unwrap();
            let (accepted_in, accepted) = mpsc::channel(64);
            let (opened_in, mut opened) = mpsc::channel(64);
            let (orders, mut ordered) = mpsc::channel(64);
            let task = tokio::spawn(async move {
                loop {
                    tokio::select! {
                        event = swarm.select_next_some() => match event.try_into_behaviour_event() {
                            Ok(Way::Accepted(stream)) => drop(accepted_in.send(stream).await),
                            Ok(Way::Opened(stream)) => drop(opened_in.send(stream).await),
                            Err(_) => {}
                        },
                        Some(()) = ordered.recv() => swarm.behaviour_mut().open(to),
                    }
                }
            });
            let stream = opened.recv().await.unwrap();
            Self {
                key,
                stream,
                accepted,
                opened,
                orders,
                task,
            }
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.key.public().to_peer_id()
    }

    /// Writes until it is done or refused. Returns whether all was taken.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.is_ok()
    }

    pub(crate) async fn tell(&mut self, message: &RawMessage) -> bool {
        self.say(&frame(&encode(message))).await
    }

    /// Waits until the node has closed what we speak on.
    pub(crate) async fn closed(&mut self) {
        let mut buffer = [0; 64];
        while self.stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    }

    pub(crate) fn epoch(&self) -> Epoch<Bytes> {
        Epoch {
            by: self.id().into(),
            incarnation: 1,
            serial: 1,
        }
    }

    pub(crate) fn pulse(&self) -> Pulse<Bytes> {
        Pulse {
            degree: 1,
            tag: Tag {
                root: self.id().into(),
                incarnation: 1,
                beat: 1,
            },
            settled: false,
        }
    }

    pub(crate) fn record(&self) -> Bytes {
        honest_record(&self.key, &[])
    }

    pub(crate) fn join(&self) -> RawMessage {
        Message::Join(message::Join {
            epoch: self.epoch(),
            record: self.record(),
            pulse: self.pulse(),
        })
    }

    pub(crate) fn heartbeat(&self) -> RawMessage {
        Message::Heartbeat(message::Heartbeat {
            epoch: self.epoch(),
            pulse: self.pulse(),
            gauge: None,
        })
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A valid record of somebody else.
pub(crate) fn stolen_record() -> Bytes {
    honest_record(&Keypair::generate_ed25519(), &[])
}

/// A record whose signature does not fit.
pub(crate) fn broken_record(key: &Keypair) -> Bytes {
    let mut record = honest_record(key, &[]);
    *record.0.last_mut().unwrap() ^= 1;
    record
}

/// Opens a substream on each new connection and hands out all substreams.
#[derive(Default)]
struct Raw {
    queue: VecDeque<ToSwarm<Way, ()>>,
}

#[derive(Debug)]
enum Way {
    Opened(Stream),
    Accepted(Stream),
}

impl Raw {
    fn open(&mut self, peer_id: PeerId) {
        let handler = NotifyHandler::Any;
        self.queue.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler,
            event: (),
        });
    }
}

impl NetworkBehaviour for Raw {
    type ConnectionHandler = RawHandler;
    type ToSwarm = Way;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<RawHandler, ConnectionDenied> {
        Ok(RawHandler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<RawHandler, ConnectionDenied> {
        Ok(RawHandler {
            to_open: 1,
            ..RawHandler::default()
        })
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, way: Way) {
        self.queue.push_back(ToSwarm::GenerateEvent(way));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Way, ()>> {
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

#[derive(Default)]
struct RawHandler {
    to_open: usize,
    streams: VecDeque<Way>,
}

impl ConnectionHandler for RawHandler {
    type FromBehaviour = ();
    type ToBehaviour = Way;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, (): ()) {
        self.to_open += 1;
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Way>> {
        if let Some(way) = self.streams.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(way));
        }
        if self.to_open > 0 {
            self.to_open -= 1;
            let protocol = self.listen_protocol();
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(new) => {
                self.streams.push_back(Way::Accepted(new.protocol));
            }
            ConnectionEvent::FullyNegotiatedOutbound(new) => {
                self.streams.push_back(Way::Opened(new.protocol));
            }
            _ => {}
        }
    }
}
