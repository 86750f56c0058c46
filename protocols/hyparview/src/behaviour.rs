//! The state machine on a libp2p swarm. Decides nothing: translates events in and outputs out.

mod advertised;
mod event;
mod peers;
mod readings;
mod strays;

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    identity::Keypair,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, DialError, DialFailure, FromSwarm,
        NetworkBehaviour, NotifyHandler, ToSwarm,
    },
};
use rand::{SeedableRng, rngs::StdRng};
use substream::{Frame, Order, Shared, Timers};
use tracing::{debug, error, info, trace};

use crate::{
    Command, Config, Contact, Input, Loss, Message, Output, Record, Refusal, Settings, State,
    Timer, io,
    wire::{self, Handler, PeerMessage, Wire},
};
use advertised::Advertised;
pub use event::{Event, SetupError};
use peers::{Failed, Peers, Route};
use strays::Strays;

/// What a connection reports.
type Report = substream::Report<PeerMessage, Refusal>;

/// Most timers served in one turn, so that other behaviours get theirs.
const TIMERS_PER_POLL_MAX: usize = 32;

/// HyParView membership as part of a swarm: it runs a [`State`] over the swarm's connections, and tells the
/// application of neighbours by [`Event`]s. How to put it into a swarm is shown at the [crate].
pub struct Behaviour {
    state: State<PeerId, Record>,
    rng: StdRng,
    timers: Timers<Timer<PeerId>>,
    peers: Peers,
    strays: Strays,
    advertised: Advertised,
    shared: Shared<Wire>,
    queue: VecDeque<ToSwarm<Event, Order>>,
    /// Held by every frame that is not written yet.
    ticket: Arc<()>,
}

