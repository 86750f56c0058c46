use std::time::Duration;

use super::{BETTER_AFTER, DOUBT_AFTER, RETURN_AFTER, Tree};
use crate::{
    api::{Dissemination, NodeState},
    directory::{Announcement, Directory, HEARTBEAT, Relay, Settings},
    identity::{Incarnation, NodeId, Run, Site},
    node::part::Effect,
    vector::Vector,
};

/// How often the world is looked at.
const TICK: Duration = Duration::from_millis(100);

fn name(number: usize) -> NodeId {
    format!("node{number}").parse().unwrap()
}

fn words(number: usize, (relay, started): (Relay, u64)) -> Announcement {
    Announcement {
        name: String::new(),
        site: Site::new(number as i64 + 1),
        generation: 1,
        state: NodeState::Ready,
        store: String::new(),
        vector: Vector::default(),
        neighbors: Vec::new(),
        version: String::new(),
        started,
        relay,
        follows: None,
    }
}

/// A node that looks at others.
struct World {
    tree: Tree,
    /// Ours, number 0.
    own: Directory,
    /// Those of the others, from number 1 on.
    others: Vec<Directory>,
    /// Who of them is not heard of at the moment.
    silent: Vec<usize>,
    now: Duration,
}

impl World {
    /// Each node with how it relays and when it was started; ours first. All have been heard of.
    fn new(nodes: &[(Relay, u64)]) -> Self {
        let directory = |number: usize| {
            let (incarnation, run) = (Incarnation::new(1), Run::new(1).unwrap());
            let mut directory = Directory::new(name(number), incarnation, run, Settings::default());
            directory.announce(words(number, nodes[number]));
            directory
        };
        let mut world = Self {
            tree: Tree::new(Dissemination::Tree, name(0)),
            own: directory(0),
            others: (1..nodes.len()).map(directory).collect(),
            silent: Vec::new(),
            now: Duration::from_secs(100),
        };
        for number in 1..nodes.len() {
            world.beat(number);
        }
        world
    }

    /// The other says something else of itself, which is not heard before its next beat.
    fn says(&mut self, number: usize, change: impl FnOnce(&mut Announcement)) {
        let directory = &mut self.others[number - 1];
        let me = directory.me().clone();
        let mut announcement = words(number, (me.relay, me.started));
        announcement.state = me.state;
        announcement.site = me.site;
        announcement.neighbors = me.neighbors;
        announcement.follows = me.follows;
        change(&mut announcement);
        directory.announce(announcement);
    }

    /// The other speaks, and is heard.
    fn beat(&mut self, number: usize) {
        let directory = &mut self.others[number - 1];
        directory.beat(self.now);
        let status = directory.status();
        self.own.hear_status(&name(number), status, self.now);
    }

    /// A connection with the other breaks; nothing is heard of it any more.
    fn lose(&mut self, number: usize) {
        self.own.neighbor_down(&name(number), true);
        self.silent.push(number);
    }

    /// The root, once the part has looked; the network does what it says.
    fn look(&mut self) -> Option<usize> {
        for effect in self.tree.look(&self.own, self.now) {
            if let Effect::Follow(root) = effect {
                self.tree.follows(root);
            }
        }
        let root = self.tree.root()?;
        (0..=self.others.len()).find(|number| name(*number) == *root)
    }

    /// Time goes by, and who is not silent is heard of. Everybody who was the root meanwhile, in order.
    fn pass(&mut self, time: Duration) -> Vec<Option<usize>> {
        let mut roots = Vec::new();
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            // Each at its own time, once in a heartbeat.
            for number in 1..=self.others.len() {
                let phase = TICK * 7 * u32::try_from(number).unwrap();
                let is_due = (self.now + phase)
                    .as_millis()
                    .is_multiple_of(HEARTBEAT.as_millis());
                if is_due && !self.silent.contains(&number) {
                    self.beat(number);
                }
            }
            let root = self.look();
            if roots.last() != Some(&root) {
                roots.push(root);
            }
        }
        roots
    }
}

