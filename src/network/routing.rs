//! What one event means to the others.

use std::time::{Instant, SystemTime};

use libp2p::{
    Multiaddr, PeerId, identify, mdns, ping,
    request_response::{self, InboundFailure, Message, ResponseChannel},
    swarm::{ConnectionId, DialError, ListenError, SwarmEvent, dial_opts::DialOpts},
};
use tokio::{sync::oneshot, task::JoinError};
use tracing::{debug, error, info, warn};

use super::{
    Counter, Event, ProtocolCounters, REPLY_BYTES_MAX, RequestError,
    behaviour::{BehaviourEvent, run_of},
    event_loop::{Done, EventLoop, unix_seconds},
    handle::Command,
    neighbors::{Contact, Overlay, node_id},
    requests::Reply,
};
use crate::{
    discovery::{
        Action, News, address,
        cause::{self, Cause},
        resolve,
    },
    watched,
};

/// Longest part of a peer's own words that is logged.
const WORDS_MAX: usize = 64;

impl EventLoop {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.counters.count(Counter::ConnectionsOpened);
                let remote = endpoint.get_remote_address().clone();
                let now = self.now();
                self.discovery
                    .connected(connection_id, peer_id, &remote, now, &mut self.rng);
                self.peers.opened(peer_id, connection_id, remote);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                cause,
                ..
            } => {
                debug!(peer = %peer_id, cause = ?cause, "connection closed");
                self.counters.count(Counter::ConnectionsClosed);
                self.peers.closed(&peer_id, connection_id);
                self.runs().closed(peer_id, connection_id);
                if num_established == 0 {
                    self.discovery.disconnected(&peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
            } => {
                if let (Some(peer), DialError::WrongPeerId { address, .. }) = (&peer_id, &error) {
                    let now = self.now();
                    // One address is another node's; the peer's others are good and stay.
                    self.discovery.strayed(peer, address, now);
                }
                self.on_dial_failed(connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                ..
            } => {
                self.on_inbound_failed(&send_back_addr, &error);
            }
            SwarmEvent::NewListenAddr { .. }
            | SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ListenerClosed { .. } => self.on_listeners_changed(),
            // It goes on listening: one that has ended is told of as closed.
            SwarmEvent::ListenerError { error, .. } => {
                warn!(%error, "trouble with listening");
            }
            // Candidates for external addresses are weighed by what identify tells.
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Overlay(event) => self.on_overlay_event(event),
            BehaviourEvent::Broadcast(event) => self.on_broadcast_event(event),
            BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                connection_id,
                info,
            }) => {
                self.on_identified(peer_id, connection_id, &info);
            }
            BehaviourEvent::Identify(_) => {}
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                let now = self.now();
                self.discovery.discovered(found, now);
            }
            BehaviourEvent::Mdns(mdns::Event::Expired(gone)) => self.discovery.expired(gone),
            BehaviourEvent::Link(event) => self.on_link_event(event),
        }
    }

    fn on_overlay_event(&mut self, event: hyparview::Event) {
        let now = self.now();
        match event {
            hyparview::Event::NeighborUp { peer, addresses } => {
                info!(%peer, "neighbour up");
                self.counters.count(Counter::NeighborsUp);
                let broadcast = &mut self.swarm.behaviour_mut().broadcast;
                broadcast.neighbor_up(peer);
                // The next ping may be seconds away.
                if let Some(rtt) = self.peers.rtt(&peer) {
                    broadcast.measured(peer, rtt);
                }
                self.on_neighbor_up(peer, addresses);
            }
            // The tree goes by peers, not by addresses: nothing has changed for it.
            hyparview::Event::NeighborMoved { peer, addresses } => {
                self.on_neighbor_up(peer, addresses);
            }
            hyparview::Event::NeighborDown { peer, reason } => {
                info!(%peer, ?reason, "neighbour down");
                self.counters.count(Counter::NeighborsDown);
                self.swarm.behaviour_mut().broadcast.neighbor_down(peer);
                self.discovery.neighbor_down(&peer, now, &mut self.rng);
                // Who went in any other way may come back, and is worth trying.
                if reason == hyparview::DownReason::Left {
                    self.discovery.left(&peer, now);
                }
                self.peers.down(&peer, reason);
                self.publish_overlay();
            }
            hyparview::Event::Isolated => {
                debug!("no neighbour and nobody left to try");
                self.counters.count(Counter::Isolated);
                self.discovery.isolated(now);
                // Alone, the overlay does not say `Wanting` besides. It needs names to ask as well: discovery
                // itself dials only a few at a time.
                self.discovery.wanting(now, &mut self.rng);
            }
            hyparview::Event::Wanting => self.discovery.wanting(now, &mut self.rng),
            hyparview::Event::Misbehaved { peer, what } => {
                debug!(%peer, %what, "peer misbehaved");
                self.counters.count(Counter::Misbehaved);
            }
        }
    }

    fn on_neighbor_up(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let now = self.now();
        self.discovery
            .neighbor_up(peer, &addresses, unix_seconds(), now);
        self.peers.up(peer, addresses, SystemTime::now());
        self.publish_overlay();
    }

    pub(super) fn publish_overlay(&self) {
        let behaviour = self.swarm.behaviour();
        // Without a look whether they have changed: nobody waits for these.
        self.protocols.send_replace(ProtocolCounters {
            overlay: behaviour.overlay.counters(),
            broadcast: behaviour.broadcast.counters(),
        });
        let passive = behaviour.overlay.passive_len();
        let overlay = Overlay {
            remembered: self.discovery.remembered().map(node_id).collect(),
            contacts: self.contacts.clone(),
            ..self.peers.overlay(passive)
        };
        // Called also where nothing may have changed: who watches is woken by a change only.
        watched::set(&self.overlay, overlay);
    }

    fn on_identified(&mut self, peer: PeerId, connection: ConnectionId, info: &identify::Info) {
        let now = self.now();
        let protocols = info.protocols.iter().map(AsRef::as_ref);
        let describes = match info.protocol_version.strip_prefix("/starling/") {
            Some(cluster) => format!("cluster {}", shown(cluster)),
            None => shown(&info.agent_version),
        };
        if self
            .discovery
            .identified(peer, protocols, &describes, now, &mut self.rng)
        {
            let listen = self.listening.borrow().clone();
            self.discovery.seen_by(peer, &info.observed_addr, &listen);
            let address = self.peers.remote(&peer, connection).cloned();
            if let (Some(run), Some(address)) = (run_of(&info.agent_version), address) {
                self.runs()
                    .identified(peer, connection, address, run, Instant::now());
                // Should the node be too busy to hear of it, it asks with the next heartbeat.
                drop(self.events.try_send(Event::Met {
                    peer: node_id(&peer),
                }));
            }
        } else {
            self.counters.count(Counter::Strangers);
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(rtt) => {
                // What proves a process alive is when the question was sent, see `runs`.
                if let Some(sent) = Instant::now().checked_sub(rtt) {
                    self.runs().answered(event.peer, event.connection, sent);
                }
                let broadcast = &mut self.swarm.behaviour_mut().broadcast;
                broadcast.measured(event.peer, rtt);
                if self.peers.measured(&event.peer, event.connection, rtt) {
                    self.publish_overlay();
                }
            }
            // Somebody who does not even ping will be found out by identify.
            Err(ping::Failure::Unsupported) => {}
            // The second failure in a row: the first is not reported.
            Err(error) => {
                info!(peer = %event.peer, %error, "peer does not answer, closing");
                self.counters.count(Counter::PingsFailed);
                self.swarm.close_connection(event.connection);
            }
        }
    }

    fn on_dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        let cause = cause::of_dial(error);
        // Without a cause it has found ourselves, which is no failure.
        if let Some(cause) = &cause {
            self.counters.count(Counter::DialsFailed);
            match cause.kind() {
                cause::Kind::WrongPeer => self.counters.count(Counter::WrongPeers),
                cause::Kind::Handshake | cause::Kind::Closed => {
                    self.counters.count(Counter::HandshakesFailed);
                }
                cause::Kind::Denied => self.counters.count(Counter::ConnectionsDenied),
                cause::Kind::Unreachable | cause::Kind::Unresolved | cause::Kind::OtherCluster => {}
            }
            debug!(%cause, "dial failed");
        }
        let now = self.now();
        self.discovery
            .dial_failed(connection, cause, now, &mut self.rng);
    }

    fn on_inbound_failed(&mut self, from: &Multiaddr, error: &ListenError) {
        match error {
            ListenError::Denied { cause } => {
                self.counters.count(Counter::ConnectionsDenied);
                debug!(%from, %cause, "inbound connection denied");
            }
            ListenError::Transport(error) => {
                // The innermost: those above it only name the layer that failed.
                let what = cause::layers(error)
                    .last()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                debug!(%from, what, "inbound handshake failed");
                self.counters.count(Counter::InboundFailed);
                // QUIC has no swarm key: nothing that an operator could mend.
                if let Some(host) = address::ip(from).filter(|_| !address::is_quic(from)) {
                    let now = self.now();
                    self.inbound_failures.failed(host, what, now);
                }
            }
            // We met ourselves, or stopped listening.
            ListenError::LocalPeerId { .. }
            | ListenError::Aborted
            | ListenError::WrongPeerId { .. } => {}
        }
    }

    pub(super) fn tell_inbound_failures(&mut self) {
        let now = self.now();
        let connected = |host| self.peers.connected_with(host);
        for host in self.inbound_failures.recovered(connected) {
            info!(
                %host,
                over = "handshakes with this host fail",
                "a handshake with this host has succeeded"
            );
        }
        for (host, what) in self.inbound_failures.judge(now, connected) {
            warn!(
                %host, error = what,
                "handshakes with this host fail: not a node, or one with another swarm key"
            );
        }
    }

    fn on_listeners_changed(&mut self) {
        let mut addresses: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        // The swarm keeps them in no order, and another order is no news.
        addresses.sort_unstable();
        if watched::set(&self.listening, addresses.clone()) {
            info!(addresses = ?addresses, "listening");
        }
    }

    fn on_link_event(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                Message::Request {
                    request, channel, ..
                } => {
                    self.on_request(peer, request, channel);
                }
                Message::Response {
                    request_id,
                    response,
                } => {
                    self.requests.answered(request_id, response);
                }
            },
            request_response::Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                debug!(%peer, %error, "request failed");
                self.counters.count(Counter::RequestsFailed);
                self.requests.failed(request_id, &error);
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                // An omission is our own doing and counted where it is done.
                if !matches!(error, InboundFailure::ResponseOmission) {
                    debug!(%peer, %error, "reply not delivered");
                }
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_request(&mut self, from: PeerId, body: Vec<u8>, channel: ResponseChannel<Vec<u8>>) {
        // Dropping the channel refuses at once: the asker need not wait for its time-out.
        if !self.requests.may_serve(&from) {
            self.counters.count(Counter::RequestsRefused);
            return;
        }
        let (reply, answer) = oneshot::channel();
        let request = Event::Request {
            from: node_id(&from),
            body,
            reply,
        };
        if self.events.try_send(request).is_err() {
            self.counters.count(Counter::RequestsRefused);
            return;
        }
        self.counters.count(Counter::RequestsServed);
        self.requests
            .serving(from, channel, answer, self.request_timeout);
    }

    pub(super) fn on_reply(&mut self, reply: Reply) {
        let Some(body) = reply.body else {
            self.counters.count(Counter::RequestsRefused);
            return;
        };
        if body.len() > REPLY_BYTES_MAX {
            let size = body.len();
            error!(size, most = REPLY_BYTES_MAX, "reply not sent: too large");
            self.counters.count(Counter::Oversized);
            return;
        }
        // It comes back if the peer has gone meanwhile; nobody is left to be told.
        drop(
            self.swarm
                .behaviour_mut()
                .link
                .send_response(reply.channel, body),
        );
    }

    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Request { peer, body, answer } => {
                if !self.requests.may_send() {
                    let _ = answer.send(Err(RequestError::Busy));
                    return;
                }
                self.counters.count(Counter::RequestsSent);
                self.dial_for_request(peer);
                let id = self.swarm.behaviour_mut().link.send_request(&peer, body);
                self.requests.sent(id, answer);
            }
            Command::OverlayCounters(answer) => {
                // The asker may have gone.
                let _ = answer.send(self.swarm.behaviour().overlay.counters());
            }
            Command::Broadcast(content) => self.broadcast(&content),
            Command::BroadcastCounters(answer) => {
                let _ = answer.send(self.swarm.behaviour().broadcast.counters());
            }
            // What it says of the edges comes as events.
            Command::Follow(root) => self.swarm.behaviour_mut().broadcast.set_root(root),
            Command::Leave(done) => self.begin_leaving(done),
            #[cfg(test)]
            Command::Panic => panic!("a test has asked for it"),
        }
    }

    /// Connects to `peer` if it is not and its addresses are known. The link behaviour finds the
    /// dial under way and waits for it.
    fn dial_for_request(&mut self, peer: PeerId) {
        let addresses = self.discovery.book().addresses(&peer);
        if addresses.is_empty() || self.swarm.is_connected(&peer) {
            return;
        }
        let dial = DialOpts::peer_id(peer)
            .addresses(addresses)
            .allocate_new_port()
            .build();
        // The link behaviour hears of a failure as well and fails the request.
        let _ = self.swarm.dial(dial);
    }

    pub(super) fn on_done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Resolved(index, addresses)) => {
                let now = self.now();
                if addresses.is_err() {
                    self.counters.count(Counter::NamesUnresolved);
                }
                let found = self
                    .discovery
                    .resolved(index, addresses, now, &mut self.rng);
                for address in found {
                    let dial = fresh_dial(address);
                    // Noted before the dial: a failure at once has to find whose it is.
                    let connection = dial.connection_id();
                    self.discovery.dialing(index, connection);
                    if let Err(error) = self.swarm.dial(dial) {
                        self.on_dial_failed(connection, &error);
                    }
                }
            }
            Ok(Done::BookWritten(written)) => self.on_book_written(written),
            Err(error) => error!(%error, "a task of the network failed"),
        }
    }

    /// Does what discovery wants and tells what it found.
    pub(super) fn carry_out(&mut self) {
        while let Some(action) = self.discovery.next_action() {
            debug!(?action, "discovery");
            let overlay = &mut self.swarm.behaviour_mut().overlay;
            match action {
                Action::Resolve(index, address) => {
                    self.counters.count(Counter::BootstrapAttempts);
                    self.tasks.spawn(async move {
                        Done::Resolved(index, resolve::resolve(&address).await)
                    });
                }
                Action::Join(peer, addresses) => overlay.join(peer, addresses),
                Action::Learn(peer, addresses, permanent) => {
                    overlay.learn(peer, addresses, permanent);
                }
                Action::Refuse(peer) => {
                    // An error means that it has just closed.
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
                Action::Advertise(address) => {
                    info!(%address, "others see us at this address");
                    self.swarm.add_external_address(address);
                }
                Action::Withdraw(address) => self.swarm.remove_external_address(&address),
            }
        }
        while let Some(news) = self.discovery.next_news() {
            tell(&news);
        }
        if let Some(reports) = self.discovery.reports() {
            let start = self.wall_start;
            let contact = |report| Contact::new(report, start);
            self.contacts = reports.into_iter().map(contact).collect();
            self.publish_overlay();
        }
    }
}

