//! The switch that must pay, step by step, and what is left when a step fails (X-BOT).

use std::time::Duration;

use super::bench::*;
use crate::{
    Bid, Config, DisconnectReason, DownReason, Echo, Gauge, Loss, Message, Output, Priority, Timer,
    message,
};

const FULL: [u64; 5] = [1, 2, 3, 4, 5];

const DECLINE: Said = Message::SwitchDecline(message::SwitchDecline { token: 9 });
const CONSENT: Said = Message::SwitchConsent(message::SwitchConsent { token: 9 });

fn config() -> Config {
    Config::default().with_optimize(true)
}

fn probe(serial: u64) -> Said {
    let record = Home::default();
    Message::Probe(message::Probe { serial, record })
}

fn answer(serial: u64) -> Said {
    Message::ProbeReply(message::ProbeReply {
        serial,
        record: Home::default(),
        pulse: pulse(5),
        sample: Vec::new(),
    })
}

fn bid(gained: u64, lost: u64) -> Option<Bid<Home>> {
    Some(Bid {
        record: Home::default(),
        gained_micros: gained * 1000,
        lost_micros: lost * 1000,
    })
}

fn proposal(old: u64, bid: Option<Bid<Home>>) -> Said {
    Message::SwitchProposal(message::SwitchProposal {
        token: 9,
        record: Home::default(),
        old,
        bid,
    })
}

fn invite(partner: u64, bid: Option<Bid<Home>>) -> Said {
    Message::SwitchInvite(message::SwitchInvite {
        token: 9,
        partner,
        bid,
    })
}

/// Waits for round trips longer than a request may take.
fn expect_long(peer: u64, serial: u64) -> Out {
    let after = Config::default().request_timeout() * 2;
    Output::Schedule {
        after,
        timer: Timer::Request { peer, serial },
    }
}

impl Bench {
    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// A heartbeat comes from `peer` that shows a round trip of `millis`.
    fn measure(&mut self, peer: u64, millis: u64, unbiased: bool) {
        let sent = u64::try_from(self.now.as_micros()).unwrap();
        self.wait(millis);
        let echo = Some(Echo { sent, held: 0 });
        let gauge = Gauge {
            sent: 0,
            echo,
            unbiased,
        };
        let heartbeat = Message::Heartbeat(message::Heartbeat {
            epoch: self.epoch(peer),
            pulse: pulse(5),
            gauge: Some(gauge),
        });
        self.hear(peer, heartbeat);
    }

    /// A machine with five neighbours of old, the first two left to chance, at these distances.
    fn measured(config: Config, distances: [u64; 5]) -> Self {
        let mut bench = Self::started(config, &FULL);
        bench.pass(120);
        for (peer, millis) in FULL.into_iter().zip(distances) {
            bench.measure(peer, millis, false);
        }
        bench
    }

    /// `peer` answers the probes of a sounding: the first after a long while, then in `millis`. Returns
    /// what comes of it.
    fn sound(&mut self, peer: u64, first: u64, millis: u64) -> Vec<Out> {
        self.wait(400);
        assert_eq!(
            self.hear(peer, answer(first)),
            [send(peer, probe(first + 1))]
        );
        self.wait(millis + 7);
        let again = self.hear(peer, answer(first + 1));
        assert_eq!(again, [send(peer, probe(first + 2))]);
        self.wait(millis);
        self.hear(peer, answer(first + 2))
    }

    /// A search begins with the only backup, 70. Returns the serial of its first probe.
    fn searches(&mut self) -> Option<u64> {
        let outputs = self.ring(Timer::Optimize);
        outputs.iter().find_map(|output| match output {
            Output::Send {
                to,
                message: Message::Probe(message::Probe { serial, .. }),
            } if to.id == 70 => Some(*serial),
            _ => None,
        })
    }
}

