use std::time::Duration;

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::{SeedableRng, rngs::SmallRng};

use super::{Action, AddressBook, Cause, Discovery, News};

const NOW: Duration = Duration::from_secs(5);

fn address(port: u16) -> Multiaddr {
    format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
}

fn machine(bootstrap: Vec<Multiaddr>, known: &[PeerId]) -> (Discovery, SmallRng) {
    let me = PeerId::random();
    let mut book = AddressBook::new(me, "starling".to_owned());
    for peer in known {
        book.met(*peer, vec![address(9)], 1, NOW);
    }
    (
        Discovery::new(&me, "starling", bootstrap, book),
        SmallRng::seed_from_u64(3),
    )
}

fn actions(discovery: &mut Discovery) -> Vec<Action> {
    std::iter::from_fn(|| discovery.next_action()).collect()
}

fn news(discovery: &mut Discovery) -> Vec<News> {
    std::iter::from_fn(|| discovery.next_news()).collect()
}

#[test]
fn alone_all_sources_are_tried() {
    let (book_peer, lan_peer) = (PeerId::random(), PeerId::random());
    let (mut discovery, mut rng) = machine(vec![address(1)], &[book_peer]);
    assert_eq!(
        actions(&mut discovery),
        [Action::Learn(book_peer, vec![address(9)], false)]
    );
    discovery.discovered(vec![(lan_peer, address(8))], NOW);
    assert_eq!(
        actions(&mut discovery),
        [Action::Join(lan_peer, vec![address(8)])]
    );
    discovery.tick(NOW, &mut rng);
    assert_eq!(
        actions(&mut discovery),
        [
            Action::Resolve(0, address(1)),
            Action::Join(lan_peer, vec![address(8)]),
            Action::Join(book_peer, vec![address(9)]),
        ]
    );
    assert!(discovery.wake().unwrap() > NOW);
}

#[test]
fn with_a_neighbour_nothing_is_tried_but_unreached_addresses() {
    let (mut discovery, mut rng) = machine(vec![], &[PeerId::random()]);
    let neighbour = PeerId::random();
    discovery.neighbor_up(neighbour, &[address(4)], 1, NOW);
    actions(&mut discovery);
    discovery.tick(NOW, &mut rng);
    let lan_peer = PeerId::random();
    discovery.discovered(vec![(lan_peer, address(8))], NOW);
    assert_eq!(
        actions(&mut discovery),
        [Action::Learn(lan_peer, vec![address(8)], false)]
    );
    assert_eq!(discovery.wake(), None);

    discovery.neighbor_down(&neighbour, NOW, &mut rng);
    assert_eq!(discovery.wake(), Some(NOW));
    discovery.tick(NOW, &mut rng);
    let tried = actions(&mut discovery);
    assert!(
        tried.contains(&Action::Join(neighbour, vec![address(4)])),
        "{tried:?}"
    );
}

#[test]
fn who_wants_neighbours_is_told_of_others_in_the_book_and_less_and_less_often() {
    let book: Vec<PeerId> = (0..25).map(|_| PeerId::random()).collect();
    let (mut discovery, mut rng) = machine(vec![], &book);
    discovery.neighbor_up(book[0], &[address(9)], 1, NOW);
    actions(&mut discovery);
    let mut told = Vec::new();
    let mut lessons = Vec::new();
    for second in 0..1200 {
        discovery.wanting(NOW + Duration::from_secs(second), &mut rng);
        let actions = actions(&mut discovery);
        if actions.is_empty() {
            continue;
        }
        assert_eq!(actions.len(), 10);
        lessons.push(second);
        told.extend(actions.into_iter().map(|action| match action {
            Action::Learn(peer, _, false) => peer,
            other => panic!("{other:?}"),
        }));
    }
    assert!(!told.contains(&book[0]), "a neighbour");
    let mut first: Vec<PeerId> = told[..24].to_vec();
    first.sort_unstable();
    first.dedup();
    assert_eq!(first.len(), 24, "all in turn");
    assert!((10..=16).contains(&lessons.len()), "{lessons:?}");
    let last = lessons[lessons.len() - 1] - lessons[lessons.len() - 2];
    assert!((90..=151).contains(&last), "{lessons:?}");

    // A neighbour that is lost makes it urgent again, but not at once.
    discovery.neighbor_up(book[1], &[address(9)], 1, NOW);
    discovery.neighbor_down(&book[1], NOW, &mut rng);
    let mut soon = |second| {
        discovery.wanting(NOW + Duration::from_secs(second), &mut rng);
        !actions(&mut discovery).is_empty()
    };
    assert!(soon(1400));
    assert!(!soon(1402));
    assert!(soon(1407));
}

#[test]
fn with_all_the_book_as_neighbours_or_on_leaving_nothing_is_told() {
    let peer = PeerId::random();
    let (mut discovery, mut rng) = machine(vec![], &[]);
    discovery.neighbor_up(peer, &[address(9)], 1, NOW);
    discovery.wanting(NOW, &mut rng);
    assert_eq!(actions(&mut discovery), []);
    let (mut discovery, mut rng) = machine(vec![], &[peer]);
    actions(&mut discovery);
    discovery.stop();
    discovery.wanting(NOW, &mut rng);
    assert_eq!(actions(&mut discovery), []);
}

