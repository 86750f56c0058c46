//! How far the runs are, on standard error: a bar each on a terminal, a line now and then elsewhere.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use simulation::Case;

use crate::terminal::output::complain;

/// Time between two lines; who waits for less needs none.
const LINE: Duration = Duration::from_secs(30);
/// How often a bar moves by itself.
const TICK: Duration = Duration::from_millis(200);

/// What is shown.
#[derive(Debug)]
pub(super) struct Progress {
    bars: Option<MultiProgress>,
    runs: usize,
    done: usize,
    began: Instant,
    said: Instant,
    under_way: BTreeMap<usize, Under>,
}

/// A run that is under way.
#[derive(Debug)]
struct Under {
    name: String,
    nodes: u32,
    steps: usize,
    step: usize,
    now: Duration,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(runs: usize) -> Self {
        let now = Instant::now();
        Self {
            bars: stderr().is_terminal().then(MultiProgress::new),
            runs,
            done: 0,
            began: now,
            said: now,
            under_way: BTreeMap::new(),
        }
    }

    pub(super) fn begin(&mut self, at: usize, scenario: &str, case: &Case, seed: u64) {
        let mut name = scenario.to_owned();
        for (variable, value) in &case.variables {
            name.push_str(&format!(", {variable} {value}"));
        }
        name.push_str(&format!(", seed {seed}"));
        let steps = case.steps.len();
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(steps as u64));
            let style =
                ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {msg} {elapsed}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar.set_prefix(format!("{}/{} {name}", at + 1, self.runs));
            bar.enable_steady_tick(TICK);
            bar
        });
        let under = Under {
            name,
            nodes: case.nodes,
            steps,
            step: 0,
            now: Duration::ZERO,
            bar,
        };
        self.under_way.insert(at, under);
    }

    pub(super) fn at(&mut self, at: usize, step: usize, now: Duration) {
        if let Some(under) = self.under_way.get_mut(&at) {
            (under.step, under.now) = (step, now);
            if let Some(bar) = &under.bar {
                bar.set_position(step as u64);
                bar.set_message(format!("{} nodes, {:.0} s", under.nodes, now.as_secs_f64()));
            }
        }
        // Here, too: while much is told, whoever listens never waits long enough to think of it.
        self.remind();
    }

    pub(super) fn end(&mut self, at: usize) {
        self.done += 1;
        if let Some(bar) = self.under_way.remove(&at).and_then(|under| under.bar) {
            bar.finish_and_clear();
        }
    }

    /// Does something that prints, with no bar in its way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Prints a line if it is time for one.
    pub(super) fn remind(&mut self) {
        if self.bars.is_none() && self.said.elapsed() >= LINE {
            self.said = Instant::now();
            complain(&self.line());
        }
    }

    /// What has been done, and what is under way.
    fn line(&self) -> String {
        let elapsed = self.began.elapsed().as_secs();
        let mut text = format!("{} of {} runs done after {elapsed} s", self.done, self.runs);
        for under in self.under_way.values() {
            let now = under.now.as_secs_f64();
            text.push_str(&format!(
                "; {}: step {} of {}, {now:.0} s of {} nodes",
                under.name,
                // So many are done: the next one is under way, if there is one.
                (under.step + 1).min(under.steps),
                under.steps,
                under.nodes
            ));
        }
        text
    }

    pub(super) fn interrupted(&self) {
        self.clear();
        complain(&format!(
            "interrupted: {} of {} runs were done",
            self.done, self.runs
        ));
    }

    pub(super) fn clear(&self) {
        if let Some(bars) = &self.bars {
            // Bars of what is under way would be drawn again.
            for bar in self
                .under_way
                .values()
                .filter_map(|under| under.bar.as_ref())
            {
                bar.finish_and_clear();
            }
            let _ = bars.clear();
        }
    }
}
