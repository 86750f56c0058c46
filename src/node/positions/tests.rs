use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Own, PositionAnswer, Positions, TELL_INTERVAL, Theirs};
use crate::{
    api::Dissemination,
    identity::{NodeId, Site},
    node::part::{Context, Effect, Event, Part, testing::overlay},
    replication::{Departure, Position},
    vector::{Seq, Vector},
};

fn name(number: usize) -> NodeId {
    format!("n{number}").parse().unwrap()
}

/// Of one site, up to a number.
fn vector(seq: i64) -> Vector {
    Vector::from_iter([(Site::new(1).unwrap(), Seq::new(seq))])
}

fn position(seq: i64, insists: bool) -> Position {
    let vector = vector(seq);
    Position { vector, insists }
}

/// Of a site that is none.
fn unsound() -> Position {
    let vector = serde_json::from_str(r#"{"0":1}"#).unwrap();
    let insists = true;
    Position { vector, insists }
}

/// The machine, and the relation in which each neighbour was told last.
struct World {
    positions: Positions,
    relations: BTreeMap<usize, u64>,
    now: Duration,
}

/// Something that happens to a neighbour.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Nothing,
    Up(usize),
    Down(usize),
    /// It answers with a position.
    Answers(usize),
    /// It does not.
    IsSilent(usize),
    /// It is of a version that knows no positions.
    IsEarlier(usize),
}

impl World {
    fn new(mode: Dissemination) -> Self {
        Self {
            positions: Positions::new(mode),
            relations: BTreeMap::new(),
            now: Duration::ZERO,
        }
    }

    fn on(&mut self, event: &Event) -> Vec<Effect> {
        let context = Context {
            now: self.now,
            overlay: &overlay(&[]),
        };
        self.positions.on(event, &context)
    }

    fn answer(&mut self, number: usize, relation: u64, answer: PositionAnswer) -> Vec<Effect> {
        let peer = name(number);
        self.on(&Event::PositionTold {
            peer,
            relation,
            answer,
        })
    }

    fn happens(&mut self, what: Happens) {
        let (number, answer) = match what {
            Happens::Nothing => return,
            Happens::Up(number) => {
                self.on(&Event::NeighborUp(name(number)));
                return;
            }
            Happens::Down(number) => {
                self.on(&Event::NeighborDown(name(number), Departure::Lost));
                return;
            }
            Happens::Answers(number) => (number, PositionAnswer::Position(position(1, false))),
            Happens::IsSilent(number) => (number, PositionAnswer::Silence),
            Happens::IsEarlier(number) => (number, PositionAnswer::Unknown),
        };
        self.answer(number, self.relations[&number], answer);
    }

    /// Who is told what, when our store holds this and we insist on these.
    fn due(&mut self, seq: i64, insisted: &[usize]) -> Vec<(usize, i64, bool)> {
        let own = Own {
            vector: &vector(seq),
            insisted: &insisted.iter().map(|number| name(*number)).collect(),
        };
        let effects = self.positions.due(Some(own), self.now);
        let told = effects.into_iter().map(|effect| {
            let Effect::TellPosition {
                peer,
                relation,
                position,
            } = effect
            else {
                panic!("{effect:?}");
            };
            let number = (0..9).find(|number| name(*number) == peer).unwrap();
            self.relations.insert(number, relation);
            let seq = position.vector.get(Site::new(1).unwrap()).get();
            (number, seq, position.insists)
        });
        told.collect()
    }
}

/// When, in milliseconds; what happens; what our store holds, and on whom we insist; who is told what; when
/// somebody is due next.
type Row = (
    u64,
    Happens,
    i64,
    &'static [usize],
    &'static [(usize, i64, bool)],
    Option<u64>,
);

fn check(rows: &[Row]) {
    use Happens::Nothing;
    let mut world = World::new(Dissemination::Tree);
    for (at, what, seq, insisted, told, wake) in rows {
        world.now = Duration::from_millis(*at);
        world.happens(*what);
        assert_eq!(world.due(*seq, insisted), *told, "{at}: {what:?}");
        let wake = wake.map(Duration::from_millis);
        assert_eq!(world.positions.wake(), wake, "{at}: {what:?}");
        // Who looks twice tells nothing twice.
        world.happens(Nothing);
        assert_eq!(world.due(*seq, insisted), [], "{at}: {what:?}");
    }
}