#[test]
fn a_configured_address_leads_to_a_join_and_a_lasting_contact() {
    let (mut discovery, mut rng) = machine(vec![address(1)], &[]);
    discovery.tick(NOW, &mut rng);
    actions(&mut discovery);
    let dials = discovery.resolved(0, Ok(vec![address(1)]), NOW, &mut rng);
    let connection = ConnectionId::new_unchecked(1);
    discovery.dialing(0, connection);
    let peer = PeerId::random();
    discovery.connected(connection, peer, &dials[0], NOW, &mut rng);
    assert!(actions(&mut discovery).is_empty(), "it may be a stranger");
    let ours = ["/starling/starling/link/1.0.0"];
    assert!(discovery.identified(peer, ours, "starling", NOW, &mut rng));
    assert_eq!(
        actions(&mut discovery),
        [
            Action::Learn(peer, vec![address(1)], true),
            Action::Join(peer, vec![address(1)])
        ]
    );
    assert_eq!(news(&mut discovery), [News::Reached(address(1), peer)]);
    assert!(discovery.identified(peer, ours, "starling", NOW, &mut rng));
    assert!(actions(&mut discovery).is_empty(), "once per connection");
    // Somebody else's connection is none of its business.
    discovery.connected(
        ConnectionId::new_unchecked(2),
        peer,
        &address(1),
        NOW,
        &mut rng,
    );
    assert!(actions(&mut discovery).is_empty());
}

#[test]
fn of_another_cluster_both_names_are_told() {
    let (mut discovery, mut rng) = machine(vec![address(1)], &[]);
    discovery.tick(NOW, &mut rng);
    let dials = discovery.resolved(0, Ok(vec![address(1)]), NOW, &mut rng);
    let connection = ConnectionId::new_unchecked(1);
    discovery.dialing(0, connection);
    let peer = PeerId::random();
    discovery.connected(connection, peer, &dials[0], NOW, &mut rng);
    let theirs = ["/starling/other/link/1.0.0"];
    assert!(!discovery.identified(peer, theirs, "cluster other", NOW, &mut rng));
    let told = news(&mut discovery)
        .into_iter()
        .find_map(|news| match news {
            News::Failing(_, cause) => Some(cause.to_string()),
            _ => None,
        });
    assert_eq!(
        told.as_deref(),
        Some("the peer there is not of our cluster: cluster other; ours is cluster starling")
    );
}

#[test]
fn failures_are_told_once_per_cause() {
    let (mut discovery, mut rng) = machine(vec![address(1)], &[]);
    let mut now = NOW;
    let refused = Cause::Unreachable("refused".to_owned());
    let causes = [
        refused.clone(),
        refused.clone(),
        Cause::Handshake("eof".to_owned()),
        refused,
    ];
    let mut told = 0;
    for (attempt, cause) in causes.into_iter().enumerate() {
        discovery.tick(now, &mut rng);
        discovery.resolved(0, Ok(vec![address(1)]), now, &mut rng);
        let connection = ConnectionId::new_unchecked(attempt);
        discovery.dialing(0, connection);
        discovery.dial_failed(connection, Some(cause), now, &mut rng);
        told += news(&mut discovery).len();
        now += Duration::from_secs(100);
    }
    assert_eq!(told, 3);
}

#[test]
fn a_stranger_is_refused_each_time_told_once_and_not_approached() {
    let (mut discovery, mut rng) = machine(vec![], &[]);
    let peer = PeerId::random();
    let theirs = ["/starling/other/hyparview/1.0.0", "/ipfs/id/1.0.0"];
    for attempt in 0..2 {
        assert!(!discovery.identified(peer, theirs, "other", NOW, &mut rng));
        discovery.tick(NOW, &mut rng);
        assert!(
            actions(&mut discovery).is_empty(),
            "it shall recognise us as well"
        );
        assert!(discovery.wake().unwrap() <= NOW + super::REFUSAL_DELAY);
        discovery.tick(NOW + super::REFUSAL_DELAY, &mut rng);
        assert_eq!(actions(&mut discovery), [Action::Refuse(peer)]);
        assert_eq!(news(&mut discovery).len(), usize::from(attempt == 0));
    }
    discovery.discovered(vec![(peer, address(8))], NOW);
    discovery.tick(NOW, &mut rng);
    assert!(actions(&mut discovery).is_empty());

    let ours = ["/starling/starling/link/1.0.0"];
    for told in [vec![News::Admitted(peer)], vec![]] {
        assert!(discovery.identified(peer, ours, "starling", NOW, &mut rng));
        assert_eq!(news(&mut discovery), told);
    }
    discovery.tick(NOW + Duration::from_secs(60), &mut rng);
    assert_eq!(
        actions(&mut discovery),
        [Action::Join(peer, vec![address(8)])]
    );
}

#[test]
fn a_cluster_whose_name_merely_begins_like_ours_is_another() {
    let (mut discovery, mut rng) = machine(vec![], &[]);
    let theirs = ["/starling/starling2/hyparview/1.0.0"];
    assert!(!discovery.identified(PeerId::random(), theirs, "starling2", NOW, &mut rng));
}

#[test]
fn who_leaves_tries_nothing_any_more() {
    let (mut discovery, mut rng) = machine(vec![address(1)], &[PeerId::random()]);
    actions(&mut discovery);
    discovery.stop();
    discovery.tick(NOW, &mut rng);
    assert!(actions(&mut discovery).is_empty());
    assert_eq!(discovery.wake(), None);
}
