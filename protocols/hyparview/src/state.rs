//! The HyParView state machine: the whole protocol, without I/O, clock or randomness of its own.
//!
//! One dispatcher, and one small function per input in the file that bears the rule's name. What a rule may change
//! is named by the groups of fields that it touches:
//!
//! | group | what |
//! |---|---|
//! | `relations` | the active view, requests in either direction, and relations that have ended |
//! | `reserve` | the passive view, suspects, and bootstrap contacts |
//! | `guards` | quarantine, and the allowances of others |
//! | `switching` | four-node switches under way and wanted |
//! | `healing` | the component's tag, and the probe under way |
//! | `offer` | the shuffle of ours that has no answer yet |
//!
//! | when this arrives | in | this may change |
//! |---|---|---|
//! | `Join`, `Neighbor` | `asked`, `half_open` | `relations`; `guards` (an allowance; the quarantine of who is back, or replaces a relation that has just begun); `reserve` (who had to go, who was refused); `healing` (the tag); `switching` (a switch completed) |
//! | `Accept`, `Refuse` | `neighbor` | `relations`; `reserve` (the sample, who had to go, who has refused); `healing` (the tag) |
//! | `Disconnect` | `disconnect` | `relations`; `reserve` (the sample, who has gone); `guards` (the quarantine of who left for good) |
//! | `ForwardJoin` | `join` | `guards` (two allowances); `reserve` (the newcomer), or `relations` (it is asked) |
//! | `Shuffle` | `shuffle` | `guards` (an allowance); `reserve` (the list) |
//! | `ShuffleReply` | `shuffle` | `offer`; `reserve` (the list) |
//! | `Heartbeat` | `heartbeat` | `relations`; `reserve` (of a peer that confirms: who had to go for it, or itself where there is no room any more); `healing` (the tag) |
//! | `Moved` | `records` | records in `relations` and `reserve` |
//! | `Probe` | `probe` | `guards` (an allowance); `reserve` (who asks) |
//! | `ProbeReply` | `probe`, `optimize` | `healing` and `reserve`, and `relations` if the peer is asked; or `switching`, if it was measured |
//! | the steps of a switch | `remix`, `optimize` | `switching`; `guards` (an allowance) and `reserve` (who proposes) by the first; `relations` and `reserve` (who was given up) when the links are exchanged |
//!
//! That is the message alone. Whoever becomes a neighbour leaves the `reserve`, but for bootstrap contacts. A tag under which two
//! components have merged brings the turn of all suspects (`reserve`) and sets `switching` in motion. A record
//! is taken over wherever its owner is known (`records`). Before each message, its sender ceases to be a suspect
//! (`suspects`: `reserve`, and `switching` when many come back together). After each input, whatever it was,
//! requests that wait are looked at again, and free slots are filled (`refill`: `relations`). A full view without
//! requests that wait is left as it is.
//! `tests/groups.rs` holds each row for a full view, but for switches that are completed and tags under which components merge.
//!
//! | file | what |
//! |---|---|
//! | `relations`, `reserve`, `guards`, `switching`, `healing` | the groups |
//! | `ask`, `request`, `switch`, `line` | a request of another, one of ours, a switch, and the way to a neighbour |
//! | `view` | the active and the passive view: what goes in, what goes out |
//! | `join`, `neighbor`, `asked`, `half_open`, `disconnect` | how neighbour relations begin and end |
//! | `refill` | keeping the active view full |
//! | `shuffle`, `sampler` | keeping the passive view fresh, and a part of it where nobody can push it out |
//! | `heartbeat`, `beacon` | keeping relations alive and symmetric; the component's tag |
//! | `suspects`, `probe` | not forgetting who is out of reach; healing partitions |
//! | `remix`, `crowd` | four-node switches that keep the graph random, and links made in a crowd |
//! | `optimize` | four-node switches that bring near nodes together |
//! | `records` | how peers are reached |
//! | `admission`, `quarantine` | limits on what others may make us do |
//! | `alarms`, `invariants` | timers asked for; what must hold after every input |

use std::{collections::VecDeque, time::Duration};

use rand::Rng;

use crate::{
    Address, Command, Config, Contact, Epoch, Id, Input, Message, Output, Pulse, Timer, io::Event,
};

mod admission;
mod alarms;
mod ask;
mod asked;
mod beacon;
mod crowd;
mod disconnect;
mod guards;
mod half_open;
mod healing;
mod heartbeat;
mod invariants;
mod join;
mod line;
mod neighbor;
mod optimize;
mod probe;
mod quarantine;
mod records;
mod refill;
mod relations;
mod remix;
mod request;
mod reserve;
mod sampler;
mod shuffle;
mod suspects;
mod switch;
mod switching;
#[cfg(test)]
mod tests;
mod view;

pub use invariants::Violation;

use alarms::Alarms;
use ask::Ask;
use guards::Guards;
use healing::Healing;
use refill::Refill;
use relations::Relations;
use reserve::Reserve;
use shuffle::Offer;
use switching::Switching;

