//! One connection: a substream each way, frames in order, nothing waits.
//!
//! The handler knows frames and time-outs; what a message means is decided elsewhere. The outbound
//! substream is opened when there is something to say and then kept; the peer's is accepted at any
//! time. Neither keeps the connection alive by itself: [`Handler::connection_keep_alive`] does, as long
//! as the peer is a neighbour, frames wait, or an answer may still come.

mod meter;
mod queue;

use std::{
    collections::VecDeque,
    fmt, io,
    task::{Context, Poll},
    time::Instant,
};

use futures::{FutureExt, future::BoxFuture};
use futures_timer::Delay;
use libp2p::{
    PeerId, Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::ConnectionEvent,
    },
};
use tracing::debug;

use crate::{
    Counters, Limits, Protocol,
    frame::{self, Fault, ReadError},
};
use meter::Meter;
pub use queue::Frame;
use queue::{Pushed, Queue};

/// Most inbound substreams over the life of one connection. A correct peer opens one; the rest is
/// allowance for resets.
const STREAMS_MAX: u32 = 8;

/// What the behaviour wants of a connection.
#[derive(Debug)]
pub enum Order {
    /// Send this after all that was ordered before.
    Send(Frame),
    /// Hold the connection (the peer is a neighbour) or let it go when idle.
    Keep(bool),
}

/// What a connection tells the behaviour. All but `Received` are final.
#[derive(Debug)]
pub enum Report<M, R> {
    /// The peer said something.
    Received(Box<M>),
    /// The peer does not speak the protocol.
    Unsupported,
    /// The peer does not read what is sent to it.
    Slow,
    /// Our substream broke although the connection is there.
    Broken,
    /// The peer sent what it must not.
    Refused(R),
}

/// What all connections have in common.
#[derive(Debug, Clone)]
pub struct Shared<P> {
    /// The name that is negotiated.
    pub name: StreamProtocol,
    /// Bounds and time-outs.
    pub limits: Limits,
    /// How frames are read.
    pub protocol: P,
    /// What happens to frames.
    pub counters: Counters,
    /// Origin of the handlers' time.
    pub start: Instant,
}

/// The substreams of one connection. See the module documentation.
pub struct Handler<P: Protocol> {
    peer: PeerId,
    shared: Shared<P>,
    kept: bool,
    /// A final report was made: nothing more is read or written.
    finished: bool,
    reports: VecDeque<Report<P::Message, P::Refusal>>,
    queue: Queue,
    outbound: Outbound,
    inbound: Option<Reading>,
    inbound_opened: u32,
    meter: Meter,
    /// Runs from the last frame; `None` once it has expired.
    linger: Option<Delay>,
}

type Reading = BoxFuture<'static, (Stream, Result<Option<Vec<u8>>, ReadError>)>;

/// Our substream.
enum Outbound {
    /// Nothing was said yet.
    Closed,
    /// Asked for; the answer is a connection event.
    Opening,
    /// Open, nothing to write.
    Idle(Stream),
    /// A frame is under way.
    Writing(BoxFuture<'static, io::Result<Stream>>),
}

impl<P: Protocol> Handler<P> {
    /// The handler of a new connection to `peer`, which is `kept` if the peer is a neighbour.
    pub fn new(peer: PeerId, kept: bool, shared: Shared<P>) -> Self {
        let limits = &shared.limits;
        Self {
            peer,
            kept,
            finished: false,
            reports: VecDeque::new(),
            queue: Queue::new(limits.queue_frames_max, limits.full_pushes_max),
            outbound: Outbound::Closed,
            inbound: None,
            inbound_opened: 0,
            meter: Meter::new(limits.frames_per_second_max),
            linger: None,
            shared,
        }
    }

    fn send(&mut self, frame: Frame) {
        match self.queue.push(frame) {
            Pushed::Queued => {}
            Pushed::Shed => self.shared.counters.frames_shed.add(1),
            // Not closed in order: what is stuck would not be sent before the close, either.
            Pushed::Wedged => self.finish(Report::Slow),
        }
    }

    /// Makes a final report and gives everything up.
    fn finish(&mut self, report: Report<P::Message, P::Refusal>) {
        if self.finished {
            return;
        }
        debug!(peer = %self.peer, ?report, "connection given up");
        self.finished = true;
        // What waits would only hold memory, and tickets that somebody counts.
        self.queue.clear();
        self.outbound = Outbound::Closed;
        self.inbound = None;
        self.reports.push_back(report);
    }

    fn linger(&mut self) {
        self.linger = Some(Delay::new(self.shared.limits.linger));
    }

