//! What a node of HyParView does with each kind of message: five neighbours, thirty backups.

use std::{fmt, time::Duration};

use divan::Bencher;
use hyparview::{Command, Config, Input, Message, Output, Priority, Record, State, Timer, message};
use libp2p::PeerId;
use rand::{SeedableRng, rngs::SmallRng};

use crate::peers::{Known, Names, epoch, gauge, messages, pulse};

type Said = Message<PeerId, Record>;
type Given = Input<PeerId, Record>;
type Done = Output<PeerId, Record>;

/// The peers from here on are strangers.
const STRANGERS: usize = 40;

/// A node, and what drives it.
pub(crate) struct Machine {
    state: State<PeerId, Record>,
    rng: SmallRng,
    now: Duration,
    /// What it said when it learnt of its backups: with a free slot it asks some of them.
    told: Vec<Done>,
}

impl Machine {
    /// A node that has been up for an hour.
    pub(crate) fn new(neighbors: usize) -> Self {
        let mut machine = Self {
            state: State::new(Known::contact(0), Config::default(), 1),
            rng: SmallRng::seed_from_u64(1),
            now: Duration::from_secs(1),
            told: Vec::new(),
        };
        machine.state.start(machine.now, &mut machine.rng);
        for number in 1..=neighbors {
            machine.now += Duration::from_secs(1);
            let id = Known::id(number);
            let join = Message::Join(message::Join {
                epoch: epoch(id, 1),
                record: Known::record(number),
                pulse: pulse::<Known>(3),
            });
            machine.hear(number, join);
        }
        assert_eq!(machine.state.active().count(), neighbors);
        machine.now += Duration::from_secs(3600);
        for number in 10..STRANGERS {
            let learn = Command::Learn {
                contact: Known::contact(number),
                permanent: false,
            };
            let told = machine.give(Input::Command(learn));
            machine.told.extend(told);
        }
        machine
    }

    fn give(&mut self, input: Given) -> Vec<Done> {
        self.handle(input);
        std::iter::from_fn(|| self.state.poll_output()).collect()
    }

    fn hear(&mut self, from: usize, message: Said) -> Vec<Done> {
        self.give(received(from, message))
    }

    /// What is timed. Its outputs are left where they are.
    fn handle(&mut self, input: Given) {
        self.state.handle(self.now, input, &mut self.rng);
    }
}

fn received(from: usize, message: Said) -> Given {
    let from = Known::id(from);
    Input::Received { from, message }
}

/// The message of this name among those that are measured on the wire.
fn usual(name: &str) -> Said {
    let all = messages::<Known>();
    let found = all.into_iter().find(|(known, _)| *known == name);
    found.expect("a message of that name").1
}

/// Whom the first message that suits went to, and that message.
fn said(outputs: Vec<Done>, suits: impl Fn(&Said) -> bool) -> (PeerId, Said) {
    let said = outputs.into_iter().filter_map(|output| match output {
        Output::Send { to, message } => Some((to.id, message)),
        Output::Tell { peer, message } => Some((peer, message)),
        _ => None,
    });
    let mut fitting = said.filter(|(_, message)| suits(message));
    fitting.next().expect("the machine says so")
}

/// Something that a node is to handle.
pub(crate) struct Event {
    name: &'static str,
    neighbors: usize,
    /// Brings the node to where it comes, and says what comes.
    prepare: fn(&mut Machine) -> Given,
}

impl fmt::Display for Event {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name)
    }
}

const fn full(name: &'static str, prepare: fn(&mut Machine) -> Given) -> Event {
    Event {
        name,
        neighbors: 5,
        prepare,
    }
}

fn ask(priority: Priority) -> Said {
    Message::Neighbor(message::Neighbor {
        epoch: epoch(Known::id(STRANGERS), 7),
        priority,
        record: Known::record(STRANGERS),
        pulse: pulse::<Known>(3),
    })
}

/// The request that a node with a free slot has made: to whom, and its name.
fn request(machine: &mut Machine) -> (PeerId, hyparview::Epoch<PeerId>) {
    let told = std::mem::take(&mut machine.told);
    let (peer, message) = said(told, |message| matches!(message, Message::Neighbor(_)));
    let Message::Neighbor(message::Neighbor { epoch, .. }) = message else {
        unreachable!("a request was looked for")
    };
    (peer, epoch)
}

