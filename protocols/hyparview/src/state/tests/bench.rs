//! One machine, driven by hand: given this state and this input, expect exactly these outputs.

use std::time::Duration;

use rand::{SeedableRng, rngs::SmallRng};

use crate::{
    Address, Command, Config, Contact, DisconnectReason, DownReason, Epoch, Input, Loss, Message,
    Output, Priority, Pulse, State, Tag, Timer, io::Event, message,
};

/// The machine's own id. Peers with smaller and greater ids are used where it matters.
pub(super) const ME: u64 = 50;
/// The machine's incarnation.
pub(super) const INCARNATION: u64 = 7;
/// The incarnation of every peer.
pub(super) const PEER_INCARNATION: u64 = 3;

/// An address record that can be newer, belong to a group, or be a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Home {
    pub(super) version: u32,
    pub(super) group: Option<u64>,
    pub(super) hint: bool,
}

impl Address for Home {
    fn group(&self) -> Option<u64> {
        self.group
    }

    fn supersedes(&self, known: &Self) -> bool {
        self.version > known.version
    }

    fn shareable(&self) -> bool {
        !self.hint
    }
}

pub(super) type Out = Output<u64, Home>;
pub(super) type Said = Message<u64, Home>;

pub(super) fn contact(id: u64) -> Contact<u64, Home> {
    Contact {
        id,
        record: Home::default(),
    }
}

pub(super) fn contacts(ids: &[u64]) -> Vec<Contact<u64, Home>> {
    ids.iter().map(|id| contact(*id)).collect()
}

/// A relation that `peer` asked for.
pub(super) fn theirs(peer: u64, serial: u64) -> Epoch<u64> {
    Epoch {
        by: peer,
        incarnation: PEER_INCARNATION,
        serial,
    }
}

/// A relation that the machine asked for.
pub(super) fn ours(serial: u64) -> Epoch<u64> {
    Epoch {
        by: ME,
        incarnation: INCARNATION,
        serial,
    }
}

/// What a peer tells of itself. Its root is greater than the machine's, and so of no interest.
pub(super) fn pulse(degree: u8) -> Pulse<u64> {
    Pulse {
        degree,
        tag: Tag {
            root: 999,
            incarnation: 1,
            beat: 1,
        },
        settled: false,
    }
}

pub(super) fn neighbor(peer: u64, serial: u64, priority: Priority, degree: u8) -> Said {
    let (epoch, record) = (theirs(peer, serial), Home::default());
    Message::Neighbor(message::Neighbor {
        epoch,
        priority,
        record,
        pulse: pulse(degree),
    })
}

pub(super) fn join(peer: u64, serial: u64) -> Said {
    Message::Join(message::Join {
        epoch: theirs(peer, serial),
        record: Home::default(),
        pulse: pulse(0),
    })
}

pub(super) fn accept(epoch: Epoch<u64>, sample: &[u64]) -> Said {
    let (record, sample) = (Home::default(), contacts(sample));
    Message::Accept(message::Accept {
        epoch,
        incarnation: PEER_INCARNATION,
        record,
        pulse: pulse(3),
        sample,
    })
}

pub(super) fn refuse(epoch: Epoch<u64>, sample: &[u64]) -> Said {
    Message::Refuse(message::Refuse {
        epoch,
        sample: contacts(sample),
    })
}

pub(super) fn disconnect(
    epoch: Epoch<u64>,
    reason: DisconnectReason<u64, Home>,
    sample: &[u64],
) -> Said {
    Message::Disconnect(message::Disconnect {
        epoch,
        reason,
        sample: contacts(sample),
    })
}

pub(super) fn heartbeat(epoch: Epoch<u64>, pulse: Pulse<u64>) -> Said {
    Message::Heartbeat(message::Heartbeat {
        epoch,
        pulse,
        gauge: None,
    })
}

pub(super) fn send(to: u64, message: Said) -> Out {
    Output::Send {
        to: contact(to),
        message,
    }
}

pub(super) fn tell(peer: u64, message: Said) -> Out {
    Output::Tell { peer, message }
}

pub(super) fn up(peer: u64) -> Out {
    Output::Event(Event::NeighborUp(contact(peer)))
}

pub(super) fn down(peer: u64, reason: DownReason) -> Out {
    Output::Event(Event::NeighborDown { peer, reason })
}

pub(super) fn release(peer: u64) -> Out {
    Output::Release { peer }
}

/// The timer of request `serial`.
pub(super) fn expect(peer: u64, serial: u64) -> Out {
    let after = Config::default().request_timeout();
    Output::Schedule {
        after,
        timer: Timer::Request { peer, serial },
    }
}

/// A newcomer leaves its free slots to the walks for a while.
pub(super) fn grace() -> Out {
    Output::Schedule {
        after: Config::default().walk_grace(),
        timer: Timer::Refill,
    }
}

/// A machine at a time.
pub(super) struct Bench {
    pub(super) state: State<u64, Home>,
    pub(super) now: Duration,
    rng: SmallRng,
    serial: u64,
}

impl Bench {
    /// A machine that was never started: it has no periodic timers and leaves free slots alone.
    pub(super) fn idle(config: Config) -> Self {
        Self {
            state: State::new(contact(ME), config, INCARNATION),
            now: Duration::from_secs(1000),
            rng: SmallRng::seed_from_u64(1),
            serial: 0,
        }
    }