    /// Writes what can be written. Returns whether a substream is to be asked for.
    fn poll_outbound(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            match std::mem::replace(&mut self.outbound, Outbound::Closed) {
                // Opened when there is something to say: most connections of a swarm are for other protocols.
                Outbound::Closed if self.queue.is_empty() => return false,
                Outbound::Closed => {
                    self.outbound = Outbound::Opening;
                    return true;
                }
                Outbound::Opening => {
                    self.outbound = Outbound::Opening;
                    return false;
                }
                Outbound::Idle(stream) => match self.queue.pop() {
                    Some(frame) => self.outbound = Outbound::Writing(self.write(stream, frame)),
                    None => {
                        self.outbound = Outbound::Idle(stream);
                        return false;
                    }
                },
                Outbound::Writing(mut writing) => match writing.poll_unpin(cx) {
                    Poll::Pending => {
                        self.outbound = Outbound::Writing(writing);
                        return false;
                    }
                    Poll::Ready(Ok(stream)) => {
                        self.shared.counters.frames_out.add(1);
                        self.outbound = Outbound::Idle(stream);
                        // An answer may come: the connection is held for it.
                        self.linger();
                    }
                    // A peer that takes no frame for this long reads nothing, while the connection looks
                    // well.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                        self.finish(Report::Slow);
                        return false;
                    }
                    Poll::Ready(Err(error)) => {
                        debug!(peer = %self.peer, %error, "cannot write");
                        self.finish(Report::Broken);
                        return false;
                    }
                },
            }
        }
    }

    fn write(&self, mut stream: Stream, frame: Frame) -> BoxFuture<'static, io::Result<Stream>> {
        let timeout = self.shared.limits.frame_timeout;
        async move {
            frame::write(&mut stream, &frame.content, timeout)
                .await
                .map(|()| stream)
        }
        .boxed()
    }

    fn read(&self, mut stream: Stream) -> Reading {
        let timeout = self.shared.limits.frame_timeout;
        async move {
            let frame = frame::read(&mut stream, timeout).await;
            (stream, frame)
        }
        .boxed()
    }

    /// Reads at most one frame: the swarm takes turns between connections after each.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) {
        let Some(reading) = &mut self.inbound else {
            return;
        };
        let Poll::Ready((stream, frame)) = reading.poll_unpin(cx) else {
            return;
        };
        self.inbound = None;
        match frame {
            Ok(Some(content)) => match self.receive(&content) {
                Ok(message) => {
                    // The same substream goes on: it is opened once for a connection.
                    self.inbound = Some(self.read(stream));
                    self.linger();
                    self.shared.counters.frames_in.add(1);
                    self.reports.push_back(Report::Received(Box::new(message)));
                }
                Err(refusal) => self.refuse(refusal),
            },
            Err(ReadError::Refused(fault)) => self.refuse(fault.into()),
            // The peer may open another; when the connection is broken the swarm says so.
            Ok(None) => {}
            Err(error @ ReadError::Io(_)) => {
                debug!(peer = %self.peer, %error, "cannot read");
            }
        }
    }

    fn receive(&mut self, content: &[u8]) -> Result<P::Message, P::Refusal> {
        let now = self.shared.start.elapsed();
        // Before decoding, which is the work that a flood would cause; what decoding has cost beyond is known
        // only after it.
        if !self.meter.charge(now, 1) {
            return Err(Fault::Flood.into());
        }
        let (message, work) = self.shared.protocol.decode(content, self.peer)?;
        if !self.meter.charge(now, work) {
            return Err(Fault::Flood.into());
        }
        Ok(message)
    }

    fn refuse(&mut self, refusal: P::Refusal) {
        self.shared.counters.frames_refused.add(1);
        self.finish(Report::Refused(refusal));
    }
}

impl<P: Protocol> ConnectionHandler for Handler<P> {
    type FromBehaviour = Order;
    type ToBehaviour = Report<P::Message, P::Refusal>;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.shared.name.clone()), ())
            .with_timeout(self.shared.limits.frame_timeout)
    }

    fn connection_keep_alive(&self) -> bool {
        let busy = match self.outbound {
            Outbound::Closed | Outbound::Idle(_) => !self.queue.is_empty(),
            Outbound::Opening | Outbound::Writing(_) => true,
        };
        !self.finished && (self.kept || busy || self.linger.is_some())
    }

    fn on_behaviour_event(&mut self, order: Order) {
        match order {
            Order::Send(_) if self.finished => {}
            Order::Send(frame) => self.send(frame),
            Order::Keep(kept) => self.kept = kept,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Some(linger) = &mut self.linger
            && linger.poll_unpin(cx).is_ready()
        {
            self.linger = None;
        }
        if !self.finished && self.poll_outbound(cx) {
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: self.listen_protocol(),
            });
        }
        // What was read is handed over first: nothing more is read for a behaviour that does not keep up.
        if self.reports.is_empty() {
            self.poll_inbound(cx);
        }
        match self.reports.pop_front() {
            Some(report) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report)),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        if self.finished {
            return;
        }
        match event {
            ConnectionEvent::FullyNegotiatedInbound(inbound) => {
                self.inbound_opened += 1;
                if self.inbound_opened > STREAMS_MAX {
                    return self.refuse(Fault::TooManyStreams.into());
                }
                let mut stream = inbound.protocol;
                // An open substream is no reason to hold the connection: the behaviour says whose is held.
                stream.ignore_for_keep_alive();
                // Replaces the former one: a peer that opens another has given that up.
                self.inbound = Some(self.read(stream));
            }
            ConnectionEvent::FullyNegotiatedOutbound(outbound) => {
                let mut stream = outbound.protocol;
                stream.ignore_for_keep_alive();
                self.outbound = Outbound::Idle(stream);
            }
            ConnectionEvent::DialUpgradeError(failure) => self.finish(match failure.error {
                StreamUpgradeError::NegotiationFailed => Report::Unsupported,
                StreamUpgradeError::Timeout => Report::Slow,
                StreamUpgradeError::Io(_) => Report::Broken,
                StreamUpgradeError::Apply(never) => match never {},
            }),
            // The set of protocols is said by identify at best, and late: we find out by trying.
            _ => {}
        }
    }
}

impl<P: Protocol> fmt::Debug for Handler<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("peer", &self.peer)
            .field("kept", &self.kept)
            .field("finished", &self.finished)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
