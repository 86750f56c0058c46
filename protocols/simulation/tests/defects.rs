//! Each planted defect is caught, and by which invariant or bound.

use simulation::{BUILT_IN, Defect, Setup, Size, play, read};

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
    (Defect::HonoursOldFarewells, "old-messages", "farewells:"),
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

/// What is complained of in the small size of a scenario with this defect.
fn complaints(defect: Defect, name: &str) -> Vec<String> {
    let (_, text) = BUILT_IN
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a scenario of that name");
    let setup = Setup {
        defect: Some(defect),
        ..Setup::default()
    };
    let cases = read(text, Size::Small, None).expect("a scenario");
    cases
        .iter()
        .flat_map(|case| play(case, &setup, 1, &mut |_, _, _| ()).failures())
        .collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is for people")]
fn every_planted_defect_is_caught() {
    let mut missed = Vec::new();
    let all = std::thread::scope(|threads| {
        let started =
            CAUGHT.map(|(defect, name, _)| threads.spawn(move || complaints(defect, name)));
        started.map(|one| one.join().expect("a report"))
    });
    for (number, ((defect, scenario, by), found)) in CAUGHT.iter().zip(all).enumerate() {
        assert_eq!(*defect, Defect::ALL[number], "each defect once, in order");
        let caught = found.iter().find(|line| line.contains(by));
        let line = caught.map_or("NOT CAUGHT", String::as_str);
        println!("| {defect:?} | {scenario} | {line} |");
        if caught.is_none() {
            missed.push(format!("{defect:?} in {scenario} by {by}: {found:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