const NORMAL: Relay = Relay::Normal;

#[test]
fn the_best_of_all_is_the_root() {
    use Relay::{Avoid, Normal, Preferred};
    for (nodes, root) in [
        // Who is alone is the root.
        (vec![(Normal, 5)], 0),
        // By how gladly it relays.
        (vec![(Normal, 1), (Preferred, 9), (Avoid, 2)], 1),
        (vec![(Avoid, 1), (Avoid, 2), (Normal, 9)], 2),
        // By its start, where who does not say it comes last.
        (vec![(Normal, 5), (Normal, 3), (Normal, 4)], 1),
        (vec![(Normal, 5), (Normal, 0), (Normal, 7)], 0),
        (vec![(Normal, 0), (Normal, 7), (Normal, 0)], 1),
        (vec![(Normal, 5), (Preferred, 0), (Normal, 1)], 1),
        // By its name.
        (vec![(Normal, 5), (Normal, 5), (Normal, 5)], 0),
        (vec![(Normal, 6), (Normal, 5), (Normal, 5)], 1),
    ] {
        assert_eq!(World::new(&nodes).look(), Some(root), "{nodes:?}");
    }
}

#[test]
fn who_cannot_be_the_root_is_not_chosen() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 8] = [
        ("starting", |world| {
            world.says(1, |words| words.state = NodeState::Starting);
        }),
        ("its store is down", |world| {
            world.says(1, |words| words.state = NodeState::Degraded);
        }),
        ("leaving", |world| {
            world.says(1, |words| words.state = NodeState::Leaving);
        }),
        ("no store", |world| world.says(1, |words| words.site = None)),
        ("left", |world| world.others[0].leave()),
        ("stopped", |world| world.others[0].stop()),
        ("evicted", |world| {
            world.own.evict(&name(1));
        }),
        ("silent", |world| world.own.neighbor_down(&name(1), true)),
    ];
    for (what, happens) in cases {
        let mut world = World::new(&[(NORMAL, 9), (NORMAL, 1), (NORMAL, 2)]);
        happens(&mut world);
        // The last two are known here; all else is said by the other.
        if !["evicted", "silent"].contains(&what) {
            world.beat(1);
        }
        assert_eq!(world.look(), Some(2), "{what}");
    }
    // Who joins has a store; somebody has to be the root where all do.
    let mut world = World::new(&[(NORMAL, 9), (NORMAL, 1)]);
    world.says(1, |words| words.state = NodeState::Joining);
    world.beat(1);
    assert_eq!(world.look(), Some(1));
    // Without a store we are none either.
    let mut world = World::new(&[(NORMAL, 1)]);
    world.own.announce(Announcement {
        site: None,
        ..words(0, (NORMAL, 1))
    });
    assert_eq!(world.look(), None);
}

#[test]
fn a_lost_root_is_replaced_at_once_and_comes_back_when_it_has_stayed() {
    let mut world = World::new(&[(NORMAL, 9), (NORMAL, 1), (NORMAL, 2)]);
    assert_eq!(world.look(), Some(1));
    world.lose(1);
    assert_eq!(world.look(), Some(2));
    world.pass(Duration::from_secs(30));
    world.silent.clear();
    world.beat(1);
    assert_eq!(world.look(), Some(2));
    assert_eq!(
        world.tree.wake(),
        Some(world.now + RETURN_AFTER),
        "it looks again by itself"
    );
    let back = RETURN_AFTER + BETTER_AFTER;
    assert_eq!(world.pass(back - TICK), [Some(2)]);
    assert_eq!(world.pass(TICK), [Some(1)]);
    world.pass(HEARTBEAT);
    assert_eq!(world.tree.wake(), None, "there is nothing to wait for");
}

