//! What a node remembers does not grow with those who come and go.

use super::bench::*;
use crate::{Config, DisconnectReason, Input, Loss, Message, Priority, Timer, message};

/// Ever new peers do all that a peer can do, one after the other.
fn meet(bench: &mut Bench, peers: std::ops::Range<u64>) {
    for peer in peers {
        bench.hear(peer, join(peer, 1));
        bench.hear(peer, bench.confirmation(peer, 1));
        let (serial, record) = (peer, Home::default());
        bench.hear(peer, Message::Probe(message::Probe { serial, record }));
        bench.hear(peer, neighbor(peer, 2, Priority::High, 0));
        bench.hear(peer, heartbeat(theirs(peer, 9), pulse(3)));
        match peer % 4 {
            0 => drop(bench.hear(
                peer,
                disconnect(theirs(peer, 1), DisconnectReason::Leaving, &[]),
            )),
            1 => drop(bench.lose(peer, Loss::Misbehaved)),
            2 => drop(bench.give(Input::Unreachable { peer })),
            _ => {}
        }
        bench.learn(&[peer + 1_000_000]);
        if peer % 7 == 0 {
            bench.pass(1);
            for timer in [Timer::Heartbeat, Timer::Shuffle, Timer::Probe, Timer::Remix] {
                bench.ring(timer);
            }
        }
    }
}

/// All that a machine holds, in whatever field, shows in how long it takes to describe it.
fn size(bench: &Bench) -> usize {
    format!("{:?}", bench.state).len()
}

#[test]
fn a_machine_does_not_grow_with_those_who_come_and_go() {
    let mut bench = Bench::idle(Config::default());
    meet(&mut bench, 10_000..14_000);
    let (early, entries) = (size(&bench), bench.state.entries());
    meet(&mut bench, 14_000..26_000);
    let late = size(&bench);
    assert!(late < early * 11 / 10, "{early} characters, then {late}");
    assert!(bench.state.entries() <= entries * 11 / 10);
    assert!(entries > 100, "hardly anybody was met: {entries}");
}
