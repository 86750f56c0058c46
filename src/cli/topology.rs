//! `starling topology`

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    process::ExitCode,
};

use clap::ValueEnum;

use super::ask::NodeArgs;
use crate::{
    api::Topology,
    terminal::output::{harmless, plural, print, print_json, short},
};

const EXAMPLES: &str = "\
Examples:
  starling topology
  starling topology -o dot | dot -Tsvg > overlay.svg";

/// Show who is whose neighbour, as this node knows it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A drawing for people
    Table,
    /// For programs
    Json,
    /// For Graphviz
    Dot,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let topology = args.node.client().topology()?;
    match args.output {
        Format::Table => print(&draw(&topology))?,
        Format::Json => print_json(&topology)?,
        Format::Dot => print(&dot(&topology))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Neighbours by node.
type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn graph(topology: &Topology) -> Graph<'_> {
    let mut graph: Graph<'_> = topology
        .nodes
        .iter()
        .filter(|node| node.alive)
        .map(|node| (node.peer_id.as_str(), BTreeSet::new()))
        .collect();
    for edge in &topology.edges {
        for (from, to) in [(&edge.a, &edge.b), (&edge.b, &edge.a)] {
            // One that is there may still name one that is gone: that edge connects nobody.
            if graph.contains_key(to.as_str())
                && let Some(neighbors) = graph.get_mut(from.as_str())
            {
                neighbors.insert(to);
            }
        }
    }
    graph
}

/// Each node with its neighbours, in a tree's strokes; a summary first.
fn draw(topology: &Topology) -> String {
    let graph = graph(topology);
    let names = names(topology);
    let name = |id: &str| names.get(id).cloned().unwrap_or_else(|| short(id));
    let by_name = |ids: &mut dyn Iterator<Item = &&'_ str>| {
        let mut ids: Vec<(String, String)> = ids.map(|id| (name(id), (*id).to_owned())).collect();
        ids.sort();
        ids
    };
    let width = names
        .values()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = format!("{}\n\n", summary(&graph));
    for (mut left, id) in by_name(&mut graph.keys()) {
        let neighbors = by_name(&mut graph[id.as_str()].iter());
        let last = neighbors.len().saturating_sub(1);
        for (i, (right, neighbor)) in neighbors.iter().enumerate() {
            let stroke = match (i, last) {
                (0, 0) => "───",
                (0, _) => "─┬─",
                (i, last) if i == last => " └─",
                _ => " ├─",
            };
            let half = if is_symmetric(topology, &id, neighbor) {
                ""
            } else {
                "  (one-sided)"
            };
            text.push_str(&format!("{left:width$} {stroke} {right}{half}\n"));
            left.clear();
        }
        if neighbors.is_empty() {
            text.push_str(&format!("{left:width$}     (alone)\n"));
        }
    }
    // Below the others, and without lines: whom they last named is old news.
    for node in topology.nodes.iter().filter(|node| !node.alive) {
        text.push_str(&format!(
            "{:width$}     ({})\n",
            name(&node.peer_id),
            node.presence.name()
        ));
    }
    text
}

fn is_symmetric(topology: &Topology, a: &str, b: &str) -> bool {
    // An edge is listed once, under the order of its ends.
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    topology
        .edges
        .iter()
        .any(|edge| edge.a == low && edge.b == high && edge.symmetric)
}

fn summary(graph: &Graph<'_>) -> String {
    // `graph` has each edge at both of its ends.
    let edges = graph.values().map(BTreeSet::len).sum::<usize>() / 2;
    let (components, diameter) = measure(graph);
    let shape = match components {
        0 | 1 => format!("connected, diameter {diameter}"),
        n => format!("in {n} parts that do not reach each other"),
    };
    let (nodes, edges) = (plural(graph.len(), "node"), plural(edges, "edge"));
    format!("{nodes}, {edges}, {shape}")
}

/// The number of connected components and the longest shortest path.
fn measure(graph: &Graph<'_>) -> (usize, usize) {
    let mut components = 0;
    let mut diameter = 0;
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    for start in graph.keys() {
        let distances = distances(graph, start);
        diameter = distances.values().copied().max().unwrap_or(0).max(diameter);
        if reached.insert(start) {
            components += 1;
            reached.extend(distances.keys().copied());
        }
    }
    (components, diameter)
}

