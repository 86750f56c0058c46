//! `starling id`

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use serde_json::json;

use super::settings::SettingFlags;
use crate::{
    identity::NodeId,
    network,
    node::runtime_file::RuntimeFile,
    terminal::output::{Format, print, print_json},
};

/// Print the node's PeerId and site; create the identity if there is none
///
/// The site is the store's and is known once the store has been up.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
    #[command(flatten)]
    settings: SettingFlags,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let data_dir = args.settings.load()?.config.node.data_dir;
    let peer = identity(&data_dir)?;
    // A file of an older identity speaks of another site.
    let site = RuntimeFile::read(&data_dir)
        .with_context(|| format!("cannot read {}", RuntimeFile::path(&data_dir).display()))?
        .filter(|file| file.peer_id == peer.as_str())
        .map(|file| file.site);
    match args.output {
        Format::Json => {
            let site = site.map(|site| site.to_string());
            print_json(&json!({ "peer_id": peer, "site": site }))?;
        }
        Format::Table => {
            let site = site.map_or_else(
                || "not known before the first `starling up`".to_owned(),
                |site| site.to_string(),
            );
            print(&format!("peer  {peer}\nsite  {site}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The identity in `data_dir`, made if there is none.
fn identity(data_dir: &Path) -> anyhow::Result<NodeId> {
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("cannot make {}", data_dir.display()))?;
    Ok(network::node_id(&network::identity(data_dir)?))
}
