//! What came of a scenario, for people at a terminal.

use simulation::CaseReport;

use super::outcome::{Judged, Outcome, judged, measured, value};
use crate::terminal::table::{Cell, Table, Tone};

/// Bounds first, for they are what a scenario is about; then all that was measured.
pub(super) fn render(outcome: &Outcome) -> String {
    let seeds = outcome.seeds();
    let several = seeds.len() > 1;
    let mut text = head(outcome);
    text.push('\n');
    text.push_str(&bounds(outcome, several).for_stdout());
    text.push('\n');
    text.push_str(&measures(outcome, several).for_stdout());
    for line in outcome.broken() {
        text.push_str(&format!("INVARIANT BROKEN {line}\n"));
    }
    text
}

fn head(outcome: &Outcome) -> String {
    let cost = &outcome.cost;
    let mut text = format!(
        "{}: {} ({} nodes, ",
        outcome.scenario,
        outcome.title(),
        outcome.nodes()
    );
    match outcome.seeds().as_slice() {
        [one] => text.push_str(&format!("seed {one}")),
        [first, .., last] => text.push_str(&format!("seeds {first} to {last}")),
        [] => {}
    }
    text.push_str(&format!(", {:.1} s", cost.elapsed_s));
    if let Some(cpu) = cost.cpu_s {
        text.push_str(&format!(", {cpu:.1} s of CPU"));
    }
    if let Some(bytes) = cost.peak_resident_bytes {
        text.push_str(&format!(", {} MiB at most", bytes >> 20));
    }
    text.push_str(")\n");
    text
}

fn bounds(outcome: &Outcome, several: bool) -> Table {
    let mut table = Table::new(if several {
        &[
            "case", "at", "measure", ">median", ">worst", ">wanted", "verdict",
        ]
    } else {
        &["case", "at", "measure", ">value", ">wanted", "verdict"]
    });
    for reports in outcome.by_case() {
        for one in judged(reports) {
            let verdict = verdict(&one, several);
            let mut row: Vec<Cell> = vec![case(reports).into(), one.at.into(), one.what.into()];
            if several {
                row.push(value(one.median).into());
            }
            row.extend([value(one.worst).into(), one.wanted.into(), verdict]);
            table.row(row);
        }
    }
    table
}

fn verdict(one: &Judged, several: bool) -> Cell {
    match (one.held == one.of, several) {
        (true, _) => Cell::new("held", Tone::Good),
        (false, false) => Cell::new("NOT HELD", Tone::Bad),
        (false, true) => Cell::new(format!("HELD {} OF {}", one.held, one.of), Tone::Bad),
    }
}

/// A few measures in a line, without those that are zero.
fn measures(outcome: &Outcome, several: bool) -> Table {
    // Of several seeds each measure is three numbers, so fewer go into a line.
    let across = if several { 2 } else { 4 };
    let mut table = Table::new(&["case", "at", ">s", "measured"]);
    for reports in outcome.by_case() {
        for row in measured(reports) {
            let values = row.values.iter().filter(|(_, spread)| !spread.is_zero());
            let all: Vec<String> = values
                .map(|(name, spread)| format!("{name} {spread}"))
                .collect();
            let mut head = [case(reports), row.label, format!("{:.0}", row.at_s.median)];
            for some in all.chunks(across) {
                let [case, label, at] = std::mem::take(&mut head);
                table.row([case.into(), label.into(), at.into(), some.join("  ").into()]);
            }
        }
    }
    table
}

fn case(reports: &[CaseReport]) -> String {
    reports.first().map_or_else(String::new, CaseReport::case)
}
