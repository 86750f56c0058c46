use std::{collections::BTreeMap, time::Duration};

use super::{OVERDUE, Scene, Standings, out_of_sight};
use crate::{
    api::{Direction, Dissemination, LinkState, LinkStatus, Side},
    identity::{NodeId, Site},
    replication::{
        error::Error,
        links::{
            backlog::{BEHIND_AFTER, Backlog},
            desired::{Departure, Desired, Doubt, Neighbor},
            ledger::{Ledger, Retry},
            observed::{Incoming, Inventory, Observed, Outgoing, Slot},
            policy::{Policy, Sight, Sights, Wants},
            step::Key,
        },
        names::{Epoch, LinkName},
        position::TreePlace,
        protocol::code,
        reason::Reason,
        subscriber::Progress,
    },
    vector::{Vector, tests::vector},
};

fn peer() -> NodeId {
    "p".parse::<NodeId>().unwrap()
}

fn site(number: i64) -> Site {
    Site::new(number).unwrap()
}

fn name() -> LinkName {
    LinkName::new(site(2), Epoch::new(1))
}

fn second(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// A neighbour, and what is known of the links with it.
struct Stage {
    desired: Desired,
    inventory: Inventory,
    ledger: Ledger,
    progress: BTreeMap<NodeId, Progress>,
    denials: BTreeMap<NodeId, Reason>,
    /// The data goes by a tree, of which this node is the root: so the neighbour is lazy.
    is_lazy: bool,
    now: Duration,
}

impl Stage {
    fn new() -> Self {
        let mut desired = Desired::default();
        desired.up(Neighbor {
            name: peer(),
            hosts: Vec::new(),
        });
        Self {
            desired,
            inventory: Inventory {
                own: site(1),
                incoming: BTreeMap::new(),
                outgoing: BTreeMap::new(),
            },
            ledger: Ledger::default(),
            progress: BTreeMap::new(),
            denials: BTreeMap::new(),
            is_lazy: false,
            now: Duration::ZERO,
        }
    }

    fn incoming(mut self, streaming: bool) -> Self {
        let link = Incoming {
            peer: Some(peer()),
            enabled: true,
            slot: Some(name()),
            streaming,
            ..Incoming::default()
        };
        self.inventory.incoming.insert(name(), link);
        self.seen()
    }

    fn outgoing(mut self, active: bool) -> Self {
        let slot = Slot {
            active,
            ..Slot::default()
        };
        let link = Outgoing {
            peer: Some(peer()),
            published: true,
            slot: Some(slot),
        };
        self.inventory.outgoing.insert(name(), link);
        self.seen()
    }

    fn seen(mut self) -> Self {
        let seen = Observed::Known(self.inventory.clone());
        self.ledger.note(&seen, self.now);
        self
    }

    fn failed(mut self, step: &'static str, error: &Error) -> Self {
        let retry = Retry {
            trouble: Some(Reason::of(error)),
            ..Retry::default()
        };
        self.ledger.retries.insert((Key::In(peer()), step), retry);
        self
    }

    fn wants(&self) -> Wants {
        let present = self.desired.present();
        let sights: Sights = present
            .map(|it| (it.name.clone(), Sight::default()))
            .collect();
        let (mode, place) = if self.is_lazy {
            let root = TreePlace {
                is_root: true,
                parent: None,
            };
            (Dissemination::Tree, root)
        } else {
            (Dissemination::Flood, TreePlace::default())
        };
        let mut policy = Policy::new(mode);
        policy.decide(&place, &sights, Duration::ZERO);
        policy.decide(&place, &sights, second(100))
    }

    fn links(&self) -> Vec<LinkStatus> {
        let scene = Scene {
            desired: &self.desired,
            wants: &self.wants(),
            inventory: &self.inventory,
            ledger: &self.ledger,
            progress: &self.progress,
            denials: &self.denials,
            now: self.now,
        };
        scene.links()
    }

    /// The only link in a direction.
    fn link(&self, direction: Direction) -> LinkStatus {
        let mut links = self.links();
        links.retain(|link| link.direction == direction);
        assert_eq!(links.len(), 1, "{links:?}");
        links.remove(0)
    }
}

fn refusal(code: &str) -> Error {
    Error::Refused {
        code: code.to_owned(),
        message: "no wal_level".to_owned(),
        fix: None,
    }
}

#[test]
fn a_neighbour_has_a_link_in_each_direction_before_there_is_one() {
    let stage = Stage::new();
    assert_eq!(stage.link(Direction::In).state, LinkState::Opening);
    let out = stage.link(Direction::Out);
    assert_eq!(
        (out.state, out.side),
        (LinkState::Opening, Some(Side::Peer))
    );
    let stage = stage.incoming(true).outgoing(true);
    for direction in [Direction::In, Direction::Out] {
        let link = stage.link(direction);
        assert_eq!((link.state, link.reason), (LinkState::Streaming, None));
    }
}

#[test]
fn what_became_of_the_last_attempt_is_the_reason() {
    for (code, state) in [
        (code::BUSY, LinkState::Opening),
        (code::STORE_DOWN, LinkState::Down),
        (code::STORE_REFUSED, LinkState::Refused),
    ] {
        let link = Stage::new()
            .failed("open", &refusal(code))
            .link(Direction::In);
        assert_eq!((link.state, link.side), (state, Some(Side::Peer)));
        assert!(link.reason.unwrap().contains("no wal_level"));
    }
    let unreachable = Error::Timeout("x");
    let link = Stage::new()
        .incoming(false)
        .failed("resume", &unreachable)
        .link(Direction::In);
    assert_eq!(link.reason.as_deref(), Some("x took too long"));
}

#[test]
fn what_we_denied_a_peer_is_the_reason_of_the_missing_link_to_it() {
    let mut stage = Stage::new();
    let denial = Reason::of_denial(code::STORE_REFUSED, "all slots are in use", None).unwrap();
    stage.denials.insert(peer(), denial);
    let link = stage.link(Direction::Out);
    assert_eq!(
        (link.state, link.side),
        (LinkState::Refused, Some(Side::Here))
    );
    assert!(link.reason.unwrap().contains("all slots are in use"));
}

#[test]
fn a_clock_and_a_catch_up_are_told_before_anything_else() {
    let mut stage = Stage::new().failed("open", &refusal(code::BUSY));
    let progress = Progress {
        rows: 5,
        estimate: 9,
        applying: false,
    };
    stage.progress.insert(peer(), progress);
    let link = stage.link(Direction::In);
    assert_eq!(link.state, LinkState::CatchingUp);
    assert!(link.reason.unwrap().contains("5 rows received, of 9"));
    stage.desired.doubts.insert(peer(), Doubt::Ahead);
    let link = stage.link(Direction::In);
    assert_eq!(link.state, LinkState::Refused);
    assert!(link.fix.unwrap().contains("chronyc"));
}

#[test]
fn a_link_that_streams_less_than_its_publisher_has_says_so() {
    let mut stage = Stage::new().incoming(true);
    let mut backlog = Backlog::default();
    let theirs = vector(&[(2, 7)]);
    backlog.note(
        second(10),
        &theirs,
        (&Vector::default(), second(10)),
        site(1),
    );
    stage.ledger.backlogs.insert(peer(), backlog);
    stage.now = second(10) + BEHIND_AFTER - Duration::from_millis(1);
    assert_eq!(
        stage.link(Direction::In).lag_seconds,
        Some(0.0),
        "a moment is no lag"
    );
    assert!(stage.ledger.stuck(&stage.inventory, stage.now).is_empty());
    stage.now = second(30);
    assert_eq!(stage.ledger.stuck(&stage.inventory, stage.now), [name()]);
    let held = Reason::new(LinkState::Streaming, "pid 5 holds it").at(Side::Here);
    stage.ledger.hindrances.insert(name(), held);
    let link = stage.link(Direction::In);
    assert_eq!(
        (link.state, link.lag_seconds),
        (LinkState::Streaming, Some(20.0))
    );
    assert_eq!(
        link.reason.as_deref(),
        Some("20 s behind the peer: pid 5 holds it")
    );
    assert_eq!(link.side, Some(Side::Here));
}

#[test]
fn a_link_that_nobody_reads_and_one_whose_peer_is_lost_lie_at_the_peer() {
    let mut stage = Stage::new().outgoing(false).incoming(false);
    stage.now = second(60);
    let out = stage.link(Direction::Out);
    assert_eq!((out.state, out.side), (LinkState::Down, Some(Side::Peer)));
    stage.desired.down(&peer(), Departure::Lost, stage.now);
    let taken = stage.link(Direction::In);
    assert_eq!(
        (taken.state, taken.side),
        (LinkState::Down, Some(Side::Peer))
    );
}

#[test]
fn a_state_keeps_its_date_and_a_direction_without_flow_becomes_overdue() {
    let mut standings = Standings::default();
    let date = |standings: &mut Standings, stage: &Stage, at| {
        let mut links = stage.links();
        standings.date(&mut links, at, OVERDUE);
        links.retain(|link| link.direction == Direction::In);
        links.remove(0)
    };
    let opening = Stage::new();
    let first = date(&mut standings, &opening, second(1));
    assert!(!first.overdue && !first.since.is_empty());
    // Another state, but still nothing flows.
    let refused = Stage::new().failed("open", &refusal(code::STORE_REFUSED));
    std::thread::sleep(Duration::from_millis(2));
    let second_look = date(&mut standings, &refused, second(30));
    assert!(!second_look.overdue && second_look.since > first.since);
    let third = date(&mut standings, &refused, second(31));
    assert!(third.overdue);
    assert_eq!(third.since, second_look.since);
    let flows = date(&mut standings, &Stage::new().incoming(true), second(99));
    assert!(!flows.overdue);
}

#[test]
fn nothing_is_to_be_mended_while_a_link_that_was_not_asked_for_may_still_come() {
    let mut standings = Standings::default();
    let mut fix = |at| {
        let mut links = Stage::new().links();
        standings.date(&mut links, second(at), OVERDUE);
        links.retain(|link| link.direction == Direction::Out);
        let link = links.remove(0);
        assert!(
            link.reason
                .is_some_and(|reason| reason.contains("not asked"))
        );
        (link.overdue, link.fix)
    };
    assert_eq!(fix(1), (false, None));
    let (overdue, late) = fix(99);
    assert!(overdue && late.is_some_and(|fix| fix.contains("on the peer")));
}

#[test]
fn while_the_store_cannot_be_asked_nothing_is_said_to_stream() {
    let links = Stage::new().incoming(true).outgoing(true).links();
    let why = Reason::of(&Error::Timeout("a look at the store"));
    for link in out_of_sight(links, Some(&why)) {
        assert_eq!((link.state, link.side), (LinkState::Down, Some(Side::Here)));
        assert!(link.reason.unwrap().contains("a look at the store"));
    }
}

#[test]
fn a_neighbour_that_needs_no_link_is_lazy_and_never_overdue() {
    let mut stage = Stage::new();
    stage.is_lazy = true;
    for direction in [Direction::In, Direction::Out] {
        assert_eq!(stage.link(direction).state, LinkState::Lazy);
    }
    let mut standings = Standings::default();
    let mut links = stage.links();
    standings.date(&mut links, second(1), OVERDUE);
    let mut links = stage.links();
    standings.date(&mut links, second(1) + 2 * OVERDUE, OVERDUE);
    assert!(links.iter().all(|link| !link.overdue), "{links:?}");
    // It goes on taking from us for as long as it likes.
    let stage = stage.outgoing(true);
    assert_eq!(stage.link(Direction::Out).state, LinkState::Streaming);
    // What we take from it goes.
    let stage = stage.incoming(false);
    assert_eq!(stage.link(Direction::In).state, LinkState::Closing);
}
