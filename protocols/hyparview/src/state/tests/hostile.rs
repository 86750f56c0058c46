//! Any input in any order: the machine never panics and keeps its invariants.

use std::{collections::BTreeSet, time::Duration};

use proptest::{collection::vec, option, prelude::*};
use rand::{SeedableRng, rngs::SmallRng};

use super::network::{Faults, Network};
use crate::{
    Bid, Command, Config, Contact, DisconnectReason, Echo, Epoch, Gauge, Input, Loss, Message,
    Output, Priority, Pulse, State, Tag, Timer, io::Event, message,
};

const ME: u64 = 5;

/// Few peers, so that inputs are about each other. The machine itself is among them.
fn peer() -> impl Strategy<Value = u64> {
    0..12u64
}

fn contact() -> impl Strategy<Value = Contact<u64, ()>> {
    peer().prop_map(|id| Contact { id, record: () })
}

fn contacts() -> impl Strategy<Value = Vec<Contact<u64, ()>>> {
    vec(contact(), 0..20)
}

/// Small numbers hit what exists, great ones the bounds.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..12u64, 1 => Just(u64::MAX)]
}

fn epoch() -> impl Strategy<Value = Epoch<u64>> {
    (peer(), number(), number()).prop_map(|(by, incarnation, serial)| Epoch {
        by,
        incarnation,
        serial,
    })
}

fn pulse() -> impl Strategy<Value = Pulse<u64>> {
    (any::<u8>(), peer(), number(), number(), any::<bool>()).prop_map(
        |(degree, root, incarnation, beat, settled)| {
            let tag = Tag {
                root,
                incarnation,
                beat,
            };
            Pulse {
                degree,
                tag,
                settled,
            }
        },
    )
}

fn gauge() -> impl Strategy<Value = Option<Gauge>> {
    let echo = (number(), number()).prop_map(|(sent, held)| Echo { sent, held });
    let gauge = (number(), option::of(echo), any::<bool>());
    option::of(gauge.prop_map(|(sent, echo, unbiased)| Gauge {
        sent,
        echo,
        unbiased,
    }))
}

fn bid() -> impl Strategy<Value = Option<Bid<()>>> {
    let bid = (number(), number()).prop_map(|(gained, lost)| Bid {
        record: (),
        gained_micros: gained,
        lost_micros: lost,
    });
    option::of(bid)
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![
        Just(Priority::Low),
        Just(Priority::High),
        number().prop_map(Priority::Switch)
    ]
}

fn disconnect_reason() -> impl Strategy<Value = DisconnectReason<u64, ()>> {
    prop_oneof![
        Just(DisconnectReason::Evicted),
        Just(DisconnectReason::Unwanted),
        Just(DisconnectReason::Leaving),
        Just(DisconnectReason::Switched { successor: None }),
        (number(), contact()).prop_map(|to| DisconnectReason::Switched {
            successor: Some(to)
        }),
    ]
}

fn relation() -> impl Strategy<Value = Message<u64, ()>> {
    prop_oneof![
        (epoch(), pulse()).prop_map(|(epoch, pulse)| Message::Join(message::Join {
            epoch,
            record: (),
            pulse
        })),
        (epoch(), priority(), pulse()).prop_map(|(epoch, priority, pulse)| {
            Message::Neighbor(message::Neighbor {
                epoch,
                priority,
                record: (),
                pulse,
            })
        }),
        (epoch(), number(), pulse(), contacts()).prop_map(|(epoch, incarnation, pulse, sample)| {
            Message::Accept(message::Accept {
                epoch,
                incarnation,
                record: (),
                pulse,
                sample,
            })
        }),
        (epoch(), contacts())
            .prop_map(|(epoch, sample)| Message::Refuse(message::Refuse { epoch, sample })),
        (epoch(), disconnect_reason(), contacts()).prop_map(|(epoch, reason, sample)| {
            Message::Disconnect(message::Disconnect {
                epoch,
                reason,
                sample,
            })
        }),
        (epoch(), pulse(), gauge()).prop_map(|(epoch, pulse, gauge)| Message::Heartbeat(
            message::Heartbeat {
                epoch,
                pulse,
                gauge
            }
        )),
        Just(Message::Moved(message::Moved { record: () })),
    ]
}

fn walk() -> impl Strategy<Value = Message<u64, ()>> {
    prop_oneof![
        (contact(), any::<u8>()).prop_map(|(newcomer, ttl)| Message::ForwardJoin(
            message::ForwardJoin { newcomer, ttl }
        )),
        (number(), contact(), contacts(), any::<u8>()).prop_map(|(serial, origin, list, ttl)| {
            Message::Shuffle(message::Shuffle {
                serial,
                origin,
                list,
                ttl,
            })
        }),
        (number(), contacts()).prop_map(|(serial, list)| Message::ShuffleReply(
            message::ShuffleReply { serial, list }
        )),
        number().prop_map(|serial| Message::Probe(message::Probe { serial, record: () })),
        (number(), pulse(), contacts()).prop_map(|(serial, pulse, sample)| {
            Message::ProbeReply(message::ProbeReply {
                serial,
                record: (),
                pulse,
                sample,
            })
        }),
    ]
}

