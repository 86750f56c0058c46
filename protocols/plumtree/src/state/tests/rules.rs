//! Given this state and this input, exactly these outputs.

use std::{sync::Arc, time::Duration};

use crate::{
    Announcement, Command, Config, Digest, EdgeRole, Gossip, Graft, Held, IHave, Input, Keep,
    Message, MessageId, Output, Payload, Position, Prune, State, Timer, Trees, io::Event,
};

const ME: u64 = 0;
/// An origin that is no neighbour.
const FAR: u64 = 90;

/// A machine, its clock, and what it put out.
pub(super) struct Bench {
    pub(super) state: State<u64>,
    pub(super) now: Duration,
}

impl Bench {
    pub(super) fn new(config: Config) -> Self {
        Self {
            state: State::new(ME, config.validate().unwrap(), 1),
            now: Duration::from_secs(1),
        }
    }

    /// With neighbours that were told all there is to tell.
    pub(super) fn with_neighbors(config: Config, neighbors: &[u64]) -> Self {
        let mut bench = Self::new(config);
        for peer in neighbors {
            bench.feed(Input::NeighborUp { peer: *peer });
        }
        bench.after(Duration::from_millis(50));
        bench
    }

    /// Everything that an input causes at once, but for timers asked for.
    pub(super) fn feed(&mut self, input: Input<u64>) -> Vec<Output<u64>> {
        self.state.handle(self.now, input);
        assert_eq!(self.state.check(), Ok(()));
        std::iter::from_fn(|| self.state.poll_output())
            .filter(|output| !matches!(output, Output::Schedule { .. }))
            .collect()
    }

    pub(super) fn hear(&mut self, from: u64, message: Message<u64>) -> Vec<Output<u64>> {
        self.feed(Input::Received { from, message })
    }

    /// What happens of itself within `time`.
    pub(super) fn after(&mut self, time: Duration) -> Vec<Output<u64>> {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while self.now < end {
            self.now += Duration::from_millis(10);
            for timer in [Timer::Flush, Timer::Graft, Timer::Exchange, Timer::Age] {
                outputs.extend(self.feed(Input::Timer(timer)));
            }
        }
        outputs
    }

    fn eager(&self, origin: u64) -> Vec<u64> {
        self.state.eager(origin).collect()
    }
}

pub(super) fn id(origin: u64, seq: u64) -> MessageId<u64> {
    MessageId {
        origin,
        incarnation: 1,
        seq,
    }
}

fn payload(seq: u64) -> Payload {
    Arc::from(vec![u8::try_from(seq).unwrap()])
}

pub(super) fn gossip(origin: u64, seq: u64, hops: u16) -> Message<u64> {
    Message::Gossip(Gossip {
        id: id(origin, seq),
        hops,
        age_ms: 0,
        payload: payload(seq),
    })
}

pub(super) fn ihave(origin: u64, seq: u64, hops: u16) -> Message<u64> {
    let id = id(origin, seq);
    Message::IHave(IHave {
        list: vec![Announcement { id, hops }],
    })
}

fn graft(origin: u64, seq: u64) -> Message<u64> {
    let held = Held {
        incarnation: u64::from(seq > 0),
        seq,
        gaps: 0,
    };
    Message::Graft(Graft {
        list: vec![Position { origin, held }],
    })
}

fn prune(origin: u64) -> Message<u64> {
    Message::Prune(Prune {
        origins: vec![origin],
    })
}

fn send(to: u64, message: Message<u64>) -> Output<u64> {
    Output::Send { to, message }
}

fn deliver(origin: u64, seq: u64, hops: u16) -> Output<u64> {
    Output::Event(Event::Deliver {
        id: id(origin, seq),
        payload: payload(seq),
        hops,
    })
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn all() -> Config {
    Config::default().with_keep(Keep::All)
}

/// A tree of `FAR`: messages come from 1, go on to 3, and 2 is lazy.
fn settled(config: Config) -> Bench {
    let mut bench = Bench::with_neighbors(config, &[1, 2, 3]);
    bench.hear(1, gossip(FAR, 1, 3));
    bench.hear(2, gossip(FAR, 1, 4));
    bench.after(ms(60));
    bench
}

#[test]
fn a_new_message_is_delivered_once_and_passed_on() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    assert_eq!(
        bench.hear(1, gossip(FAR, 1, 3)),
        [
            deliver(FAR, 1, 3),
            send(2, gossip(FAR, 1, 4)),
            send(3, gossip(FAR, 1, 4)),
        ]
    );
    assert_eq!(bench.hear(1, gossip(FAR, 1, 3)), []);
}

