//! A deterministic discrete-event simulator that runs the protocols' own state machines.
#![doc = include_str!("../README.md")]

mod adversary;
mod book;
mod cyclon;
mod defect;
mod flood;
mod graph;
mod invariants;
mod member;
mod network;
mod place;
mod plot;
mod protocol;
mod queue;
mod report;
mod scenario;
mod stage;
mod subject;
mod tree;
mod world;

use std::time::Duration;

pub use adversary::{Adversaries, Attack, Defences};
pub use cyclon::Cyclon;
pub use defect::Defect;
pub use flood::{Carried, Flood, Order, Told};
pub use graph::{Graph, Paths};
pub use member::Member;
pub use network::{Distances, Network};
pub use place::{Place, Said, contact};
pub use plot::plots;
pub use protocol::{Input, InputOf, Membership, NodeId, Output, OutputOf, Protocol};
pub use report::{CaseReport, Row, Verdict};
pub use scenario::{
    BUILT_IN, Bound, Branches, Case, Condition, Conditions, Kind, ScenarioError, Setting, Size,
    Step, Trouble, read,
};
pub use subject::{Setup, Subject};
pub use tree::{Branch, Cause, News, Planted, Reported, Tree, TreeDefect, Wish};
pub use world::{Crash, Load, Observer, Totals, World};

/// Plays one case of a scenario from `seed`. `tell` hears now and then how far it is: steps done, steps in
/// all, and the world's time.
pub fn play(
    case: &Case,
    setup: &Setup,
    seed: u64,
    tell: &mut dyn FnMut(usize, usize, Duration),
) -> CaseReport {
    let mut setup = setup
        .with_random_links(case.random_links)
        .with_branches(&case.branches);
    // The plan in the file does not say how many nodes there are, for `--nodes` may replace their number.
    setup.adversaries = case.adversaries.map(|plan| Adversaries {
        nodes: case.nodes,
        ..plan
    });
    match case.protocol {
        Kind::Hyparview => stage::play::<Member>(case, &setup, seed, tell),
        Kind::Plumtree => stage::play::<Tree<Member>>(case, &setup, seed, tell),
        Kind::Cyclon => stage::play::<Cyclon>(case, &setup, seed, tell),
    }
}
