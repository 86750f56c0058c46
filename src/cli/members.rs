//! `starling leave` and `starling evict`

use std::process::ExitCode;

use anyhow::bail;

use super::{
    ask::NodeArgs,
    output::{harmless, print},
};
use crate::api::NodeInfo;

/// Shortest end of a PeerId that is taken for the whole.
const SUFFIX_MIN: usize = 6;

/// Leave the cluster cleanly: nothing of this node stays behind with the others
///
/// The node hands over what its neighbours lack, takes its links down and stops. Its data stays
/// where it is. To stop a node that is to come back, end its process instead.
#[derive(Debug, clap::Args)]
pub(super) struct LeaveArgs {
    #[command(flatten)]
    node: NodeArgs,
}

/// Declare a node gone for good
///
/// For a node that will not return: what it left behind is removed everywhere, and it no longer
/// holds anything back. If it does return, it joins anew.
#[derive(Debug, clap::Args)]
pub(super) struct EvictArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// PeerId, the end of one as `starling nodes` shows it, or a node's name
    peer: String,
}

pub(super) fn leave(args: &LeaveArgs) -> anyhow::Result<ExitCode> {
    args.node.client().leave()?;
    print("the node has left the cluster")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn evict(args: &EvictArgs) -> anyhow::Result<ExitCode> {
    let client = args.node.client();
    let peer_id = resolve(&client.nodes()?, &args.peer)?;
    client.evict(&peer_id)?;
    print(&format!("{peer_id} is evicted"))?;
    Ok(ExitCode::SUCCESS)
}

/// The PeerId that `wanted` stands for. What nobody bears is passed on as it is: the node may know
/// more than it lists.
fn resolve(nodes: &[NodeInfo], wanted: &str) -> anyhow::Result<String> {
    let wanted = wanted.trim_start_matches('…');
    if nodes.iter().any(|node| node.peer_id == wanted) {
        return Ok(wanted.to_owned());
    }
    let by_end = wanted.chars().count() >= SUFFIX_MIN;
    let meant: Vec<&NodeInfo> = nodes
        .iter()
        .filter(|node| node.name == wanted || (by_end && node.peer_id.ends_with(wanted)))
        .collect();
    match meant.as_slice() {
        [] => Ok(wanted.to_owned()),
        [node] => Ok(node.peer_id.clone()),
        several => {
            let ids: Vec<String> = several.iter().map(|node| harmless(&node.peer_id)).collect();
            bail!(
                "`{wanted}` is the name of several nodes; give one PeerId of {}",
                ids.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::resolve;
    use crate::api::NodeInfo;

    fn node(peer_id: &str, name: &str) -> NodeInfo {
        NodeInfo {
            peer_id: peer_id.to_owned(),
            name: name.to_owned(),
            state: None,
            site: 1,
            store: String::new(),
            vector: BTreeMap::new(),
            neighbors: Vec::new(),
            last_seen: String::new(),
            alive: false,
        }
    }

    #[test]
    fn a_node_is_meant_by_its_id_the_end_of_it_or_its_name() {
        let nodes = [
            node("12D3KooWaaaaaaaa", "a"),
            node("12D3KooWbbbbbbbb", "b"),
            node("12D3KooWcccccccc", "b"),
        ];
        for wanted in ["12D3KooWaaaaaaaa", "…aaaaaaaa", "aaaaaa", "a"] {
            assert_eq!(resolve(&nodes, wanted).unwrap(), "12D3KooWaaaaaaaa");
        }
        assert!(
            resolve(&nodes, "b")
                .unwrap_err()
                .to_string()
                .contains("several")
        );
        assert_eq!(resolve(&nodes, "nobody").unwrap(), "nobody");
    }
}
