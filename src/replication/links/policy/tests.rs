use std::{collections::BTreeSet, time::Duration};

use super::{
    BETTER_AFTER, CHANGE_PAUSE, GRAFT_HOLD, GRAFT_PAUSE, Policy, ROOT_HOLD, Sight, Sights, Want,
    Wants,
};
use crate::{api::Dissemination, identity::NodeId, replication::position::TreePlace};

const SECOND: Duration = Duration::from_secs(1);

fn node(name: &str) -> NodeId {
    name.parse::<NodeId>().unwrap()
}

/// Links with it are there, and have brought everything.
const LEVEL: Sight = Sight {
    insists: Some(false),
    is_level: true,
    is_fed: true,
    is_ahead: false,
};

/// No links with it are there.
const BARE: Sight = Sight {
    insists: Some(false),
    is_level: false,
    is_fed: false,
    is_ahead: false,
};

fn insisting(sight: Sight) -> Sight {
    Sight {
        insists: Some(true),
        ..sight
    }
}

fn ahead(sight: Sight) -> Sight {
    Sight {
        is_ahead: true,
        ..sight
    }
}

fn below(parent: &str) -> TreePlace {
    TreePlace {
        is_root: false,
        parent: Some(node(parent)),
    }
}

fn lost() -> TreePlace {
    TreePlace::default()
}

fn root() -> TreePlace {
    TreePlace {
        is_root: true,
        parent: None,
    }
}

/// A node in a tree, and its clock.
struct Node {
    policy: Policy,
    now: Duration,
}

impl Node {
    fn new() -> Self {
        Self {
            policy: Policy::new(Dissemination::Tree),
            now: Duration::ZERO,
        }
    }

    fn later(&mut self, by: Duration) -> &mut Self {
        self.now += by;
        self
    }

    /// What is wanted of each neighbour, in the order in which they are named: `L`inked, `K`ept, la`z`y; in
    /// capitals with an exclamation mark where it is insisted on.
    fn decide(&mut self, place: &TreePlace, neighbors: &[(&str, Sight)]) -> String {
        let sights: Sights = neighbors
            .iter()
            .map(|(name, it)| (node(name), *it))
            .collect();
        let wants = self.policy.decide(place, &sights, self.now);
        let letter = |name: &str| {
            let of = wants.of(&node(name)).unwrap();
            let letter = match of {
                Want::Linked => "L",
                Want::Kept => "K",
                Want::Lazy => "z",
            };
            let mark = if wants.insisted.contains(&node(name)) {
                "!"
            } else {
                ""
            };
            format!("{letter}{mark}")
        };
        let letters: Vec<_> = neighbors.iter().map(|(name, _)| letter(name)).collect();
        letters.join(" ")
    }
}

#[test]
fn a_flood_links_with_every_neighbour() {
    let mut policy = Policy::new(Dissemination::Flood);
    let sights: Sights = [(node("a"), BARE), (node("b"), LEVEL)].into();
    let Wants { links, insisted } = policy.decide(&below("a"), &sights, SECOND);
    assert!(links.values().all(|want| *want == Want::Linked));
    assert_eq!(insisted, BTreeSet::from([node("a"), node("b")]));
}

#[test]
fn a_node_insists_on_its_parent_and_obliges_who_insists_on_it() {
    let mut node = Node::new();
    let wants = node.decide(
        &below("p"),
        &[("p", LEVEL), ("child", insisting(LEVEL)), ("other", BARE)],
    );
    assert_eq!(wants, "L! L z");
}

#[test]
fn the_root_takes_from_those_that_insist_alone() {
    let mut node = Node::new();
    let neighbors = [("child", insisting(LEVEL)), ("other", LEVEL)];
    // What an earlier role has left may be on its way to be replaced.
    assert_eq!(node.decide(&root(), &neighbors), "L K");
    node.later(ROOT_HOLD);
    assert_eq!(node.decide(&root(), &neighbors), "L z");
}

#[test]
fn whoever_has_no_place_yet_is_linked_with_somebody_at_once() {
    let mut node = Node::new();
    assert_eq!(node.decide(&lost(), &[("a", BARE), ("b", BARE)]), "L! K");
    // It is no choice to be defended: the first word of the tree replaces it.
    node.later(SECOND);
    assert_eq!(
        node.decide(&below("b"), &[("a", LEVEL), ("b", BARE)]),
        "K! L!"
    );
    assert_eq!(
        node.decide(&below("b"), &[("a", LEVEL), ("b", LEVEL)]),
        "z L!"
    );
}

#[test]
fn a_makeshift_parent_is_rather_nobody_that_relies_on_us() {
    let mut node = Node::new();
    let wants = node.decide(&lost(), &[("a", insisting(BARE)), ("b", BARE)]);
    assert_eq!(wants, "L L!");
}

