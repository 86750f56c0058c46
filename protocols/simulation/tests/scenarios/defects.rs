//! Each planted defect is caught, and by which invariant or bound.

use std::{fmt::Debug, thread};

use simulation::{Defect, Setup, Size, TreeDefect, play, read};

use super::scenario;

/// The defect, the scenario that catches it, and how the first complaint begins.
const CAUGHT: [(Defect, &str, &str); 17] = [
    (Defect::Forgets, "partition", "mixed seconds"),
    (Defect::NeverProbes, "partition", "bridged seconds"),
    (Defect::HealsPolitely, "partition", "bridged seconds"),
    (Defect::NeverMixes, "partition", "mixed seconds"),
    (Defect::TakesNoForAnAnswer, "burst-join", "whole:"),
    (Defect::RequestsForEver, "bad-network", "requests:"),
    (Defect::WaitsForEver, "frozen", "noticed links_to_ailing"),
    (
        Defect::LeavesWithoutAWord,
        "burst-join",
        "graph gone_silent",
    ),
    (
        Defect::IgnoresStrangers,
        "bad-network",
        "bad silent_per_node",
    ),
    (
        Defect::WalksEverywhere,
        "sequential-join",
        "joined messages_per_node_s",
    ),
    (Defect::Crowds, "new-identities", "views:"),
    (
        Defect::HonoursOldDisconnects,
        "old-messages",
        "disconnects:",
    ),
    (
        Defect::RejoinsWhenEvicted,
        "new-identities",
        "late messages_per_node_s",
    ),
    (
        Defect::BelievesTheDeaf,
        "wedged-reader",
        "traffic links_made_per_node",
    ),
    (
        Defect::EvictsTheLast,
        "stormed-contact",
        "storm came_peak_s",
    ),
    (Defect::NeverForgets, "new-identities", "views:"),
    (Defect::ContentWithFew, "islands", "end outside"),
];

/// The same for the broadcast tree.
const CAUGHT_OF_THE_TREE: [(TreeDefect, &str, &str); 7] = [
    (TreeDefect::NeverPrunes, "tree-senders", "steady rmr"),
    (TreeDefect::NewLinksEager, "tree-churn", "replaced rmr"),
    (TreeDefect::NeverPromotes, "tree-churn", "dying last_p99_ms"),
    (TreeDefect::NeverAnnounces, "tree-churn", "replaced rmr"),
    (TreeDefect::NeverAsks, "tree-churn", "replaced reliability"),
    (TreeDefect::NeverExchanges, "tree-churn", "replaced behind"),
    (TreeDefect::NeverShortens, "tree-churn", "dying hops_last"),
];

/// What is complained of in the small size of a scenario that is set up like this.
fn complaints(setup: &Setup, name: &str) -> Vec<String> {
    let cases = read(scenario(name), Size::Small, None).expect("a scenario");
    cases
        .iter()
        .flat_map(|case| play(case, setup, 1, &mut |_, _, _| ()).failures())
        .collect()
}

/// Plants one defect after the other, prints what was complained of, and wants each to be caught as expected.
#[expect(clippy::print_stdout, reason = "the table is for people")]
fn all_are_caught<D: Copy + Debug + PartialEq + Sync>(
    all: &[D],
    caught: &[(D, &str, &str)],
    plant: impl Fn(D) -> Setup + Sync,
) {
    let planted: Vec<D> = caught.iter().map(|(defect, ..)| *defect).collect();
    assert_eq!(planted, all, "each defect once, in order");
    let plant = &plant;
    let found: Vec<_> = thread::scope(|threads| {
        let started: Vec<_> = caught
            .iter()
            .map(|(defect, name, _)| threads.spawn(move || complaints(&plant(*defect), name)))
            .collect();
        let done = started.into_iter().map(|run| run.join().expect("a report"));
        done.collect()
    });
    let mut missed = Vec::new();
    for ((defect, scenario, by), found) in caught.iter().zip(found) {
        let complaint = found.iter().find(|line| line.contains(by));
        let line = complaint.map_or("NOT CAUGHT", String::as_str);
        println!("| {defect:?} | {scenario} | {line} |");
        if complaint.is_none() {
            missed.push(format!("{defect:?} in {scenario} by {by}: {found:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_planted_defect_is_caught() {
    all_are_caught(&Defect::ALL, &CAUGHT, |defect| Setup {
        defect: Some(defect),
        ..Setup::default()
    });
}

#[test]
fn every_planted_defect_of_the_tree_is_caught() {
    all_are_caught(&TreeDefect::ALL, &CAUGHT_OF_THE_TREE, |defect| Setup {
        tree_defect: Some(defect),
        ..Setup::default()
    });
}
