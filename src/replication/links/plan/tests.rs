use std::time::Duration;

use super::{Bounds, FRUITLESS_RESUMES_MAX, Limits, View, plan};
use crate::{
    api::Dissemination,
    identity::{NodeId, Site},
    postgres::session::Lsn,
    replication::{
        links::{
            bounds::Excess,
            desired::{Departure, Desired, Doubt, Neighbor, Phase},
            ledger::Ledger,
            observed::{Incoming, Inventory, Observed, Outgoing, Slot},
            policy::{Policy, Sight, Sights, Wants},
            step::{Key, Step, TeardownReason},
        },
        names::{Epoch, LinkName},
        position::TreePlace,
        publisher::Pending,
    },
};

const GRACE: Duration = Duration::from_secs(30);
const OWN: i64 = 1;
const THEIRS: i64 = 2;

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn peer() -> NodeId {
    "p".parse::<NodeId>().unwrap()
}

fn name(site: i64, epoch: u64) -> LinkName {
    LinkName::new(Site::new(site).unwrap(), Epoch::new(epoch))
}

/// A situation: what was seen at which second.
#[derive(Debug)]
struct Scene {
    desired: Desired,
    inventory: Inventory,
    ledger: Ledger,
    /// What is wanted, if not links with every neighbour.
    wants: Option<Wants>,
    now: Duration,
}

impl Scene {
    fn new() -> Self {
        let inventory = Inventory {
            own: Site::new(OWN).unwrap(),
            incoming: std::collections::BTreeMap::new(),
            outgoing: std::collections::BTreeMap::new(),
        };
        Self {
            desired: Desired::default(),
            inventory,
            ledger: Ledger::default(),
            wants: None,
            now: Duration::ZERO,
        }
    }

    fn linked(mut self) -> Self {
        self.desired.up(Neighbor {
            name: peer(),
            hosts: Vec::new(),
        });
        self
    }

    fn departed(mut self, departure: Departure) -> Self {
        self.desired.down(&peer(), departure, self.now);
        self
    }

    fn incoming(mut self, epoch: u64, change: impl FnOnce(&mut Incoming)) -> Self {
        let mut link = Incoming {
            peer: Some(peer()),
            enabled: true,
            slot: Some(name(OWN, epoch)),
            streaming: true,
            ..Incoming::default()
        };
        change(&mut link);
        self.inventory.incoming.insert(name(THEIRS, epoch), link);
        self.seen()
    }

    fn outgoing(mut self, epoch: u64, change: impl FnOnce(&mut Outgoing)) -> Self {
        let slot = Some(Slot {
            active: true,
            ..Slot::default()
        });
        let mut link = Outgoing {
            peer: Some(peer()),
            published: true,
            slot,
        };
        change(&mut link);
        self.inventory.outgoing.insert(name(THEIRS, epoch), link);
        self.seen()
    }

    /// The neighbour has said, in the present generation, that the link is whole.
    fn verified(mut self, epoch: u64) -> Self {
        let generation = self
            .desired
            .neighbor(&peer())
            .map_or(0, |(_, generation)| generation);
        self.ledger
            .verified(&name(THEIRS, epoch), generation, Lsn(0), self.now);
        self
    }

    fn seen(mut self) -> Self {
        self.ledger
            .note(&Observed::Known(self.inventory.clone()), self.now);
        self
    }

    fn at(mut self, now: Duration) -> Self {
        self.now = now;
        self.seen()
    }

    fn plan(&self) -> Vec<Step> {
        self.plan_for(&Observed::Known(self.inventory.clone()))
    }

    fn plan_for(&self, observed: &Observed) -> Vec<Step> {
        let sights: Sights = self
            .desired
            .present()
            .map(|it| (it.name.clone(), Sight::default()))
            .collect();
        let flood =
            Policy::new(Dissemination::Flood).decide(&TreePlace::default(), &sights, self.now);
        plan(View {
            desired: &self.desired,
            wants: self.wants.as_ref().unwrap_or(&flood),
            observed,
            ledger: &self.ledger,
            limits: Limits {
                grace: GRACE,
                bounds: Bounds {
                    bytes_max: 1_000,
                    inactive_max: seconds(600),
                },
            },
            now: self.now,
        })
    }
}

