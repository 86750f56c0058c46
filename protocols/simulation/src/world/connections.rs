//! Connections: made on demand, shared by both sides, kept in order, closed when idle.

use std::time::Duration;

use super::{Event, Health, Observer, World};
use crate::{NodeId, Protocol, network::nanos};

/// Lists of connections up to this long are searched without further thought.
const SHORT: usize = 16;

/// One connection in its place; the place may be used again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
struct Connection {
    generation: u32,
    open: bool,
    ends: [NodeId; 2],
    /// Which end has sent and not yet released it.
    used: [bool; 2],
    /// When the last message to each end arrives.
    arrival: [u64; 2],
    /// What waits for each end, should it not read.
    unread: [u32; 2],
    latency: u64,
}

impl Connection {
    /// Which of the ends `node` is.
    fn end(&self, node: NodeId) -> usize {
        usize::from(self.ends[1] == node)
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: Vec<Connection>,
    free: Vec<u32>,
}

impl Connections {
    fn open(&mut self, ends: [NodeId; 2], latency: u64, ready: u64) -> u32 {
        let fresh = |generation| Connection {
            generation,
            open: true,
            ends,
            used: [false; 2],
            arrival: [ready; 2],
            unread: [0; 2],
            latency,
        };
        if let Some(slot) = self.free.pop() {
            let place = &mut self.all[slot as usize];
            // What is still on its way in the former connection must not arrive in the new one.
            *place = fresh(place.generation.wrapping_add(1));
            return slot;
        }
        self.all.push(fresh(0));
        u32::try_from(self.all.len() - 1).expect("fewer than 2^32 connections")
    }

    fn get(&mut self, wire: Wire) -> Option<&mut Connection> {
        let connection = &mut self.all[wire.slot as usize];
        (connection.open && connection.generation == wire.generation).then_some(connection)
    }

    fn wire(&self, slot: u32) -> Wire {
        Wire {
            slot,
            generation: self.all[slot as usize].generation,
        }
    }
}

/// The connections of one node: the other end, and where the connection is.
#[derive(Debug, Default)]
pub(super) struct Ends(Vec<(NodeId, u32)>);

impl Ends {
    fn find(&self, peer: NodeId) -> Option<u32> {
        self.0
            .iter()
            .find(|(id, _)| *id == peer)
            .map(|(_, slot)| *slot)
    }

    fn remove(&mut self, slot: u32) {
        if let Some(index) = self.0.iter().position(|(_, held)| *held == slot) {
            // The list is only searched, so no order is kept.
            self.0.swap_remove(index);
        }
    }
}

impl<P: Protocol, O: Observer<P>> World<P, O> {
    /// How many connections `node` has.
    pub fn connections(&self, node: NodeId) -> usize {
        self.node(node).ends.0.len()
    }

    /// Whether there is a connection between two nodes.
    pub fn connected(&self, a: NodeId, b: NodeId) -> bool {
        self.find(a, b).is_some()
    }

    /// The connection between two nodes. The list of `a`, who is at work, is at hand; that of `b` is looked
    /// at only if it may spare a long search, for a contact that everybody joins through has a long one.
    pub(super) fn find(&self, a: NodeId, b: NodeId) -> Option<u32> {
        let of_a = &self.node(a).ends;
        if of_a.0.len() <= SHORT {
            return of_a.find(b);
        }
        let of_b = &self.nodes.get(b as usize)?.ends;
        if of_a.0.len() <= of_b.0.len() {
            of_a.find(b)
        } else {
            of_b.find(a)
        }
    }

    pub(super) fn reaches(&self, a: NodeId, b: NodeId) -> bool {
        let (a, b) = (self.reach[a as usize], self.reach[b as usize]);
        a.side == b.side && !a.vanished && !b.vanished
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: P::Message) {
        if let Some(slot) = self.find(from, to).or_else(|| self.dial(from, to)) {
            let connection = &mut self.connections.all[slot as usize];
            connection.used[connection.end(from)] = true;
            self.transmit(slot, from, to, message);
        }
    }