#[test]
fn the_dearest_neighbour_is_offered_for_a_nearer_one() {
    let mut bench = Bench::measured(config(), [200, 150, 40, 90, 60]);
    bench.learn(&[70]);
    let serial = bench.searches().unwrap();
    assert_eq!(bench.searches(), None, "one search at a time");
    let outputs = bench.sound(70, serial, 30);
    // 1 and 2 are farther, but left to chance. The dial does not count.
    let proposed = Message::SwitchProposal(message::SwitchProposal {
        token: serial + 3,
        record: Home::default(),
        old: 4,
        bid: bid(30, 90),
    });
    assert_eq!(outputs, [send(70, proposed), expect_long(70, serial + 3)]);
    assert_eq!(bench.active(), FULL, "nothing is cut yet");
    let ready = Message::SwitchReady(message::SwitchReady {
        token: serial + 3,
        partner: contact(80),
    });
    let outputs = bench.hear(70, ready);
    assert_eq!(outputs[0], down(4, DownReason::Switched));
    assert_eq!(requests(&outputs), [(70, Priority::Switch(serial + 3))]);
}

#[test]
fn the_nearest_of_several_is_taken_and_the_others_are_let_go() {
    let mut bench = Bench::measured(config(), [200, 150, 40, 90, 60]);
    bench.learn(&[70, 71]);
    let outputs = bench.ring(Timer::Optimize);
    let Output::Send {
        to,
        message: Message::Probe(message::Probe { serial, .. }),
    } = &outputs[1]
    else {
        panic!("{outputs:?}");
    };
    let (first, serial) = (to.id, *serial);
    let second = 141 - first;
    let outputs = bench.sound(first, serial, 25);
    assert_eq!(outputs[1], send(second, probe(serial + 4)));
    let outputs = bench.sound(second, serial + 4, 30);
    let Output::Send {
        to,
        message: Message::SwitchProposal(message::SwitchProposal { old: 4, .. }),
    } = &outputs[0]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(to.id, first);
    assert_eq!(outputs[2], release(second));
}

#[test]
fn a_backup_that_is_hardly_nearer_is_let_go() {
    for (cost, enough) in [(71, true), (72, false), (300, false)] {
        let mut bench = Bench::measured(config(), [200, 150, 40, 90, 60]);
        bench.learn(&[70]);
        let serial = bench.searches().unwrap();
        let outputs = bench.sound(70, serial, cost);
        assert_eq!(outputs == [release(70)], !enough, "{cost} ms: {outputs:?}");
    }
}

#[test]
fn nobody_is_measured_when_nothing_can_be_gained() {
    let searches = |mut bench: Bench| {
        bench.learn(&[70]);
        bench.searches().is_some()
    };
    let far = [200, 150, 40, 90, 60];
    assert!(searches(Bench::measured(config(), far)));
    assert!(!searches(Bench::measured(Config::default(), far)), "off");
    assert!(
        !searches(Bench::measured(config(), [200, 150, 1, 1, 1])),
        "all near"
    );
    assert!(!searches(Bench::measured(
        config().with_unbiased_min(4),
        [9, 9, 9, 9, 0]
    )));
    let mut young = Bench::started(config(), &FULL);
    for peer in FULL {
        young.measure(peer, 90, false);
    }
    assert!(
        !searches(young),
        "links are not moved that came only just now"
    );
    let mut kept = Bench::measured(config(), far);
    for peer in [3, 4, 5] {
        kept.measure(peer, 90, true);
    }
    // Were 1 and 2 kept as well there would be nothing to align.
    kept.measure(1, 90, true);
    kept.measure(2, 90, true);
    assert!(!searches(kept), "the neighbours want to keep them");
    let mut lacking = Bench::measured(config(), far);
    lacking.learn(&[70]);
    let asked = lacking.lose(5, Loss::Closed);
    assert_eq!(requests(&asked), [(70, Priority::Low)]);
    lacking.hear(70, refuse(ours(1), &[]));
    assert!(lacking.searches().is_none(), "free slots first");
    let mut busy = Bench::measured(config(), far);
    busy.hear(1, invite(80, None));
    assert!(!searches(busy), "takes part in a switch");
}