/// A dial from a port of its own, as all our dials are: if two nodes dialled each other from the
/// ports that they listen on, the two dials could become one connection with two initiators.
fn fresh_dial(address: Multiaddr) -> DialOpts {
    DialOpts::unknown_peer_id()
        .address(address)
        .allocate_new_port()
        .build()
}

fn tell(news: &News) {
    match news {
        News::Reached(address, peer) => info!(
            %address, %peer,
            over = "cannot join through this address",
            "bootstrap peer reached"
        ),
        // While a cluster starts, some are not up yet, or too busy; that passes by itself.
        News::Failing(address, cause @ (Cause::Unreachable(_) | Cause::Closed(_))) => {
            warn!(%address, %cause, "cannot join through this address yet; will keep trying");
        }
        News::Failing(address, cause) => {
            error!(%address, %cause, "cannot join through this address; will keep trying");
        }
        News::Ourselves(address) => info!(%address, "bootstrap address is our own"),
        News::Stranger(peer, what) => {
            warn!(%peer, what, "refused a peer that is not of our cluster");
        }
        News::Admitted(peer) => info!(
            %peer,
            over = "refused a peer that is not of our cluster",
            "a peer that was refused is of our cluster now"
        ),
    }
}

/// A peer's own words, fit for a log line.
fn shown(words: &str) -> String {
    words
        .chars()
        .take(WORDS_MAX)
        .flat_map(char::escape_debug)
        .collect()
}