    /// An idle machine with the default configuration and these neighbours, who asked for it.
    pub(super) fn with(neighbors: &[u64]) -> Self {
        let mut bench = Self::idle(Config::default());
        for peer in neighbors {
            bench.befriend(*peer);
        }
        bench
    }

    /// A machine that was started and is past its first second.
    pub(super) fn started(config: Config, neighbors: &[u64]) -> Self {
        let mut bench = Self::idle(config);
        for peer in neighbors {
            bench.befriend(*peer);
        }
        bench.state.start(bench.now, &mut bench.rng);
        bench.outputs();
        bench.pass(1);
        bench
    }

    /// Lets time pass without telling the machine.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub(super) fn give(&mut self, input: Input<u64, Home>) -> Vec<Out> {
        self.state.handle(self.now, input, &mut self.rng);
        self.state.check().expect("invariants hold");
        self.outputs()
    }

    pub(super) fn hear(&mut self, from: u64, message: Said) -> Vec<Out> {
        self.give(Input::Received { from, message })
    }

    pub(super) fn order(&mut self, command: Command<u64, Home>) -> Vec<Out> {
        self.give(Input::Command(command))
    }

    pub(super) fn lose(&mut self, peer: u64, cause: Loss) -> Vec<Out> {
        self.give(Input::Disconnected { peer, cause })
    }

    /// Lets the periodic `timer` ring now, whenever it was due, and drops the request for the
    /// next one.
    pub(super) fn ring(&mut self, timer: Timer<u64>) -> Vec<Out> {
        if matches!(timer, Timer::Request { .. }) {
            return self.give(Input::Timer(timer));
        }
        self.state.alarms.clear();
        self.state.alarms.force(timer, self.now);
        let mut outputs = self.give(Input::Timer(timer));
        outputs.retain(
            |output| !matches!(output, Output::Schedule { timer: set, .. } if *set == timer),
        );
        outputs
    }

    /// Makes `peer` a neighbour that asked for it, with three links. Returns the relation.
    pub(super) fn befriend(&mut self, peer: u64) -> Epoch<u64> {
        self.serial += 1;
        self.hear(peer, neighbor(peer, self.serial, Priority::Low, 2));
        self.epoch(peer)
    }

    /// Makes `peer` a neighbour that the machine asked.
    pub(super) fn court(&mut self, peer: u64) -> Epoch<u64> {
        let outputs = self.order(Command::Join(contact(peer)));
        let Some(Output::Send {
            message: Message::Join(message::Join { epoch, .. }),
            ..
        }) = outputs.first()
        else {
            panic!("no join in {outputs:?}");
        };
        self.hear(peer, accept(*epoch, &[]));
        self.epoch(peer)
    }

    /// Puts peers into the passive view.
    pub(super) fn learn(&mut self, peers: &[u64]) {
        for peer in peers {
            self.order(Command::Learn {
                contact: contact(*peer),
                permanent: false,
            });
        }
    }

    pub(super) fn epoch(&self, peer: u64) -> Epoch<u64> {
        self.state.epoch(peer).expect("a neighbour")
    }

    pub(super) fn active(&self) -> Vec<u64> {
        self.state.active().collect()
    }

    pub(super) fn passive(&self) -> Vec<u64> {
        self.state.passive().map(|contact| contact.id).collect()
    }

    pub(super) fn suspects(&self) -> Vec<u64> {
        self.state.suspects().map(|contact| contact.id).collect()
    }

    /// What the machine tells of itself now.
    pub(super) fn pulse(&self) -> Pulse<u64> {
        self.state.pulse()
    }

    /// The machine's acceptance of a request.
    pub(super) fn accepted(&self, epoch: Epoch<u64>, sample: &[u64]) -> Said {
        let (record, pulse, sample) = (Home::default(), self.pulse(), contacts(sample));
        Message::Accept(message::Accept {
            epoch,
            incarnation: INCARNATION,
            record,
            pulse,
            sample,
        })
    }

    /// What `peer` says when it has been let in.
    pub(super) fn confirmation(&self, peer: u64, serial: u64) -> Said {
        heartbeat(theirs(peer, serial), pulse(1))
    }

    /// What the machine says when it has been let in.
    pub(super) fn confirms(&self, peer: u64, epoch: Epoch<u64>) -> Out {
        tell(peer, heartbeat(epoch, self.pulse()))
    }

    /// Hears a request, and that the peer has heard the answer.
    pub(super) fn press(&mut self, peer: u64, serial: u64, request: Said) -> Vec<Out> {
        let mut outputs = self.hear(peer, request);
        if self.state.epoch(peer).is_none() {
            outputs.extend(self.hear(peer, self.confirmation(peer, serial)));
        }
        outputs
    }

    /// The machine's request, made when it had `degree` neighbours.
    pub(super) fn request(&self, serial: u64, priority: Priority, degree: u8) -> Said {
        let pulse = Pulse {
            degree,
            ..self.pulse()
        };
        Message::Neighbor(message::Neighbor {
            epoch: ours(serial),
            priority,
            record: Home::default(),
            pulse,
        })
    }

    fn outputs(&mut self) -> Vec<Out> {
        std::iter::from_fn(|| self.state.poll_output()).collect()
    }
}

/// Whom the outputs ask to become a neighbour, and how.
pub(super) fn requests(outputs: &[Out]) -> Vec<(u64, Priority)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send {
                to,
                message: Message::Neighbor(message::Neighbor { priority, .. }),
            } => Some((to.id, *priority)),
            _ => None,
        })
        .collect()
}
