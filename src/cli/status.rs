//! `starling status`

use std::process::ExitCode;

use super::{
    ask::AskArgs,
    finding::{exit_code, render},
};
use crate::{
    api::{
        ClockStatus, ContactState, Direction, Dissemination, LinkState, NodeState, OverlayStatus,
        Status, TreeStatus,
    },
    doctor::judge,
    http::ClientError,
    terminal::output::{Format, complain, harmless, plural, print, print_json, short},
};

const EXAMPLES: &str = "\
Examples:
  starling status
  starling status -o json | jq -r .node.state
  psql \"$(starling status -o json | jq -r .store.url)\"

Exit code: 0 ok, 1 warning, 2 critical (also when no node answers), 3 unknown.";

/// Show this node as it sees itself, and whether it is well
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    ask: AskArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let status = match args.ask.node.client().status() {
        Ok(status) => status,
        Err(error) => {
            complain(&format!("error: {error}"));
            // Who answers and is not understood may be well: that is not known.
            let down = matches!(error, ClientError::NoNode(_) | ClientError::Silent(_));
            return Ok(ExitCode::from(if down { 2 } else { 3 }));
        }
    };
    let findings = judge(&status);
    match args.ask.output {
        Format::Json => print_json(&status)?,
        Format::Table => print(&format!("{}\n{}", describe(&status), render(&findings)))?,
    }
    Ok(exit_code(&findings))
}

fn describe(status: &Status) -> String {
    let node = &status.node;
    // Both come with the store.
    let known = |is_known: bool, text: String| {
        if is_known {
            text
        } else {
            "not known yet".to_owned()
        }
    };
    let site = known(node.site != 0, node.site.to_string());
    let shell = known(
        !status.store.url.is_empty(),
        format!("psql '{}'", status.store.url),
    );
    let mut lines = vec![
        ("node", node.name.clone()),
        ("state", state_name(node.state).to_owned()),
        ("cluster", node.cluster.clone()),
        ("peer", node.peer_id.clone()),
        ("site", site),
        ("version", node.version.clone()),
    ];
    if let Some(renewal) = status.store.renewals.last() {
        let before = match renewal.from {
            0 => String::new(),
            from => format!(", site {from} before"),
        };
        lines.push(("since", format!("{}{before}: {}", renewal.at, renewal.why)));
    }
    lines.extend(status.store.off_path.clone().map(|why| ("path", why)));
    lines.extend(
        node.listen
            .iter()
            .map(|address| ("listen", address.clone())),
    );
    lines.extend([
        ("store", store(status)),
        ("shell", shell),
        (
            "neighbours",
            format!(
                "{} active, {} passive",
                status.overlay.active.len(),
                status.overlay.passive
            ),
        ),
        ("join", contacts(&status.overlay)),
        ("clock", clock(&status.clock)),
    ]);
    let tree = status.tree.as_ref();
    lines.extend(tree.map(|tree| ("data", data(tree, &status.overlay))));
    lines.extend([(
        "streaming",
        format!(
            "{} links in, {} out",
            streaming(status, Direction::In),
            streaming(status, Direction::Out)
        ),
    )]);
    lines
        .into_iter()
        // All lines, for some have names of the database's in them, such as those that collide with ours.
        .fold(String::new(), |text, (name, value)| {
            text + &format!("{name:<11} {}\n", harmless(&value))
        })
}

fn store(status: &Status) -> String {
    match (status.store.ready, status.store.version.as_str()) {
        (_, "") => "not up yet".to_owned(),
        (true, version) if status.store.unconfirmed => {
            format!("waits for its peers to confirm it, takes no writes, PostgreSQL {version}")
        }
        (true, version) => format!("ready, PostgreSQL {version}"),
        (false, version) => format!("down, PostgreSQL {version}"),
    }
}

/// How many of the links in this direction stream.
fn streaming(status: &Status, direction: Direction) -> String {
    let links = || {
        let links = status.links.iter();
        // Those that are lazy are not to stream.
        links.filter(|link| link.direction == direction && link.state != LinkState::Lazy)
    };
    let streaming = links().filter(|link| link.state == LinkState::Streaming);
    format!("{} of {}", streaming.count(), links().count())
}