#[test]
fn a_parent_is_left_only_when_the_next_one_brings_all_and_takes_all() {
    let mut node = Node::new();
    let half = |is_level, is_fed| Sight {
        is_level,
        is_fed,
        ..BARE
    };
    node.decide(&below("old"), &[("new", BARE), ("old", LEVEL)]);
    node.decide(&below("new"), &[("new", BARE), ("old", LEVEL)]);
    node.later(BETTER_AFTER);
    for sight in [BARE, half(true, false), half(false, true)] {
        let wants = node.decide(&below("new"), &[("new", sight), ("old", LEVEL)]);
        assert_eq!(wants, "L! K!", "{sight:?}");
    }
    let wants = node.decide(&below("new"), &[("new", LEVEL), ("old", LEVEL)]);
    assert_eq!(wants, "L! z");
}

#[test]
fn a_better_parent_has_to_be_better_for_a_while_and_not_too_often() {
    let mut node = Node::new();
    let both = [("a", LEVEL), ("b", LEVEL)];
    assert_eq!(node.decide(&below("a"), &both), "L! z");
    assert_eq!(node.decide(&below("b"), &both), "L! z");
    // Not for as long as it comes and goes.
    node.later(BETTER_AFTER - SECOND);
    assert_eq!(node.decide(&below("a"), &both), "L! z");
    node.later(BETTER_AFTER);
    assert_eq!(node.decide(&below("b"), &both), "L! z");
    node.later(BETTER_AFTER);
    assert_eq!(node.decide(&below("b"), &both), "z L!");
    // Nor again at once.
    node.decide(&below("a"), &both);
    node.later(CHANGE_PAUSE - SECOND);
    assert_eq!(node.decide(&below("a"), &both), "z L!");
    node.later(SECOND);
    assert_eq!(node.decide(&below("a"), &both), "L! z");
}

#[test]
fn a_lost_parent_is_replaced_at_once() {
    let mut node = Node::new();
    assert_eq!(
        node.decide(&below("a"), &[("a", LEVEL), ("b", BARE)]),
        "L! z"
    );
    assert_eq!(
        node.decide(&below("a"), &[("b", BARE), ("c", BARE)]),
        "L! K"
    );
    node.later(SECOND);
    assert_eq!(
        node.decide(&below("c"), &[("b", BARE), ("c", BARE)]),
        "K! L!"
    );
}

#[test]
fn two_that_are_each_others_parents_do_not_stay_so() {
    let mut node = Node::new();
    node.decide(&below("a"), &[("a", LEVEL), ("b", BARE)]);
    // It has taken us for its parent, and the tree has another one for us: until then both are cut off.
    let wants = node.decide(&below("b"), &[("a", insisting(LEVEL)), ("b", BARE)]);
    assert_eq!(wants, "L! L!");
    let wants = node.decide(&below("b"), &[("a", insisting(LEVEL)), ("b", LEVEL)]);
    assert_eq!(wants, "L L!");
}

#[test]
fn what_does_not_come_is_got_from_whoever_has_it() {
    let mut node = Node::new();
    let stuck = [("p", LEVEL), ("a", ahead(BARE)), ("b", ahead(BARE))];
    assert_eq!(node.decide(&below("p"), &stuck), "L! L! z", "one at a time");
    node.later(GRAFT_PAUSE);
    assert_eq!(
        node.decide(&below("p"), &stuck),
        "L! L! L!",
        "if that is not enough"
    );
    // It stays for a while, since what was held up cannot be seen any more.
    let fine = [("p", LEVEL), ("a", LEVEL), ("b", LEVEL)];
    node.later(GRAFT_HOLD - SECOND);
    assert_eq!(node.decide(&below("p"), &fine), "L! z L!");
    node.later(2 * GRAFT_HOLD);
    assert_eq!(node.decide(&below("p"), &fine), "L! z z");
}

#[test]
fn a_link_that_is_held_up_again_and_again_is_done_without_ever_longer() {
    let mut node = Node::new();
    let stuck = [("p", LEVEL), ("a", ahead(BARE))];
    let fine = [("p", LEVEL), ("a", LEVEL)];
    let mut held = Vec::new();
    for _ in 0..4 {
        assert_eq!(node.decide(&below("p"), &stuck), "L! L!");
        let begun = node.now;
        while node.decide(&below("p"), &fine) == "L! L!" {
            node.later(SECOND);
        }
        held.push((node.now - begun).as_secs());
    }
    assert_eq!(held, [60, 120, 240, 480]);
    // A trouble of long ago is another one.
    node.later(Duration::from_hours(2));
    node.decide(&below("p"), &stuck);
    node.later(GRAFT_HOLD);
    assert_eq!(node.decide(&below("p"), &fine), "L! z");
}

#[test]
fn nothing_is_let_go_while_the_links_cannot_be_seen() {
    let mut node = Node::new();
    assert_eq!(
        node.decide(&below("p"), &[("p", LEVEL), ("a", LEVEL)]),
        "L! z"
    );
    assert_eq!(
        node.decide(&below("p"), &[("p", BARE), ("a", BARE)]),
        "L! K"
    );
}
