use std::time::Duration;

use super::{AGE_MAX, ASK_PAUSE, Bounds, ClockAnswer, Clocks, Judgement};
use crate::{
    api::ClockStanding,
    identity::NodeId,
    node::part::{Context, Effect, Event, Part, testing::overlay},
    replication::{Departure, Doubt, Reading},
};

const SECOND: i64 = 1_000_000;
const BOUNDS: Bounds = Bounds {
    warn: Duration::from_millis(500),
    max_ahead: Duration::from_secs(10),
};

fn name(number: usize) -> NodeId {
    format!("n{number}").parse().unwrap()
}

fn reading(offset: i64, error: i64) -> Reading {
    Reading { offset, error }
}

/// What follows when the neighbours' clocks are ahead of ours by `seconds`, one for each.
fn judge(seconds: &[i64]) -> Judgement {
    let mut clocks = Clocks::new(BOUNDS);
    for (number, offset) in seconds.iter().enumerate() {
        clocks.heard(
            name(number),
            reading(offset * SECOND, 1_000),
            Duration::ZERO,
        );
    }
    clocks.judge(Duration::ZERO)
}

#[test]
fn who_is_ahead_of_the_majority_is_mistrusted_and_knows_it_itself() {
    for others in 1..6 {
        let mut seen_by_others = vec![0; others - 1];
        seen_by_others.push(60);
        let judgement = judge(&seen_by_others);
        let mistrusted: Vec<_> = judgement.doubts.keys().cloned().collect();
        assert_eq!(mistrusted, [name(others - 1)], "{others}");
        assert_eq!(judgement.own.standing, ClockStanding::Fair);

        let itself = judge(&vec![-60; others]);
        assert_eq!(itself.own.standing, ClockStanding::Ahead, "{others}");
        assert_eq!(itself.own.ahead_ms, Some(60_000.0));
        assert!(itself.doubts.is_empty());
    }
}

#[test]
fn who_is_behind_the_majority_mistrusts_nobody() {
    let judgement = judge(&[60, 60]);
    assert!(judgement.doubts.is_empty());
    assert_eq!(judgement.own.standing, ClockStanding::Off);
    assert_eq!(judgement.own.ahead_ms, Some(-60_000.0));
}

#[test]
fn of_two_the_earlier_one_counts() {
    assert_eq!(judge(&[60]).doubts.len(), 1);
    assert_eq!(judge(&[-60]).own.standing, ClockStanding::Ahead);
}

#[test]
fn nobody_is_mistrusted_for_a_slow_network() {
    let mut clocks = Clocks::new(BOUNDS);
    clocks.heard(name(0), reading(12 * SECOND, 3 * SECOND), Duration::ZERO);
    assert!(clocks.judge(Duration::ZERO).doubts.is_empty());
    clocks.heard(name(0), reading(11 * SECOND, SECOND / 2), Duration::ZERO);
    assert_eq!(clocks.judge(Duration::ZERO).doubts.len(), 1);
}

#[test]
fn the_most_exact_reading_counts_until_a_newer_one_contradicts_it() {
    let mut clocks = Clocks::new(BOUNDS);
    clocks.heard(name(0), reading(100, 10), Duration::ZERO);
    clocks.heard(name(0), reading(900, 1_000), Duration::ZERO);
    let known = |clocks: &mut Clocks, now| clocks.judge(now).neighbors.get(&name(0)).copied();
    assert_eq!(known(&mut clocks, Duration::ZERO), Some(reading(100, 10)));
    // The clock was set.
    clocks.heard(name(0), reading(SECOND, 1_000), Duration::ZERO);
    assert_eq!(
        known(&mut clocks, Duration::ZERO),
        Some(reading(SECOND, 1_000))
    );
    assert_eq!(known(&mut clocks, AGE_MAX + Duration::from_secs(1)), None);
}

#[test]
fn mistrust_ends_well_below_the_bound_and_not_before() {
    let mut clocks = Clocks::new(BOUNDS);
    let mut is_mistrusted = |seconds: i64| {
        clocks.heard(name(0), reading(seconds * SECOND, 1_000), Duration::ZERO);
        !clocks.judge(Duration::ZERO).doubts.is_empty()
    };
    assert!(!is_mistrusted(9));
    assert!(is_mistrusted(11));
    assert!(is_mistrusted(9));
    assert!(!is_mistrusted(4));
    assert!(!is_mistrusted(9));
}