#[test]
fn one_that_comes_and_goes_moves_nobody() {
    let mut world = World::new(&[(NORMAL, 9), (NORMAL, 1), (NORMAL, 2)]);
    assert_eq!(world.look(), Some(1));
    world.lose(1);
    assert_eq!(world.look(), Some(2));
    for _ in 0..20 {
        world.silent.clear();
        world.beat(1);
        assert_eq!(world.pass(RETURN_AFTER), [Some(2)]);
        world.lose(1);
        assert_eq!(world.pass(TICK), [Some(2)]);
    }
}

#[test]
fn a_root_that_is_there_is_kept_until_a_better_one_has_been_there_for_a_while() {
    let mut world = World::new(&[(NORMAL, 2), (NORMAL, 9), (NORMAL, 3)]);
    assert_eq!(world.look(), Some(0));
    // A better one joins.
    world.others[0] = {
        let (incarnation, run) = (Incarnation::new(1), Run::new(1).unwrap());
        let mut better = Directory::new(name(3), incarnation, run, Settings::default());
        better.announce(words(3, (Relay::Preferred, 50)));
        better
    };
    let hear = |world: &mut World| {
        world.others[0].beat(world.now);
        let status = world.others[0].status();
        world.own.hear_status(&name(3), status, world.now);
        world.tree.look(&world.own, world.now);
        world.tree.root().cloned()
    };
    assert_eq!(hear(&mut world), Some(name(0)));
    world.now += BETTER_AFTER - TICK;
    assert_eq!(hear(&mut world), Some(name(0)));
    // Its store is down for a moment: the time begins anew, and is longer.
    world.others[0].announce(Announcement {
        state: NodeState::Degraded,
        ..words(3, (Relay::Preferred, 50))
    });
    assert_eq!(hear(&mut world), Some(name(0)));
    world.others[0].announce(words(3, (Relay::Preferred, 50)));
    world.now += TICK;
    assert_eq!(hear(&mut world), Some(name(0)));
    world.now += RETURN_AFTER + BETTER_AFTER - TICK;
    assert_eq!(hear(&mut world), Some(name(0)));
    world.now += TICK;
    assert_eq!(hear(&mut world), Some(name(3)));
}

/// Node 1 is the root, and 2, which is worse, its neighbour, as it says. We know of it by others.
fn with_a_neighbour() -> World {
    let mut world = World::new(&[(NORMAL, 9), (NORMAL, 1), (NORMAL, 2)]);
    world.says(1, |words| words.neighbors = vec![name(2)]);
    world.says(2, |words| words.follows = Some(name(1)));
    world.beat(1);
    world.beat(2);
    assert_eq!(world.look(), Some(1));
    world
}

fn leaves(world: &mut World, other: usize) {
    world.says(2, |words| words.follows = Some(name(other)));
    world.beat(2);
}

#[test]
fn the_word_of_its_neighbour_is_enough_for_a_root_that_is_not_heard_of() {
    let mut world = with_a_neighbour();
    world.silent.push(1);
    leaves(&mut world, 2);
    assert_eq!(world.look(), Some(1), "it may answer");
    assert_eq!(world.pass(DOUBT_AFTER - TICK), [Some(1)]);
    assert_eq!(world.pass(TICK), [Some(2)]);
    // Nothing that is said of it helps it, but its own sign of life; then it has to stay.
    leaves(&mut world, 1);
    assert_eq!(world.pass(Duration::from_secs(10)), [Some(2)]);
    world.silent.clear();
    world.beat(1);
    assert_eq!(world.look(), Some(2));
    assert_eq!(world.pass(RETURN_AFTER + BETTER_AFTER - TICK), [Some(2)]);
    assert_eq!(world.pass(TICK), [Some(1)]);
}

