//! The defences against adversaries hold in a small network, and it is they that do.

use simulation::{BUILT_IN, CaseReport, Setup, Size, play, read};

/// All deeds together, in the small size of the scenario.
fn attacked(defended: bool) -> CaseReport {
    let (_, text) = BUILT_IN
        .iter()
        .find(|(name, _)| *name == "adversaries")
        .expect("a scenario of that name");
    let text = match defended {
        true => (*text).to_owned(),
        false => text.replace("\"$defences\"", "0"),
    };
    let cases = read(&text, Size::Small, None).expect("a scenario");
    play(&cases[0], &Setup::default(), 1, &mut |_, _, _| ())
}

#[test]
fn adversaries_stay_few_among_neighbours_and_cut_nobody_off_but_without_the_defences_they_do() {
    let held = attacked(true).failures();
    assert!(held.is_empty(), "{held:#?}");
    let broken = attacked(false).failures();
    for what in ["bad_active_percent", "cut_off", "reliability_least"] {
        let told = broken.iter().any(|line| line.contains(what));
        assert!(told, "{what} holds without the defences: {broken:#?}");
    }
}