#[test]
fn a_neighbour_is_told_what_it_lacks_when_it_needs_to_know() {
    use Happens::{Answers, Nothing, Up};
    assert_eq!(TELL_INTERVAL, Duration::from_secs(1));
    check(&[
        // A new neighbour at once, and then one thing at a time.
        (0, Up(1), 5, &[], &[(1, 5, false)], None),
        (10, Nothing, 6, &[], &[], None),
        // That our store holds more has time.
        (20, Answers(1), 6, &[], &[], Some(1_000)),
        (999, Nothing, 7, &[], &[], Some(1_000)),
        (1_000, Nothing, 7, &[], &[(1, 7, false)], None),
        (1_010, Answers(1), 7, &[], &[], None),
        (9_000, Nothing, 8, &[], &[(1, 8, false)], None),
        (9_010, Answers(1), 8, &[], &[], None),
        // While nothing changes nothing is sent.
        (60_000, Nothing, 8, &[], &[], None),
        // To be insisted on, and not any more, has not.
        (60_000, Nothing, 8, &[1], &[(1, 8, true)], None),
        (60_010, Answers(1), 8, &[1], &[], None),
        (60_020, Nothing, 8, &[], &[(1, 8, false)], None),
        (60_030, Nothing, 8, &[1], &[], None),
        (60_040, Answers(1), 8, &[1], &[(1, 8, true)], None),
        (60_050, Answers(1), 9, &[1], &[], Some(61_040)),
        // Another neighbour is another matter.
        (60_060, Up(2), 9, &[1], &[(2, 9, false)], Some(61_040)),
        (61_040, Nothing, 9, &[1], &[(1, 9, true)], None),
        // It may move, and stays a neighbour.
        (61_050, Answers(1), 9, &[1], &[], None),
        (61_060, Up(1), 9, &[1], &[], None),
    ]);
}

#[test]
fn who_does_not_answer_is_told_again_and_an_earlier_version_is_not() {
    use Happens::{Answers, Down, IsEarlier, IsSilent, Nothing, Up};
    check(&[
        (0, Up(1), 5, &[], &[(1, 5, false)], None),
        (30_000, IsSilent(1), 5, &[], &[], Some(31_000)),
        // Also what is urgent waits for a peer that does not answer.
        (30_500, Nothing, 5, &[1], &[], Some(31_000)),
        (31_000, Nothing, 5, &[1], &[(1, 5, true)], None),
        (31_010, Answers(1), 5, &[1], &[], None),
        // It may have heard what it did not answer: it is told what it had before, too.
        (40_000, Nothing, 5, &[], &[(1, 5, false)], None),
        (40_100, IsSilent(1), 5, &[1], &[], Some(41_100)),
        (41_100, Nothing, 5, &[1], &[(1, 5, true)], None),
        (41_110, IsEarlier(1), 6, &[], &[], None),
        (90_000, Nothing, 7, &[1], &[], None),
        // In another relation it is asked anew: it may have been upgraded.
        (90_010, Down(1), 7, &[1], &[], None),
        (90_020, Up(1), 7, &[1], &[(1, 7, true)], None),
    ]);
}

#[test]
fn an_answer_from_an_earlier_relation_is_none() {
    let mut world = World::new(Dissemination::Tree);
    world.happens(Happens::Up(1));
    assert_eq!(world.due(5, &[]), [(1, 5, false)]);
    let before = world.relations[&1];
    world.happens(Happens::Down(1));
    world.happens(Happens::Up(1));
    assert_eq!(world.due(5, &[]), [(1, 5, false)]);
    for answer in [
        PositionAnswer::Position(position(1, false)),
        PositionAnswer::Unknown,
        PositionAnswer::Silence,
    ] {
        assert_eq!(world.answer(1, before, answer), []);
    }
    assert_eq!(world.positions.theirs(&name(1)), None);
    // It is still being told.
    world.happens(Happens::IsSilent(1));
    world.now += TELL_INTERVAL;
    assert_eq!(world.due(5, &[]), [(1, 5, false)]);
}