#[test]
fn a_backup_that_does_not_answer_is_let_go() {
    let mut bench = Bench::measured(config(), [200, 150, 40, 90, 60]);
    bench.learn(&[70]);
    let serial = bench.searches().unwrap();
    let overdue = Timer::Request {
        peer: 70,
        serial: serial - 1,
    };
    assert_eq!(bench.ring(overdue), [release(70)]);
    assert_eq!(bench.hear(70, answer(serial)), [], "too late");
    let serial = bench.searches().unwrap();
    bench.give(crate::Input::Unreachable { peer: 70 });
    assert_eq!(bench.suspects(), [70]);
    assert_eq!(bench.hear(70, answer(serial)), []);
}

#[test]
fn the_mediator_asks_its_dearest_neighbour_and_passes_the_bid_on() {
    let mut bench = Bench::measured(config(), [200, 150, 40, 90, 60]);
    let outputs = bench.hear(60, proposal(80, bid(30, 90)));
    let asked = tell(4, invite(80, bid(30, 90)));
    assert_eq!(outputs, [expect_long(60, 1), asked]);
    bench.hear(4, DECLINE);
    // The dearest is o itself.
    let outputs = bench.hear(60, proposal(4, bid(30, 90)));
    assert_eq!(outputs[1], tell(5, invite(4, bid(30, 90))));
}

#[test]
fn a_mediator_with_nobody_to_spare_declines() {
    let declined = [tell(60, DECLINE), release(60)];
    let far = [200, 150, 40, 90, 60];
    let mut off = Bench::measured(Config::default(), far);
    assert_eq!(off.hear(60, proposal(80, bid(30, 90))), declined);
    let mut random = Bench::measured(config().with_unbiased_min(4), [9, 9, 9, 9, 0]);
    random.measure(5, 90, true);
    assert_eq!(random.hear(60, proposal(80, bid(30, 90))), declined);
}

/// d is asked to part with c, which is 90 ms away. i-c is 30 ms, i-o 70 ms. Returns d and the serial of
/// its first probe.
fn asked_to_part() -> (Bench, u64) {
    let mut bench = Bench::measured(config(), [200, 150, 40, 90, 60]);
    let outputs = bench.hear(4, invite(80, bid(30, 70)));
    assert_eq!(outputs, [expect(80, 1), send(80, probe(2))]);
    (bench, 2)
}

#[test]
fn the_partner_measures_and_consents_only_if_the_whole_exchange_pays() {
    // 30 + x must be less than 80 % of 70 + 90.
    let (mut bench, serial) = asked_to_part();
    let outputs = bench.sound(80, serial, 97);
    assert_eq!(outputs, [expect(80, 5), tell(4, CONSENT)]);
    let outputs = bench.hear(80, neighbor(80, 1, Priority::Switch(9), 4));
    assert_eq!(outputs[0], down(4, DownReason::Switched));
    assert_eq!(bench.active(), [1, 2, 3, 5, 80]);

    let (mut bench, serial) = asked_to_part();
    let outputs = bench.sound(80, serial, 98);
    assert_eq!(outputs, [tell(4, DECLINE), release(80)]);
    let outputs = bench.hear(80, neighbor(80, 1, Priority::Switch(9), 4));
    assert!(matches!(
        outputs[0],
        Output::Tell {
            message: Message::Refuse(_),
            ..
        }
    ));
    assert_eq!(bench.active(), FULL);
}

#[test]
fn a_partner_that_keeps_the_link_declines_at_once() {
    let mut bench = Bench::measured(config(), [200, 150, 40, 90, 60]);
    assert_eq!(bench.hear(1, invite(80, bid(30, 900))), [tell(1, DECLINE)]);
    assert_eq!(bench.hear(4, invite(5, bid(30, 900))), [tell(4, DECLINE)]);
    let mut off = Bench::measured(Config::default(), [200, 150, 40, 90, 60]);
    assert_eq!(off.hear(4, invite(80, bid(30, 900))), [tell(4, DECLINE)]);
}