#[test]
fn a_new_neighbours_clock_is_unread_until_it_has_told_its_time_or_that_it_never_will() {
    for (told, doubt) in [
        (ClockAnswer::NotYet, Some(Doubt::Unread)),
        (ClockAnswer::Never, None),
        (ClockAnswer::Time(reading(0, 1_000)), None),
        (
            ClockAnswer::Time(reading(60 * SECOND, 1_000)),
            Some(Doubt::Ahead),
        ),
    ] {
        let mut clocks = Clocks::new(BOUNDS);
        clocks.met(&name(0));
        clocks.told(&name(0), told, Duration::ZERO);
        // New addresses are no reason to doubt anew.
        if told != ClockAnswer::Never {
            clocks.met(&name(0));
        }
        let doubts = clocks.judge(Duration::ZERO).doubts;
        assert_eq!(doubts.get(&name(0)).copied(), doubt, "{told:?}");
    }
}

#[test]
fn without_a_bound_everybody_is_believed_and_warned_of() {
    let mut clocks = Clocks::new(Bounds {
        max_ahead: Duration::ZERO,
        ..BOUNDS
    });
    clocks.met(&name(1));
    clocks.heard(name(0), reading(-3_600 * SECOND, 0), Duration::ZERO);
    let judgement = clocks.judge(Duration::ZERO);
    assert_eq!(judgement.own.standing, ClockStanding::Off);
    clocks.heard(name(0), reading(3_600 * SECOND, 0), Duration::ZERO);
    assert!(clocks.judge(Duration::ZERO).doubts.is_empty());
}

#[test]
fn a_neighbour_that_goes_takes_its_clock_along() {
    let mut clocks = Clocks::new(BOUNDS);
    clocks.heard(name(0), reading(60 * SECOND, 0), Duration::ZERO);
    assert!(!clocks.judge(Duration::ZERO).doubts.is_empty());
    clocks.forget(&name(0));
    let judgement = clocks.judge(Duration::ZERO);
    assert_eq!(
        judgement,
        Judgement {
            own: judgement.own.clone(),
            ..Judgement::default()
        }
    );
    assert_eq!(judgement.own.standing, ClockStanding::Unknown);
}

#[test]
fn a_new_neighbour_is_asked_until_it_tells_and_the_others_between_rounds() {
    let mut clocks = Clocks::new(BOUNDS);
    let both = overlay(&[name(0), name(1)]);
    let mut on = |event: Event| {
        let context = Context {
            now: Duration::ZERO,
            overlay: &both,
        };
        clocks.on(&event, &context)
    };
    let ask = |number, after| Effect::AskClock {
        peer: name(number),
        after,
    };
    let told = |number, answer, in_round| Event::Clock {
        peer: name(number),
        answer,
        in_round,
    };
    let right = ClockAnswer::Time(reading(0, 1_000));
    let heartbeat = |is_round| Event::Heartbeat {
        exchange: is_round,
        is_round,
    };
    for number in [0, 1] {
        let met = on(Event::NeighborUp(name(number)));
        assert_eq!(met, [ask(number, Duration::ZERO)]);
    }
    let silent = on(told(0, ClockAnswer::NotYet, false));
    assert_eq!(silent, [ask(0, ASK_PAUSE)]);
    // One question at a time, or there would be more and more: with each round, with each return.
    assert_eq!(on(told(0, ClockAnswer::NotYet, true)), []);
    on(Event::NeighborDown(name(0), Departure::Lost));
    assert_eq!(on(Event::NeighborUp(name(0))), []);
    assert_eq!(on(told(1, right, false)), []);
    assert_eq!(on(heartbeat(false)), [ask(1, Duration::ZERO)]);
    assert_eq!(on(heartbeat(true)), [], "a round asks on the way");
    assert_eq!(on(told(0, ClockAnswer::Never, false)), []);
    assert_eq!(on(heartbeat(false)), [ask(0, Duration::ZERO)]);
    // It has gone meanwhile: its answer must not be kept for ever.
    assert_eq!(on(told(7, right, false)), []);
    on(Event::NeighborDown(name(1), Departure::Lost));
    let known: Vec<_> = clocks.judge(Duration::ZERO).neighbors.into_keys().collect();
    assert_eq!(known, []);
}
