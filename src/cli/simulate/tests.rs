use std::sync::Arc;

use simulation::{CaseReport, Size, Verdict, read};

use super::{
    campaign::{self, Ended, Run, Scenario},
    markdown,
    outcome::{Outcome, judged, number},
    tables, texts,
};

const TEXT: &str = "\
title = 'Everybody finds everybody'
nodes = '$n'
small = 7
vary = { n = [30, 4, 12] }
[[step]]
do = 'join'
every-ms = 10.0
[[step]]
do = 'run'
seconds = 5
[[step]]
do = 'measure'
label = 'end'
[[bound]]
at = 'end'
what = 'components'
most = 1
";

/// What comes of two scenarios of three cases with four seeds, in the order in which it comes.
fn outcomes(threads: usize) -> Vec<Outcome> {
    let scenario = |name: &str| Scenario {
        name: name.to_owned(),
        cases: read(TEXT, Size::Full, None).expect("a scenario"),
    };
    let run = Arc::new(Run {
        scenarios: vec![scenario("b"), scenario("a")],
        seeds: vec![3, 4, 5, 6],
    });
    let mut all = Vec::new();
    let ended = campaign::play(&run, threads, |outcome| {
        all.push(outcome);
        Ok(())
    });
    assert_eq!(ended.expect("it runs"), Ended::Finished);
    all
}

#[test]
fn reports_are_the_same_and_in_order_whatever_the_number_of_jobs() {
    let print = |outcomes: &[Outcome]| {
        let all = outcomes.iter().map(|one| (&one.scenario, &one.cases));
        serde_json::to_string(&all.collect::<Vec<_>>()).expect("JSON")
    };
    let one_by_one = outcomes(1);
    for threads in [2, 7] {
        assert_eq!(print(&outcomes(threads)), print(&one_by_one), "{threads}");
    }
    let order: Vec<(u32, u64)> = one_by_one[0]
        .cases
        .iter()
        .map(|report| (report.nodes, report.seed))
        .collect();
    let expected = [30, 4, 12].map(|nodes| [3, 4, 5, 6].map(|seed| (nodes, seed)));
    assert_eq!(order, expected.as_flattened());
    let names: Vec<&str> = one_by_one.iter().map(|one| &*one.scenario).collect();
    assert_eq!(names, ["b", "a"]);
}

#[test]
fn who_takes_the_outcomes_can_end_it_all() {
    let run = Arc::new(Run {
        scenarios: vec![Scenario {
            name: "a".to_owned(),
            cases: read(TEXT, Size::Full, None).expect("a scenario"),
        }],
        seeds: vec![1],
    });
    let ended = campaign::play(&run, 2, |_| anyhow::bail!("no more"));
    assert_eq!(ended.expect_err("ended").to_string(), "no more");
}

/// A report of one case whose only bound, "at most 5", has this value.
fn report(seed: u64, value: Option<f64>) -> CaseReport {
    let cases = read(TEXT, Size::Full, None).expect("a scenario");
    let mut report = simulation::play(&cases[1], &Default::default(), seed, &mut |_, _, _| ());
    report.verdicts = vec![Verdict {
        at: "end".to_owned(),
        what: "islands".to_owned(),
        value,
        least: None,
        most: Some(5.0),
        held: value.is_some_and(|value| value <= 5.0),
    }];
    report
}

fn outcome(values: &[Option<f64>]) -> Outcome {
    let reports = (1..).zip(values).map(|(seed, value)| report(seed, *value));
    Outcome::new("mine", reports.collect(), std::time::Duration::ZERO, None)
}

#[test]
fn the_worst_seed_decides_and_the_median_is_told() {
    let seen = |values: &[Option<f64>]| {
        let outcome = outcome(values);
        let one = judged(&outcome.cases).remove(0);
        (outcome.passed, one.median, one.worst, one.held, one.of)
    };
    let held = seen(&[Some(4.0), Some(1.0), Some(2.0)]);
    assert_eq!(held, (true, Some(2.0), Some(4.0), 3, 3));
    let missed = seen(&[Some(1.0), Some(6.0), Some(2.0)]);
    assert_eq!(missed, (false, Some(2.0), Some(6.0), 2, 3));
    // What never came about is worse than anything.
    let never = seen(&[Some(1.0), None, Some(9.0)]);
    assert_eq!(never, (false, Some(9.0), None, 1, 3));
}

#[test]
fn a_lower_bound_is_worst_where_the_value_is_least() {
    let mut outcome = outcome(&[Some(7.0), Some(9.0), Some(8.0)]);
    for report in &mut outcome.cases {
        report.verdicts[0].least = report.verdicts[0].most.take();
    }
    assert_eq!(judged(&outcome.cases)[0].worst, Some(7.0));
}

#[test]
fn a_table_shows_one_value_or_the_median_and_the_worst() {
    let one = tables::render(&outcome(&[Some(4.0)]));
    assert!(one.contains("VALUE") && !one.contains("MEDIAN"), "{one}");
    assert!(one.contains("seed 1"), "{one}");
    let several = tables::render(&outcome(&[Some(4.0), Some(6.0)]));
    assert!(several.contains("MEDIAN  WORST"), "{several}");
    assert!(several.contains("HELD 1 OF 2"), "{several}");
}

#[test]
fn a_page_tells_what_was_run_and_nothing_that_differs_from_run_to_run() {
    let mut outcome = outcome(&[Some(4.0), Some(6.0)]);
    let page = |outcome: &Outcome| markdown::render(outcome, "starling simulate mine", &[]);
    let before = page(&outcome);
    assert!(before.contains("`starling simulate mine`"), "{before}");
    let bound = "| n 4 | end | islands | 6 | 6 | <= 5 | **1 of 2** |\n";
    assert!(before.contains(bound), "{before}");
    assert!(before.contains("**Not all bounds"), "{before}");
    assert!(before.contains("\n| components | 1 |\n"), "{before}");
    outcome.cost.elapsed_s += 77.0;
    outcome.cost.cpu_s = Some(77.0);
    outcome.cost.peak_resident_bytes = None;
    assert_eq!(page(&outcome), before);
    let columns = |line: &str| line.matches(" |").count();
    let table = before
        .lines()
        .skip_while(|line| !line.starts_with("| measure"));
    let table: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
    assert!(table.iter().all(|line| columns(line) == columns(table[0])));
}

#[test]
fn numbers_are_short() {
    let shown = [9980.4, 99.98, 0.5, 0.00032, 0.0, f64::INFINITY].map(number);
    assert_eq!(shown, ["9980", "99.98", "0.5", "0.00032", "0", "never"]);
}

#[test]
fn a_scenario_is_found_by_name_or_said_to_be_unknown() {
    assert_eq!(texts("crash").expect("it comes along").len(), 1);
    assert!(texts("all").expect("all").len() > 10);
    let unknown = texts("crush").expect_err("no such scenario").to_string();
    assert!(
        unknown.contains("`starling simulate` lists them"),
        "{unknown}"
    );
    assert!(texts("no/such.toml").is_err());
}
