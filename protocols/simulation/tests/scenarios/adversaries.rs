//! The defences against adversaries hold in a small network, and it is they that do.

use simulation::{CaseReport, Setup, Size, play, read};

use super::scenario;

/// The scenario in its small size, with other values of its variables, and another number of nodes.
fn attacked(attack: &str, defences: &str, nodes: Option<u32>) -> CaseReport {
    let asked = scenario("adversaries")
        .replace("\"$attack\"", &format!("{attack:?}"))
        .replace("\"$defences\"", &format!("{defences:?}"));
    let cases = read(&asked, Size::Small, nodes).expect("a scenario");
    play(&cases[0], &Setup::default(), 1, &mut |_, _, _| ())
}

#[test]
fn without_the_defences_adversaries_get_all_links_and_cut_everybody_off() {
    let broken = attacked("all", "undefended", None).failures();
    for what in [
        "attacked bad_active_percent",
        "attacked bad_active_over_share",
        "attacked cut_off",
        "attacked eclipsed",
        "flood reliability_least",
        "crashed bad_active_over_share",
    ] {
        let told = broken.iter().any(|line| line.contains(what));
        assert!(told, "{what} holds without the defences: {broken:#?}");
    }
}

/// In a network in which there are more liars than a passive view can hold.
#[test]
fn lies_fill_no_more_than_the_fresh_part_of_passive_views() {
    let held = attacked("lie", "defended", Some(200)).failures();
    assert!(held.is_empty(), "{held:#?}");
    let broken = attacked("lie", "no-sample", Some(200)).failures();
    for what in [
        "attacked bad_passive_percent",
        "crashed bad_passive_percent",
    ] {
        let told = broken.iter().any(|line| line.contains(what));
        assert!(told, "{what} holds without the sample: {broken:#?}");
    }
}
