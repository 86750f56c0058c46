//! Rounds of gossip with the neighbours: when, with whom, and what came of it.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tracing::debug;

use crate::{
    directory::{Directory, Gossip, HEARTBEAT, roles::RoleRecord},
    identity::NodeId,
    network,
    node::{
        part::{ClockAnswer, Event, PositionAnswer},
        peer_protocol::{self, BroadcastMessage, Presence, Reply, Request},
    },
    replication::{Asked, Position, Reading},
};

/// How often directories are compared with each neighbour, although there is no news: what the
/// broadcast missed comes to light then.
const EXCHANGE: Duration = HEARTBEAT.saturating_mul(6);

/// News wait this long for company, so that a change at many nodes is one round and not many.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Our store's clock, once it was read.
type StoreClock = watch::Receiver<Option<Reading>>;

/// Answers waiting to be taken in. One round at a time runs with each neighbour, and there are few.
const ANSWERS_MAX: usize = 64;

/// What a task of ours came back with.
#[derive(Debug)]
struct Answer {
    /// With whom a round has ended, if it was one.
    round: Option<NodeId>,
    /// What was said.
    events: Vec<Event>,
}

/// Runs rounds of gossip. Owns no knowledge: that is the [`Directory`]'s.
#[derive(Debug)]
pub(in crate::node) struct Gossiper {
    network: network::Handle,
    /// When we speak of ourselves next.
    due: Instant,
    /// When the next round with everybody is due; it takes place when we speak.
    exchange_due: Instant,
    /// Neighbours with a round under way.
    busy: BTreeSet<NodeId>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
    clock: StoreClock,
    /// When the node looks around next, although nothing happens.
    alarm: Option<Instant>,
}

/// Something for the node to do about gossip.
#[derive(Debug)]
pub(in crate::node) enum GossipEvent {
    /// It is time to speak of ourselves to all, and perhaps for a round with the neighbours.
    Due {
        /// Whether a round with the neighbours is due as well.
        exchange: bool,
    },
    /// Peers have answered.
    Told(Vec<Event>),
    /// It is time to look around.
    Alarm,
}

impl Gossiper {
    pub(in crate::node) fn new(network: network::Handle) -> Self {
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        let due = Instant::now();
        Self {
            network,
            due,
            exchange_due: due,
            busy: BTreeSet::new(),
            tasks: JoinSet::new(),
            sender,
            answers,
            clock: watch::Sender::default().subscribe(),
            alarm: None,
        }
    }

    /// The store's clock can be read from now on.
    pub(in crate::node) fn set_clock(&mut self, clock: StoreClock) {
        self.clock = clock;
    }

    /// Asks a peer for the time of its store, after a pause.
    pub(in crate::node) fn ask_clock(&mut self, peer: NodeId, after: Duration) {
        let (network, clock) = (self.network.clone(), self.clock.clone());
        self.ask(async move {
            sleep(after).await;
            let answer = ask_time(&network, &peer, &clock).await;
            Some(Event::Clock {
                peer,
                answer,
                in_round: false,
            })
        });
    }

    /// Asks a peer whether it sees another process with our key.
    pub(in crate::node) fn ask_presence(&mut self, peer: NodeId, presence: Presence) {
        let network = self.network.clone();
        let body = peer_protocol::encode(&Request::Presence(presence));
        self.ask(async move {
            // Who does not answer has seen nothing; it is asked again with the next heartbeat.
            let body = network.request(peer.clone(), body).await.ok()?;
            match peer_protocol::decode(&body) {
                Some(Reply::Presence(seen)) => Some(Event::Seen(peer, seen)),
                _ => None,
            }
        });
    }

    /// Compares application roles with a peer.
    pub(in crate::node) fn share_roles(&mut self, peer: NodeId, records: Vec<RoleRecord>) {
        let network = self.network.clone();
        let body = peer_protocol::encode(&Request::Roles(records));
        self.ask(async move {
            // Who does not answer is asked again with the next round.
            let body = network.request(peer.clone(), body).await.ok()?;
            match peer_protocol::decode(&body) {
                Some(Reply::Roles(records)) => Some(Event::Roles(peer, records)),
                _ => None,
            }
        });
    }

    /// Tells a neighbour our position.
    pub(in crate::node) fn tell_position(
        &mut self,
        peer: NodeId,
        relation: u64,
        position: Position,
    ) {
        let network = self.network.clone();
        let body = peer_protocol::encode(&Request::Position(position));
        self.ask(async move {
            let answer = match network.request(peer.clone(), body).await {
                Ok(body) => match peer_protocol::decode(&body) {
                    Some(Reply::Position(position)) => PositionAnswer::Position(position),
                    // An earlier version, which does not know what it was told.
                    _ => PositionAnswer::Unknown,
                },
                Err(error) => {
                    debug!(%peer, %error, "our position was not taken in");
                    PositionAnswer::Silence
                }
            };
            Some(Event::PositionTold {
                peer,
                relation,
                answer,
            })
        });
    }