fn open() -> Vec<Step> {
    vec![Step::Open { peer: peer() }]
}

fn resume(epoch: u64) -> Vec<Step> {
    vec![Step::Resume {
        peer: peer(),
        link: name(THEIRS, epoch),
    }]
}

fn unsubscribe(epoch: u64, why: TeardownReason) -> Vec<Step> {
    vec![Step::Unsubscribe {
        peer: Some(peer()),
        link: name(THEIRS, epoch),
        why,
    }]
}

fn unpublish(epoch: u64, why: TeardownReason) -> Vec<Step> {
    vec![Step::Unpublish {
        link: name(THEIRS, epoch),
        why,
    }]
}

#[test]
fn what_cannot_be_seen_is_looked_at_and_not_touched() {
    let scene = Scene::new()
        .linked()
        .outgoing(1, |_| ())
        .incoming(1, |_| ());
    assert_eq!(scene.plan_for(&Observed::Unknown), [Step::Inspect]);
}

#[test]
fn a_neighbour_without_link_gets_one() {
    assert_eq!(Scene::new().linked().plan(), open());
}

#[test]
fn an_unknown_link_is_confirmed_before_it_is_trusted() {
    let scene = Scene::new().linked().incoming(1, |_| ());
    assert_eq!(scene.plan(), resume(1));
    assert_eq!(scene.verified(1).plan(), []);
}

#[test]
fn a_neighbour_that_comes_back_is_asked_again() {
    let scene = Scene::new().linked().incoming(1, |_| ()).verified(1);
    assert_eq!(scene.linked().plan(), resume(1));
}

#[test]
fn a_link_to_an_earlier_site_of_ours_is_no_use() {
    let scene = Scene::new()
        .linked()
        .incoming(1, |link| link.slot = Some(name(OWN + 6, 1)));
    assert_eq!(scene.plan(), open());
}

#[test]
fn a_half_made_subscription_is_replaced() {
    let scene = Scene::new()
        .linked()
        .incoming(1, |link| link.enabled = false);
    assert_eq!(scene.plan(), open());
}

#[test]
fn a_link_beyond_repair_is_replaced_and_goes_when_its_successor_streams() {
    let mut scene = Scene::new().linked().incoming(1, |_| ()).verified(1);
    scene.ledger.give_up(&name(THEIRS, 1));
    assert_eq!(scene.plan(), open());
    let opened = scene.incoming(2, |link| link.streaming = false).verified(2);
    assert_eq!(opened.plan(), [], "the old link still carries what it can");
    let opened = opened.incoming(2, |_| ());
    assert_eq!(opened.plan(), unsubscribe(1, TeardownReason::Superseded));
}

#[test]
fn a_silent_link_is_asked_about_and_in_the_end_replaced() {
    let mut scene = Scene::new().linked().incoming(1, |_| ()).verified(1);
    scene = scene
        .at(seconds(100))
        .incoming(1, |link| link.streaming = false);
    assert_eq!(scene.plan(), []);
    for check in 1..=u64::from(FRUITLESS_RESUMES_MAX) {
        scene = scene.at(seconds(100 + 5 * check));
        assert_eq!(scene.plan(), resume(1), "check {check}");
        scene = scene.verified(1);
    }
    assert_eq!(scene.plan(), open());
}

#[test]
fn a_crash_loop_is_replaced() {
    let scene = Scene::new().linked().incoming(1, |_| ()).verified(1);
    let few = scene.at(seconds(10)).incoming(1, |link| link.errors = 7);
    assert_eq!(few.plan(), []);
    let many = few.at(seconds(20)).incoming(1, |link| link.errors = 8);
    assert_eq!(many.plan(), open());
}

#[test]
fn rare_errors_are_forgiven() {
    let mut scene = Scene::new().linked().incoming(1, |_| ()).verified(1);
    for errors in 1..50 {
        let at = seconds(20 * u64::try_from(errors).unwrap());
        scene = scene.at(at).incoming(1, |link| link.errors = errors);
        assert_eq!(scene.plan(), []);
    }
}