    /// Makes a connection, or lets the dialler know in time that there is none to be had.
    fn dial(&mut self, from: NodeId, to: NodeId) -> Option<u32> {
        // The dial that is under way answers for this one, too.
        if self.node(from).failing.contains(&to) {
            return None;
        }
        self.totals.dials += 1;
        let latency = self.network.distance(self.seed, from, to);
        let Some(peer) = self.nodes.get(to as usize) else {
            return self.fail(from, to, nanos(self.network.dial_timeout));
        };
        // Neither a cut nor a process that stands still refuses: there is just no answer.
        let silent = !self.reaches(from, to) || peer.health == Health::Frozen;
        if silent {
            return self.fail(from, to, nanos(self.network.dial_timeout));
        }
        // The host is there and says no, after one round trip.
        if peer.machine.is_none() || self.network.refuses(&mut self.network_rng) {
            return self.fail(from, to, 2 * latency);
        }
        // Two round trips: TCP, and encryption with the choice of protocols.
        let slot = self
            .connections
            .open([from, to], latency, self.now + 4 * latency);
        self.node_mut(from).ends.0.push((to, slot));
        self.node_mut(to).ends.0.push((from, slot));
        // There and back, each with half of the jitter.
        let round_trip = Duration::from_nanos(2 * latency) + self.network.jitter;
        for (at, peer) in [(from, to), (to, from)] {
            if let Some(machine) = self.node_mut(at).machine.as_mut() {
                machine.measured(peer, round_trip);
            }
        }
        Some(slot)
    }

    fn fail(&mut self, from: NodeId, to: NodeId, after: u64) -> Option<u32> {
        self.totals.failed_dials += 1;
        let incarnation = self.node(from).incarnation;
        self.node_mut(from).failing.push(to);
        self.push(
            after,
            Event::Unreachable {
                at: from,
                incarnation,
                peer: to,
            },
        );
        None
    }

    fn count(&mut self, from: NodeId, message: &P::Message) {
        self.totals.messages += 1;
        self.totals.bytes += P::bytes(message) as u64;
        let now = self.now;
        self.node_mut(from).load.count(now);
    }

    pub(super) fn transmit(&mut self, slot: u32, from: NodeId, to: NodeId, message: P::Message) {
        // Before it can be lost: it was sent all the same.
        self.count(from, &message);
        if self.network.loses(&mut self.network_rng) {
            return;
        }
        let delay = self.network.delay(&mut self.network_rng);
        let connection = &mut self.connections.all[slot as usize];
        let end = connection.end(to);
        // Never before what was sent earlier, whatever its jitter.
        let at = connection.arrival[end].max(self.now + connection.latency + delay);
        connection.arrival[end] = at;
        let wire = self.connections.wire(slot);
        if let Some(later) = self.network.echo(&mut self.network_rng) {
            // Without the connection, which may be gone when the copy comes.
            let message = message.clone();
            self.queue
                .push(at + later, Event::Post { from, to, message });
        }
        self.queue.push(
            at,
            Event::Deliver {
                wire,
                from,
                to,
                message,
            },
        );
    }

    pub(super) fn post(&mut self, from: NodeId, to: NodeId, message: P::Message) {
        self.count(from, &message);
        if to as usize >= self.nodes.len() || self.network.loses(&mut self.network_rng) {
            return;
        }
        let delay = self.network.delay(&mut self.network_rng);
        let after = self.network.distance(self.seed, from, to) + delay;
        self.push(after, Event::Post { from, to, message });
    }

