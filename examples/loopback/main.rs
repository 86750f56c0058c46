//! A network of real nodes on loopback, and the same network simulated, side by side.
//!
//! ```text
//! cargo run --release --example loopback -- [NODES] [RUNS] [--short] [--simulated]
//! ```
//!
//! Fails if the two differ by more than the tolerance that stands beside each measure. With
//! `--simulated` only the simulated runs are made; `--short` tells the story in half a minute.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

// The tests have this module as well: it lies beside this file for both.
#[path = "trial.rs"]
mod trial;

use std::{process::ExitCode, time::Instant};

use trial::{Plan, Real, Simulated, Table, play};

/// How many simulated runs the real ones are compared with.
const SEEDS: u64 = 20;

fn main() -> ExitCode {
    let mut numbers = Vec::new();
    let mut sockets = true;
    let mut short = false;
    for argument in std::env::args().skip(1) {
        match argument.parse::<u32>() {
            Ok(number) => numbers.push(number),
            Err(_) if argument == "--simulated" => sockets = false,
            Err(_) if argument == "--short" => short = true,
            Err(_) => {
                println!("usage: loopback [NODES] [RUNS] [--short] [--simulated]");
                return ExitCode::FAILURE;
            }
        }
    }
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .init();
    }
    let nodes = numbers.first().copied().unwrap_or(100);
    let runs = numbers.get(1).copied().unwrap_or(1);
    let plan = if short {
        Plan::short(nodes)
    } else {
        Plan::of(nodes)
    };
    println!("{}", plan.story());
    let started = Instant::now();
    let simulated: Vec<_> = (1..=SEEDS)
        .map(|seed| play(&plan, &mut Simulated::new(seed, &plan), &mut |_, _| ()))
        .collect();
    let took = started.elapsed().as_secs();
    println!("{} simulated runs: {took} s", simulated.len());
    let mut real = Vec::new();
    for run in 1..=if sockets { runs } else { 0 } {
        let one = play(&plan, &mut Real::new(&plan), &mut |chapter, now| {
            println!("on sockets, run {run}, {:4} s: {chapter}", now.as_secs());
        });
        real.push(one);
    }
    let table = Table::new(&real, &simulated);
    println!("\n{table}");
    if table.agrees() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
