//! Each rule of the broadcast tree that is switched off is missed, and by which bound.

use simulation::{BUILT_IN, Setup, Size, TreeDefect, play, read};

/// The defect, the scenario that catches it, and how the complaint begins.
const CAUGHT: [(TreeDefect, &str, &str); 7] = [
    (TreeDefect::NeverPrunes, "tree-senders", "steady rmr"),
    (TreeDefect::NewLinksEager, "tree-churn", "replaced rmr"),
    (TreeDefect::NeverPromotes, "tree-churn", "dying last_p99_ms"),
    (TreeDefect::NeverAnnounces, "tree-churn", "replaced rmr"),
    (TreeDefect::NeverAsks, "tree-churn", "replaced reliability"),
    (TreeDefect::NeverExchanges, "tree-churn", "replaced behind"),
    (TreeDefect::NeverShortens, "tree-churn", "dying hops_last"),
];

/// What is complained of in the small size of a scenario with this defect.
fn complaints(defect: TreeDefect, name: &str) -> Vec<String> {
    let (_, text) = BUILT_IN
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a scenario of that name");
    let setup = Setup {
        tree_defect: Some(defect),
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
fn every_planted_defect_of_the_tree_is_caught() {
    let mut missed = Vec::new();
    let all = std::thread::scope(|threads| {
        let started =
            CAUGHT.map(|(defect, name, _)| threads.spawn(move || complaints(defect, name)));
        started.map(|one| one.join().expect("a report"))
    });
    for (number, ((defect, scenario, by), found)) in CAUGHT.iter().zip(all).enumerate() {
        let one = TreeDefect::ALL[number];
        assert_eq!(*defect, one, "each defect once, in order");
        let caught = found.iter().find(|line| line.contains(by));
        let line = caught.map_or("NOT CAUGHT", String::as_str);
        println!("| {defect:?} | {scenario} | {line} |");
        if caught.is_none() {
            missed.push(format!("{defect:?} in {scenario} by {by}: {found:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
