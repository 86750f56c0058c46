//! What the scenarios are for: they hold, they repeat, and they miss what is taken away.

mod adversaries;
mod defects;
mod small;

use simulation::BUILT_IN;

/// The text of a scenario that comes along.
fn scenario(name: &str) -> &'static str {
    let found = BUILT_IN.iter().find(|(known, _)| *known == name);
    found.expect("a scenario of that name").1
}