/// The membership of one node.
#[derive(Debug)]
pub struct State<I, A> {
    me: Contact<I, A>,
    config: Config,
    /// Orders the starts of this identity.
    incarnation: u64,
    /// Time of the input being handled.
    now: Duration,
    /// Last number given to a request, probe or switch.
    serial: u64,
    /// The application said Leave.
    left: bool,
    /// Neighbours, and requests in either direction.
    relations: Relations<I, A>,
    /// Whom else this node knows.
    reserve: Reserve<I, A>,
    /// Limits on others.
    guards: Guards<I>,
    /// Four-node switches.
    switching: Switching<I, A>,
    /// The component, and the search for others.
    healing: Healing<I>,
    /// Where the filling of free slots is.
    refill: Refill<I>,
    /// The shuffle without an answer.
    offer: Option<Offer<I>>,
    /// When heartbeats were last sent.
    beat_at: Duration,
    alarms: Alarms<I>,
    outputs: VecDeque<Output<I, A>>,
}

impl<I: Id, A: Address> State<I, A> {
    /// A node without peers. `incarnation` orders the starts of one identity: it must be greater
    /// than at any earlier start (a node takes the Unix milliseconds of its start).
    ///
    /// `config` is taken as it is: [`Behaviour::new`](crate::Behaviour::new) has it [validated](Config::validate), the
    /// simulator does not, to see what comes of one that cannot work. The [invariants](State::check) hold with any.
    pub fn new(me: Contact<I, A>, config: Config, incarnation: u64) -> Self {
        Self {
            relations: Relations::new(&config),
            reserve: Reserve::new(&config),
            guards: Guards::new(&config),
            switching: Switching::default(),
            healing: Healing::new(me.id, incarnation, &config),
            refill: Refill::new(&config),
            me,
            config,
            incarnation,
            now: Duration::ZERO,
            serial: 0,
            left: false,
            offer: None,
            beat_at: Duration::ZERO,
            alarms: Alarms::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Schedules the periodic timers. To be called once, before the first input. Drain
    /// [`State::poll_output`] afterwards.
    pub fn start<R: Rng>(&mut self, now: Duration, rng: &mut R) {
        self.now = now;
        self.healing.beacon.start(now);
        self.beat_at = now;
        self.reserve.sampler.draw(rng);
        self.enter_crowd();
        // The application's first contacts are joined, not just asked.
        self.refill
            .hold(now.saturating_add(self.config.walk_grace()));
        self.wake(Timer::Refill, self.config.walk_grace());
        // The first period is cut at random, so that nodes started together do not beat together.
        let periods = [
            (Timer::Shuffle, self.config.shuffle_interval()),
            (Timer::Heartbeat, self.config.heartbeat_interval()),
            (Timer::Probe, self.config.probe_interval_max()),
            (Timer::Remix, self.config.remix_interval()),
        ];
        for (timer, period) in periods {
            let after = alarms::within(period, rng);
            self.wake(timer, after);
        }
        if self.config.optimize() {
            let after = alarms::within(self.config.optimize_interval(), rng);
            self.wake(Timer::Optimize, after);
        }
    }

    /// Takes one input. Drain [`State::poll_output`] afterwards.
    pub fn handle<R: Rng>(&mut self, now: Duration, input: Input<I, A>, rng: &mut R) {
        // A clock that goes back must not make spans of time out of nothing.
        self.now = self.now.max(now);
        match input {
            Input::Received { from, message } => self.on_message(from, message, rng),
            Input::Disconnected { peer, cause } => self.on_connection_lost(peer, cause, rng),
            Input::Unreachable { peer } => self.on_unreachable(peer, rng),
            Input::Timer(timer) => self.on_timer(timer, rng),
            Input::Command(command) => self.on_command(command, rng),
        }
        self.serve_waiting(rng);
        self.top_up(rng);
        debug_assert_eq!(self.check(), Ok(()));
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<I, A>> {
        self.outputs.pop_front()
    }

    /// This node, with its current record.
    pub fn me(&self) -> &Contact<I, A> {
        &self.me
    }

    /// The incarnation given to [`State::new`].
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The neighbours, in order of their ids.
    pub fn active(&self) -> impl Iterator<Item = I> {
        self.relations.active.keys().copied()
    }

    /// The name of the relation with `peer`, if it is a neighbour. Both sides have the same.
    pub fn epoch(&self, peer: I) -> Option<Epoch<I>> {
        self.relations
            .active
            .get(&peer)
            .map(|neighbor| neighbor.epoch)
    }

    /// The passive view.
    pub fn passive(&self) -> impl Iterator<Item = &Contact<I, A>> {
        self.reserve.passive.values().map(|backup| &backup.contact)
    }

    /// Peers that could not be reached, remembered and probed with back-off (R6).
    pub fn suspects(&self) -> impl Iterator<Item = &Contact<I, A>> {
        self.reserve.suspects.contacts()
    }

    /// Contacts that are never forgotten.
    pub fn permanent(&self) -> impl Iterator<Item = &Contact<I, A>> {
        self.reserve.permanent.values()
    }

    /// Requests without an answer: to whom, and since when.
    pub fn requests(&self) -> impl Iterator<Item = (I, Duration)> {
        self.relations
            .pending
            .iter()
            .map(|(id, ours)| (*id, ours.since))
    }

    /// The root of the component that this node believes to be in: the same everywhere once a
    /// network is whole and quiet (R7).
    pub fn root(&self) -> I {
        self.healing.beacon.tag().root
    }

    /// Every peer worth saving for the next start, each once, neighbours first.
    pub fn known(&self) -> Vec<Contact<I, A>> {
        let mut known: Vec<Contact<I, A>> = Vec::new();
        let all = self
            .relations
            .active
            .values()
            .map(|neighbor| &neighbor.contact)
            .chain(self.passive())
            .chain(self.suspects())
            .chain(self.permanent());
        for contact in all {
            if !known.iter().any(|known| known.id == contact.id) {
                known.push(contact.clone());
            }
        }
        known
    }

    fn on_message<R: Rng>(&mut self, from: I, message: Message<I, A>, rng: &mut R) {
        // One with our key, or a defect of the runtime: about ourselves nobody tells us anything.
        if from == self.me.id {
            return;
        }
        // Whatever it says, it is there.
        self.rehabilitate(from, rng);
        match message {
            Message::Join(join) => self.on_ask(Ask::from_join(from, join), rng),
            Message::ForwardJoin(walk) => self.on_forward_join(from, walk, rng),
            Message::Neighbor(request) => self.on_ask(Ask::from_neighbor(from, request), rng),
            Message::Accept(accept) => self.on_accept(from, accept, rng),
            Message::Refuse(refuse) => self.on_refuse(from, refuse, rng),
            Message::Disconnect(disconnect) => self.on_disconnect(from, disconnect, rng),
            Message::Shuffle(walk) => self.on_shuffle(from, walk, rng),
            Message::ShuffleReply(reply) => self.on_shuffle_reply(reply, rng),
            Message::Heartbeat(heartbeat) => self.on_heartbeat(from, heartbeat, rng),
            Message::Moved(moved) => self.on_moved(from, moved),
            Message::Probe(probe) => self.on_probe(from, probe, rng),
            Message::ProbeReply(reply) => self.on_probe_reply(from, reply, rng),
            Message::SwitchProposal(proposal) => self.on_switch_proposal(from, proposal, rng),
            Message::SwitchInvite(invite) => self.on_switch_invite(from, invite),
            Message::SwitchDecline(decline) => self.on_switch_decline(from, decline, rng),
            Message::SwitchConsent(consent) => self.on_switch_consent(from, consent),
            Message::SwitchReady(ready) => self.on_switch_ready(from, ready, rng),
        }
    }

    fn on_timer<R: Rng>(&mut self, timer: Timer<I>, rng: &mut R) {
        if !self.alarms.ring(timer, self.now) {
            return;
        }
        match timer {
            Timer::Shuffle => self.on_shuffle_timer(rng),
            Timer::Heartbeat => self.on_heartbeat_timer(rng),
            Timer::Probe => self.on_probe_timer(rng),
            Timer::Remix => self.on_remix_timer(rng),
            Timer::Optimize => self.on_optimize_timer(rng),
            Timer::Refill => {} // `top_up` follows every input
            Timer::Request { peer, serial } => self.on_overdue(peer, serial, rng),
        }
    }

    fn on_command<R: Rng>(&mut self, command: Command<I, A>, rng: &mut R) {
        match command {
            Command::Join(contact) => self.join(contact, rng),
            Command::Learn { contact, permanent } => self.on_learn(contact, permanent, rng),
            Command::SetRecord(record) => self.set_record(record),
            Command::Leave => self.leave(rng),
        }
    }

    /// Sends to a peer that may have to be dialled first.
    fn send(&mut self, to: Contact<I, A>, message: Message<I, A>) {
        self.outputs.push_back(Output::Send { to, message });
    }

    /// Sends to a peer that is connected.
    fn tell(&mut self, peer: I, message: Message<I, A>) {
        self.outputs.push_back(Output::Tell { peer, message });
    }

    fn emit(&mut self, event: Event<I, A>) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Gives up the connection to `peer` unless something still needs it.
    fn release(&mut self, peer: I) {
        // A node that steps between two others gives up nobody: it stands for its own old neighbour.
        let used = peer == self.me.id
            || self.relations.is_engaged(peer)
            || self.relations.keeps_waiting(peer)
            || self.healing.asks(peer)
            || self.switching.needs(peer);
        if !used {
            self.outputs.push_back(Output::Release { peer });
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn pulse(&self) -> Pulse<I> {
        Pulse {
            degree: u8::try_from(self.relations.active.len()).unwrap_or(u8::MAX),
            tag: self.healing.beacon.tag(),
            settled: self.healing.beacon.settled(self.now),
        }
    }
}
