//! A scenario: what happens to a network, and what must come of it. Written in TOML, see
//! `protocols/simulation/scenarios/`.

mod branches;
mod setting;
mod step;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{Adversaries, Distances};
pub use branches::Branches;
pub use setting::Setting;
pub use step::{Condition, Step, Trouble};

/// A scenario that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is not TOML, or not what a scenario is made of.
    #[error("the scenario cannot be read: {0}")]
    Form(#[from] toml::de::Error),
    /// A bound or a setting makes no sense.
    #[error("the scenario makes no sense: {0}")]
    Sense(String),
}

/// Which of its two sizes a scenario is run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// As in the figures.
    Full,
    /// As in the tests: few nodes, few cases, the same bounds but for those marked `full`.
    Small,
}

/// What kind of membership is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The machine of production.
    #[default]
    Hyparview,
    /// The same, and the broadcast tree over it.
    Plumtree,
    /// The baseline of the paper.
    Cyclon,
}

/// A scenario for one choice of its variables.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// What it is about, in a line.
    pub title: String,
    /// What is run.
    #[serde(default)]
    pub protocol: Kind,
    /// How many nodes.
    pub nodes: u32,
    /// Whether a new neighbour is told of broadcasts that it may have missed.
    #[serde(default)]
    pub catch_up: bool,
    /// How many of a node's links are left to chance, while it exchanges the others for shorter ones.
    /// Without it, or with as many as there are, all.
    #[serde(default, rename = "random-links")]
    pub random_links: Option<usize>,
    /// How the broadcast tree is made, with `protocol = "plumtree"`.
    #[serde(default)]
    pub branches: Branches,
    /// What the network is like.
    #[serde(default)]
    pub network: Conditions,
    /// Who works against the others.
    #[serde(default)]
    pub adversaries: Option<Adversaries>,
    /// What happens, in this order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
    /// What must come of it.
    #[serde(default, rename = "bound")]
    pub bounds: Vec<Bound>,
    /// The variables of this case.
    #[serde(skip)]
    pub variables: BTreeMap<String, Setting>,
}

/// What the network of a scenario is like from its beginning, where that is not as in
/// [`Network::default`](crate::Network). A `network` step changes some of it later.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Conditions {
    /// How far apart nodes are; without it 10 to 50 ms, a latency of its own for each pair.
    pub distances: Option<Distances>,
    /// Extra delay of each message, uniform in 0 to this, in milliseconds; 5 without it.
    pub jitter_ms: Option<f64>,
    /// Share of messages lost, 0 to 1; the connection stays up.
    pub loss: Option<f64>,
    /// Share of dials refused although the peer is there, 0 to 1.
    pub refusal: Option<f64>,
    /// Greatest deviation of a node's clock rate, in parts per million, either way.
    pub drift_ppm: Option<u32>,
}

/// A bound on one measure.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bound {
    /// The label of the step that measures.
    pub at: String,
    /// The measure.
    pub what: String,
    /// It must not be less.
    pub least: Option<f64>,
    /// It must not be more.
    pub most: Option<f64>,
    /// Holds in full size only.
    #[serde(default)]
    pub full: bool,
    /// Holds for these values of variables only.
    #[serde(default)]
    pub when: BTreeMap<String, Setting>,
}

/// What a scenario file holds beyond one case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Shape {
    /// How many nodes in small size.
    small: u32,
    /// Choices of several variables that belong together; `vary` multiplies them.
    #[serde(default)]
    cases: Vec<BTreeMap<String, Setting>>,
    #[serde(default)]
    cases_small: Vec<BTreeMap<String, Setting>>,
    #[serde(default)]
    vary: BTreeMap<String, Vec<Setting>>,
    #[serde(default)]
    vary_small: BTreeMap<String, Vec<Setting>>,
}