    /// A message has come to the end of its connection.
    pub(super) fn deliver(
        &mut self,
        wire: Wire,
        from: NodeId,
        to: NodeId,
        message: P::Message,
    ) -> NodeId {
        let unread_max = self.network.unread_max;
        let passes = self.reaches(from, to);
        let node = &mut self.nodes[to as usize];
        let Some(connection) = self.connections.get(wire) else {
            return to;
        };
        // Across a cut nothing happens at all: no host hears of it.
        if node.machine.is_none() && passes {
            // The host answers that there is no such connection.
            self.break_connection(wire.slot);
        } else if passes && node.health == Health::Wedged {
            let end = connection.end(to);
            connection.unread[end] += 1;
            // The sender finds its queue full, as the node does.
            if connection.unread[end] > unread_max {
                self.totals.slow += 1;
                self.break_slow(wire.slot, from);
            }
        } else if passes {
            return self.hand_to(
                to,
                Event::Deliver {
                    wire,
                    from,
                    to,
                    message,
                },
            );
        }
        to
    }

    pub(super) fn release(&mut self, node: NodeId, peer: NodeId) {
        let Some(slot) = self.find(node, peer) else {
            return;
        };
        let connection = &mut self.connections.all[slot as usize];
        // The other side may need it still.
        connection.used[connection.end(node)] = false;
        if connection.used == [false; 2] {
            // What is on its way is still delivered.
            let last = connection.arrival[0]
                .max(connection.arrival[1])
                .max(self.now);
            let wire = self.connections.wire(slot);
            let linger = nanos(self.network.linger);
            self.queue.push(last + linger, Event::Idle { wire });
        }
    }

    /// Closes a connection that neither end needs.
    pub(super) fn close_idle(&mut self, wire: Wire) -> NodeId {
        let now = self.now;
        let Some(connection) = self.connections.get(wire) else {
            return 0;
        };
        let [a, b] = connection.ends;
        // Whoever has used it since releases it again, and asks anew.
        let busy =
            connection.used != [false; 2] || connection.arrival[0].max(connection.arrival[1]) > now;
        let needs = |node, peer| {
            self.machine(node)
                .is_some_and(|machine| machine.needs(peer))
        };
        if !busy && !needs(a, b) && !needs(b, a) {
            self.break_connection(wire.slot);
        }
        a
    }

    pub(super) fn break_connection(&mut self, slot: u32) {
        self.part(slot, None);
    }

    /// `by` gives up the other end because it does not read.
    fn break_slow(&mut self, slot: u32, by: NodeId) {
        self.part(slot, Some(by));
    }

    /// Takes a connection away and tells both ends, each after the time that the news takes.
    fn part(&mut self, slot: u32, by: Option<NodeId>) {
        let connection = &mut self.connections.all[slot as usize];
        if !connection.open {
            return;
        }
        connection.open = false;
        let (ends, latency) = (connection.ends, connection.latency);
        // At once: `Wire` tells the next connection in this slot from this one.
        self.connections.free.push(slot);
        for (at, peer) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            self.node_mut(at).ends.remove(slot);
            let incarnation = self.node(at).incarnation;
            // Who gave up knows why; the other end sees a connection that was closed.
            let slow = by == Some(at);
            let closed = Event::Closed {
                at,
                incarnation,
                peer,
                slow,
            };
            self.push(latency, closed);
        }
    }

    /// Breaks all connections of `node`.
    pub(super) fn break_all(&mut self, node: NodeId) {
        let mut slots: Vec<u32> = self.node(node).ends.0.iter().map(|(_, at)| *at).collect();
        slots.sort_unstable();
        for slot in slots {
            self.break_connection(slot);
        }
    }

    /// Breaks the connection between two nodes, if there is one.
    pub fn sever(&mut self, a: NodeId, b: NodeId) {
        if let Some(slot) = self.find(a, b) {
            self.break_connection(slot);
        }
    }

    /// Breaks the connections that cross a cut, and tells their ends.
    pub(super) fn break_crossing(&mut self) {
        // Not by nodes: each connection would come twice.
        for slot in 0..u32::try_from(self.connections.all.len()).unwrap_or(u32::MAX) {
            let connection = &self.connections.all[slot as usize];
            if connection.open && !self.reaches(connection.ends[0], connection.ends[1]) {
                self.break_connection(slot);
            }
        }
    }
}
