//! What came of one scenario, with all its cases and seeds.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;
use simulation::{CaseReport, Verdict};

use super::cost;

#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) scenario: String,
    pub(super) passed: bool,
    #[serde(flatten)]
    pub(super) cost: Cost,
    /// The seeds of a case are next to each other.
    pub(super) cases: Vec<CaseReport>,
}

/// The only part that differs from run to run.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    pub(super) elapsed_s: f64,
    /// Of all cores; `null`, as below, where the system does not tell.
    pub(super) cpu_s: Option<f64>,
    /// Of the whole process, until the scenario was done.
    pub(super) peak_resident_bytes: Option<u64>,
}

/// One bound on one case, over all seeds.
#[derive(Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) at: String,
    pub(super) what: String,
    pub(super) wanted: String,
    /// `None` if it did not come about.
    pub(super) median: Option<f64>,
    pub(super) worst: Option<f64>,
    /// With how many of how many seeds it held.
    pub(super) held: usize,
    pub(super) of: usize,
}

/// One measure over all seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
}

/// What one step measured, over all seeds.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) label: String,
    /// Seconds of the world's time.
    pub(super) at_s: Spread,
    pub(super) values: Vec<(String, Spread)>,
}

impl Outcome {
    pub(super) fn new(
        scenario: &str,
        cases: Vec<CaseReport>,
        elapsed: Duration,
        cpu: Option<Duration>,
    ) -> Self {
        Self {
            scenario: scenario.to_owned(),
            passed: cases.iter().all(CaseReport::passed),
            cost: Cost {
                elapsed_s: elapsed.as_secs_f64(),
                cpu_s: cpu.map(|time| time.as_secs_f64()),
                peak_resident_bytes: cost::peak_resident(),
            },
            cases,
        }
    }

    pub(super) fn title(&self) -> &str {
        self.cases.first().map_or("", |report| &report.title)
    }

    /// How many nodes: of the largest case.
    pub(super) fn nodes(&self) -> u32 {
        self.cases
            .iter()
            .map(|report| report.nodes)
            .max()
            .unwrap_or(0)
    }

    pub(super) fn seeds(&self) -> Vec<u64> {
        let all: BTreeSet<u64> = self.cases.iter().map(|report| report.seed).collect();
        all.into_iter().collect()
    }

    /// The reports of each case, one per seed.
    pub(super) fn by_case(&self) -> impl Iterator<Item = &[CaseReport]> {
        self.cases.chunk_by(|a, b| a.variables == b.variables)
    }

    /// Invariants that were broken, a line each.
    pub(super) fn broken(&self) -> Vec<String> {
        let lines = self.cases.iter().flat_map(|report| {
            let case = match report.case() {
                case if case.is_empty() => format!("seed {}", report.seed),
                case => format!("{case}, seed {}", report.seed),
            };
            let told = report.violations.iter();
            let told: Vec<String> = told.map(|one| format!("({case}) {one}")).collect();
            let more = report.violation_count.saturating_sub(told.len());
            let more = (more > 0).then(|| format!("({case}) and {more} more"));
            told.into_iter().chain(more)
        });
        lines.collect()
    }
}

/// The bounds of one case; all its reports have the same ones.
pub(super) fn judged(reports: &[CaseReport]) -> Vec<Judged> {
    let bounds = reports.first().map_or(0, |report| report.verdicts.len());
    let all = (0..bounds).map(|at| {
        let over_seeds = reports.iter().filter_map(|report| report.verdicts.get(at));
        let mut verdicts: Vec<&Verdict> = over_seeds.collect();
        verdicts.sort_by(|a, b| badness(a).total_cmp(&badness(b)));
        let value = |at: usize| verdicts.get(at).and_then(|one| one.value);
        let first = verdicts.first();
        Judged {
            at: first.map_or_else(String::new, |one| one.at.clone()),
            what: first.map_or_else(String::new, |one| one.what.clone()),
            wanted: first.map_or_else(String::new, |one| one.wanted()),
            // They are sorted from good to bad: of two in the middle this is the worse one.
            median: value(verdicts.len() / 2),
            worst: value(verdicts.len().saturating_sub(1)),
            held: verdicts.iter().filter(|one| one.held).count(),
            of: verdicts.len(),
        }
    });
    all.collect()
}

/// How far a value is beyond its bound, or if negative within it.
fn badness(verdict: &Verdict) -> f64 {
    let Some(value) = verdict.value else {
        // What was to come about and did not is worse than any value.
        return f64::INFINITY;
    };
    let below = verdict
        .least
        .map_or(f64::NEG_INFINITY, |least| least - value);
    let above = verdict.most.map_or(f64::NEG_INFINITY, |most| value - most);
    below.max(above)
}

/// What the steps of one case measured.
pub(super) fn measured(reports: &[CaseReport]) -> Vec<Measured> {
    let rows = reports.first().map_or(0, |report| report.rows.len());
    let all = (0..rows).filter_map(|at| {
        let over_seeds = || reports.iter().filter_map(|report| report.rows.get(at));
        // Of all seeds: not everything can be measured with each.
        let names: BTreeSet<&String> = over_seeds().flat_map(|row| row.values.keys()).collect();
        let values = names.into_iter().filter_map(|name| {
            let all = over_seeds().filter_map(|row| row.values.get(name).copied());
            Some((name.clone(), Spread::of(all.collect())?))
        });
        Some(Measured {
            label: over_seeds().next()?.label.clone(),
            at_s: Spread::of(over_seeds().map(|row| row.at_s).collect())?,
            values: values.collect(),
        })
    });
    all.collect()
}

impl Spread {
    /// Whether it says nothing: most measures count what seldom happens.
    pub(super) fn is_zero(self) -> bool {
        self.least == 0.0 && self.most == 0.0
    }

    fn of(mut all: Vec<f64>) -> Option<Self> {
        all.sort_by(f64::total_cmp);
        Some(Self {
            least: *all.first()?,
            median: *all.get(all.len() / 2)?,
            most: *all.last()?,
        })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [least, median, most] = [self.least, self.median, self.most].map(number);
        if least == most {
            write!(to, "{median}")
        } else {
            write!(to, "{median} ({least} to {most})")
        }
    }
}

/// Five significant digits at most.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "never".to_owned();
    }
    let digits = match value.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 10.0 => 2,
        size if size >= 0.1 => 3,
        _ => 6,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A value that may not have come about.
pub(super) fn value(value: Option<f64>) -> String {
    number(value.unwrap_or(f64::INFINITY))
}