#[test]
fn where_data_floods_every_neighbour_is_insisted_on() {
    let mut world = World::new(Dissemination::Flood);
    world.happens(Happens::Up(1));
    assert_eq!(world.due(5, &[]), [(1, 5, true)]);
    assert_eq!(world.positions.toward(&name(1)), position(5, true));
    assert_eq!(world.positions.toward(&name(2)), position(5, false));
}

#[test]
fn nobody_is_told_anything_without_a_data_plane() {
    let mut world = World::new(Dissemination::Tree);
    world.happens(Happens::Up(1));
    assert_eq!(world.positions.due(None, world.now), []);
    assert_eq!(world.positions.wake(), None);
    assert_eq!(world.due(5, &[1]), [(1, 5, true)]);
    assert_eq!(world.positions.toward(&name(1)), position(5, true));
    // The store is given another site.
    assert_eq!(world.positions.due(None, world.now), []);
    let nothing = Position {
        vector: Vector::default(),
        insists: false,
    };
    assert_eq!(world.positions.toward(&name(1)), nothing);
    world.happens(Happens::Answers(1));
    assert_eq!(world.due(6, &[]), [(1, 6, false)], "no reason to wait");
}

#[test]
fn what_a_neighbour_tells_is_passed_on_and_its_answers_only_until_it_tells() {
    let news = [Effect::PassPosition(name(1))];
    let mut world = World::new(Dissemination::Tree);
    let tells = |world: &mut World, position| world.on(&Event::Position(name(1), position));
    // Who is no neighbour is told ours, and that is all.
    assert_eq!(tells(&mut world, position(1, true)), []);
    assert_eq!(world.positions.theirs(&name(1)), None);

    world.happens(Happens::Up(1));
    world.due(5, &[]);
    let relation = world.relations[&1];
    let answer = |seq| PositionAnswer::Position(position(seq, false));
    assert_eq!(world.answer(1, relation, answer(1)), news);
    assert_eq!(world.answer(1, relation, answer(1)), [], "no news");
    assert!(world.positions.has_told(&name(1)));
    assert_eq!(world.answer(1, relation, answer(2)), news);
    assert_eq!(tells(&mut world, position(3, true)), news);
    assert_eq!(tells(&mut world, position(3, true)), [], "no news");
    // Of an answer nobody knows whether it is older than what was told.
    assert_eq!(world.answer(1, relation, answer(2)), []);
    assert_eq!(world.answer(1, relation, PositionAnswer::Unknown), []);
    let told = Theirs::Told(position(3, true));
    assert_eq!(world.positions.theirs(&name(1)), Some(&told));
    // What breaks a bound is as good as not said.
    assert_eq!(tells(&mut world, unsound()), []);
    assert_eq!(world.positions.theirs(&name(1)), Some(&told));

    world.happens(Happens::Down(1));
    assert!(!world.positions.has_told(&name(1)));
    world.happens(Happens::Up(1));
    world.due(5, &[]);
    let relation = world.relations[&1];
    let unusable = PositionAnswer::Position(unsound());
    assert_eq!(world.answer(1, relation, unusable), []);
    assert_eq!(world.positions.theirs(&name(1)), None);
    assert_eq!(world.answer(1, relation, PositionAnswer::Unknown), news);
    assert!(!world.positions.has_told(&name(1)));
    assert_eq!(world.positions.theirs(&name(1)), Some(&Theirs::Floods));
}

#[test]
fn the_vector_of_many_sites_is_compared_once_and_told_to_each() {
    let mut world = World::new(Dissemination::Tree);
    for number in 1..4 {
        world.happens(Happens::Up(number));
    }
    let insisted: BTreeSet<NodeId> = [name(2)].into();
    let own = Own {
        vector: &vector(3),
        insisted: &insisted,
    };
    let effects = world.positions.due(Some(own), Duration::ZERO);
    let tell = |number, relation, insists| Effect::TellPosition {
        peer: name(number),
        relation,
        position: position(3, insists),
    };
    assert_eq!(
        effects,
        [tell(1, 1, false), tell(2, 2, true), tell(3, 3, false)]
    );
}
