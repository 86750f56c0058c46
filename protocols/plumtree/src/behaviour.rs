//! The state machine on a libp2p swarm. Decides nothing: translates events in and outputs out.

mod event;
mod routes;

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    identity::Keypair,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, ToSwarm,
    },
};
use rand::{SeedableRng, rngs::StdRng};
use substream::{Order, Shared, Timers};
use tracing::{error, info, trace};

use crate::{
    Command, Config, CountersSnapshot, Gossip, Input, Message, MessageId, Output, Refusal,
    Settings, State, Timer, io,
    seal::{self, SEAL_BYTES_MAX, Sealer},
    wire::{self, Handler, PeerMessage, Wire},
};
pub use event::{BroadcastError, Event, SetupError};
use routes::Routes;

/// What a connection reports.
type Report = substream::Report<PeerMessage, Refusal>;

/// Most timers served in one turn, so that other behaviours get theirs.
const TIMERS_PER_POLL_MAX: usize = 32;

/// Broadcast as part of a swarm. See the crate documentation.
pub struct Behaviour {
    state: State<PeerId>,
    timers: Timers<Timer>,
    routes: Routes,
    sealer: Sealer,
    shared: Shared<Wire>,
    queue: VecDeque<ToSwarm<Event, Order>>,
    /// Held by every frame that is not written yet.
    ticket: Arc<()>,
    slow_peers: u64,
    misbehaved_peers: u64,
}

impl Behaviour {
    /// Makes the behaviour of the node that owns `key`, which must be the swarm's key.
    ///
    /// # Errors
    ///
    /// Fails when the configuration is contradictory, or when others could not verify what the key
    /// signs.
    pub fn new(
        key: Keypair,
        protocol: StreamProtocol,
        config: Config,
        settings: &Settings,
    ) -> Result<Self, SetupError> {
        let start = Instant::now();
        let timers = Timers::new(start);
        let me = key.public().to_peer_id();
        let mut rng = settings
            .seed()
            .map_or_else(rand::make_rng, StdRng::seed_from_u64);
        let mut state = State::new(me, config.validate()?, settings.incarnation());
        state.start(timers.now(), &mut rng);
        let mut behaviour = Self {
            state,
            timers,
            routes: Routes::default(),
            sealer: Sealer::new(key, protocol.clone())?,
            shared: Shared {
                name: protocol,
                limits: settings.limits(),
                protocol: Wire,
                counters: substream::Counters::default(),
                start,
            },
            queue: VecDeque::new(),
            ticket: Arc::new(()),
            slow_peers: 0,
            misbehaved_peers: 0,
        };
        // The start has set timers; nothing else would make them ring before there is a neighbour.
        behaviour.drain();
        Ok(behaviour)
    }

    /// The membership has a new neighbour.
    pub fn neighbor_up(&mut self, peer: PeerId) {
        self.feed(Input::NeighborUp { peer });
    }

    /// A neighbour relation ended, for whatever reason.
    pub fn neighbor_down(&mut self, peer: PeerId) {
        self.feed(Input::NeighborDown { peer });
    }

    /// A round trip to a neighbour was measured. Time-outs follow it.
    pub fn measured(&mut self, peer: PeerId, round_trip: Duration) {
        self.feed(Input::Measured { peer, round_trip });
    }

    /// Sends `content` to every node of the network, sealed with our key.
    ///
    /// # Errors
    ///
    /// It is too long, or the key does not sign; nothing was sent.
    pub fn broadcast(&mut self, content: &[u8]) -> Result<MessageId<PeerId>, BroadcastError> {
        let most = self.content_bytes_max();
        if content.len() > most {
            return Err(BroadcastError::TooLong {
                bytes: content.len(),
                most,
            });
        }
        let id = self.state.next_id();
        // The seal covers the name, so the machine tells it before it is given the message.
        let sealed = self.sealer.seal(&id, content)?;
        self.feed(Input::Command(Command::Broadcast(sealed)));
        Ok(id)
    }

    /// Longest content of one broadcast.
    #[must_use]
    pub fn content_bytes_max(&self) -> usize {
        let most = self.state.config().payload_bytes_max();
        most.saturating_sub(SEAL_BYTES_MAX)
    }

    /// Names the best-connected node as far as is known; the edges of its tree are reported.
    pub fn set_root(&mut self, root: Option<PeerId>) {
        self.feed(Input::Command(Command::SetRoot(root)));
    }

    /// The state machine, for looking at.
    #[must_use]
    pub fn state(&self) -> &State<PeerId> {
        &self.state
    }

