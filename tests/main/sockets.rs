//! Twenty nodes on loopback find together, speak, die and come back.
//!
//! The same is asked of simulated ones, and of such that flood. Nothing is asked that a busy machine could
//! change: what has to come about has a minute to do so. The figures are compared by `make sockets`.

#[path = "../../examples/loopback/trial.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the example has more to ask than this test"
)]
mod trial;

use std::{collections::BTreeSet, time::Duration};

use simulation::{Graph, NodeId};

use trial::{Net, Plan, Real, Simulated};

const NODES: NodeId = 20;
const DEAD: [NodeId; 6] = [2, 5, 8, 12, 15, 18];
const LOOK: Duration = Duration::from_millis(100);
/// What has not come about by then never will. Mostly it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Broadcasts that are counted together, and how often a tree may try to be one.
const BATCH: u64 = 5;
const BATCHES: usize = 8;
/// Payloads too many per payload that was needed. Twenty nodes that send to all neighbours have more than
/// three, and a tree some hundredths to a half.
const RMR_MOST: f64 = 1.2;

#[test]
fn nodes_on_sockets_find_together_and_do_so_again() {
    let plan = Plan::short(NODES);
    live(&mut Real::new(&plan)).unwrap();
}

#[test]
fn simulated_nodes_do_the_same() {
    let plan = Plan::short(NODES);
    for seed in 1..=5 {
        live(&mut Simulated::new(seed, &plan)).unwrap();
    }
}

#[test]
fn nodes_that_flood_are_told_from_such_with_a_tree() {
    let plan = Plan::short(NODES);
    let mut net = Simulated::new(1, &plan);
    net.broadcast = net.broadcast.with_trees(plumtree::Trees::Flood);
    let found = live(&mut net).unwrap_err();
    assert!(found.contains("tree"), "{found}");
}

/// What becomes of the nodes, or what does not.
fn live(net: &mut impl Net) -> Result<(), String> {
    start(net, 0..NODES);
    until(net, "they find together", NODES, ill)?;
    for _ in 0..2 {
        reaches_all(net, NODES)?;
    }
    becomes_a_tree(net)?;

    net.kill(&DEAD.into());
    let survivors = NODES - 6;
    reaches_all(net, survivors)?;
    until(net, "the others close the gaps", survivors, ill)?;

    start(net, DEAD);
    until(net, "the dead come back", NODES, ill)?;
    reaches_all(net, NODES)
}

fn start(net: &mut impl Net, nodes: impl IntoIterator<Item = NodeId>) {
    for node in nodes {
        let contacts = BTreeSet::from([0, node / 2, node.saturating_sub(1)]);
        let contacts: Vec<_> = contacts.into_iter().filter(|one| *one < node).collect();
        net.start(node, &contacts);
        net.run(LOOK / 2);
    }
}

/// What is wrong with an overlay, if anything is.
fn ill(graph: &Graph, nodes: usize) -> Option<String> {
    let degrees = graph.degrees();
    let links: usize = degrees.iter().enumerate().map(|(d, n)| d * n).sum();
    let least = degrees.iter().position(|count| *count > 0).unwrap_or(0);
    let found = [
        (graph.len() != nodes, "nodes are missing"),
        (graph.dangling() > 0, "dead neighbours"),
        (graph.asymmetric() > 0, "one-sided links"),
        (graph.components().len() != 1, "it is split"),
        (degrees.len() > 6, "more than five neighbours"),
        (least < 3, "fewer than three neighbours"),
        // Two that lack one each, and are neighbours already, may stay so.
        (links + 4 < 5 * nodes, "views are not full"),
    ];
    let found = found.iter().find(|(wrong, _)| *wrong);
    found.map(|(_, what)| format!("{what}: degrees {degrees:?}"))
}

fn until(
    net: &mut impl Net,
    what: &str,
    nodes: NodeId,
    wrong: impl Fn(&Graph, usize) -> Option<String>,
) -> Result<(), String> {
    let start = net.now();
    loop {
        let took = net.now() - start;
        let Some(found) = wrong(&net.graph(), nodes as usize) else {
            println!("{what}: {:.1} s", took.as_secs_f64());
            return Ok(());
        };
        if took > PATIENCE {
            return Err(format!("{what}: not within {PATIENCE:?}: {found}"));
        }
        net.run(LOOK);
    }
}

/// Node 0 broadcasts, and all `nodes` hear of it.
fn reaches_all(net: &mut impl Net, nodes: NodeId) -> Result<(), String> {
    let tag = net.say(0);
    let start = net.now();
    while net.heard(tag).len() + 1 < nodes as usize {
        if net.now() - start > PATIENCE {
            let heard = net.heard(tag).len();
            return Err(format!("a broadcast reached {heard} of {nodes}"));
        }
        net.run(LOOK);
    }
    Ok(())
}

/// Broadcasts come to all, and sooner or later with few payloads too many.
fn becomes_a_tree(net: &mut impl Net) -> Result<(), String> {
    let payloads = |net: &mut dyn Net| -> u64 {
        let counts = net.counts();
        counts.values().map(|one| one.payloads).sum()
    };
    let mut found = Vec::new();
    for _ in 0..BATCHES {
        let before = payloads(net);
        for _ in 0..BATCH {
            reaches_all(net, NODES)?;
        }
        // Copies that come late are counted with the others.
        net.run(LOOK * 10);
        let sent = payloads(net) - before;
        let redundancy = sent as f64 / (BATCH * u64::from(NODES - 1)) as f64 - 1.0;
        println!("redundancy {redundancy:.2}");
        if redundancy <= RMR_MOST {
            return Ok(());
        }
        found.push(redundancy);
    }
    Err(format!("no tree: redundancy {found:.2?}"))
}