    /// Asks beside the loop; what comes of it is told in [`next`](Self::next).
    fn ask(&mut self, asking: impl Future<Output = Option<Event>> + Send + 'static) {
        self.forget_ended();
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            if let Some(event) = asking.await {
                let answer = Answer {
                    round: None,
                    events: vec![event],
                };
                // Nobody takes it any more when the node ends.
                let _ = sender.send(answer).await;
            }
        });
    }

    /// Nobody waits for tasks that have ended; they would pile up.
    fn forget_ended(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }

    /// We speak of ourselves soon.
    pub(in crate::node) fn speak_soon(&mut self) {
        self.due = self.due.min(Instant::now() + DEBOUNCE);
    }

    /// A round with everybody soon.
    pub(in crate::node) fn exchange_soon(&mut self) {
        self.speak_soon();
        self.exchange_due = self.exchange_due.min(self.due);
    }

    /// The node is to look around then, or never by itself.
    pub(in crate::node) fn wake_at(&mut self, time: Option<std::time::Instant>) {
        self.alarm = time.map(Instant::from_std);
    }

    /// The next thing to do. Safe to drop and call again.
    pub(in crate::node) async fn next(&mut self) -> GossipEvent {
        tokio::select! {
            Some(answer) = self.answers.recv() => {
                if let Some(peer) = &answer.round {
                    self.busy.remove(peer);
                }
                GossipEvent::Told(answer.events)
            }
            () = sleep_until(self.due) => {
                let now = Instant::now();
                self.due = now + HEARTBEAT;
                let exchange = self.exchange_due <= now;
                if exchange {
                    self.exchange_due = now + EXCHANGE;
                }
                GossipEvent::Due { exchange }
            }
            () = at(self.alarm) => {
                self.alarm = None;
                GossipEvent::Alarm
            }
        }
    }

    /// Says to all nodes what we say of ourselves. What is too long for that, a vector of very many
    /// sites, is not said so: `false`.
    pub(in crate::node) fn speak(&self, directory: &Directory) -> bool {
        let word = peer_protocol::encode(&BroadcastMessage::Status(directory.status()));
        word.len() <= network::BROADCAST_BYTES_MAX && self.network.broadcast(word)
    }

    /// Starts a round with each neighbour that has none under way.
    pub(in crate::node) fn round<'a>(
        &mut self,
        directory: &mut Directory,
        neighbors: impl Iterator<Item = &'a NodeId>,
        now: Duration,
    ) {
        self.forget_ended();
        for peer in neighbors {
            if !self.busy.insert(peer.clone()) {
                continue;
            }
            let request = Request::Status(directory.gossip_for(peer, now));
            let (network, sender, peer) = (self.network.clone(), self.sender.clone(), peer.clone());
            let clock = self.clock.clone();
            self.tasks.spawn(async move {
                let clock = Event::Clock {
                    peer: peer.clone(),
                    answer: ask_time(&network, &peer, &clock).await,
                    in_round: true,
                };
                let gossip = exchange(&network, &peer, &request).await;
                let gossip = gossip.map(|gossip| Event::Gossip(peer.clone(), gossip));
                // Also when nothing was said: the neighbour is free for the next round by that.
                let answer = Answer {
                    round: Some(peer),
                    events: [clock].into_iter().chain(gossip).collect(),
                };
                let _ = sender.send(answer).await;
            });
        }
    }

    /// One more round with everybody, and its end, within `limit`.
    pub(in crate::node) async fn last_round<'a>(
        &mut self,
        directory: &mut Directory,
        neighbors: impl Iterator<Item = &'a NodeId>,
        now: Duration,
        limit: Duration,
    ) {
        // A round under way has not our farewell in it; and nobody takes any other answer from now on.
        self.tasks.abort_all();
        self.answers.close();
        self.busy.clear();
        self.round(directory, neighbors, now);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(limit, all).await;
    }
}

/// Waits until then; without a time for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Asks for the time of a neighbour's store, and compares it with ours.
async fn ask_time(network: &network::Handle, peer: &NodeId, ours: &StoreClock) -> ClockAnswer {
    // Without the clock of our own store there is nothing to compare with.
    if ours.borrow().is_none() {
        return ClockAnswer::NotYet;
    }
    let asked = Asked::now();
    let body = peer_protocol::encode(&Request::Clock);
    let Ok(body) = network.request(peer.clone(), body).await else {
        return ClockAnswer::NotYet;
    };
    match (peer_protocol::decode(&body), *ours.borrow()) {
        (Some(Reply::Clock(Some(time))), Some(ours)) => {
            ClockAnswer::Time(Reading::of(&asked, time.at, time.error).against(&ours))
        }
        (Some(Reply::Clock(_)), _) => ClockAnswer::NotYet,
        // An earlier version, which does not know the question.
        _ => ClockAnswer::Never,
    }
}

async fn exchange(network: &network::Handle, peer: &NodeId, request: &Request) -> Option<Gossip> {
    match network
        .request(peer.clone(), peer_protocol::encode(request))
        .await
    {
        Ok(body) => match peer_protocol::decode(&body) {
            Some(Reply::Status(gossip)) => Some(gossip),
            other => {
                debug!(%peer, ?other, "answer to gossip makes no sense");
                None
            }
        },
        Err(error) => {
            debug!(%peer, %error, "gossip was not answered");
            None
        }
    }
}
