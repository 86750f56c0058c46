//! `starling nodes`

use std::process::ExitCode;

use super::{ask::AskArgs, status::state_name};
use crate::{
    api::{NodeInfo, NodeState, Presence},
    terminal::{
        output::{Format, print, print_json, short},
        table::{Cell, Table, Tone},
    },
};

/// List the nodes of the cluster as this node knows them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    ask: AskArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut nodes = args.ask.node.client().nodes()?;
    nodes.sort_by(|a, b| (&a.name, &a.peer_id).cmp(&(&b.name, &b.peer_id)));
    match args.ask.output {
        Format::Json => print_json(&nodes)?,
        Format::Table => print(&describe(&nodes))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(nodes: &[NodeInfo]) -> String {
    let mut table = Table::new(&[
        "name",
        "state",
        "store",
        ">neighbours",
        "last seen",
        "site",
        "peer",
    ]);
    for node in nodes {
        // What a node has said of itself holds while it is heard of. Later it may be doing anything.
        let state = match (node.presence, node.state) {
            (Presence::Here, Some(state)) => Cell::new(state_name(state), tone(state)),
            (Presence::Stopped, _) => Cell::new(node.presence.name(), Tone::Warning),
            _ => Cell::new(node.presence.name(), Tone::Bad),
        };
        table.row([
            node.name.as_str().into(),
            state,
            node.store.as_str().into(),
            node.neighbors.len().to_string().into(),
            node.last_seen.as_str().into(),
            node.site.to_string().into(),
            short(&node.peer_id).into(),
        ]);
    }
    table.for_stdout()
}

fn tone(state: NodeState) -> Tone {
    match state {
        NodeState::Ready => Tone::Good,
        NodeState::Starting | NodeState::Joining | NodeState::Leaving => Tone::Warning,
        NodeState::Degraded => Tone::Bad,
    }
}