#[test]
fn the_later_sender_of_a_message_is_pruned_and_only_told_of_the_next() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    bench.hear(1, gossip(FAR, 1, 3));
    assert_eq!(bench.hear(2, gossip(FAR, 1, 4)), []);
    assert_eq!(bench.after(ms(60)), [send(2, prune(FAR))]);
    assert_eq!(bench.state.parent(FAR), Some(1));
    assert_eq!(
        bench.hear(1, gossip(FAR, 2, 3)),
        [deliver(FAR, 2, 3), send(3, gossip(FAR, 2, 4))]
    );
    assert_eq!(bench.after(ms(60)), [send(2, ihave(FAR, 2, 3))]);
}

#[test]
fn the_parent_and_the_last_eager_link_are_never_pruned() {
    let mut bench = settled(Config::default());
    bench.hear(3, gossip(FAR, 1, 5));
    bench.hear(1, gossip(FAR, 1, 3));
    assert_eq!(bench.after(ms(60)), [send(3, prune(FAR))]);
    assert_eq!(bench.eager(FAR), [1]);
    // Our own message comes back from both; one link stays.
    bench.feed(Input::Command(Command::Broadcast(payload(1))));
    for peer in [1, 2, 3] {
        bench.hear(peer, gossip(ME, 1, 2));
    }
    assert_eq!(bench.eager(ME).len(), 1);
}

#[test]
fn announcers_are_asked_in_turn_and_then_it_is_said_to_be_missing() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    bench.hear(3, ihave(FAR, 4, 1));
    bench.hear(2, ihave(FAR, 4, 1));
    // 2.5 times half of 200 ms, and a batch: nothing before.
    assert_eq!(bench.after(ms(290)), []);
    assert_eq!(bench.after(ms(20)), [send(3, graft(FAR, 0))]);
    assert_eq!(bench.after(ms(280)), []);
    assert_eq!(bench.after(ms(30)), [send(2, graft(FAR, 0))]);
    let missing = Output::Event(Event::Missing { id: id(FAR, 4) });
    assert_eq!(bench.after(ms(310)), [missing]);
    // Nothing is given up: it is asked for again when somebody says that it has it.
    bench.hear(2, ihave(FAR, 4, 1));
    assert_eq!(bench.after(ms(320)), [send(2, graft(FAR, 0))]);
    assert_eq!(bench.hear(2, gossip(FAR, 4, 2))[0], deliver(FAR, 4, 2));
}

#[test]
fn what_comes_in_time_is_not_asked_for() {
    let mut bench = settled(Config::default());
    bench.hear(2, ihave(FAR, 2, 4));
    bench.after(ms(200));
    // 2 has it: it is told how far we are, and nothing is pushed to it.
    assert_eq!(
        bench.hear(1, gossip(FAR, 2, 3)),
        [deliver(FAR, 2, 3), send(3, gossip(FAR, 2, 4))]
    );
    assert_eq!(bench.after(ms(600)), [send(2, ihave(FAR, 2, 3))]);
    assert_eq!(bench.state.sizes().missing, 0);
}

#[test]
fn time_outs_follow_the_measured_round_trip() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1]);
    let round_trip = ms(1000);
    bench.feed(Input::Measured {
        peer: 1,
        round_trip,
    });
    bench.hear(1, ihave(FAR, 1, 1));
    assert_eq!(bench.after(ms(1290)), []);
    assert_eq!(bench.after(ms(20)), [send(1, graft(FAR, 0))]);
}

#[test]
fn what_was_asked_for_is_not_flooded() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    bench.hear(2, ihave(FAR, 1, 1));
    bench.after(ms(320));
    assert_eq!(bench.hear(2, gossip(FAR, 1, 2)), [deliver(FAR, 1, 2)]);
    assert_eq!(bench.eager(FAR), [2]);
}

#[test]
fn a_graft_is_answered_with_what_lacks_and_makes_the_link_eager() {
    let mut bench = settled(Config::default());
    assert_eq!(bench.eager(FAR), [1, 3]);
    let mut older = gossip(FAR, 1, 4);
    if let Message::Gossip(Gossip { age_ms, .. }) = &mut older {
        *age_ms = 60;
    }
    assert_eq!(bench.hear(2, graft(FAR, 0)), [send(2, older)]);
    assert_eq!(bench.eager(FAR), [1, 2, 3]);
    assert_eq!(bench.hear(2, graft(FAR, 1)), []);
}

