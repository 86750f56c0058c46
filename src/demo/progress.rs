//! What the viewer sees on standard error while it happens: bars on a terminal, lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a bar moves by itself.
const TICK: Duration = Duration::from_millis(100);

/// Where progress is shown.
#[derive(Debug)]
pub(super) struct Progress {
    bars: bool,
}

/// A phase under way.
#[derive(Debug)]
pub(super) struct Stage {
    bar: Option<ProgressBar>,
    title: String,
    began: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            bars: stderr().is_terminal(),
        }
    }

    /// One line.
    pub(super) fn say(&self, text: &str) {
        line(text);
    }

    /// Begins a phase of `steps` steps; 0 when they cannot be counted.
    pub(super) fn begin(&self, title: &str, steps: usize) -> Stage {
        let bar = self.bars.then(|| {
            let template = if steps == 0 {
                "  {spinner} {elapsed:>5} {msg}"
            } else {
                "  {spinner} {elapsed:>5} {msg} {bar:24} {pos}/{len}"
            };
            let bar = ProgressBar::with_draw_target(
                Some(steps as u64),
                ProgressDrawTarget::stderr_with_hz(10),
            );
            // A template that indicatif cannot read is left at its default look.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(title.to_owned());
            bar.enable_steady_tick(TICK);
            bar
        });
        Stage {
            bar,
            title: title.to_owned(),
            began: Instant::now(),
        }
    }
}

impl Stage {
    /// How many of the steps are done.
    pub(super) fn at(&self, step: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
        }
    }

    /// How long it has been under way.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// It worked: `result` says what came of it.
    pub(super) fn done(self, result: &str) -> Duration {
        let took = self.elapsed();
        self.finish(&format!("  ok   {:>8}  {result}", seconds(took)));
        took
    }

    /// It did not.
    pub(super) fn failed(self) {
        let took = self.elapsed();
        let title = self.title.clone();
        self.finish(&format!("  FAIL {:>8}  {title}", seconds(took)));
    }

    fn finish(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        line(text);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Also when its act is called off half way.
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A time as the demo prints it.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn line(text: &str) {
    // A viewer who went away does not stop the show.
    let _ = writeln!(stderr().lock(), "{text}");
}