fn switch() -> impl Strategy<Value = Message<u64, ()>> {
    prop_oneof![
        (number(), peer(), bid()).prop_map(|(token, old, bid)| {
            Message::SwitchProposal(message::SwitchProposal {
                token,
                record: (),
                old,
                bid,
            })
        }),
        (number(), peer(), bid()).prop_map(|(token, partner, bid)| {
            Message::SwitchInvite(message::SwitchInvite {
                token,
                partner,
                bid,
            })
        }),
        number().prop_map(|token| Message::SwitchDecline(message::SwitchDecline { token })),
        number().prop_map(|token| Message::SwitchConsent(message::SwitchConsent { token })),
        (number(), contact()).prop_map(|(token, partner)| Message::SwitchReady(
            message::SwitchReady { token, partner }
        )),
    ]
}

/// An input that may, or may not, be an answer to what the machine said before.
#[derive(Debug, Clone)]
enum Step {
    Invented(Input<u64, ()>),
    /// Of the timers asked for, the one this many before the latest rings.
    Ring(usize),
    /// Of our requests, the one this many before the latest is accepted.
    Accept(usize),
    /// A peer that we have asked, or that has asked us, says so about the right relation.
    About(usize, u64, DisconnectReason<u64, ()>),
    /// Time passes.
    Wait(u64),
}

fn command() -> impl Strategy<Value = Command<u64, ()>> {
    prop_oneof![
        4 => contact().prop_map(Command::Join),
        4 => (contact(), any::<bool>())
            .prop_map(|(contact, permanent)| Command::Learn { contact, permanent }),
        1 => Just(Command::SetRecord(())),
        1 => Just(Command::Leave),
    ]
}

fn input() -> impl Strategy<Value = Input<u64, ()>> {
    // Boxed, as the strategies of all messages together outgrow the stack.
    let message = prop_oneof![3 => relation().boxed(), 2 => walk().boxed(), 2 => switch().boxed()];
    let cause =
        prop_oneof![4 => Just(Loss::Closed), 1 => Just(Loss::Slow), 1 => Just(Loss::Misbehaved)];
    prop_oneof![
        12 => (peer(), message).prop_map(|(from, message)| Input::Received { from, message }),
        2 => (peer(), cause).prop_map(|(peer, cause)| Input::Disconnected { peer, cause }),
        2 => peer().prop_map(|peer| Input::Unreachable { peer }),
        1 => (peer(), number()).prop_map(|(peer, serial)| {
            Input::Timer(Timer::Request { peer, serial })
        }),
        1 => Just(Input::Timer(Timer::Heartbeat)),
        2 => command().prop_map(Input::Command),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => input().prop_map(Step::Invented),
        4 => (0..8usize).prop_map(Step::Ring),
        4 => (0..4usize).prop_map(Step::Accept),
        2 => (0..8usize, peer(), disconnect_reason()).prop_map(|(back, who, why)| Step::About(back, who, why)),
        2 => (0..5000u64).prop_map(Step::Wait),
    ]
}

/// A machine with what it said, checked against what the application was told.
struct Subject {
    state: State<u64, ()>,
    rng: SmallRng,
    now: Duration,
    timers: Vec<Timer<u64>>,
    requests: Vec<(u64, Epoch<u64>)>,
    neighbors: BTreeSet<u64>,
}

/// More outputs for one input than a machine with these capacities can have reason for.
const OUTPUTS_MAX: usize = 64;

impl Subject {
    fn new(seed: u64) -> Self {
        let config = Config::default()
            .with_active_capacity(3)
            .with_passive_capacity(4)
            .with_suspect_capacity(3)
            .with_permanent_capacity(2)
            .with_group_active_max(Some(2))
            .with_optimize(seed.is_multiple_of(2))
            .with_unbiased_min(1)
            .with_optimize_rest(Duration::ZERO);
        let config = config.validate().unwrap();
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut state = State::new(Contact { id: ME, record: () }, config, 3);
        state.start(Duration::ZERO, &mut rng);
        let (timers, requests, neighbors) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut subject = Self {
            state,
            rng,
            now: Duration::ZERO,
            timers,
            requests,
            neighbors,
        };
        subject.drain();
        subject
    }