impl Behaviour {
    /// Makes the behaviour of the node that owns `key`, which must be the swarm's key.
    ///
    /// # Errors
    ///
    /// Fails when the configuration is contradictory, or when the key cannot sign.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "made for this behaviour and of no use afterwards"
    )]
    pub fn new(
        key: Keypair,
        protocol: StreamProtocol,
        config: Config,
        settings: Settings,
    ) -> Result<Self, SetupError> {
        let me = Contact {
            id: key.public().to_peer_id(),
            record: Record::sign(&key, settings.incarnation(), &[])?,
        };
        let start = Instant::now();
        let timers = Timers::new(start);
        let mut rng = settings
            .seed()
            .map_or_else(rand::make_rng, StdRng::seed_from_u64);
        let config = config.validate()?;
        let peers = Peers::new(&settings, config.request_timeout());
        let mut state = State::new(me, config, settings.incarnation());
        state.start(timers.now(), &mut rng);
        let wire = Wire::default();
        let mut behaviour = Self {
            state,
            rng,
            timers,
            peers,
            strays: Strays::default(),
            advertised: Advertised::new(key, settings.incarnation()),
            shared: Shared {
                name: protocol,
                limits: settings.limits(),
                counters: wire.counters.frames.clone(),
                protocol: wire,
                start,
            },
            queue: VecDeque::new(),
            ticket: Arc::new(()),
        };
        // The start has set timers; nothing else would make them ring before somebody is heard.
        behaviour.drain();
        Ok(behaviour)
    }

    /// Joins the network through `peer`. May be called for several peers, and again at any time.
    pub fn join(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let contact = self.contact(peer, addresses);
        self.feed(Input::Command(Command::Join(contact)));
    }

    /// Learns how to reach `peer` without asking it for anything now. A `permanent` one (a
    /// bootstrap contact) is never forgotten.
    pub fn learn(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, permanent: bool) {
        let contact = self.contact(peer, addresses);
        self.feed(Input::Command(Command::Learn { contact, permanent }));
    }

    /// Leaves the network for good and tells the neighbours so. Poll the swarm until
    /// [`Behaviour::pending_frames`] is zero, or for as long as you like, before dropping it.
    pub fn leave(&mut self) {
        self.feed(Input::Command(Command::Leave));
    }

    fn contact(&self, id: PeerId, addresses: Vec<Multiaddr>) -> Contact<PeerId, Record> {
        Contact {
            id,
            record: self.shared.protocol.book.hint(id, addresses),
        }
    }

    fn feed(&mut self, input: Input<PeerId, Record>) {
        trace!(?input, "in");
        self.state.handle(self.timers.now(), input, &mut self.rng);
        self.drain();
    }

    /// Carries out what the machine wants. A message that can go nowhere is told to it at once, which
    /// may make it want more; that ends, because each refusal takes a candidate off its list.
    fn drain(&mut self) {
        while let Some(output) = self.state.poll_output() {
            trace!(?output, "out");
            match output {
                Output::Send { to, message } => self.send(&to, message),
                Output::Tell { peer, message } => self.tell(peer, message),
                Output::Release { peer } => self.keep(peer, false),
                Output::Cut { peer } => {
                    self.cut(peer);
                }
                Output::Schedule { after, timer } => self.timers.schedule(after, timer),
                Output::Event(event) => self.announce(event),
            }
        }
    }

    fn send(&mut self, to: &Contact<PeerId, Record>, message: Message<PeerId, Record>) {
        let Some(frame) = self.encode(message) else {
            return;
        };
        let addresses = self.addresses(to);
        self.forward(to.id, frame, || addresses);
    }

    fn tell(&mut self, peer: PeerId, message: Message<PeerId, Record>) {
        // Encoding costs; what would go nowhere is not encoded.
        if !self.peers.is_within_reach(peer) {
            return;
        }
        let Some(frame) = self.encode(message) else {
            return;
        };
        self.forward(peer, frame, Vec::new);
    }

    fn forward(&mut self, peer: PeerId, frame: Frame, addresses: impl FnOnce() -> Vec<Multiaddr>) {
        match self.peers.route(peer, frame, addresses) {
            Route::Via(connection, frame) => self.order(peer, connection, Order::Send(frame)),
            Route::Waits => {}
            Route::Shed => self.shared.counters.frames_shed.add(1),
            // At once, and not through the queue: the machine asks the next candidate in the same turn.
            Route::Nowhere => {
                let unreachable = Input::Unreachable { peer };
                self.state
                    .handle(self.timers.now(), unreachable, &mut self.rng);
            }
        }
    }

    fn encode(&self, message: Message<PeerId, Record>) -> Option<Frame> {
        wire::encode(message, &self.ticket)
            .inspect_err(|error| {
                self.shared.counters.frames_shed.add(1);
                error!(%error, "message not sent");
            })
            .ok()
    }

    fn order(&mut self, peer_id: PeerId, connection: ConnectionId, event: Order) {
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler,
            event,
        });
    }

    fn keep(&mut self, peer: PeerId, kept: bool) {
        for connection in self.peers.keep(peer, kept) {
            self.order(peer, connection, Order::Keep(kept));
        }
    }

    fn close(&mut self, peer_id: PeerId, connection: CloseConnection) {
        self.queue.push_back(ToSwarm::CloseConnection {
            peer_id,
            connection,
        });
    }

    /// Closes all connections to `peer`. Returns whether it could be spoken to until now.
    fn cut(&mut self, peer: PeerId) -> bool {
        self.close(peer, CloseConnection::All);
        self.peers.give_up_all(peer)
    }

    fn announce(&mut self, event: io::Event<PeerId, Record>) {
        let event = match event {
            io::Event::NeighborUp(contact) => {
                self.keep(contact.id, true);
                Event::NeighborUp {
                    peer: contact.id,
                    addresses: self.ranked(&contact),
                }
            }
            io::Event::NeighborDown { peer, reason } => {
                self.keep(peer, false);
                Event::NeighborDown { peer, reason }
            }
            io::Event::NeighborMoved(contact) => Event::NeighborMoved {
                peer: contact.id,
                addresses: self.ranked(&contact),
            },
            io::Event::Isolated => Event::Isolated,
            io::Event::Wanting => Event::Wanting,
        };
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    /// Tells the machine that `peer` cannot be spoken to any more, if that is `news`.
    fn lost(&mut self, news: bool, peer: PeerId, cause: Loss) {
        if news {
            self.feed(Input::Disconnected { peer, cause });
        }
    }

    fn unreachable(&mut self, news: bool, peer: PeerId) {
        if news {
            self.feed(Input::Unreachable { peer });
        }
    }

    fn cut_for(&mut self, peer: PeerId, cause: Loss) {
        let news = self.cut(peer);
        self.lost(news, peer, cause);
    }

    fn on_refused(&mut self, peer: PeerId, what: Refusal) {
        info!(%peer, error = %what, "peer sent what it must not");
        // A frame that was cut short may be the end of a crash: no offence.
        if !what.is_misbehaviour() {
            return self.cut_for(peer, Loss::Closed);
        }
        self.shared.protocol.counters.misbehaved_peers.add(1);
        self.queue
            .push_back(ToSwarm::GenerateEvent(Event::Misbehaved { peer, what }));
        self.cut_for(peer, Loss::Misbehaved);
    }

    /// A dial that met somebody else is begun again at once with what addresses are left.
    fn on_dial_failure(&mut self, failure: &DialFailure<'_>) {
        let now = self.timers.now();
        if let (Some(peer), DialError::WrongPeerId { address, .. }) =
            (failure.peer_id, failure.error)
        {
            debug!(%peer, %address, "somebody else is at this address");
            self.strays.met(peer, address, now);
        }
        let strays = &self.strays;
        let is_good = |address: &Multiaddr| {
            failure
                .peer_id
                .is_none_or(|peer| strays.is_good(peer, address, now))
        };
        match self.peers.dial_failed(failure.connection_id, is_good) {
            None | Some(Failed::Again) => {}
            Some(Failed::GivenUp { peer, waited }) => {
                debug!(%peer, error = %failure.error, "cannot reach peer");
                self.shared.protocol.counters.dial_failures.add(1);
                self.unreachable(waited, peer);
            }
        }
    }

    fn handler(&self, peer: PeerId) -> Handler {
        Handler::new(peer, self.peers.is_kept(peer), self.shared.clone())
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

    /// Members of the network are at the disposal of the swarm's other protocols.
    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(peer
            .map(|peer| self.known_addresses(peer))
            .unwrap_or_default())
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
        // First, so that messages which this event causes carry the new record.
        if self.advertised.on_swarm_event(&event)
            && let Some(record) = self.advertised.sign(self.timers.now())
        {
            self.feed(Input::Command(Command::SetRecord(record)));
        }
        match event {
            FromSwarm::ConnectionEstablished(new) => {
                let (peer, connection) = (new.peer_id, new.connection_id);
                self.strays.found(peer, new.endpoint.get_remote_address());
                let waited = self
                    .peers
                    .established(peer, connection, new.endpoint.clone());
                for frame in waited {
                    self.order(peer, connection, Order::Send(frame));
                }
            }
            FromSwarm::ConnectionClosed(old) => {
                let last = self.peers.closed(old.peer_id, old.connection_id);
                self.lost(last, old.peer_id, Loss::Closed);
            }
            FromSwarm::DialFailure(failure) => self.on_dial_failure(&failure),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        report: Report,
    ) {
        if !self.peers.is_usable(peer, connection) {
            return; // Said before the connection was given up, heard after.
        }
        match report {
            Report::Received(message) => {
                let (from, message) = (peer, *message);
                self.feed(Input::Received { from, message });
            }
            Report::Unsupported => {
                let last = self.peers.mute(peer, connection);
                self.unreachable(last, peer);
            }
            Report::Broken => {
                let last = self.peers.give_up(peer, connection);
                self.close(peer, CloseConnection::One(connection));
                self.lost(last, peer, Loss::Closed);
            }
            Report::Slow => {
                info!(%peer, "peer does not read");
                self.shared.protocol.counters.slow_peers.add(1);
                self.cut_for(peer, Loss::Slow);
            }
            Report::Refused(what) => self.on_refused(peer, what),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, Order>> {
        for _ in 0..TIMERS_PER_POLL_MAX {
            // Local work before new: outputs, then dials, then timers, which make more of both.
            if let Some(wish) = self.queue.pop_front() {
                return Poll::Ready(wish);
            }
            if let Some(opts) = self.peers.next_dial() {
                self.shared.protocol.counters.dials.add(1);
                return Poll::Ready(ToSwarm::Dial { opts });
            }
            match self.timers.poll(cx) {
                Poll::Ready(timer) => self.feed(Input::Timer(timer)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // There may be more timers: the swarm asks again after its other behaviours.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