#[test]
fn another_neighbour_takes_the_place_of_a_lost_parent_at_once_and_the_nearest_first() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3, 4]);
    bench.hear(1, gossip(FAR, 1, 3));
    for (peer, hops) in [(2, 4), (3, 4), (4, 4)] {
        bench.hear(peer, gossip(FAR, 1, hops));
    }
    for (peer, hops) in [(2, 7), (3, 2), (4, 5)] {
        bench.hear(peer, ihave(FAR, 1, hops));
    }
    bench.after(ms(60));
    assert_eq!(
        bench.feed(Input::NeighborDown { peer: 1 }),
        [send(3, graft(FAR, 1))]
    );
    assert_eq!(bench.state.parent(FAR), Some(3));
    assert_eq!(bench.feed(Input::NeighborDown { peer: 2 }), []);
}

#[test]
fn a_parent_that_prunes_or_grafts_us_is_replaced() {
    let mut bench = settled(Config::default());
    assert_eq!(bench.hear(1, prune(FAR)), [send(2, graft(FAR, 1))]);
    assert_eq!(bench.state.parent(FAR), Some(2));
    assert_eq!(bench.hear(2, graft(FAR, 1)), [send(1, graft(FAR, 1))]);
    assert_eq!(bench.state.parent(FAR), Some(1));
    assert_eq!(bench.eager(FAR), [1, 2, 3]);
}

#[test]
fn an_announcer_that_is_nearer_by_the_threshold_becomes_the_parent() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    bench.hear(1, gossip(FAR, 1, 8));
    bench.hear(2, gossip(FAR, 1, 9));
    bench.after(ms(40));
    // Over 2 it would be 6 hops: two less.
    assert_eq!(bench.hear(2, ihave(FAR, 1, 5)), []);
    assert_eq!(bench.hear(2, ihave(FAR, 1, 4)), [send(2, graft(FAR, 1))]);
    assert_eq!(bench.state.parent(FAR), Some(2));
    assert_eq!(bench.after(ms(60)), [send(1, prune(FAR))]);
}

#[test]
fn a_shorter_way_that_is_slower_is_not_taken() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    bench.hear(1, gossip(FAR, 1, 8));
    bench.hear(2, gossip(FAR, 1, 9));
    // A batch waits for 50 ms: what is announced later than that would have come later.
    bench.after(ms(60));
    assert_eq!(bench.hear(2, ihave(FAR, 1, 1)), []);
    assert_eq!(bench.state.parent(FAR), Some(1));
}

#[test]
fn a_shorter_way_is_not_taken_while_messages_are_on_their_way() {
    let mut bench = Bench::with_neighbors(all(), &[1, 2, 3]);
    bench.hear(1, ihave(FAR, 1, 8));
    bench.hear(1, ihave(FAR, 2, 8));
    bench.after(ms(320));
    bench.hear(1, gossip(FAR, 1, 9));
    assert_eq!(bench.hear(2, ihave(FAR, 1, 1)), []);
    bench.hear(1, gossip(FAR, 2, 9));
    assert_eq!(bench.hear(2, ihave(FAR, 2, 1)), [send(2, graft(FAR, 2))]);
}

#[test]
fn the_rest_of_an_answer_is_waited_for_before_another_is_asked() {
    let mut bench = Bench::with_neighbors(all(), &[1, 2]);
    for (peer, seq) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        bench.hear(peer, ihave(FAR, seq, 1));
    }
    assert_eq!(bench.after(ms(310)), [send(1, graft(FAR, 0))]);
    bench.after(ms(280));
    bench.hear(1, gossip(FAR, 1, 2));
    bench.after(ms(40));
    bench.hear(1, gossip(FAR, 2, 2));
    bench.after(ms(1000));
    assert_eq!(bench.state.counters().grafts, 1);
}

#[test]
fn where_no_neighbour_is_nearer_all_are_asked_for_a_way_and_the_next_message_chooses() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    bench.hear(1, gossip(FAR, 1, 3));
    for peer in [2, 3] {
        bench.hear(peer, gossip(FAR, 1, 5));
        bench.hear(peer, ihave(FAR, 1, 4));
    }
    bench.after(ms(60));
    assert_eq!(
        bench.feed(Input::NeighborDown { peer: 1 }),
        [send(2, graft(FAR, 1)), send(3, graft(FAR, 1))]
    );
    // They push to us, we to none but the one that we count on.
    assert_eq!(bench.eager(FAR), [2]);
    assert_eq!(bench.hear(3, gossip(FAR, 2, 5))[0], deliver(FAR, 2, 5));
    assert_eq!(bench.state.parent(FAR), Some(3));
    bench.hear(2, gossip(FAR, 2, 6));
    assert_eq!(bench.after(ms(60)), [send(2, prune(FAR))]);
}

