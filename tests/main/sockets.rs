//! A small network on sockets, beside the same one simulated.

#[path = "../../examples/loopback/trial.rs"]
mod trial;

use trial::{Plan, Real, SEEDS, Simulated, Table, play};

/// The full-size one is `make sockets`.
#[test]
fn the_simulator_tells_the_truth() {
    let plan = Plan::short(20);
    println!("{}", plan.story());
    let simulated: Vec<_> = (1..=SEEDS)
        .map(|seed| play(&plan, &mut Simulated::new(seed, &plan), &mut |_, _| ()))
        .collect();
    let real = play(&plan, &mut Real::new(&plan), &mut |_, _| ());
    let table = Table::new(plan.nodes, Some(&real), &simulated);
    println!("{table}");
    assert!(table.agrees(), "\n{table}");
}
