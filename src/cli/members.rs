//! `starling leave` and `starling evict`

use std::{process::ExitCode, time::Duration};

use anyhow::{anyhow, bail};
use libp2p::PeerId;

use super::ask::NodeArgs;
use crate::{
    api::{LeaveReport, LeaveRequest, LostOperations, NodeInfo, Presence},
    config::parse_duration,
    http::Client,
    terminal::output::{complain, harmless, plural, print},
};

/// Between two looks at how far a departure is. Most take less.
const PROGRESS_PAUSE: Duration = Duration::from_millis(300);

/// Shortest end of a PeerId that is taken for the whole.
const SUFFIX_MIN: usize = 6;

const LEAVE_EXAMPLES: &str = "\
Examples:
  starling leave                   wait up to 30 s for open transactions, and as long as peers make
                                   progress with what they lack
  starling leave --timeout 10m     the same with more patience
  starling leave --abandon         leave even if only this store has some of the data; says what

Exit code: 0 left, 1 not: then the node goes on, and its store takes writes.";

/// Leave the cluster cleanly: nothing of this node stays behind with the others
///
/// The store takes no more writes. When all that is open has ended and others have all that was
/// written, the node takes its links down and stops. Its data stays where it is. To stop a node
/// that is to come back, end its process instead.
#[derive(Debug, clap::Args)]
#[command(after_help = LEAVE_EXAMPLES)]
pub(super) struct LeaveArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// How long transactions that write may stay open, then their sessions are ended; and how long
    /// peers may make no progress, then the node does not leave
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    timeout: Duration,
    /// Leave even if nobody else has all that is written here, and say what the cluster loses
    #[arg(long)]
    abandon: bool,
}

/// Declare a node gone for good
///
/// For a node that will not return: what it left behind is removed everywhere, and it no longer
/// holds anything back. If it does return, it joins anew.
#[derive(Debug, clap::Args)]
pub(super) struct EvictArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// PeerId, the end of one as `starling nodes` shows it, or a node's name. One that has left or was evicted
    /// is meant by a name or an end only if no member has it
    peer: String,
}