/// Reads a scenario: its cases, one for each choice of its variables. A value `"$name"` in the file stands
/// for the variable of that name. `nodes` replaces the number of nodes.
///
/// # Errors
///
/// Names what cannot be read.
pub fn read(text: &str, size: Size, nodes: Option<u32>) -> Result<Vec<Case>, ScenarioError> {
    let mut table: Table = text.parse()?;
    let shape = Shape::deserialize(Value::Table(table.clone()))?;
    // A case refuses what it does not know.
    for beyond in ["small", "cases", "cases-small", "vary", "vary-small"] {
        table.remove(beyond);
    }
    let mut vary = shape.vary;
    if size == Size::Small {
        // Cases that list numbers of nodes of their own mean them.
        if !shape
            .cases_small
            .iter()
            .any(|case| case.contains_key("nodes"))
        {
            table.insert("nodes".to_owned(), i64::from(shape.small).into());
        }
        vary.extend(shape.vary_small);
    }
    if let Some(nodes) = nodes {
        // Whoever asks for a number of nodes wants no other.
        vary.remove("nodes");
        table.insert("nodes".to_owned(), i64::from(nodes).into());
    }
    let mut cases = match size {
        Size::Small if !shape.cases_small.is_empty() => shape.cases_small,
        // Without cases of its own the small size takes those of the full one, with its own number of nodes.
        _ => shape.cases,
    };
    if cases.is_empty() {
        cases.push(BTreeMap::new());
    }
    // Where the same nodes are asked for twice, one case is enough.
    if nodes.is_some() {
        for case in &mut cases {
            case.remove("nodes");
        }
        cases.dedup();
    }
    for (name, values) in &vary {
        cases = cases
            .into_iter()
            .flat_map(|case: BTreeMap<String, Setting>| {
                values.iter().map(move |value| {
                    let mut case = case.clone();
                    case.insert(name.clone(), value.clone());
                    case
                })
            })
            .collect();
    }
    cases
        .into_iter()
        .map(|variables| choose(&table, variables, size))
        .collect()
}

fn choose(
    table: &Table,
    variables: BTreeMap<String, Setting>,
    size: Size,
) -> Result<Case, ScenarioError> {
    let mut value = Value::Table(table.clone());
    fill_in(&mut value, &variables)?;
    let mut case = Case::deserialize(value)?;
    case.bounds.retain(|bound| {
        // A bound that names other values speaks of another case.
        let meant = |(name, value): (&String, &Setting)| variables.get(name) == Some(value);
        bound.when.iter().all(meant) && (size == Size::Full || !bound.full)
    });
    if case.nodes < 2 {
        // Measures of a graph without a pair mean nothing.
        return Err(ScenarioError::Sense("fewer than two nodes".to_owned()));
    }
    if let Some(bound) = case
        .bounds
        .iter()
        .find(|bound| bound.least.is_none() && bound.most.is_none())
    {
        // It would hold whatever comes.
        let what = format!("{} has neither `least` nor `most`", bound.what);
        return Err(ScenarioError::Sense(what));
    }
    case.variables = variables;
    Ok(case)
}