    fn take(&mut self, step: Step) {
        let last = |len: usize, back: usize| len.checked_sub(back + 1);
        let input = match step {
            Step::Invented(input) => Some(input),
            Step::Wait(millis) => {
                self.now += Duration::from_millis(millis);
                None
            }
            Step::Ring(back) => {
                last(self.timers.len(), back).map(|at| Input::Timer(self.timers.remove(at)))
            }
            Step::Accept(back) => last(self.requests.len(), back).map(|at| {
                let (from, epoch) = self.requests[at];
                let tag = Tag {
                    root: from,
                    incarnation: 1,
                    beat: 1,
                };
                let pulse = Pulse {
                    degree: 2,
                    tag,
                    settled: true,
                };
                let sample = Vec::new();
                let message = Message::Accept(message::Accept {
                    epoch,
                    incarnation: 1,
                    record: (),
                    pulse,
                    sample,
                });
                Input::Received { from, message }
            }),
            Step::About(back, who, reason) => {
                let asked = last(self.requests.len(), back).map(|at| self.requests[at]);
                let held = self.state.epoch(who).map(|epoch| (who, epoch));
                held.or(asked).map(|(from, epoch)| {
                    let message = Message::Disconnect(message::Disconnect {
                        epoch,
                        reason,
                        sample: Vec::new(),
                    });
                    Input::Received { from, message }
                })
            }
        };
        if let Some(input) = input {
            self.state.handle(self.now, input, &mut self.rng);
            self.drain();
        }
    }

    fn drain(&mut self) {
        let outputs: Vec<_> = std::iter::from_fn(|| self.state.poll_output()).collect();
        assert!(outputs.len() <= OUTPUTS_MAX, "{} outputs", outputs.len());
        for output in outputs {
            match output {
                Output::Send { to, message } => {
                    assert_ne!(to.id, ME);
                    if let Message::Neighbor(message::Neighbor { epoch, .. })
                    | Message::Join(message::Join { epoch, .. }) = message
                    {
                        self.requests.push((to.id, epoch));
                    }
                }
                Output::Tell { peer, .. } => assert_ne!(peer, ME),
                Output::Release { peer } | Output::Cut { peer } => assert_ne!(peer, ME),
                Output::Schedule { timer, .. } => self.timers.push(timer),
                Output::Event(Event::NeighborUp(contact)) => {
                    assert!(self.neighbors.insert(contact.id));
                }
                Output::Event(Event::NeighborDown { peer, .. }) => {
                    assert!(self.neighbors.remove(&peer));
                }
                Output::Event(Event::NeighborMoved(_) | Event::Isolated | Event::Wanting) => {}
            }
        }
        self.state.check().unwrap();
        assert!(self.state.active().eq(self.neighbors.iter().copied()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_input_breaks_an_invariant(seed in any::<u64>(), steps in vec(step(), 1..120)) {
        let mut subject = Subject::new(seed);
        for step in steps {
            subject.take(step);
        }
    }

    #[test]
    fn every_request_is_answered_or_given_up_in_time(
        seed in any::<u64>(),
        steps in vec(step(), 1..60),
    ) {
        let mut subject = Subject::new(seed);
        for step in steps {
            subject.take(step);
        }
        // Nobody answers any more: all timers ring, and what was asked before is given up.
        let last = subject.state.serial;
        subject.now += Duration::from_secs(10);
        for timer in std::mem::take(&mut subject.timers) {
            subject.take(Step::Invented(Input::Timer(timer)));
        }
        let state = &subject.state;
        prop_assert!(state.relations.pending.values().all(|ours| ours.epoch.serial > last));
        prop_assert!(state.switching.switch.as_ref().is_none_or(|switch| switch.serial > last));
        prop_assert!(state.switching.optimizer.search.as_ref().is_none_or(|search| search.serial > last));
        prop_assert!(state.healing.probe.as_ref().is_none_or(|probe| probe.serial > last));
        prop_assert!(state.relations.waiting.is_empty() || state.reserved_slots() > 0);
        subject.take(Step::Invented(Input::Command(Command::Leave)));
        prop_assert_eq!(subject.state.known(), vec![]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    /// Whatever happens to a small network, when it is left in peace it becomes whole and full.
    #[test]
    fn any_history_ends_in_a_whole_network(
        seed in any::<u64>(),
        history in vec((0..6u8, 0..16u64, 0..16u64, 0..4000u64), 1..40),
        faults in (0..10u32, 0..10u32, 0..10u32),
    ) {
        let config = Config::default()
            .with_optimize(seed.is_multiple_of(2))
            .with_optimize_interval(Duration::from_secs(2))
            .with_optimize_rest(Duration::from_secs(2));
        let mut network = Network::with(seed, config);
        let (lost, repeated, late) = faults;
        network.faults = Faults { lost, repeated, late };
        network.start(0, &[]);
        for id in 1..16 {
            network.start(id, &[0, id / 2]);
        }
        let mut dead = BTreeSet::new();
        for (what, a, b, pause) in history {
            match what {
                0 | 1 => network.sever(a, b),
                // The bootstrap node may restart but not stay dead: it is all that some know.
                2 if dead.len() < 8 && a != 0 => {
                    dead.insert(a);
                    network.crash(a);
                }
                3 => network.cut(|id| u8::from(id % (b + 2) == 0)),
                4 => network.heal(),
                _ => {
                    dead.remove(&a);
                    network.crash(a);
                    network.start(a, &[b, 0]);
                }
            }
            network.run(Duration::from_millis(pause));
        }
        network.faults = Faults::default();
        network.heal();
        network.run_until(Duration::from_secs(300), Network::perfect);
    }
}