/// What came of the addresses to join through.
fn contacts(overlay: &OverlayStatus) -> String {
    let count = |state| {
        let all = overlay.bootstrap.iter();
        all.filter(|contact| contact.state == state).count()
    };
    match overlay.bootstrap.len() {
        0 => "no address given".to_owned(),
        all => format!(
            "{} of {all} addresses led to a peer, {} lead nowhere",
            count(ContactState::Reached),
            count(ContactState::Failing)
        ),
    }
}

fn clock(clock: &ClockStatus) -> String {
    let (Some(ahead), Some(error)) = (clock.ahead_ms, clock.error_ms) else {
        return "nobody to compare it with".to_owned();
    };
    let way = if ahead < 0.0 { "behind" } else { "ahead of" };
    let ahead = ahead.abs();
    format!(
        "{ahead:.1} ms {way} {} (within {error:.1} ms)",
        plural(clock.neighbors, "neighbour")
    )
}

/// Which way data goes.
fn data(tree: &TreeStatus, overlay: &OverlayStatus) -> String {
    // Only of neighbours the status has names.
    let name = |peer: &str| {
        let mut neighbors = overlay.active.iter();
        let known = neighbors.find(|it| it.peer_id == peer && !it.name.is_empty());
        known.map_or_else(|| short(peer), |it| it.name.clone())
    };
    match (tree.mode, tree.root.as_deref()) {
        (Dissemination::Flood, _) => "floods: to and from every neighbour".to_owned(),
        (Dissemination::Tree, None) => {
            "along a tree, for which no member can be the root".to_owned()
        }
        (Dissemination::Tree, Some(_)) if tree.is_root => {
            "along a tree, of which this node is the root".to_owned()
        }
        (Dissemination::Tree, Some(root)) => {
            let parent = tree.parent.as_deref();
            let parent = parent.map_or("none yet".to_owned(), name);
            format!("along a tree: root {}, parent {parent}", name(root))
        }
    }
}

pub(super) fn state_name(state: NodeState) -> &'static str {
    match state {
        NodeState::Starting => "starting",
        NodeState::Joining => "joining",
        NodeState::Ready => "ready",
        NodeState::Degraded => "degraded",
        NodeState::Leaving => "leaving",
    }
}

#[cfg(test)]
mod tests {
    use super::data;
    use crate::api::{
        Dissemination::{self, Flood, Tree},
        NeighborStatus, OverlayStatus, TreeStatus,
    };

    #[test]
    fn the_way_of_the_data_is_told_in_a_line() {
        let overlay = OverlayStatus {
            active: vec![NeighborStatus {
                peer_id: "12D3KooWparent".to_owned(),
                name: "hub".to_owned(),
                addresses: Vec::new(),
                since: String::new(),
                rtt_ms: None,
                clock_offset_ms: None,
                clock_error_ms: None,
            }],
            ..OverlayStatus::default()
        };
        let said = |mode: Dissemination, root: &str, parent: &str, is_root| {
            let some = |id: &str| (!id.is_empty()).then(|| id.to_owned());
            let (root, parent) = (some(root), some(parent));
            let tree = TreeStatus {
                mode,
                root,
                parent,
                is_root,
            };
            data(&tree, &overlay)
        };
        let (far, hub) = ("12D3KooWfarawayroot", "12D3KooWparent");
        for (line, parts) in [
            (said(Flood, "", "", false), ["floods", "every neighbour"]),
            (said(Tree, "", "", false), ["tree", "no member"]),
            (said(Tree, far, "", true), ["tree", "this node is the root"]),
            (said(Tree, far, "", false), ["awayroot", "parent none yet"]),
            (said(Tree, far, hub, false), ["awayroot", "parent hub"]),
            (said(Tree, hub, hub, false), ["root hub", "parent hub"]),
        ] {
            for part in parts {
                assert!(line.contains(part), "`{line}` does not contain `{part}`");
            }
        }
    }
}
