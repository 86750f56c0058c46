use std::sync::Arc;

use libp2p::core::{Endpoint, transport::PortUse};

use super::*;

fn frame(n: u8) -> Frame {
    Frame {
        content: Arc::new([n]),
        control: true,
        ticket: Arc::new(()),
    }
}

fn connection(n: usize) -> ConnectionId {
    ConnectionId::new_unchecked(n)
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn inbound() -> ConnectedPoint {
    ConnectedPoint::Listener {
        local_addr: address("/ip4/10.0.0.1/tcp/1"),
        send_back_addr: address("/ip4/10.0.0.2/tcp/40000"),
    }
}

fn outbound(to: &str) -> ConnectedPoint {
    ConnectedPoint::Dialer {
        address: address(to),
        role_override: Endpoint::Dialer,
        port_use: PortUse::New,
    }
}

fn peers() -> Peers {
    let settings = Settings::new(1).with_dials_max(2).with_waiting_peers_max(2);
    Peers::new(&settings, Duration::from_secs(60))
}

fn send(peers: &mut Peers, peer: PeerId, n: u8) -> Route {
    peers.route(peer, frame(n), || vec![address("/ip4/10.0.0.9/tcp/1")])
}

fn given_up(peer: PeerId, waited: bool) -> Option<Failed> {
    Some(Failed::GivenUp { peer, waited })
}

fn contents(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    frames.into_iter().map(|frame| frame.content[0]).collect()
}

#[test]
fn what_waits_for_a_dial_is_sent_in_order_by_whatever_connection_comes_first() {
    let mut peers = peers();
    let peer = PeerId::random();
    assert!(matches!(send(&mut peers, peer, 1), Route::Waits));
    let dial = peers.next_dial().unwrap().connection_id();
    assert!(matches!(send(&mut peers, peer, 2), Route::Waits));
    assert!(peers.next_dial().is_none());

    let first = connection(1_000_001);
    assert_eq!(contents(peers.established(peer, first, inbound())), [1, 2]);
    assert!(matches!(send(&mut peers, peer, 3), Route::Via(via, _) if via == first));
    // Our own dial, whatever becomes of it, has nothing to do any more.
    assert_eq!(peers.dial_failed(dial, |_| true), given_up(peer, false));
    assert!(peers.dials.is_empty());
}

#[test]
fn failed_dial_gives_up_what_waited() {
    let mut peers = peers();
    let peer = PeerId::random();
    send(&mut peers, peer, 1);
    let dial = peers.next_dial().unwrap().connection_id();
    assert_eq!(peers.dial_failed(connection(1_000_001), |_| true), None);
    assert_eq!(peers.dial_failed(dial, |_| true), given_up(peer, true));
    assert_eq!(peers.dial_failed(dial, |_| true), None);
    assert!(peers.peers.is_empty() && peers.dials.is_empty());
}

#[test]
fn a_dial_that_met_somebody_else_is_begun_again_with_the_rest() {
    let mut peers = peers();
    let peer = PeerId::random();
    let all = [1, 2].map(|host| address(&format!("/ip4/10.0.0.{host}/tcp/1")));
    assert!(matches!(
        peers.route(peer, frame(1), || all.to_vec()),
        Route::Waits
    ));
    let dial = peers.next_dial().unwrap().connection_id();
    let is_good = |address: &Multiaddr| *address == all[1];
    assert_eq!(peers.dial_failed(dial, is_good), Some(Failed::Again));
    assert!(matches!(send(&mut peers, peer, 2), Route::Waits));
    let dial = peers.next_dial().unwrap().connection_id();
    // It is not tried for ever.
    assert_eq!(peers.dial_failed(dial, is_good), given_up(peer, true));
    assert!(peers.peers.is_empty() && peers.dials.is_empty() && peers.waiting.is_empty());
}

#[test]
fn old_dial_does_not_give_up_what_waits_for_a_new_one() {
    let mut peers = peers();
    let peer = PeerId::random();
    send(&mut peers, peer, 1);
    let old = peers.next_dial().unwrap().connection_id();
    peers.established(peer, connection(1_000_001), inbound());
    peers.closed(peer, connection(1_000_001));
    send(&mut peers, peer, 2);
    let new = peers.next_dial().unwrap().connection_id();
    assert_eq!(peers.dial_failed(old, |_| true), given_up(peer, false));
    assert_eq!(contents(peers.established(peer, new, inbound())), [2]);
}

#[test]
fn dials_and_waiting_peers_are_bounded() {
    let mut peers = peers();
    let all: Vec<_> = (0..5).map(|_| PeerId::random()).collect();
    assert!(matches!(send(&mut peers, all[0], 0), Route::Waits));
    assert!(matches!(send(&mut peers, all[1], 1), Route::Waits));
    assert!(matches!(send(&mut peers, all[2], 2), Route::Nowhere));
    // Not a new peer, so not refused.
    assert!(matches!(send(&mut peers, all[1], 1), Route::Waits));
    let first = peers.next_dial().unwrap().connection_id();
    assert!(peers.next_dial().is_some());
    assert!(matches!(send(&mut peers, all[3], 3), Route::Waits));
    assert!(peers.next_dial().is_none(), "two dials are under way");
    peers.dial_failed(first, |_| true);
    assert_eq!(peers.next_dial().unwrap().get_peer_id(), Some(all[3]));
}

#[test]
fn what_waited_too_long_is_not_sent() {
    let mut peers = Peers::new(&Settings::new(1), Duration::ZERO);
    let peer = PeerId::random();
    send(&mut peers, peer, 1);
    assert!(peers.established(peer, connection(1), inbound()).is_empty());
}

#[test]
fn outbox_is_bounded() {
    let mut peers = peers();
    let peer = PeerId::random();
    for n in 0..OUTBOX_FRAMES_MAX {
        assert!(matches!(
            send(&mut peers, peer, u8::try_from(n).unwrap()),
            Route::Waits
        ));
    }
    assert!(matches!(send(&mut peers, peer, 99), Route::Shed));
    let frames = peers.established(peer, connection(1), inbound());
    assert_eq!(frames.len(), OUTBOX_FRAMES_MAX);
}

#[test]
fn several_connections_are_one_peer() {
    let mut peers = peers();
    let peer = PeerId::random();
    peers.established(peer, connection(1), inbound());
    peers.established(peer, connection(2), outbound("/ip4/10.0.0.2/tcp/1"));
    assert_eq!(
        peers.usable_connection(peer),
        Some(connection(2)),
        "the newest"
    );
    assert_eq!(peers.keep(peer, true), [connection(1), connection(2)]);
    assert!(!peers.closed(peer, connection(2)), "another one is left");
    assert_eq!(peers.usable_connection(peer), Some(connection(1)));
    assert!(peers.is_kept(peer));
    assert!(peers.closed(peer, connection(1)));
    assert!(!peers.is_kept(peer));
    assert!(peers.peers.is_empty());
}

#[test]
fn connection_that_was_given_up_is_neither_used_nor_reported_again() {
    let mut peers = peers();
    let peer = PeerId::random();
    peers.established(peer, connection(1), inbound());
    assert!(peers.give_up_all(peer));
    assert!(!peers.is_usable(peer, connection(1)));
    assert!(
        matches!(send(&mut peers, peer, 1), Route::Waits),
        "dials anew"
    );
    assert!(!peers.closed(peer, connection(1)));
    let new = peers.next_dial().unwrap().connection_id();
    assert_eq!(contents(peers.established(peer, new, inbound())), [1]);
}

#[test]
fn peer_without_the_protocol_is_not_dialled_again_while_connected() {
    let mut peers = peers();
    let peer = PeerId::random();
    peers.established(peer, connection(1), inbound());
    assert!(peers.mute(peer, connection(1)));
    assert!(!peers.mute(peer, connection(1)), "said once");
    assert!(matches!(send(&mut peers, peer, 1), Route::Nowhere));
    assert!(!peers.closed(peer, connection(1)));
    assert!(matches!(send(&mut peers, peer, 1), Route::Waits));
}

#[test]
fn addresses_are_ranked_by_proof() {
    let mut peers = peers();
    let peer = PeerId::random();
    let told = [
        "/ip4/172.17.0.1/tcp/1",
        "/ip4/10.0.0.2/tcp/1",
        "/ip4/10.0.0.3/tcp/1",
    ];
    let told: Vec<_> = told.into_iter().map(address).collect();
    assert_eq!(peers.rank(peer, told.clone()), told);
    // Connected from the host of the second.
    peers.established(peer, connection(1), inbound());
    assert_eq!(peers.rank(peer, told.clone())[0], told[1]);
    // Reached at the third, and it answered.
    let reached = format!("/ip4/10.0.0.3/tcp/1/p2p/{peer}");
    peers.established(peer, connection(2), outbound(&reached));
    assert_eq!(
        peers.rank(peer, told.clone()),
        [told[2].clone(), told[1].clone(), told[0].clone()]
    );
}
