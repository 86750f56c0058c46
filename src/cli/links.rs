//! `starling links`

use std::{collections::BTreeMap, process::ExitCode};

use super::ask::AskArgs;
use crate::{
    api::{Direction, LinkState, LinkStatus},
    terminal::{
        output::{Format, harmless, print, print_json, short},
        table::{Cell, Table, Tone},
    },
};

/// List this node's data links, with their lag
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    ask: AskArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.ask.node.client();
    let mut links = client.status()?.links;
    match args.ask.output {
        Format::Json => print_json(&links)?,
        Format::Table => {
            let names: BTreeMap<String, String> = client
                .nodes()?
                .into_iter()
                .map(|node| (node.peer_id, node.name))
                .collect();
            links.sort_by_key(|link| (link.direction, names.get(&link.peer_id).cloned()));
            print(&describe(&links, &names))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(links: &[LinkStatus], names: &BTreeMap<String, String>) -> String {
    if links.is_empty() {
        return "no data links: the node has no neighbours yet\n".to_owned();
    }
    let mut table = Table::new(&[
        "link",
        "name",
        "state",
        ">lag bytes",
        ">lag s",
        "slot",
        "peer",
    ]);
    for link in links {
        let tone = match link.state {
            // A link that streams has a reason when it is behind: a session holds its worker up, for example.
            LinkState::Streaming if link.reason.is_none() => Tone::Good,
            LinkState::Lazy => Tone::Plain,
            LinkState::Down | LinkState::Refused => Tone::Bad,
            LinkState::Streaming
            | LinkState::Opening
            | LinkState::CatchingUp
            | LinkState::Closing => Tone::Warning,
        };
        let direction = match link.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        let seconds = link.lag_seconds.map(|lag| format!("{lag:.1}"));
        table.row([
            direction.into(),
            names.get(&link.peer_id).map_or("", String::as_str).into(),
            Cell::new(link.state.name(), tone),
            link.lag_bytes
                .map_or_else(|| "-".to_owned(), |lag| lag.to_string())
                .into(),
            seconds.unwrap_or_else(|| "-".to_owned()).into(),
            link.slot.as_str().into(),
            short(&link.peer_id).into(),
        ]);
    }
    table.for_stdout() + &reasons(links, names)
}

/// Below the table, because a sentence would tear it.
fn reasons(links: &[LinkStatus], names: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for link in links {
        let Some(reason) = &link.reason else { continue };
        let name = names
            .get(&link.peer_id)
            .map_or_else(|| short(&link.peer_id), |name| harmless(name));
        let way = match link.direction {
            Direction::In => "from",
            Direction::Out => "to",
        };
        text.push_str(&format!(
            "\n{way} {name}: {} since {}: {}\n",
            link.state.name(),
            harmless(&link.since),
            harmless(reason)
        ));
        if let Some(fix) = &link.fix {
            text.push_str(&format!("  fix: {}\n", harmless(fix)));
        }
    }
    text
}
