//! Both networks side by side, and whether they agree.

use std::fmt;

use super::Measures;

/// What several runs made of one measure.
#[derive(Debug, Clone, Copy)]
struct Runs {
    count: f64,
    mean: f64,
    least: f64,
    most: f64,
    deviation: f64,
}

/// One measure.
struct Line {
    name: String,
    real: Option<Runs>,
    simulated: Runs,
    /// What the means may differ by; without, the measure is told and not judged.
    tolerance: Option<f64>,
}

/// All measures.
pub(crate) struct Table {
    lines: Vec<Line>,
}

/// A difference of means that chance makes once in a thousand measures, in standard errors: a table has some fifty.
const CHANCE: f64 = 4.0;

/// What the means may differ by beyond chance, as it is and as a share of the simulated mean, because the
/// simulator does not have it: threads that wait for a processor. `None`: the measure is told and not
/// judged. The first whose words are in the name counts.
const TOLERANCES: [(&str, Option<(f64, f64)>); 15] = [
    // Not a question of time.
    ("components", Some((0.0, 0.0))),
    ("one-sided", Some((0.0, 0.0))),
    ("reached", Some((0.0, 0.0))),
    // One pair of fifty has just parted.
    ("full views", Some((2.0, 0.0))),
    ("neighbours per node", Some((0.02, 0.0))),
    ("clustering", Some((0.01, 0.0))),
    ("mean path", Some((0.0, 0.02))),
    ("messages per node and second", Some((0.0, 0.05))),
    // A payload that waits for a processor comes later than one that took more hops.
    ("control messages", Some((0.2, 0.05))),
    ("redundancy", Some((0.1, 0.0))),
    // The first way is the one whose threads run first: the busier the machine, the longer.
    ("hops", None),
    // A heartbeat is noticed to be missing once in a second; refilling pauses for five.
    ("s until nobody keeps one", Some((0.5, 0.0))),
    ("views full", Some((0.5, 0.0))),
    ("links", Some((0.1, 0.1))),
    ("connections", Some((0.0, 0.1))),
];

fn allowance(name: &str, mean: f64) -> Option<f64> {
    let found = TOLERANCES.iter().find(|(words, _)| name.contains(words));
    let (fixed, share) = found?.1?;
    Some(fixed + share * mean.abs())
}

impl Runs {
    fn of(runs: &[Measures], name: &str) -> Option<Self> {
        let values: Vec<f64> = runs.iter().filter_map(|one| one.get(name)).collect();
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|one| (one - mean).powi(2)).sum();
        Some(Self {
            count,
            mean,
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            deviation: (squares / (count - 1.0).max(1.0)).sqrt(),
        })
    }
}

impl Table {
    /// Compares runs on sockets with simulated ones.
    pub(crate) fn new(real: &[Measures], simulated: &[Measures]) -> Self {
        let names = simulated.first().into_iter().flat_map(Measures::names);
        let line = |name: &str| {
            let simulated = Runs::of(simulated, name)?;
            let real = Runs::of(real, name);
            // Both have the simulated spread if they are the same; few runs on sockets tell none.
            let error = real.map(|real| {
                simulated.deviation * (1.0 / real.count + 1.0 / simulated.count).sqrt()
            });
            let allowance = allowance(name, simulated.mean);
            Some(Line {
                name: name.to_owned(),
                real,
                simulated,
                tolerance: allowance
                    .zip(error)
                    .map(|(fixed, error)| fixed + CHANCE * error),
            })
        };
        Self {
            lines: names.filter_map(line).collect(),
        }
    }

    /// Whether each measure that was taken on sockets is what it is in the simulator.
    pub(crate) fn agrees(&self) -> bool {
        self.lines.iter().all(|line| line.agrees() != Some(false))
    }
}

impl Line {
    fn agrees(&self) -> Option<bool> {
        let difference = self.real?.mean - self.simulated.mean;
        // The last digits of a sum are not a difference.
        Some(difference.abs() <= self.tolerance? + 1e-9)
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.mean)?;
        if self.count > 1.0 && self.least < self.most {
            write!(f, " ({:.3} to {:.3})", self.least, self.most)?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| measure | sockets | simulated | may differ by | agree |"
        )?;
        writeln!(f, "|---|---|---|---|---|")?;
        for line in &self.lines {
            let real = line.real.map_or(String::new(), |real| real.to_string());
            let tolerance = line
                .tolerance
                .map_or(String::new(), |most| format!("{most:.3}"));
            let verdict = match line.agrees() {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            writeln!(
                f,
                "| {} | {real} | {} | {tolerance} | {verdict} |",
                line.name, line.simulated
            )?;
        }
        Ok(())
    }
}
