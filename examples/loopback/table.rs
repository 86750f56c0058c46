//! Both networks side by side, and whether they agree.

use std::fmt;

use super::Measures;

/// One measure.
struct Line {
    name: String,
    real: Option<f64>,
    least: f64,
    most: f64,
    /// What the real value may be outside the range of the simulated ones.
    slack: Option<f64>,
}

/// All measures.
pub(crate) struct Table {
    lines: Vec<Line>,
    sockets: bool,
}

/// See [`TOLERANCES`].
type Tolerance = (f64, f64, f64);

/// How far a measure may lie outside the range of the simulated ones: this much, this share of their
/// mean, and this much divided by the number of nodes. `None`: it is told and not judged. The first whose words are all in the name counts.
const TOLERANCES: [(&[&str], Option<Tolerance>); 15] = [
    // Exact: anything else is a defect.
    (&["components"], Some((0.0, 0.0, 0.0))),
    (&["one-sided"], Some((0.0, 0.0, 0.0))),
    (&["reached"], Some((1.0, 0.0, 0.0))),
    (&["full views"], Some((4.0, 0.0, 0.0))),
    (&["neighbours per node"], Some((0.1, 0.0, 0.0))),
    // Whole numbers: another seed may well have one more.
    (&["longest path"], Some((1.0, 0.0, 0.0))),
    (&["mean path"], Some((0.1, 0.05, 0.0))),
    // Triangles come by chance, some ten in all with a deviation of three: two deviations.
    (&["clustering"], Some((0.0, 0.0, 2.0))),
    (&["messages per node and second"], Some((0.2, 0.1, 0.0))),
    (&["control messages"], Some((0.2, 0.2, 0.0))),
    (&["redundancy"], Some((0.15, 0.1, 0.0))),
    (&["hops"], Some((1.0, 0.1, 0.0))),
    // A busy machine is late.
    (&["s until"], Some((1.0, 0.2, 0.0))),
    (&["links"], Some((0.3, 0.25, 0.0))),
    (&["connections"], Some((1.0, 0.25, 0.0))),
];

fn slack(name: &str, mean: f64, nodes: u32) -> Option<f64> {
    let fits = |words: &&[&str]| words.iter().all(|word| name.contains(word));
    let found = TOLERANCES.iter().find(|(words, _)| fits(words));
    let (fixed, share, shared_out) = found?.1?;
    Some(fixed + share * mean.abs() + shared_out / f64::from(nodes))
}

impl Table {
    /// Compares a run of `nodes` on sockets with simulated ones.
    pub(crate) fn new(nodes: u32, real: Option<&Measures>, simulated: &[Measures]) -> Self {
        let names = simulated.first().into_iter().flat_map(Measures::names);
        let line = |name: &str| {
            let values: Vec<f64> = simulated.iter().filter_map(|one| one.get(name)).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            Line {
                name: name.to_owned(),
                real: real.and_then(|real| real.get(name)),
                least: values.iter().copied().fold(f64::INFINITY, f64::min),
                most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                slack: slack(name, mean, nodes),
            }
        };
        Self {
            lines: names.map(line).collect(),
            sockets: real.is_some(),
        }
    }

    /// Whether each measure that was taken on sockets is what it is in the simulator.
    pub(crate) fn agrees(&self) -> bool {
        !self.sockets || self.lines.iter().all(|line| line.agrees() != Some(false))
    }
}

impl Line {
    fn agrees(&self) -> Option<bool> {
        let slack = self.slack?;
        let real = self.real.unwrap_or(f64::NAN);
        Some(real >= self.least - slack && real <= self.most + slack)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| measure | sockets | simulated | outside it by at most | agree |"
        )?;
        writeln!(f, "|---|---|---|---|---|")?;
        for line in &self.lines {
            let real = line.real.map_or("".to_owned(), |real| format!("{real:.3}"));
            let slack = line
                .slack
                .map_or("".to_owned(), |slack| format!("{slack:.3}"));
            let verdict = match line.agrees().filter(|_| self.sockets) {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            writeln!(
                f,
                "| {} | {real} | {:.3} to {:.3} | {slack} | {verdict} |",
                line.name, line.least, line.most
            )?;
        }
        Ok(())
    }
}