pub(super) fn leave(args: &LeaveArgs) -> anyhow::Result<ExitCode> {
    let client = args.node.client();
    let request = LeaveRequest {
        timeout_seconds: Some(args.timeout.as_secs_f64()),
        abandon: args.abandon,
    };
    // The answer comes when it is over; what is waited for meanwhile is in the status.
    let report = std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.leave(&request));
        let mut told = None;
        while !asked.is_finished() {
            tell(&client, &mut told);
            std::thread::sleep(PROGRESS_PAUSE);
        }
        asked.join()
    });
    let report = report.map_err(|_| anyhow!("asking the node broke off"))??;
    print(&describe(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// Says what the node waits for, whenever that is something else.
fn tell(client: &Client, told: &mut Option<String>) {
    // A node that has left answers no more. What matters comes with the answer to the departure itself.
    let Ok(status) = client.status() else { return };
    if status.node.waits_for != *told {
        if let Some(waits_for) = &status.node.waits_for {
            complain(&format!("waiting for {}", harmless(waits_for)));
        }
        *told = status.node.waits_for;
    }
}

fn describe(report: &LeaveReport) -> String {
    let mut lines = vec!["the node has left the cluster".to_owned()];
    if report.ended_sessions > 0 {
        lines.push(format!(
            "sessions ended because they held a transaction open: {}",
            report.ended_sessions
        ));
    }
    for open in &report.open_transactions {
        lines.push(format!(
            "not in the cluster, whatever comes of it: {}",
            harmless(open)
        ));
    }
    for lost in &report.lost {
        let LostOperations {
            site,
            operations,
            from,
            upto,
        } = lost;
        lines.push(format!(
            "in this store, and in none that is known to stay: {} of site {site}, \
             numbers {from} to {upto}",
            plural(*operations, "operation")
        ));
    }
    for peer in &report.untold {
        lines.push(format!(
            "{} could not be told: it lists this node as silent until another node tells it, or `starling \
             evict` does",
            harmless(peer)
        ));
    }
    lines.join("\n")
}

pub(super) fn evict(args: &EvictArgs) -> anyhow::Result<ExitCode> {
    let client = args.node.client();
    let nodes = client.nodes()?;
    let peer_id = resolve(&nodes, &args.peer)?;
    let listed = nodes.iter().find(|node| node.peer_id == peer_id);
    // Also of one that is gone: what could not be taken down when it went is asked for once more.
    client.evict(&peer_id)?;
    print(&evicted(&peer_id, listed.map(|node| node.presence)))?;
    Ok(ExitCode::SUCCESS)
}

/// What an eviction came to, for a node that was listed so before.
fn evicted(peer_id: &str, before: Option<Presence>) -> String {
    let peer_id = harmless(peer_id);
    match before {
        Some(Presence::Left) => format!("{peer_id} has already left"),
        Some(Presence::Evicted) => format!("{peer_id} was already evicted"),
        Some(Presence::Here | Presence::Stopped | Presence::Silent) | None => {
            format!("{peer_id} is evicted")
        }
    }
}

/// The PeerId that `wanted` stands for. One that is not listed is passed on as it is: the node may know more.
fn resolve(nodes: &[NodeInfo], wanted: &str) -> anyhow::Result<String> {
    // As tables print an id, so that it can be copied from one.
    let wanted = wanted.trim_start_matches('…');
    // First of all: a node may call itself what it likes, also by another one's id.
    if nodes.iter().any(|node| node.peer_id == wanted) {
        return Ok(wanted.to_owned());
    }
    let by_end = wanted.chars().count() >= SUFFIX_MIN;
    // Who is gone stays listed for days, and whoever took its place may have its name.
    let (gone, members): (Vec<&NodeInfo>, Vec<&NodeInfo>) = nodes
        .iter()
        .filter(|node| node.name == wanted || (by_end && node.peer_id.ends_with(wanted)))
        .partition(|node| node.presence.is_gone());
    let meant = if members.is_empty() { gone } else { members };
    match meant.as_slice() {
        [] if wanted.parse::<PeerId>().is_ok() => Ok(wanted.to_owned()),
        [] => bail!(
            "no node is called `{wanted}`: give a name, a PeerId or the last {SUFFIX_MIN} characters or more \
             of one; `starling nodes` lists them"
        ),
        [node] => Ok(node.peer_id.clone()),
        several => {
            let ids: Vec<&str> = several.iter().map(|node| node.peer_id.as_str()).collect();
            bail!(
                "`{wanted}` stands for several nodes, as a name or the end of an id; give one PeerId of {}",
                ids.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::{describe, evicted, resolve};
    use crate::api::{LeaveReport, NodeInfo, Presence};

    #[test]
    fn who_could_not_be_told_of_a_departure_is_named() {
        let told = describe(&LeaveReport::default());
        assert_eq!(told, "the node has left the cluster");
        let report = LeaveReport {
            untold: vec!["12D3".to_owned()],
            ..LeaveReport::default()
        };
        let untold = describe(&report);
        assert!(untold.starts_with(&told), "{untold}");
        assert!(untold.contains("12D3 could not be told"), "{untold}");
    }

    fn node(peer_id: &str, name: &str) -> NodeInfo {
        seen(peer_id, name, Presence::Stopped)
    }

    fn seen(peer_id: &str, name: &str, presence: Presence) -> NodeInfo {
        NodeInfo {
            peer_id: peer_id.to_owned(),
            name: name.to_owned(),
            state: None,
            site: 1,
            store: String::new(),
            vector: crate::vector::Vector::default(),
            neighbors: Vec::new(),
            last_seen: String::new(),
            alive: presence == Presence::Here,
            presence,
        }
    }

    #[test]
    fn only_a_member_is_said_to_be_evicted() {
        for (before, said) in [
            (Some(Presence::Left), "p has already left"),
            (Some(Presence::Evicted), "p was already evicted"),
            (Some(Presence::Here), "p is evicted"),
            (Some(Presence::Stopped), "p is evicted"),
            (Some(Presence::Silent), "p is evicted"),
            (None, "p is evicted"),
        ] {
            assert_eq!(evicted("p", before), said);
        }
    }

    #[test]
    fn a_node_is_meant_by_its_id_the_end_of_it_or_its_name() {
        let nodes = [
            node("12D3KooWaaaaaaaa", "a"),
            node("12D3KooWbbbbbbbb", "b"),
            node("12D3KooWcccccccc", "b"),
            node("12D3KooWxxbbbbbb", "d"),
        ];
        for wanted in ["12D3KooWaaaaaaaa", "…aaaaaaaa", "aaaaaa", "a"] {
            assert_eq!(resolve(&nodes, wanted).unwrap(), "12D3KooWaaaaaaaa");
        }
        let several = |wanted| resolve(&nodes, wanted).unwrap_err().to_string();
        assert!(several("b").ends_with("12D3KooWbbbbbbbb, 12D3KooWcccccccc"));
        // By the end of their ids: no node is called so.
        assert!(several("bbbbbb").ends_with("12D3KooWbbbbbbbb, 12D3KooWxxbbbbbb"));
        assert!(!several("bbbbbb").contains("is the name of"));
        let stranger = PeerId::random().to_string();
        assert_eq!(resolve(&nodes, &stranger).unwrap(), stranger);
        let error = resolve(&nodes, "nobody").unwrap_err().to_string();
        assert!(error.contains("no node is called `nobody`"), "{error}");
    }
    #[test]
    fn a_node_that_is_gone_takes_its_name_from_nobody() {
        let mut nodes = vec![
            seen("12D3KooWaaaaaaaa", "shop", Presence::Left),
            seen("12D3KooWbbbbbbbb", "shop", Presence::Evicted),
            seen("12D3KooWcccccccc", "shop", Presence::Silent),
        ];
        assert_eq!(resolve(&nodes, "shop").unwrap(), "12D3KooWcccccccc");
        for id in ["12D3KooWaaaaaaaa", "12D3KooWbbbbbbbb"] {
            assert_eq!(resolve(&nodes, id).unwrap(), id);
        }
        // Of members there must be one.
        nodes.push(seen("12D3KooWdddddddd", "shop", Presence::Here));
        let error = resolve(&nodes, "shop").unwrap_err().to_string();
        assert!(
            error.ends_with("give one PeerId of 12D3KooWcccccccc, 12D3KooWdddddddd"),
            "{error}"
        );
        // What could not be taken down at the first eviction is asked for once more.
        nodes.retain(|node| node.presence == Presence::Evicted);
        assert_eq!(resolve(&nodes, "shop").unwrap(), "12D3KooWbbbbbbbb");
    }
}