/// Puts the values of variables in their places.
fn fill_in(value: &mut Value, variables: &BTreeMap<String, Setting>) -> Result<(), ScenarioError> {
    match value {
        Value::Table(table) => {
            for (_, inner) in table.iter_mut() {
                fill_in(inner, variables)?;
            }
        }
        Value::Array(all) => {
            for inner in all {
                fill_in(inner, variables)?;
            }
        }
        Value::String(text) => {
            if let Some(name) = text.strip_prefix('$') {
                let known = variables.get(name).map(Setting::value);
                *value =
                    known.ok_or_else(|| ScenarioError::Sense(format!("no variable {name}")))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The scenarios that come with the program: name and text.
pub const BUILT_IN: &[(&str, &str)] = &[
    (
        "sequential-join",
        include_str!("../scenarios/sequential-join.toml"),
    ),
    ("burst-join", include_str!("../scenarios/burst-join.toml")),
    ("crash", include_str!("../scenarios/crash.toml")),
    ("healing", include_str!("../scenarios/healing.toml")),
    ("islands", include_str!("../scenarios/islands.toml")),
    ("partition", include_str!("../scenarios/partition.toml")),
    (
        "stormed-contact",
        include_str!("../scenarios/stormed-contact.toml"),
    ),
    (
        "new-identities",
        include_str!("../scenarios/new-identities.toml"),
    ),
    ("restart", include_str!("../scenarios/restart.toml")),
    (
        "leave-and-return",
        include_str!("../scenarios/leave-and-return.toml"),
    ),
    ("flapping", include_str!("../scenarios/flapping.toml")),
    ("frozen", include_str!("../scenarios/frozen.toml")),
    (
        "wedged-reader",
        include_str!("../scenarios/wedged-reader.toml"),
    ),
    ("bad-network", include_str!("../scenarios/bad-network.toml")),
    (
        "old-messages",
        include_str!("../scenarios/old-messages.toml"),
    ),
    ("steady", include_str!("../scenarios/steady.toml")),
    ("adversaries", include_str!("../scenarios/adversaries.toml")),
    (
        "early-adversaries",
        include_str!("../scenarios/early-adversaries.toml"),
    ),
    ("latency", include_str!("../scenarios/latency.toml")),
    (
        "latency-crash",
        include_str!("../scenarios/latency-crash.toml"),
    ),
    ("cyclon", include_str!("../scenarios/cyclon.toml")),
    ("scale", include_str!("../scenarios/scale.toml")),
    (
        "tree-senders",
        include_str!("../scenarios/tree-senders.toml"),
    ),
    ("tree-all", include_str!("../scenarios/tree-all.toml")),
    ("tree-shared", include_str!("../scenarios/tree-shared.toml")),
    ("tree-rooted", include_str!("../scenarios/tree-rooted.toml")),
    ("tree-flood", include_str!("../scenarios/tree-flood.toml")),
    ("tree-churn", include_str!("../scenarios/tree-churn.toml")),
    ("tree-crash", include_str!("../scenarios/tree-crash.toml")),
    (
        "tree-partition",
        include_str!("../scenarios/tree-partition.toml"),
    ),
    ("tree-world", include_str!("../scenarios/tree-world.toml")),
];

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, Kind, ScenarioError, Size, read};

    #[test]
    fn every_scenario_that_comes_along_can_be_read_in_both_sizes() {
        for (name, text) in BUILT_IN {
            for size in [Size::Full, Size::Small] {
                let cases = read(text, size, None).unwrap_or_else(|why| panic!("{name}: {why}"));
                assert!(!cases.is_empty() && !cases[0].steps.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn variables_take_each_of_their_values() {
        let text = "title = 'a'\nnodes = '$n'\nsmall = 7\nprotocol = '$p'\n\
                    vary = { n = [10, 20], t = [1.5], p = ['cyclon'] }\n[[step]]\ndo = 'run'\nseconds = '$t'\n";
        let cases = read(text, Size::Full, None).expect("a scenario");
        let nodes: Vec<u32> = cases.iter().map(|case| case.nodes).collect();
        assert_eq!(nodes, [10, 20]);
        assert_eq!(cases[0].protocol, Kind::Cyclon);
        let wrong = read(&text.replace("$t", "$x"), Size::Full, None);
        assert!(matches!(wrong, Err(ScenarioError::Sense(_))));
    }

    #[test]
    fn cases_are_run_as_they_are_listed() {
        let text = "title = 'a'\nnodes = '$nodes'\nsmall = 7\n\
                    cases = [{ nodes = 10, t = 1 }, { nodes = 20, t = 2 }]\n\
                    cases-small = [{ nodes = 5, t = 3 }]\n\
                    [[step]]\ndo = 'run'\nseconds = '$t'\n";
        let nodes = |size, nodes| -> Vec<u32> {
            let cases = read(text, size, nodes).expect("a scenario");
            cases.iter().map(|case| case.nodes).collect()
        };
        assert_eq!(nodes(Size::Full, None), [10, 20]);
        assert_eq!(nodes(Size::Small, None), [5]);
        assert_eq!(nodes(Size::Full, Some(30)), [30, 30]);
    }

    #[test]
    fn a_bound_without_a_limit_is_refused() {
        let text = "title = 'a'\nnodes = 5\nsmall = 7\n[[step]]\ndo = 'heal'\n\
                    [[bound]]\nat = 'x'\nwhat = 'y'\n";
        let wrong = read(text, Size::Full, None);
        assert!(matches!(wrong, Err(ScenarioError::Sense(_))), "{wrong:?}");
    }
}