#[test]
fn where_all_neighbours_are_below_one_of_them_looks_for_a_way() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1, 2, 3]);
    bench.hear(1, gossip(FAR, 1, 3));
    assert_eq!(
        bench.feed(Input::NeighborDown { peer: 1 }),
        [send(2, graft(FAR, 1))]
    );
    assert_eq!(bench.eager(FAR), [2, 3]);
    // Below, the parent's graft is passed on to whoever is nearer than the parent was.
    let mut below = settled(Config::default());
    below.hear(2, ihave(FAR, 1, 2));
    assert_eq!(below.hear(1, graft(FAR, 1)), [send(2, graft(FAR, 1))]);
}

#[test]
fn an_announcement_that_came_before_the_message_shortens_the_way_as_well() {
    let mut bench = settled(Config::default());
    bench.hear(2, ihave(FAR, 2, 4));
    bench.hear(1, gossip(FAR, 2, 9));
    assert_eq!(bench.state.parent(FAR), Some(2));
}

#[test]
fn a_new_neighbour_is_lazy_where_there_is_a_way_and_is_told_what_there_is() {
    let mut bench = settled(Config::default());
    assert_eq!(bench.feed(Input::NeighborUp { peer: 4 }), []);
    assert_eq!(bench.eager(FAR), [1, 3]);
    let held = Held {
        incarnation: 1,
        seq: 1,
        gaps: 0,
    };
    let digest = Message::Digest(Digest {
        after: None,
        upto: None,
        list: vec![Position { origin: FAR, held }],
    });
    assert_eq!(bench.after(ms(60)), [send(4, digest)]);
}

#[test]
fn a_new_neighbour_is_the_way_where_there_is_none() {
    let mut bench = Bench::with_neighbors(Config::default(), &[1]);
    bench.hear(1, gossip(FAR, 1, 3));
    assert_eq!(bench.feed(Input::NeighborDown { peer: 1 }), []);
    assert_eq!(
        bench.feed(Input::NeighborUp { peer: 4 }),
        [send(4, graft(FAR, 1))]
    );
    assert_eq!(bench.state.parent(FAR), Some(4));
}

#[test]
fn positions_show_what_either_side_lacks() {
    let mut bench = settled(Config::default());
    bench.feed(Input::Command(Command::Broadcast(payload(1))));
    bench.after(ms(60));
    let newer = Held {
        incarnation: 1,
        seq: 5,
        gaps: 0,
    };
    let digest = Message::Digest(Digest {
        after: None,
        upto: None,
        list: vec![Position {
            origin: FAR,
            held: newer,
        }],
    });
    bench.hear(2, digest);
    assert_eq!(bench.after(ms(60)), [send(2, ihave(ME, 1, 0))]);
    assert_eq!(bench.after(ms(300)), [send(2, graft(FAR, 1))]);
    // Of what lies outside the bounds of a digest nothing is said.
    let empty = |after, upto| {
        Message::Digest(Digest {
            after,
            upto,
            list: Vec::new(),
        })
    };
    bench.hear(3, empty(Some(ME), Some(FAR - 1)));
    assert_eq!(bench.after(ms(60)), []);
    bench.hear(3, empty(Some(FAR - 1), Some(FAR)));
    assert_eq!(bench.after(ms(60)), [send(3, ihave(FAR, 1, 3))]);
}

#[test]
fn the_latest_message_supersedes_or_all_are_kept() {
    let mut latest = Bench::with_neighbors(Config::default(), &[1, 2]);
    latest.hear(1, gossip(FAR, 2, 1));
    assert_eq!(latest.hear(1, gossip(FAR, 1, 1)), []);
    assert_eq!(latest.state.sizes().payloads, 1);

    let config = Config::default().with_keep(Keep::All);
    let mut all = Bench::with_neighbors(config, &[1, 2]);
    all.hear(1, gossip(FAR, 2, 1));
    let outputs = all.hear(1, gossip(FAR, 1, 1));
    assert_eq!(outputs, [deliver(FAR, 1, 1), send(2, gossip(FAR, 1, 2))]);
    assert_eq!(all.state.sizes().payloads, 2);
    let ask = |bench: &mut Bench| bench.hear(2, graft(FAR, 0)).len();
    assert_eq!((ask(&mut latest), ask(&mut all)), (1, 2));
}