#[test]
fn a_partner_that_gets_no_measure_keeps_no_slot() {
    let (mut bench, serial) = asked_to_part();
    bench.lose(4, Loss::Closed);
    assert_eq!(bench.state.free_slots(), 1, "nothing was agreed");
    // The link in question is gone: whatever the measure.
    let outputs = bench.sound(80, serial, 1);
    assert_eq!(outputs, [tell(4, DECLINE), release(80)]);

    let (mut bench, serial) = asked_to_part();
    let overdue = Timer::Request {
        peer: 80,
        serial: 1,
    };
    assert_eq!(bench.ring(overdue), [release(80)]);
    assert_eq!(bench.hear(80, answer(serial)), []);
    assert_eq!(
        bench.hear(4, invite(81, bid(30, 70))).len(),
        2,
        "free for another"
    );
    // c withdraws.
    assert_eq!(bench.hear(4, DECLINE), [release(81)]);
    assert_eq!(bench.active(), FULL);
}

#[test]
fn a_partner_that_nobody_comes_to_gives_the_slot_up() {
    let (mut bench, serial) = asked_to_part();
    bench.sound(80, serial, 1);
    let epoch = bench.epoch(4);
    bench.hear(
        4,
        disconnect(epoch, DisconnectReason::Switched { successor: None }, &[]),
    );
    assert_eq!(bench.state.free_slots(), 0, "kept for o");
    bench.ring(Timer::Request {
        peer: 80,
        serial: 5,
    });
    assert_eq!(bench.state.free_slots(), 1);
}

#[test]
fn heartbeats_carry_the_clock_and_what_is_left_to_chance() {
    let mut bench = Bench::started(config(), &[1, 2, 3]);
    bench.pass(1);
    let gauges = |bench: &mut Bench| -> Vec<Option<Gauge>> {
        let beats = bench.ring(Timer::Heartbeat);
        let gauge = |output| match output {
            Output::Tell {
                message: Message::Heartbeat(message::Heartbeat { gauge, .. }),
                ..
            } => Some(gauge),
            _ => None,
        };
        beats.into_iter().filter_map(gauge).collect()
    };
    let sent = u64::try_from(bench.now.as_micros()).unwrap();
    let gauge = |unbiased| {
        Some(Gauge {
            sent,
            echo: None,
            unbiased,
        })
    };
    assert_eq!(gauges(&mut bench), [gauge(true), gauge(true), gauge(false)]);
    // 3 keeps the link, 1 does not: so 3 is as good as 1.
    bench.measure(2, 0, true);
    bench.measure(3, 0, true);
    let kept: Vec<_> = gauges(&mut bench)
        .into_iter()
        .map(|gauge| gauge.unwrap().unbiased)
        .collect();
    assert_eq!(kept, [false, true, true]);
    let mut off = Bench::started(Config::default(), &[1]);
    assert_eq!(gauges(&mut off), [None]);
}

#[test]
fn chance_takes_only_what_is_left_to_it() {
    let config = config().with_tenure_min(Duration::MAX);
    let mut bench = Bench::measured(config, [200, 150, 40, 90, 60]);
    for (from, leaving) in [(60, [1, 2]), (61, [1, 2])] {
        let outputs = bench.hear(from, proposal(80, None));
        let asked = leaving.map(|peer| tell(peer, invite(80, None)));
        assert!(asked.contains(&outputs[1]), "{outputs:?}");
        bench.hear(from, DECLINE);
    }
    assert_eq!(bench.hear(4, invite(80, None)), [tell(4, DECLINE)]);
    for (newcomer, gone) in [(90, [1, 2]), (91, [1, 2])] {
        let outputs = bench.press(newcomer, 1, join(newcomer, 1));
        let evicted = gone.map(|peer| down(peer, DownReason::Evicted));
        assert!(
            outputs.iter().any(|output| evicted.contains(output)),
            "{outputs:?}"
        );
    }
    // The newcomers are left to chance now, once they have other neighbours.
    assert_eq!(bench.active(), [3, 4, 5, 90, 91]);
    bench.measure(90, 0, false);
    bench.measure(91, 0, false);
    let outputs = bench.press(92, 1, join(92, 1));
    let evicted = [90, 91].map(|peer| down(peer, DownReason::Evicted));
    assert!(
        outputs.iter().any(|output| evicted.contains(output)),
        "{outputs:?}"
    );
}
