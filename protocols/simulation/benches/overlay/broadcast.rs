//! What a node of Plumtree does with each kind of message: five neighbours, a thousand origins.

use std::{fmt, sync::LazyLock, time::Duration};

use divan::Bencher;
use libp2p::PeerId;
use plumtree::{
    Announcement, Command, Config, Digest, Gossip, Graft, Held, IHave, Input, Message, MessageId,
    Payload, Position, Prune, State, Timer,
};

use crate::peers::{Known, Names};

/// Origins whose messages have come, and the first of them.
const KNOWN: usize = 1000;
const FIRST: usize = 10;
const INCARNATION: u64 = 1_790_000_000_000;

/// Like a status message of the node.
fn payload() -> Payload {
    vec![7; 300].into()
}

/// What `origin` said as its `seq`th message.
fn id<N: Names>(origin: usize, seq: u64) -> MessageId<N::Id> {
    MessageId {
        origin: N::id(origin),
        incarnation: INCARNATION,
        seq,
    }
}

fn gossip<N: Names>(origin: usize, seq: u64) -> Message<N::Id> {
    Message::Gossip(Gossip {
        id: id::<N>(origin, seq),
        hops: 4,
        age_ms: 120,
        payload: payload(),
    })
}

fn announcements<N: Names>(first: usize, count: usize, seq: u64) -> Message<N::Id> {
    let list = (first..first + count).map(|origin| Announcement {
        id: id::<N>(origin, seq),
        hops: 4,
    });
    Message::IHave(IHave {
        list: list.collect(),
    })
}

fn positions<N: Names>(first: usize, count: usize) -> Vec<Position<N::Id>> {
    let held = Held {
        incarnation: INCARNATION,
        seq: 1,
        gaps: 0,
    };
    let list = IN_ORDER[first..first + count].iter();
    list.map(|origin| Position {
        origin: N::id(*origin),
        held,
    })
    .collect()
}

/// The known origins in the order of their names, which is that of positions.
static IN_ORDER: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut all: Vec<usize> = (FIRST..FIRST + KNOWN).collect();
    all.sort_unstable_by_key(|number| Known::id(*number));
    all
});

/// One message of each kind.
pub(crate) fn messages<N: Names>() -> Vec<(&'static str, Message<N::Id>)> {
    // As one of many that tell of all origins in turn.
    let digest = |count: usize| {
        Message::Digest(Digest {
            after: Some(N::id(IN_ORDER[0])),
            upto: Some(N::id(IN_ORDER[count])),
            list: positions::<N>(1, count),
        })
    };
    vec![
        ("Gossip of 300 bytes", gossip::<N>(10, 2)),
        ("IHave of 1", announcements::<N>(10, 1, 2)),
        ("IHave of 100", announcements::<N>(10, 100, 2)),
        (
            "Graft",
            Message::Graft(Graft {
                list: positions::<N>(0, 1),
            }),
        ),
        (
            "Prune",
            Message::Prune(Prune {
                origins: vec![N::id(10)],
            }),
        ),
        ("Digest of 100", digest(100)),
        ("Digest of 512", digest(512)),
    ]
}

/// Something that a node is to handle.
struct Event {
    name: &'static str,
    input: fn() -> Input<PeerId>,
}

impl fmt::Display for Event {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name)
    }
}

fn received(from: usize, message: Message<PeerId>) -> Input<PeerId> {
    let from = Known::id(from);
    Input::Received { from, message }
}

fn usual(name: &str) -> Input<PeerId> {
    let mut all = messages::<Known>().into_iter();
    let found = all.find(|(known, _)| *known == name);
    received(1, found.expect("a message of that name").1)
}

const NOW: Duration = Duration::from_secs(100);

/// A node to which every known origin has said one thing.
static NODE: LazyLock<State<PeerId>> = LazyLock::new(|| {
    let mut state = State::new(Known::id(0), Config::default(), INCARNATION);
    let mut rng = rand::SeedableRng::seed_from_u64(1);
    state.start::<rand::rngs::SmallRng>(Duration::from_secs(1), &mut rng);
    for number in 1..=5 {
        let peer = Known::id(number);
        state.handle(Duration::from_secs(1), Input::NeighborUp { peer });
    }
    for origin in FIRST..FIRST + KNOWN {
        let from = origin % 5;
        state.handle(NOW, received(1 + from, gossip::<Known>(origin, 1)));
        // The others push it once as well, and are told not to.
        for other in (0..5).filter(|other| *other != from) {
            state.handle(NOW, received(1 + other, gossip::<Known>(origin, 1)));
        }
    }
    while state.poll_output().is_some() {}
    state
});

/// One event of each kind.
const EVENTS: [Event; 12] = [
    Event {
        name: "Gossip, the first of its origin",
        input: || received(1, gossip::<Known>(KNOWN + 20, 1)),
    },
    Event {
        name: "Gossip, new, along the tree",
        input: || received(1, gossip::<Known>(10, 2)),
    },
    Event {
        name: "Gossip, new, beside the tree",
        input: || received(2, gossip::<Known>(10, 2)),
    },
    Event {
        name: "Gossip, a duplicate",
        input: || received(2, gossip::<Known>(10, 1)),
    },
    Event {
        name: "IHave of 1, not known",
        input: || usual("IHave of 1"),
    },
    Event {
        name: "IHave of 100, known",
        input: || received(1, announcements::<Known>(10, 100, 1)),
    },
    Event {
        name: "Graft",
        input: || usual("Graft"),
    },
    Event {
        name: "Prune",
        input: || usual("Prune"),
    },
    Event {
        name: "Digest of 100, nothing lacking",
        input: || usual("Digest of 100"),
    },
    Event {
        name: "timer: exchange",
        input: || Input::Timer(Timer::Exchange),
    },
    Event {
        name: "command: broadcast",
        input: || Input::Command(Command::Broadcast(payload())),
    },
    Event {
        name: "a new neighbour",
        input: || Input::NeighborUp { peer: Known::id(6) },
    },
];

#[divan::bench(args = EVENTS, sample_count = 300, sample_size = 1)]
fn plumtree(bencher: Bencher<'_, '_>, event: &Event) {
    bencher
        .with_inputs(|| (NODE.clone(), (event.input)()))
        .bench_values(|(mut state, input)| {
            state.handle(NOW, input);
            state
        });
}