#[test]
fn a_later_incarnation_supersedes_an_earlier_one() {
    let mut bench = settled(Config::default());
    let reborn = |incarnation, seq| {
        Message::Gossip(Gossip {
            id: MessageId {
                origin: FAR,
                incarnation,
                seq,
            },
            hops: 3,
            age_ms: 0,
            payload: payload(9),
        })
    };
    assert_eq!(bench.hear(1, reborn(2, 1)).len(), 2);
    assert_eq!(bench.hear(1, reborn(1, 7)), []);
    assert_eq!(bench.state.sizes().payloads, 1);
}

#[test]
fn what_is_old_is_neither_accepted_nor_offered_and_silent_origins_are_forgotten() {
    let config = Config::default().with_exchange_interval(Duration::from_secs(10_000));
    let mut bench = Bench::with_neighbors(config, &[1, 2]);
    let mut message = gossip(FAR, 1, 3);
    if let Message::Gossip(Gossip { age_ms, .. }) = &mut message {
        *age_ms = 500_000;
    }
    assert_eq!(bench.hear(1, message.clone()).len(), 2);
    bench.after(Duration::from_secs(140));
    assert_eq!(
        (bench.state.sizes().origins, bench.state.sizes().payloads),
        (1, 0)
    );
    assert_eq!(bench.hear(2, graft(FAR, 0)), []);
    if let Message::Gossip(Gossip { age_ms, id, .. }) = &mut message {
        (*age_ms, id.seq) = (600_000, 2);
    }
    assert_eq!(bench.hear(1, message), []);
    bench.after(Duration::from_secs(640));
    assert_eq!(bench.state.sizes().origins, 0);
}

#[test]
fn a_shared_tree_carries_all_origins_and_its_root_alone_shapes_it() {
    let config = Config::default().with_trees(Trees::Shared);
    let mut bench = Bench::with_neighbors(config, &[1, 2]);
    bench.feed(Input::Command(Command::SetRoot(Some(FAR))));
    bench.hear(2, gossip(FAR, 1, 2));
    let parent = Output::Event(Event::EdgeChanged {
        peer: 1,
        role: EdgeRole::Parent,
    });
    let eager = Output::Event(Event::EdgeChanged {
        peer: 2,
        role: EdgeRole::Eager,
    });
    let changes = bench.hear(1, gossip(FAR, 2, 2));
    assert!(
        changes.contains(&parent) && changes.contains(&eager),
        "{changes:?}"
    );
    // A duplicate of another origin cuts nothing, one of the root does.
    bench.hear(1, gossip(7, 1, 2));
    bench.hear(2, gossip(7, 1, 3));
    assert_eq!(bench.after(ms(60)), []);
    let lazy = Output::Event(Event::EdgeChanged {
        peer: 2,
        role: EdgeRole::Lazy,
    });
    assert_eq!(bench.hear(2, gossip(FAR, 2, 3)), [lazy]);
    let origins = Vec::new();
    assert_eq!(
        bench.after(ms(60)),
        [send(2, Message::Prune(Prune { origins }))]
    );
}

#[test]
fn links_of_the_roots_tree_are_reported() {
    let mut bench = settled(Config::default());
    let changed = |peer, role| Output::Event(Event::EdgeChanged { peer, role });
    assert_eq!(
        bench.feed(Input::Command(Command::SetRoot(Some(FAR)))),
        [changed(1, EdgeRole::Parent), changed(3, EdgeRole::Eager)]
    );
    assert_eq!(
        bench.feed(Input::NeighborDown { peer: 1 })[0],
        changed(2, EdgeRole::Parent)
    );
    assert_eq!(
        bench.feed(Input::Command(Command::SetRoot(None))),
        [changed(2, EdgeRole::Lazy), changed(3, EdgeRole::Lazy)]
    );
}

#[test]
fn a_timer_that_is_not_due_does_nothing() {
    let mut bench = settled(Config::default());
    bench.hear(1, gossip(FAR, 2, 3));
    for timer in [Timer::Flush, Timer::Graft, Timer::Exchange, Timer::Age] {
        assert_eq!(bench.feed(Input::Timer(timer)), []);
    }
    assert_eq!(bench.after(ms(60)), [send(2, ihave(FAR, 2, 3))]);
}
