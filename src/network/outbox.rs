//! Events on their way to the node.
//!
//! The swarm never waits for the node. What the node must not miss waits here, and stays
//! bounded because only the newest of a neighbour matters: an up that was not taken yet and the
//! down after it cancel out. A peer's request is handed over at once or refused.

use std::{collections::VecDeque, net::IpAddr};

use hyparview::DownReason;
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot};

use crate::identity::NodeId;

/// Events that the node has not taken yet. Enough for a burst of requests from every neighbour.
pub(super) const CHANNEL_CAPACITY: usize = 64;

/// What the network tells the node.
#[derive(Debug)]
pub enum Event {
    /// `peer` is a neighbour from now on. Told again, without a down between, when its addresses
    /// have changed.
    NeighborUp {
        /// Who.
        peer: NodeId,
        /// Hosts at which its store may be reached, the likeliest first.
        hosts: Vec<IpAddr>,
        /// Addresses at which its controller is reached, the best first.
        addresses: Vec<Multiaddr>,
    },
    /// `peer` is no neighbour any more.
    NeighborDown {
        /// Who.
        peer: NodeId,
        /// Why.
        reason: DownReason,
    },
    /// `peer` is connected and belongs to the cluster. Told for each connection.
    Met {
        /// Who.
        peer: NodeId,
    },
    /// `from` asks; it need not be a neighbour. Dropping `reply` refuses.
    Request {
        /// The authenticated sender.
        from: NodeId,
        /// What it asks, as its node encoded it.
        body: Vec<u8>,
        /// Takes the answer; at most [`REPLY_BYTES_MAX`](super::REPLY_BYTES_MAX) bytes.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// `from` says this to all nodes; it supersedes what it said before. Heard once, and sealed by
    /// `from`.
    Broadcast {
        /// Who says it; it need not be a neighbour.
        from: NodeId,
        /// As its node encoded it.
        content: Vec<u8>,
        /// How many links it has come along.
        hops: u16,
    },
    /// The addresses we listen on now: all of them.
    Listening {
        /// With the ports that were chosen.
        addresses: Vec<Multiaddr>,
    },
}

/// The events that wait for room in the channel.
#[derive(Debug)]
pub(super) struct Outbox {
    channel: mpsc::Sender<Event>,
    waiting: VecDeque<Event>,
}

impl Outbox {
    pub(super) fn new(channel: mpsc::Sender<Event>) -> Self {
        Self {
            channel,
            waiting: VecDeque::new(),
        }
    }

    /// Sends as soon as there is room; what it makes superfluous is dropped.
    pub(super) fn push(&mut self, event: Event) {
        match &event {
            Event::NeighborUp { peer, .. } => {
                // A down that waits stays: the former relation has to end before the node hears of this one.
                self.waiting
                    .retain(|it| !matches!(it, Event::NeighborUp { peer: up, .. } if up == peer));
            }
            Event::NeighborDown { peer, .. } => {
                let down_waits = self
                    .waiting
                    .iter()
                    .any(|it| matches!(it, Event::NeighborDown { peer: down, .. } if down == peer));
                self.waiting
                    .retain(|it| !matches!(it, Event::NeighborUp { peer: up, .. } if up == peer));
                // An up between two downs is of no interest any more, and the node is told of one down.
                if down_waits {
                    return;
                }
            }
            Event::Listening { .. } => {
                self.waiting
                    .retain(|it| !matches!(it, Event::Listening { .. }));
            }
            Event::Request { .. } | Event::Broadcast { .. } | Event::Met { .. } => {}
        }
        self.waiting.push_back(event);
        self.flush();
    }

    /// Hands over a request or a broadcast, or gives it back if the node has fallen behind.
    pub(super) fn offer(&mut self, request: Event) -> Result<(), Event> {
        // What waits has the next room: the node must not miss it.
        if !self.waiting.is_empty() {
            return Err(request);
        }
        self.channel
            .try_send(request)
            .map_err(|refused| refused.into_inner())
    }

    /// Whether [`ready`](Self::ready) has anything to wait for.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Waits for room for the first that waits. `false`: the node does not listen any more.
    pub(super) async fn ready(&mut self) -> bool {
        let Ok(permit) = self.channel.reserve().await else {
            self.waiting.clear();
            return false;
        };
        if let Some(event) = self.waiting.pop_front() {
            permit.send(event);
        }
        true
    }

    fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if let Err(refused) = self.channel.try_send(event) {
                self.waiting.push_front(refused.into_inner());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyparview::DownReason;
    use tokio::sync::{mpsc, oneshot};

    use super::{Event, Outbox};
    use crate::identity::NodeId;

    fn name(number: usize) -> NodeId {
        format!("node{number}").parse().unwrap()
    }

    fn up(number: usize) -> Event {
        Event::NeighborUp {
            peer: name(number),
            hosts: Vec::new(),
            addresses: Vec::new(),
        }
    }

    fn down(number: usize) -> Event {
        Event::NeighborDown {
            peer: name(number),
            reason: DownReason::Closed,
        }
    }

    fn request() -> Event {
        Event::Request {
            from: name(9),
            body: Vec::new(),
            reply: oneshot::channel().0,
        }
    }

    async fn drain(outbox: &mut Outbox, events: &mut mpsc::Receiver<Event>) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            while let Ok(event) = events.try_recv() {
                seen.push(match event {
                    Event::NeighborUp { peer, .. } => format!("up {peer}"),
                    Event::NeighborDown { peer, .. } => format!("down {peer}"),
                    Event::Request { .. } => "request".to_owned(),
                    Event::Met { peer } => format!("met {peer}"),
                    Event::Listening { addresses } => format!("listening {}", addresses.len()),
                    Event::Broadcast { from, .. } => format!("broadcast of {from}"),
                });
            }
            if outbox.is_empty() {
                return seen;
            }
            assert!(outbox.ready().await);
        }
    }

    #[tokio::test]
    async fn a_node_that_keeps_up_hears_everything_in_order() {
        let (sender, mut events) = mpsc::channel(8);
        let mut outbox = Outbox::new(sender);
        for event in [up(1), down(1), up(1)] {
            outbox.push(event);
        }
        outbox.offer(request()).unwrap();
        assert_eq!(
            drain(&mut outbox, &mut events).await,
            ["up node1", "down node1", "up node1", "request"]
        );
    }

    #[tokio::test]
    async fn a_node_that_fell_behind_hears_what_is_true_now() {
        let (sender, mut events) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        outbox.push(up(0)); // Fills the channel.
        for _ in 0..1000 {
            outbox.push(down(0));
            outbox.push(up(0));
            outbox.push(up(1));
            outbox.push(down(1));
            outbox.push(Event::Listening {
                addresses: Vec::new(),
            });
        }
        assert!(outbox.waiting.len() <= 5, "{} wait", outbox.waiting.len());
        assert!(outbox.offer(request()).is_err(), "requests do not wait");
        let heard = drain(&mut outbox, &mut events).await;
        assert_eq!(
            heard.iter().rfind(|it| it.ends_with("node0")).unwrap(),
            "up node0"
        );
        let last_of_other = heard.iter().rfind(|it| it.ends_with("node1"));
        assert!(
            last_of_other.is_none_or(|it| it == "down node1"),
            "{heard:?}"
        );
    }

    #[tokio::test]
    async fn nobody_listening_is_noticed() {
        let (sender, events) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        drop(events);
        outbox.push(up(1));
        assert!(!outbox.ready().await);
        assert!(outbox.is_empty());
    }
}
