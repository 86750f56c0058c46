//! What came of a scenario.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer};

use crate::scenario::{Bound, Kind, Setting};

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The label of the step.
    pub label: String,
    /// Seconds of the world's time.
    pub at_s: f64,
    /// What was measured; `null` in JSON is infinity: it did not come about.
    #[serde(serialize_with = "finite")]
    pub values: BTreeMap<String, f64>,
    /// One value per broadcast: the percentage of nodes that it reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<f64>,
    /// How many nodes have how many neighbours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub degrees: Vec<usize>,
}

fn finite<S: Serializer>(values: &BTreeMap<String, f64>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(values.iter().map(|(name, value)| {
        let value = value.is_finite().then_some(*value);
        (name, value)
    }))
}

impl Row {
    pub(crate) fn new(label: &str, at: Duration) -> Self {
        Self {
            label: label.to_owned(),
            at_s: at.as_secs_f64(),
            values: BTreeMap::new(),
            series: Vec::new(),
            degrees: Vec::new(),
        }
    }

    pub(crate) fn set(&mut self, what: &str, value: f64) {
        self.values.insert(what.to_owned(), value);
    }
}

/// Whether a bound held.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The label of the step.
    pub at: String,
    /// The measure.
    pub what: String,
    /// What it was; `None` if it was not measured, or is infinite.
    pub value: Option<f64>,
    /// It should not be less.
    pub least: Option<f64>,
    /// It should not be more.
    pub most: Option<f64>,
    /// Whether that is so.
    pub held: bool,
}

impl Verdict {
    pub(crate) fn of(bound: &Bound, value: Option<f64>) -> Self {
        // What was not measured does not hold: else a misspelt bound would always hold.
        let held = value.is_some_and(|value| {
            bound.least.is_none_or(|least| value >= least)
                && bound.most.is_none_or(|most| value <= most)
        });
        Self {
            at: bound.at.clone(),
            what: bound.what.clone(),
            // JSON has no infinity.
            value: value.filter(|value| value.is_finite()),
            least: bound.least,
            most: bound.most,
            held,
        }
    }

    /// The bound in words.
    #[must_use]
    pub fn wanted(&self) -> String {
        match (self.least, self.most) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!(">= {least}"),
            (None, Some(most)) => format!("<= {most}"),
            (None, None) => String::new(),
        }
    }
}

/// What came of one case. The same for the same seed, byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseReport {
    /// What the scenario is about.
    pub title: String,
    /// What was run.
    pub protocol: Kind,
    /// The variables of the case.
    pub variables: BTreeMap<String, Setting>,
    /// How many nodes.
    pub nodes: u32,
    /// The seed.
    pub seed: u64,
    /// The world's time at the end.
    pub seconds: f64,
    /// Inputs that were handled.
    pub inputs: u64,
    /// Of every input, in order.
    pub fingerprint: String,
    /// What was measured.
    pub rows: Vec<Row>,
    /// Which bounds held.
    pub verdicts: Vec<Verdict>,
    /// Invariants that did not hold, the first few.
    pub violations: Vec<String>,
    /// How often an invariant did not hold.
    pub violation_count: usize,
}

impl CaseReport {
    /// Whether all bounds and all invariants held.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violation_count == 0 && self.verdicts.iter().all(|verdict| verdict.held)
    }

    /// What did not hold, a line each.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let broken = self.violations.iter().cloned();
        let missed = self.verdicts.iter().filter(|verdict| !verdict.held);
        let told = missed.map(|verdict| {
            let value = verdict
                .value
                // Infinite: it was waited for in vain.
                .map_or("never".to_owned(), |value| format!("{value:.5}"));
            let Verdict { at, what, .. } = verdict;
            format!("{at} {what}: {value}, wanted {}", verdict.wanted())
        });
        broken.chain(told).collect()
    }

    /// The values of the case's variables, for a title.
    #[must_use]
    pub fn case(&self) -> String {
        let all = self.variables.iter().map(|(name, value)| match value {
            Setting::Word(word) => word.clone(),
            _ => format!("{name} {value}"),
        });
        all.collect::<Vec<_>>().join(", ")
    }
}
