//! A network of real nodes on loopback, and the same network simulated, side by side.
//!
//! ```text
//! cargo run --example loopback -- [NODES] [--short] [--simulated]
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

fn main() -> ExitCode {
    let mut nodes = 100;
    let mut sockets = true;
    let mut short = false;
    for argument in std::env::args().skip(1) {
        match argument.parse() {
            Ok(count) => nodes = count,
            Err(_) if argument == "--simulated" => sockets = false,
            Err(_) if argument == "--short" => short = true,
            Err(_) => {
                println!("usage: loopback [NODES] [--short] [--simulated]");
                return ExitCode::FAILURE;
            }
        }
    }
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .init();
    }
    let plan = if short {
        Plan::short(nodes)
    } else {
        Plan::of(nodes)
    };
    println!("{}", plan.story());
    let started = Instant::now();
    let simulated: Vec<_> = (1..=trial::SEEDS)
        .map(|seed| play(&plan, &mut Simulated::new(seed, &plan), &mut |_, _| ()))
        .collect();
    println!(
        "{} simulated runs: {} s",
        simulated.len(),
        started.elapsed().as_secs()
    );
    let real = sockets.then(|| {
        let started = Instant::now();
        let real = play(&plan, &mut Real::new(&plan), &mut |chapter, now| {
            println!("{:4} s: {chapter}", now.as_secs());
        });
        println!("on sockets: {} s", started.elapsed().as_secs());
        real
    });
    let table = Table::new(plan.nodes, real.as_ref(), &simulated);
    println!("\n{table}");
    if table.agrees() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