/// One event of each kind.
const EVENTS: [Event; 24] = [
    full("Join", |_| {
        let epoch = epoch(Known::id(STRANGERS), 7);
        let (record, pulse) = (Known::record(STRANGERS), pulse::<Known>(0));
        received(
            STRANGERS,
            Message::Join(message::Join {
                epoch,
                record,
                pulse,
            }),
        )
    }),
    full("ForwardJoin, sent on", |_| {
        received(1, usual("ForwardJoin"))
    }),
    full("ForwardJoin, its end", |_| {
        let newcomer = Known::contact(STRANGERS);
        received(
            1,
            Message::ForwardJoin(message::ForwardJoin { newcomer, ttl: 0 }),
        )
    }),
    full("Neighbor, refused", |_| {
        received(STRANGERS, ask(Priority::Low))
    }),
    full("Neighbor, accepted", |_| {
        received(STRANGERS, ask(Priority::High))
    }),
    Event {
        name: "Accept",
        neighbors: 4,
        prepare: |machine| {
            let (from, epoch) = request(machine);
            let message = Message::Accept(message::Accept {
                epoch,
                incarnation: 1,
                record: Known::record(10),
                pulse: pulse::<Known>(3),
                sample: Known::contacts(STRANGERS, 8),
            });
            Input::Received { from, message }
        },
    },
    Event {
        name: "Refuse",
        neighbors: 4,
        prepare: |machine| {
            let (from, epoch) = request(machine);
            let sample = Known::contacts(STRANGERS, 8);
            let message = Message::Refuse(message::Refuse { epoch, sample });
            Input::Received { from, message }
        },
    },
    full("Disconnect", |_| {
        let message = Message::Disconnect(message::Disconnect {
            epoch: epoch(Known::id(1), 1),
            reason: hyparview::DisconnectReason::Evicted,
            sample: Known::contacts(STRANGERS, 8),
        });
        received(1, message)
    }),
    full("Shuffle, sent on", |_| received(1, usual("Shuffle"))),
    full("Shuffle, its end", |_| {
        let message = Message::Shuffle(message::Shuffle {
            serial: 1,
            origin: Known::contact(STRANGERS),
            list: Known::contacts(STRANGERS, 8),
            ttl: 0,
        });
        received(1, message)
    }),
    full("ShuffleReply", |machine| {
        let outputs = machine.give(Input::Timer(Timer::Shuffle));
        let (_, offer) = said(outputs, |message| matches!(message, Message::Shuffle(_)));
        let Message::Shuffle(message::Shuffle { serial, .. }) = offer else {
            unreachable!("a shuffle was looked for")
        };
        let list = Known::contacts(STRANGERS, 8);
        received(
            STRANGERS,
            Message::ShuffleReply(message::ShuffleReply { serial, list }),
        )
    }),
    full("Heartbeat", |_| {
        let (epoch, pulse) = (epoch(Known::id(1), 1), pulse::<Known>(5));
        let gauge = None;
        received(
            1,
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse,
                gauge,
            }),
        )
    }),
    full("Heartbeat with gauge", |_| {
        let (epoch, pulse) = (epoch(Known::id(1), 1), pulse::<Known>(5));
        let gauge = Some(gauge());
        received(
            1,
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse,
                gauge,
            }),
        )
    }),
    full("Heartbeat of a stranger", |_| {
        let (epoch, pulse) = (epoch(Known::id(STRANGERS), 1), pulse::<Known>(5));
        let gauge = None;
        received(
            STRANGERS,
            Message::Heartbeat(message::Heartbeat {
                epoch,
                pulse,
                gauge,
            }),
        )
    }),
    full("Moved", |_| received(1, usual("Moved"))),
    full("Probe", |_| {
        let record = Known::record(STRANGERS);
        received(
            STRANGERS,
            Message::Probe(message::Probe { serial: 1, record }),
        )
    }),
    full("ProbeReply", |machine| {
        let outputs = machine.give(Input::Timer(Timer::Probe));
        let (from, probe) = said(outputs, |message| matches!(message, Message::Probe(_)));
        let Message::Probe(message::Probe { serial, .. }) = probe else {
            unreachable!("a probe was looked for")
        };
        let message = Message::ProbeReply(message::ProbeReply {
            serial,
            record: Known::record(10),
            pulse: pulse::<Known>(5),
            sample: Known::contacts(STRANGERS, 8),
        });
        Input::Received { from, message }
    }),
    full("SwitchProposal", |_| propose()),
    full("SwitchInvite", |_| {
        let (token, partner) = (1, Known::id(STRANGERS));
        let bid = None;
        received(
            1,
            Message::SwitchInvite(message::SwitchInvite {
                token,
                partner,
                bid,
            }),
        )
    }),
    full("SwitchConsent", |machine| {
        let outputs = machine.give(propose());
        let invites = |message: &Said| matches!(message, Message::SwitchInvite(_));
        let (from, _) = said(outputs, invites);
        let message = Message::SwitchConsent(message::SwitchConsent { token: 1 });
        Input::Received { from, message }
    }),
    full("SwitchReady", |machine| {
        let outputs = machine.give(Input::Timer(Timer::Remix));
        let proposes = |message: &Said| matches!(message, Message::SwitchProposal(_));
        let (from, proposal) = said(outputs, proposes);
        let Message::SwitchProposal(message::SwitchProposal { token, .. }) = proposal else {
            unreachable!("a proposal was looked for")
        };
        let partner = Known::contact(STRANGERS);
        let message = Message::SwitchReady(message::SwitchReady { token, partner });
        Input::Received { from, message }
    }),
    full("timer: heartbeats", |_| Input::Timer(Timer::Heartbeat)),
    full("timer: shuffle", |_| Input::Timer(Timer::Shuffle)),
    full("timer: probe", |_| Input::Timer(Timer::Probe)),
];

fn propose() -> Given {
    let message = Message::SwitchProposal(message::SwitchProposal {
        token: 1,
        record: Known::record(STRANGERS),
        old: Known::id(STRANGERS + 1),
        bid: None,
    });
    received(STRANGERS, message)
}

#[divan::bench(args = EVENTS, sample_count = 300, sample_size = 4)]
fn hyparview(bencher: Bencher<'_, '_>, event: &Event) {
    bencher
        .with_inputs(|| {
            let mut machine = Machine::new(event.neighbors);
            let input = (event.prepare)(&mut machine);
            (machine, input)
        })
        .bench_values(|(mut machine, input)| {
            machine.handle(input);
            machine
        });
}