#[test]
fn opinions_that_differ_for_a_moment_move_nobody() {
    // The root answers.
    let mut world = with_a_neighbour();
    leaves(&mut world, 2);
    assert_eq!(world.look(), Some(1));
    world.now += DOUBT_AFTER / 2;
    world.beat(1);
    assert_eq!(world.pass(Duration::from_secs(60)), [Some(1)]);

    // One that has never followed it says nothing of it by following another, also after its next start, and
    // however often.
    let mut world = World::new(&[(NORMAL, 9), (NORMAL, 1), (NORMAL, 2)]);
    world.says(1, |words| words.neighbors = vec![name(2)]);
    world.beat(1);
    leaves(&mut world, 2);
    for generation in 2..30 {
        world.says(2, |words| words.generation = generation);
        assert_eq!(world.pass(Duration::from_secs(1)), [Some(1)]);
    }
    // Nor does one that leaves it for a better one; nor does who is no neighbour of the root.
    let mut world = World::new(&[(NORMAL, 9), (NORMAL, 2), (NORMAL, 3), (NORMAL, 1)]);
    let best = name(3);
    world.own.neighbor_down(&best, true);
    world.silent.push(3);
    world.says(1, |words| words.neighbors = vec![name(2)]);
    world.says(2, |words| words.follows = Some(name(1)));
    world.beat(1);
    world.beat(2);
    assert_eq!(world.look(), Some(1));
    world.silent.push(1);
    leaves(&mut world, 3);
    assert_eq!(world.pass(Duration::from_secs(15)), [Some(1)]);

    let mut world = with_a_neighbour();
    world.says(1, |words| words.neighbors.clear());
    world.beat(1);
    world.look();
    world.silent.push(1);
    leaves(&mut world, 2);
    assert_eq!(world.pass(Duration::from_secs(15)), [Some(1)]);
}

#[test]
fn a_neighbour_of_the_root_that_was_started_again_says_nothing_of_it() {
    let mut world = with_a_neighbour();
    world.silent.push(1);
    let (incarnation, run) = (Incarnation::new(2), Run::new(2).unwrap());
    let mut again = Directory::new(name(2), incarnation, run, Settings::default());
    again.announce(Announcement {
        follows: Some(name(2)),
        ..words(2, (NORMAL, 50))
    });
    world.others[1] = again;
    world.beat(2);
    assert_eq!(world.pass(Duration::from_secs(15)), [Some(1)]);
}

#[test]
fn who_is_alone_takes_whoever_comes_at_once() {
    let mut world = World::new(&[(NORMAL, 9), (NORMAL, 1)]);
    let first = world.others[0].status();
    world.own = Directory::new(
        name(0),
        Incarnation::new(1),
        Run::new(1).unwrap(),
        Settings::default(),
    );
    world.own.announce(words(0, (NORMAL, 9)));
    assert_eq!(world.look(), Some(0));
    world.own.hear_status(&name(1), first, world.now);
    assert_eq!(world.look(), Some(1));
    // Also one that was lost: with whom else would it be linked?
    world.lose(1);
    assert_eq!(world.look(), Some(0));
    world.silent.clear();
    world.beat(1);
    assert_eq!(world.look(), Some(1));
    assert_eq!(world.pass(Duration::from_secs(30)), [Some(1)]);
}

#[test]
fn the_network_is_told_until_it_has_taken_it() {
    let mut world = World::new(&[(NORMAL, 9), (NORMAL, 1)]);
    let follow = Effect::Follow(Some(name(1)));
    let look = |world: &mut World| world.tree.look(&world.own, world.now);
    assert_eq!(look(&mut world), [Effect::SpeakSoon, follow.clone()]);
    assert_eq!(look(&mut world), [follow]);
    world.tree.follows(Some(name(1)));
    assert_eq!(look(&mut world), []);
    // Where data floods nobody is followed, whoever there is.
    world.tree = Tree::new(Dissemination::Flood, name(0));
    assert_eq!(look(&mut world), []);
    assert_eq!(world.tree.root(), None);
}