fn distances<'a>(graph: &Graph<'a>, start: &'a str) -> BTreeMap<&'a str, usize> {
    let mut distances = BTreeMap::from([(start, 0)]);
    let mut queue = VecDeque::from([(start, 0)]);
    while let Some((id, distance)) = queue.pop_front() {
        for neighbor in graph.get(id).into_iter().flatten() {
            if !distances.contains_key(neighbor) {
                distances.insert(neighbor, distance + 1);
                queue.push_back((neighbor, distance + 1));
            }
        }
    }
    distances
}

fn dot(topology: &Topology) -> String {
    // A name comes from a peer. Backslashes go first, or they would undo what is put before the quotes.
    let quote = |text: &str| {
        format!(
            "\"{}\"",
            harmless(text).replace('\\', "\\\\").replace('"', "\\\"")
        )
    };
    let mut text = "graph starling {\n  node [shape=ellipse];\n".to_owned();
    for node in &topology.nodes {
        let label = if node.name.is_empty() {
            short(&node.peer_id)
        } else {
            node.name.clone()
        };
        let style = if node.alive { "" } else { ", style=dashed" };
        text.push_str(&format!(
            "  {} [label={}{style}];\n",
            quote(&node.peer_id),
            quote(&label)
        ));
    }
    for edge in &topology.edges {
        let style = if edge.symmetric {
            ""
        } else {
            " [style=dashed]"
        };
        text.push_str(&format!(
            "  {} -- {}{style};\n",
            quote(&edge.a),
            quote(&edge.b)
        ));
    }
    text + "}\n"
}

/// What to call each node: its name, with the end of its id where two share one.
fn names(topology: &Topology) -> BTreeMap<&str, String> {
    let mut bearers: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &topology.nodes {
        *bearers.entry(&node.name).or_default() += 1;
    }
    let name = |node: &crate::api::TopologyNode| match bearers.get(node.name.as_str()) {
        Some(1) if !node.name.is_empty() => harmless(&node.name),
        _ => format!("{}{}", harmless(&node.name), short(&node.peer_id)),
    };
    topology
        .nodes
        .iter()
        .map(|node| (node.peer_id.as_str(), name(node)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{dot, draw};
    use crate::api::{Presence, Topology, TopologyEdge, TopologyNode};

    fn topology(nodes: &[(&str, bool)], edges: &[(&str, &str, bool)]) -> Topology {
        let node = |(name, alive): &(&str, bool)| TopologyNode {
            peer_id: format!("id-{name}"),
            name: (*name).to_owned(),
            alive: *alive,
            presence: if *alive {
                Presence::Here
            } else {
                Presence::Silent
            },
        };
        let edge = |(a, b, symmetric): &(&str, &str, bool)| TopologyEdge {
            a: format!("id-{a}"),
            b: format!("id-{b}"),
            symmetric: *symmetric,
        };
        Topology {
            nodes: nodes.iter().map(node).collect(),
            edges: edges.iter().map(edge).collect(),
        }
    }

    #[test]
    fn a_connected_overlay_is_drawn_with_its_diameter() {
        let chain = topology(
            &[("a", true), ("b", true), ("c", true), ("d", false)],
            &[("a", "b", true), ("b", "c", false), ("c", "d", true)],
        );
        assert_eq!(
            draw(&chain),
            [
                "3 nodes, 2 edges, connected, diameter 2",
                "",
                "a ─── b",
                "b ─┬─ a",
                "   └─ c  (one-sided)",
                "c ─── b  (one-sided)",
                "d     (silent)",
                "",
            ]
            .join("\n")
        );
    }

    #[test]
    fn parts_that_do_not_reach_each_other_are_counted() {
        let split = topology(
            &[("a", true), ("b", true), ("c", true)],
            &[("a", "b", true)],
        );
        let text = draw(&split);
        assert!(text.starts_with("3 nodes, 1 edge, in 2 parts"), "{text}");
        assert!(text.contains("c     (alone)"), "{text}");
    }

    #[test]
    fn names_cannot_break_out_of_a_dot_file() {
        let text = dot(&topology(&[("a\"];\n", true)], &[]));
        assert!(text.contains(r#"[label="a\"];"#), "{text}");
    }
}
