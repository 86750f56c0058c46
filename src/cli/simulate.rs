//! `starling simulate`

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use simulation::{BUILT_IN, Case, CaseReport, Setup, Size, play, plots, read};

use super::{
    output::{Format, complain, print, print_json},
    table::{Cell, Table, Tone},
};

const EXAMPLES: &str = "\
Examples:
  starling simulate                                list the scenarios
  starling simulate burst-join                     10,000 nodes join through one contact
  starling simulate crash --nodes 1000 --seed 7    the same on another scale, by another chance
  starling simulate my-scenario.toml --plots out   a scenario of your own, with plots
  starling simulate all --small                    everything, as `make test` runs it

A scenario is a TOML file: what happens to the network, and what must come of it; those that come along
are in protocols/simulation/scenarios/. The nodes run the same state machine as `starling up`.

Exit code: 0 all bounds and invariants held, 1 one did not, or the scenario cannot be run.";

/// Run the overlay's protocol in a simulated network of thousands of nodes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The name of a scenario, the path of a file, or `all`; without it the scenarios are listed
    #[arg(value_name = "SCENARIO")]
    scenario: Option<String>,
    /// How many nodes, instead of the scenario's own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    nodes: Option<u32>,
    /// What decides everything that is random
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Few nodes and few cases, as in the tests
    #[arg(long)]
    small: bool,
    /// Write plots (SVG) into this directory
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// What came of one scenario, and what it cost.
#[derive(Debug, Serialize)]
struct Outcome {
    scenario: String,
    passed: bool,
    elapsed_s: f64,
    /// Of the whole process, after the scenario; `null` where the system does not tell.
    resident_bytes: Option<u64>,
    cases: Vec<CaseReport>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(wanted) = &args.scenario else {
        return list();
    };
    let mut outcomes = Vec::new();
    for (name, text) in texts(wanted)? {
        let outcome = play_all(args, &name, &text)?;
        if let Some(dir) = &args.plots {
            write_plots(dir, &outcome)?;
        }
        if args.output == Format::Table {
            print(&render(&outcome))?;
        }
        outcomes.push(outcome);
    }
    if args.output == Format::Json {
        print_json(&outcomes)?;
    }
    let passed = outcomes.iter().all(|outcome| outcome.passed);
    Ok(ExitCode::from(u8::from(!passed)))
}

fn list() -> anyhow::Result<ExitCode> {
    let mut table = Table::new(&["scenario", ">nodes", "what"]);
    for (name, text) in BUILT_IN {
        let case = read(text, Size::Full, None)?.into_iter().next();
        let (nodes, title) = case.map_or((0, String::new()), |case| (case.nodes, case.title));
        table.row([(*name).into(), nodes.to_string().into(), title.into()]);
    }
    print(&table.for_stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// The names and texts of what is to be run.
fn texts(wanted: &str) -> anyhow::Result<Vec<(String, String)>> {
    let known = BUILT_IN
        .iter()
        .filter(|(name, _)| wanted == "all" || wanted == *name);
    let known: Vec<_> = known
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    if !known.is_empty() {
        return Ok(known);
    }
    let path = PathBuf::from(wanted);
    if path.extension().is_none() {
        bail!("there is no scenario `{wanted}`; `starling simulate` lists them");
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {wanted}"))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(vec![(name.into_owned(), text)])
}

fn play_all(args: &Args, name: &str, text: &str) -> anyhow::Result<Outcome> {
    let size = if args.small { Size::Small } else { Size::Full };
    let cases = read(text, size, args.nodes).with_context(|| format!("scenario {name}"))?;
    let start = Instant::now();
    let mut reports = Vec::new();
    for case in &cases {
        reports.push(play_one(case, name, args.seed));
    }
    Ok(Outcome {
        scenario: name.to_owned(),
        passed: reports.iter().all(CaseReport::passed),
        elapsed_s: start.elapsed().as_secs_f64(),
        resident_bytes: resident(),
        cases: reports,
    })
}

fn play_one(case: &Case, name: &str, seed: u64) -> CaseReport {
    // Goes to standard error, and to a terminal only.
    let bar = ProgressBar::new(case.steps.len() as u64);
    let style = ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let report = play(case, &Setup::default(), seed, &mut |done, _, now| {
        bar.set_position(done as u64);
        bar.set_message(format!("{} nodes, {:.0} s", case.nodes, now.as_secs_f64()));
    });
    bar.finish_and_clear();
    report
}

/// What this process holds in memory.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

fn write_plots(dir: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, svg) in plots(&outcome.scenario, &outcome.cases) {
        let path = dir.join(name).with_extension("svg");
        fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
        complain(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Bounds first, for they are what a scenario is about; then all that was measured.
fn render(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut judged = Table::new(&["case", "at", "measure", ">value", ">wanted", "verdict"]);
    let mut measured = Table::new(&["case", "at", ">s", "measured"]);
    for report in &outcome.cases {
        let case = report.case();
        for one in &report.verdicts {
            let value = one.value.map_or_else(|| "never".to_owned(), number);
            let verdict = if one.held {
                Cell::new("held", Tone::Good)
            } else {
                Cell::new("NOT HELD", Tone::Bad)
            };
            judged.row([
                case.clone().into(),
                one.at.clone().into(),
                one.what.clone().into(),
                value.into(),
                one.wanted().into(),
                verdict,
            ]);
        }
        for row in &report.rows {
            let values = row.values.iter().filter(|(_, value)| **value != 0.0);
            let all: Vec<String> = values
                .map(|(name, value)| format!("{name} {}", number(*value)))
                .collect();
            let at = format!("{:.0}", row.at_s);
            for (index, some) in all.chunks(4).enumerate() {
                let head = |text: &str| {
                    if index == 0 {
                        text.to_owned()
                    } else {
                        String::new()
                    }
                };
                measured.row([
                    head(&case).into(),
                    head(&row.label).into(),
                    head(&at).into(),
                    some.join("  ").into(),
                ]);
            }
        }
        for violation in &report.violations {
            text.push_str(&format!("INVARIANT BROKEN ({case}) {violation}\n"));
        }
    }
    let title = outcome.cases.first().map_or("", |report| &report.title);
    let nodes = outcome.cases.first().map_or(0, |report| report.nodes);
    let cost = outcome.resident_bytes.map_or_else(String::new, |bytes| {
        format!(", {} MiB resident", bytes >> 20)
    });
    format!(
        "{}: {title} ({nodes} nodes, {:.1} s{cost})\n\n{}\n{}\n{text}",
        outcome.scenario,
        outcome.elapsed_s,
        judged.for_stdout(),
        measured.for_stdout()
    )
}

/// Five significant digits at most.
fn number(value: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::{number, texts};

    #[test]
    fn numbers_are_short() {
        let shown = [9980.4, 99.98, 0.5, 0.00032, 0.0].map(number);
        assert_eq!(shown, ["9980", "99.98", "0.5", "0.00032", "0"]);
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
}