#[cfg(test)]
mod tests {
    use libp2p::{Multiaddr, PeerId};

    use super::{Cause, News, tell};
    use crate::telemetry;

    #[test]
    fn an_address_that_leads_to_a_peer_ends_what_was_said_of_it() {
        let address: Multiaddr = "/ip4/192.0.2.77/tcp/7400".parse().unwrap();
        let lasting = || {
            let mut all = telemetry::recent();
            all.retain(|it| it.detail.contains("192.0.2.77") && it.over.is_none());
            all.len()
        };
        let failing = |cause| tell(&News::Failing(address.clone(), cause));
        telemetry::watch(|| {
            failing(Cause::Unreachable("connection refused".to_owned()));
            failing(Cause::Handshake("another key".to_owned()));
            assert_eq!(lasting(), 2);
            tell(&News::Reached(address.clone(), PeerId::random()));
            assert_eq!(lasting(), 0);
        });
    }

    #[test]
    fn a_peer_of_ours_is_no_stranger_any_more() {
        let peer = PeerId::random();
        let lasting = || {
            let all = telemetry::recent();
            let is_it = |it: &crate::api::LogWarning| {
                it.detail.contains(&peer.to_string()) && it.over.is_none()
            };
            all.iter().any(is_it)
        };
        telemetry::watch(|| {
            tell(&News::Stranger(peer, "other".to_owned()));
            assert!(lasting());
            tell(&News::Admitted(PeerId::random()));
            assert!(lasting(), "it was another");
            tell(&News::Admitted(peer));
            assert!(!lasting());
        });
    }
}