    /// A reading of the counters.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        let frames = &self.shared.counters;
        CountersSnapshot {
            machine: *self.state.counters(),
            frames_in: frames.frames_in.get(),
            frames_out: frames.frames_out.get(),
            frames_refused: frames.frames_refused.get(),
            frames_shed: frames.frames_shed.get(),
            slow_peers: self.slow_peers,
            misbehaved_peers: self.misbehaved_peers,
        }
    }

    /// How many frames wait to be written, over all connections.
    #[must_use]
    pub fn pending_frames(&self) -> usize {
        Arc::strong_count(&self.ticket) - 1
    }

    fn feed(&mut self, input: Input<PeerId>) {
        trace!(?input, "in");
        self.state.handle(self.timers.now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.state.poll_output() {
            trace!(?output, "out");
            match output {
                Output::Send { to, message } => self.send(to, message),
                Output::Schedule { after, timer } => self.timers.schedule(after, timer),
                Output::Event(event) => self.announce(event),
            }
        }
    }

    /// A message without a connection is dropped, as the machine expects.
    fn send(&mut self, peer_id: PeerId, message: PeerMessage) {
        let Some(connection) = self.routes.to(peer_id) else {
            return;
        };
        match wire::encode(message, &self.ticket) {
            Ok(frame) => self.queue.push_back(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event: Order::Send(frame),
            }),
            Err(error) => {
                self.shared.counters.frames_shed.add(1);
                error!(%error, "message not sent");
            }
        }
    }

    fn announce(&mut self, event: io::Event<PeerId>) {
        let event = match event {
            io::Event::Deliver { id, payload, hops } => Event::Received {
                id,
                content: seal::content(&payload).to_vec(),
                hops,
            },
            io::Event::Missing { id } => Event::Missing { id },
            io::Event::EdgeChanged { peer, role } => Event::EdgeChanged { peer, role },
        };
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    fn on_message(&mut self, from: PeerId, message: PeerMessage) {
        // What is known already is not looked into: it goes nowhere.
        if let Message::Gossip(Gossip { id, payload, .. }) = &message
            && self.state.is_news(id)
            && !self.sealer.verify(id, payload)
        {
            self.shared.counters.frames_refused.add(1);
            return self.on_refused(from, Refusal::Forged);
        }
        self.feed(Input::Received { from, message });
    }

    fn on_refused(&mut self, peer: PeerId, what: Refusal) {
        info!(%peer, error = %what, "peer sent what it must not");
        if what.is_misbehaviour() {
            self.misbehaved_peers += 1;
            self.queue
                .push_back(ToSwarm::GenerateEvent(Event::Misbehaved { peer, what }));
        }
        self.cut(peer);
    }

    /// Closes all connections to `peer`. The membership notices, and ends the neighbour relation.
    fn cut(&mut self, peer_id: PeerId) {
        self.routes.give_up_all(peer_id);
        self.queue.push_back(ToSwarm::CloseConnection {
            peer_id,
            connection: CloseConnection::All,
        });
    }

    fn handler(&self, peer: PeerId) -> Handler {
        // The membership keeps the connections to neighbours open.
        Handler::new(peer, false, self.shared.clone())
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(new) => {
                self.routes.established(new.peer_id, new.connection_id);
            }
            FromSwarm::ConnectionClosed(old) => self.routes.closed(old.peer_id, old.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        report: Report,
    ) {
        if !self.routes.is_usable(peer, connection) {
            return; // Said before the connection was given up, heard after.
        }
        match report {
            Report::Received(message) => self.on_message(peer, *message),
            // It may serve other protocols, and is not ours to close.
            Report::Unsupported => self.routes.give_up(peer, connection),
            // Only this connection: another one to the same peer may be sound.
            Report::Broken => {
                self.routes.give_up(peer, connection);
                self.queue.push_back(ToSwarm::CloseConnection {
                    peer_id: peer,
                    connection: CloseConnection::One(connection),
                });
            }
            Report::Slow => {
                info!(%peer, "peer does not read");
                self.slow_peers += 1;
                self.cut(peer);
            }
            Report::Refused(what) => self.on_refused(peer, what),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, Order>> {
        for _ in 0..TIMERS_PER_POLL_MAX {
            // What is done goes out before new work is taken up, or the queue would grow without bound.
            if let Some(wish) = self.queue.pop_front() {
                return Poll::Ready(wish);
            }
            match self.timers.poll(cx) {
                Poll::Ready(timer) => self.feed(Input::Timer(timer)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // More timers may be due.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("state", &self.state)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