#[test]
fn links_of_a_lost_peer_stay_for_the_grace() {
    let scene = Scene::new()
        .linked()
        .incoming(1, |_| ())
        .outgoing(1, |_| ())
        .departed(Departure::Lost)
        .at(GRACE - seconds(1));
    assert_eq!(scene.plan(), []);
    let over = scene.at(GRACE);
    let expected = [
        unsubscribe(1, TeardownReason::GraceOver),
        unpublish(1, TeardownReason::GraceOver),
    ]
    .concat();
    assert_eq!(over.plan(), expected);
}

#[test]
fn the_grace_is_for_links_that_can_go_on() {
    let mut scene = Scene::new()
        .linked()
        .incoming(1, |_| ())
        .departed(Departure::Lost);
    scene.ledger.give_up(&name(THEIRS, 1));
    assert_eq!(scene.plan(), unsubscribe(1, TeardownReason::Dead));
    let lost = Scene::new()
        .linked()
        .outgoing(1, |link| {
            link.slot = Some(Slot {
                lost: true,
                ..Slot::default()
            });
        })
        .departed(Departure::Lost);
    assert_eq!(
        lost.plan(),
        unpublish(1, TeardownReason::Bounds(Excess::Lost))
    );
}

#[test]
fn links_of_a_departed_peer_go_at_once() {
    let scene = Scene::new()
        .linked()
        .incoming(1, |_| ())
        .outgoing(1, |_| ())
        .departed(Departure::Deliberate);
    let expected = [
        unsubscribe(1, TeardownReason::Departed),
        unpublish(1, TeardownReason::Departed),
    ]
    .concat();
    assert_eq!(scene.plan(), expected);
}

#[test]
fn what_nobody_claims_is_debris_after_the_grace() {
    let scene = Scene::new()
        .at(seconds(7))
        .incoming(1, |_| ())
        .incoming(2, |link| link.peer = None)
        .outgoing(3, |link| link.peer = None);
    assert_eq!(scene.plan(), []);
    let stray = Step::Unsubscribe {
        peer: None,
        link: name(THEIRS, 2),
        why: TeardownReason::Debris,
    };
    let expected = [
        unsubscribe(1, TeardownReason::Debris),
        vec![stray],
        unpublish(3, TeardownReason::Debris),
    ]
    .concat();
    assert_eq!(scene.at(seconds(7) + GRACE).plan(), expected);
}

#[test]
fn a_half_made_publication_goes_unless_it_is_being_made() {
    for half in [
        |link: &mut Outgoing| link.slot = None,
        |link: &mut Outgoing| link.published = false,
    ] {
        let mut scene = Scene::new()
            .linked()
            .incoming(9, |_| ())
            .verified(9)
            .outgoing(1, half);
        assert_eq!(scene.plan(), []);
        scene = scene.at(seconds(10));
        assert_eq!(scene.plan(), unpublish(1, TeardownReason::HalfMade));
        scene
            .ledger
            .opening
            .insert(name(THEIRS, 1), Pending::of(peer()));
        assert_eq!(scene.plan(), []);
    }
}

#[test]
fn a_slot_beyond_its_bounds_goes() {
    let heavy = Slot {
        retained_bytes: 1_001,
        ..Slot::default()
    };
    let scene = Scene::new().linked().incoming(9, |_| ()).verified(9);
    let scene = scene.outgoing(1, |link| link.slot = Some(heavy));
    assert_eq!(
        scene.plan(),
        unpublish(1, TeardownReason::Bounds(Excess::Bytes))
    );
}

#[test]
fn an_idle_slot_with_a_successor_goes_after_the_grace() {
    let idle = |link: &mut Outgoing| link.slot = Some(Slot::default());
    let scene = Scene::new().linked().incoming(9, |_| ()).verified(9);
    let scene = scene.outgoing(1, idle).outgoing(2, idle).at(GRACE);
    assert_eq!(
        scene.plan(),
        unpublish(1, TeardownReason::Superseded),
        "the newest may yet be used"
    );
}

#[test]
fn a_node_that_leaves_makes_nothing_new_and_breaks_nothing() {
    let mut scene = Scene::new().linked().outgoing(1, |_| ());
    scene.desired.phase = Phase::Leaving;
    assert_eq!(scene.plan(), []);
}

