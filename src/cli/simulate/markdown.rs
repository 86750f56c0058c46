//! What came of a scenario, as a page. Nothing in it depends on the machine or on when it was made, so that
//! two versions of a page differ by what the protocol does.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::{Measured, Outcome, judged, measured, value};

/// A page with these images, made by `command`.
pub(super) fn render(outcome: &Outcome, command: &str, images: &[String]) -> String {
    let mut page = format!("# {}\n\n{}.\n\n", outcome.scenario, outcome.title());
    page.push_str(&format!("{} nodes at most; `{command}`\n", outcome.nodes()));
    let verdict = if outcome.passed {
        "All bounds and invariants held."
    } else {
        "**Not all bounds and invariants held.**"
    };
    page.push_str(&format!("\n{verdict}\n"));
    bounds(&mut page, outcome);
    let broken = outcome.broken();
    if !broken.is_empty() {
        page.push_str("\nInvariants that were broken:\n\n");
        for line in broken {
            page.push_str(&format!("- {line}\n"));
        }
    }
    measures(&mut page, outcome);
    if !images.is_empty() {
        page.push_str("\n## Plots\n");
        if outcome.seeds().len() > 1 {
            page.push_str("\nOf the first seed.\n");
        }
        for image in images {
            page.push_str(&format!("\n![{image}]({image})\n"));
        }
    }
    page
}

fn bounds(page: &mut String, outcome: &Outcome) {
    let cases = outcome.by_case();
    let all: Vec<_> = cases
        .flat_map(|reports| {
            // Cases are cut out of the list of reports, so none is empty.
            let case = reports[0].case();
            judged(reports)
                .into_iter()
                .map(move |one| (case.clone(), one))
        })
        .collect();
    if all.is_empty() {
        return;
    }
    page.push_str("\n## Bounds\n\n");
    let several = outcome.seeds().len() > 1;
    let heads = if several {
        ["median", "worst", "wanted", "held"].as_slice()
    } else {
        &["value", "wanted", "held"]
    };
    line(page, [&["case", "at", "measure"], heads].concat());
    rule(page, &["---", "---", "---"], heads.len());
    for (case, one) in all {
        let held = match (one.held == one.of, several) {
            (true, _) => "yes".to_owned(),
            (false, false) => "**no**".to_owned(),
            (false, true) => format!("**{} of {}**", one.held, one.of),
        };
        let mut cells = vec![case, one.at, one.what];
        if several {
            cells.push(value(one.median));
        }
        cells.extend([value(one.worst), one.wanted, held]);
        line(page, cells);
    }
}

/// A table per step that measures: a line per measure, a column per case.
fn measures(page: &mut String, outcome: &Outcome) {
    let cases: Vec<String> = outcome.by_case().map(|reports| reports[0].case()).collect();
    let mut labels: Vec<String> = Vec::new();
    let mut steps: BTreeMap<String, Vec<(usize, Measured)>> = BTreeMap::new();
    for (column, reports) in outcome.by_case().enumerate() {
        for one in measured(reports) {
            // A list beside the map: the map would order the steps by their names, not as they are taken.
            if !labels.contains(&one.label) {
                labels.push(one.label.clone());
            }
            let step = steps.entry(one.label.clone()).or_default();
            step.push((column, one));
        }
    }
    for label in labels {
        let step = &steps[&label];
        page.push_str(&format!("\n## Measured: {label}\n\n"));
        // A scenario without variables has one case, and that has no name.
        let heads = cases.iter().map(|case| match case.as_str() {
            "" => "value".to_owned(),
            case => case.to_owned(),
        });
        line(page, std::iter::once("measure".to_owned()).chain(heads));
        rule(page, &["---"], cases.len());
        let mut lines: BTreeMap<usize, String> = BTreeMap::new();
        for (column, one) in step {
            lines.insert(*column, one.at_s.to_string());
        }
        row(page, "at second", cases.len(), &lines);
        let all = || step.iter().flat_map(|(_, one)| &one.values);
        let telling = all().filter(|(_, spread)| !spread.is_zero());
        let names: BTreeSet<&String> = telling.map(|(name, _)| name).collect();
        for name in names {
            let mut cells = BTreeMap::new();
            for (column, one) in step {
                // Not everything can be measured of every network.
                if let Some((_, spread)) = one.values.iter().find(|(known, _)| known == name) {
                    cells.insert(*column, spread.to_string());
                }
            }
            row(page, name, cases.len(), &cells);
        }
    }
}

fn row(page: &mut String, name: &str, columns: usize, cells: &BTreeMap<usize, String>) {
    let cell = |column: usize| cells.get(&column).cloned().unwrap_or_default();
    line(
        page,
        std::iter::once(name.to_owned()).chain((0..columns).map(cell)),
    );
}

fn rule(page: &mut String, left: &[&str], right: usize) {
    line(
        page,
        left.iter()
            .copied()
            .chain(std::iter::repeat_n("--:", right)),
    );
}

fn line<T: AsRef<str>>(page: &mut String, cells: impl IntoIterator<Item = T>) {
    page.push('|');
    for cell in cells {
        page.push_str(&format!(" {} |", cell.as_ref().replace('|', "\\|")));
    }
    page.push('\n');
}
