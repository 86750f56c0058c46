//! `starling simulate`

mod campaign;
mod cost;
mod markdown;
mod outcome;
mod progress;
mod tables;

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use simulation::{BUILT_IN, Size, plots, read};

use crate::terminal::{
    output::{complain, print, print_json},
    table::Table,
};
use campaign::{Ended, Run, Scenario};
use outcome::Outcome;

const EXAMPLES: &str = "\
Examples:
  starling simulate                                list the scenarios
  starling simulate burst-join                     10,000 nodes join through one contact
  starling simulate crash --nodes 1000 --seed 7    the same on another scale, by another chance
  starling simulate crash --seeds 5                five chances: the median and the worst of them
  starling simulate all --save results             a page and plots of each scenario
  starling simulate my-scenario.toml -o json       a scenario of your own, for a program
  starling simulate all --small                    everything, as `make test` runs it

A scenario is a TOML file: what happens to the network, and what must come of it; those that come
along are in protocols/simulation/scenarios/. The nodes run the same state machine as `starling up`.

Each run, that is each case of a scenario with each seed, has one core for itself. What it comes to
depends on the scenario and the seed alone, whatever --jobs is; only the time and memory it takes
differ. A run of 10,000 nodes needs about 150 MB: with little memory, choose fewer jobs.

A bound that is missed by one seed is missed: the worst value of all seeds is judged.

Exit code: 0 all bounds and invariants held, 1 one did not, or the scenario cannot be run,
130 interrupted.";

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
    /// How many seeds, from --seed on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// How many runs at a time; as many as there are cores if not given
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Few nodes and few cases, as in the tests
    #[arg(long)]
    small: bool,
    /// Write a page (Markdown) and plots (SVG) of each scenario into this directory
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// How what came of the runs is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// For pages: the same, but for the time it took, whenever it is made.
    Markdown,
    /// For programs.
    Json,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(wanted) = &args.scenario else {
        return list();
    };
    let scenarios = scenarios(args, wanted)?;
    let jobs = args.jobs.map_or_else(cores, NonZeroUsize::get);
    let seeds: Vec<u64> = (0..args.seeds)
        .map(|add| args.seed.wrapping_add(add))
        .collect();
    let mut outcomes = Vec::new();
    let ended = campaign::play(&Arc::new(Run { scenarios, seeds }), jobs, |outcome| {
        if let Some(dir) = &args.save {
            save(args, dir, &outcome)?;
        }
        match args.output {
            Form::Table => print(&tables::render(&outcome))?,
            Form::Markdown => print(&markdown::render(&outcome, &command(args, &outcome), &[]))?,
            // One document for all of them, so not before the last.
            Form::Json => {}
        }
        outcomes.push(outcome);
        Ok(())
    })?;
    // Before anything is printed as JSON: a part of the scenarios would look like all of them.
    if ended == Ended::Interrupted {
        return Ok(ExitCode::from(130));
    }
    if args.output == Form::Json {
        print_json(&outcomes)?;
    }
    let passed = outcomes.iter().all(|outcome| outcome.passed);
    Ok(ExitCode::from(u8::from(!passed)))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn list() -> anyhow::Result<ExitCode> {
    let mut table = Table::new(&["scenario", ">nodes", ">cases", "what"]);
    for (name, text) in BUILT_IN {
        let cases = read(text, Size::Full, None)?;
        let most = cases.iter().map(|case| case.nodes).max().unwrap_or(0);
        let title = cases.first().map_or("", |case| &case.title);
        table.row([
            (*name).into(),
            most.to_string().into(),
            cases.len().to_string().into(),
            title.into(),
        ]);
    }
    print(&table.for_stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be run.
fn scenarios(args: &Args, wanted: &str) -> anyhow::Result<Vec<Scenario>> {
    let size = if args.small { Size::Small } else { Size::Full };
    let all = texts(wanted)?.into_iter().map(|(name, text)| {
        let cases = read(&text, size, args.nodes).with_context(|| format!("scenario {name}"))?;
        Ok(Scenario { name, cases })
    });
    all.collect()
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
    // A name that is misspelt is told as one, and not as a file that cannot be read.
    if !is_path(wanted) {
        bail!("there is no scenario `{wanted}`; `starling simulate` lists them");
    }
    let text = fs::read_to_string(wanted).with_context(|| format!("cannot read {wanted}"))?;
    let name = Path::new(wanted).file_stem().unwrap_or_default();
    Ok(vec![(name.to_string_lossy().into_owned(), text)])
}

/// Whether a file is meant, and not a scenario that comes along.
fn is_path(wanted: &str) -> bool {
    Path::new(wanted).extension().is_some()
}

/// What makes this outcome again.
fn command(args: &Args, outcome: &Outcome) -> String {
    // A scenario of the user's own is named by its path.
    let path = args.scenario.as_ref().filter(|wanted| is_path(wanted));
    // Without `--jobs` and without what is printed where: nothing in the page depends on these.
    let mut text = format!("starling simulate {}", path.unwrap_or(&outcome.scenario));
    if args.small {
        text.push_str(" --small");
    }
    if let Some(nodes) = args.nodes {
        text.push_str(&format!(" --nodes {nodes}"));
    }
    if args.seed != 1 {
        text.push_str(&format!(" --seed {}", args.seed));
    }
    if args.seeds != 1 {
        text.push_str(&format!(" --seeds {}", args.seeds));
    }
    text
}

/// Leaves a page and plots, those of the first seed. Nothing in them differs from run to run.
fn save(args: &Args, dir: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        complain(&format!("wrote {}", path.display()));
        anyhow::Ok(())
    };
    let first = outcome.seeds().first().copied();
    let cases = outcome.cases.iter();
    let cases: Vec<_> = cases
        .filter(|report| Some(report.seed) == first)
        .cloned()
        .collect();
    let mut images = Vec::new();
    for (name, svg) in plots(&outcome.scenario, &cases) {
        let file = format!("{name}.svg");
        write(&file, &svg)?;
        images.push(file);
    }
    let page = markdown::render(outcome, &command(args, outcome), &images);
    write(&format!("{}.md", outcome.scenario), &page)
}

#[cfg(test)]
mod tests;