#[test]
fn a_node_that_is_gone_has_no_links() {
    let mut scene = Scene::new()
        .linked()
        .incoming(1, |_| ())
        .outgoing(1, |_| ());
    scene.desired.phase = Phase::Gone;
    let expected = [
        unsubscribe(1, TeardownReason::Leaving),
        unpublish(1, TeardownReason::Leaving),
    ]
    .concat();
    assert_eq!(scene.plan(), expected);
}

#[test]
fn one_step_per_key_at_a_time() {
    let scene = Scene::new()
        .linked()
        .incoming(1, |_| ())
        .incoming(2, |_| ())
        .departed(Departure::Deliberate);
    assert_eq!(scene.plan(), unsubscribe(1, TeardownReason::Departed));
    assert_eq!(scene.plan()[0].key(), Key::In(peer()));
}

#[test]
fn a_plan_that_is_carried_out_leaves_nothing_to_do() {
    let settled = Scene::new()
        .linked()
        .incoming(1, |_| ())
        .outgoing(2, |_| ())
        .verified(1)
        .at(seconds(900));
    assert_eq!(settled.plan(), []);
}

#[test]
fn nothing_is_taken_from_a_clock_that_is_ahead_and_nothing_is_withheld_from_it() {
    let doubted = |mut scene: Scene, doubt| {
        scene.desired.doubts.insert(peer(), doubt);
        scene.plan()
    };
    for doubt in [Doubt::Unread, Doubt::Ahead] {
        assert_eq!(doubted(Scene::new().linked(), doubt), [], "{doubt:?}");
    }
    let streaming = || {
        let scene = Scene::new().linked().incoming(1, |_| {});
        scene.verified(1).outgoing(1, |_| {})
    };
    assert_eq!(streaming().plan(), []);
    assert_eq!(doubted(streaming(), Doubt::Unread), []);
    let dropped = Step::Unsubscribe {
        peer: Some(peer()),
        link: name(THEIRS, 1),
        why: TeardownReason::Clock,
    };
    assert_eq!(
        doubted(streaming(), Doubt::Ahead),
        std::slice::from_ref(&dropped)
    );
    // After a restart of ours the link is taken up until the clock is known.
    let found = || Scene::new().linked().incoming(1, |_| {});
    assert_eq!(doubted(found(), Doubt::Unread), resume(1));
    assert_eq!(doubted(found(), Doubt::Ahead), [dropped]);
}

/// What a node in a tree wants that has `parent`, and one neighbour.
fn wants_below(parent: Option<&str>, sight: Sight) -> Wants {
    let mut policy = Policy::new(Dissemination::Tree);
    let parent = parent.map(|it| it.parse::<NodeId>().unwrap());
    let settled = Sight {
        is_level: true,
        is_fed: true,
        ..Sight::default()
    };
    let mut sights: Sights = [(peer(), sight)].into();
    sights.extend(parent.clone().map(|parent| (parent, settled)));
    let place = TreePlace {
        is_root: parent.is_none(),
        parent,
    };
    policy.decide(&place, &sights, Duration::ZERO);
    policy.decide(&place, &sights, seconds(100))
}

#[test]
fn nothing_is_taken_from_a_neighbour_that_is_lazy_and_nothing_is_withheld_from_it() {
    let mut scene = Scene::new().linked();
    scene.wants = Some(wants_below(Some("parent"), Sight::default()));
    assert_eq!(scene.plan(), [], "no link is made");
    scene = scene.incoming(1, |_| {}).verified(1).outgoing(2, |_| {});
    assert_eq!(scene.plan(), unsubscribe(1, TeardownReason::Lazy));
    // One that insists is obliged.
    let insists = Sight {
        insists: Some(true),
        ..Sight::default()
    };
    scene.wants = Some(wants_below(Some("parent"), insists));
    assert_eq!(scene.plan(), []);
}

#[test]
fn a_lazy_neighbour_that_does_not_come_for_its_slot_loses_it() {
    let mut scene = Scene::new().linked();
    scene.wants = Some(wants_below(Some("parent"), Sight::default()));
    let idle = |link: &mut Outgoing| link.slot = Some(Slot::default());
    scene = scene.outgoing(2, idle);
    assert_eq!(scene.plan(), []);
    let scene = scene.at(GRACE);
    assert_eq!(scene.plan(), unpublish(2, TeardownReason::Lazy));
}
