//! Every scenario in its small size: all bounds and invariants hold, and the same seed gives the same
//! report, byte for byte.

use simulation::{BUILT_IN, CaseReport, Setup, Size, play, read};

use super::scenario;

fn run(text: &str, seed: u64) -> Vec<CaseReport> {
    let cases = read(text, Size::Small, None).expect("a scenario");
    cases
        .iter()
        .map(|case| play(case, &Setup::default(), seed, &mut |_, _, _| ()))
        .collect()
}

fn check(name: &str) {
    let text = scenario(name);
    let reports = run(text, 1);
    for report in &reports {
        let failures = report.failures().join("\n");
        assert!(report.passed(), "{name} ({}):\n{failures}", report.case());
    }
    let print = |reports: &[CaseReport]| serde_json::to_string_pretty(reports).expect("JSON");
    let again = run(text, 1);
    assert_eq!(
        print(&reports),
        print(&again),
        "{name} is not deterministic"
    );
}

#[test]
fn the_seed_matters() {
    let (_, text) = BUILT_IN[0];
    let case = &read(text, Size::Small, Some(50)).expect("a scenario")[0];
    let print = |seed| play(case, &Setup::default(), seed, &mut |_, _, _| ()).fingerprint;
    assert_ne!(print(1), print(2));
}

macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*

        #[test]
        fn every_scenario_is_tested() {
            let tested = [$($name),*];
            let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            assert_eq!(known, tested);
        }
    };
}

scenarios! {
    nodes_that_join_one_by_one_make_a_random_graph: "sequential-join",
    a_join_storm_ends_in_a_random_graph: "burst-join",
    broadcasts_reach_all_survivors_of_a_crash: "crash",
    a_crash_heals_within_a_few_cycles: "healing",
    islands_after_a_crash_find_each_other: "islands",
    halves_thirds_and_quarters_grow_together_again: "partition",
    a_contact_bears_a_storm_of_newcomers: "stormed-contact",
    ever_new_identities_leave_no_trace: "new-identities",
    all_nodes_restart_at_once: "restart",
    half_of_the_nodes_leave_and_come_back: "leave-and-return",
    flapping_nodes_do_little_harm: "flapping",
    frozen_nodes_are_dropped_and_taken_in_again: "frozen",
    a_node_that_does_not_read_slows_nobody_down: "wedged-reader",
    losses_refusals_and_wrong_clocks_are_borne: "bad-network",
    messages_of_the_past_change_nothing: "old-messages",
    a_quiet_network_is_quiet: "steady",
    adversaries_are_kept_at_bay: "adversaries",
    liars_get_no_more_than_their_share_from_the_first_second_on: "early-adversaries",
    near_nodes_come_together: "latency",
    near_neighbors_outlive_a_crash: "latency-crash",
    the_baseline_runs_under_the_same_crashes: "cyclon",
    half_of_all_crash_and_the_rest_heal: "scale",
    a_tree_per_origin_sends_nothing_twice: "tree-senders",
    all_nodes_may_speak: "tree-all",
    a_shared_tree_for_comparison: "tree-shared",
    a_shared_tree_with_a_root: "tree-rooted",
    flooding_for_comparison: "tree-flood",
    a_tree_under_churn_loses_nothing: "tree-churn",
    a_tree_outlives_a_mass_crash: "tree-crash",
    what_was_said_in_one_half_is_heard_in_the_other: "tree-partition",
    a_tree_around_the_world: "tree-world",
}
