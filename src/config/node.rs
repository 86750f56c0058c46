//! `[node]`: who the node is and where it keeps its things.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::Check;
use crate::identity::{CLUSTER_NAME_BYTES_MAX, is_cluster_name};

/// Longest node name, in bytes: it travels in every status message.
const NAME_LENGTH_MAX: usize = 64;

/// Who the node is and where it keeps its things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Identity, address book and private server live here. Absolute once loaded.
    /// Defaults to `./starling-data`.
    pub data_dir: PathBuf,
    /// Nodes of one cluster find each other; it is part of the protocol ids. Defaults to
    /// `starling`.
    pub cluster: String,
    /// A name for people. Defaults to the host's name; never empty once loaded.
    pub name: String,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./starling-data"),
            cluster: "starling".to_owned(),
            name: String::new(),
        }
    }
}

impl Node {
    /// Fills in what depends on the machine: the host's name, and where `data_dir` really is.
    pub(super) fn resolve(&mut self) {
        if self.name.is_empty() {
            self.name = host_name();
        }
        // Fails only for an empty path or without a working directory; `check` speaks of the first.
        if let Ok(absolute) = std::path::absolute(&self.data_dir) {
            self.data_dir = absolute;
        }
    }

    pub(super) fn check(&self, check: &mut Check<'_>) {
        if self.data_dir.as_os_str().is_empty() {
            check.fail("node.data_dir", "the path is empty", "name a directory");
        }
        if !is_cluster_name(&self.cluster) {
            check.fail(
                "node.cluster",
                format!(
                    "`{}` cannot be a cluster name",
                    self.cluster.escape_default()
                ),
                format!(
                    "use 1 to {CLUSTER_NAME_BYTES_MAX} ASCII letters, digits, `.`, `_` or `-`, and \
                     begin with a letter or digit: it is part of the protocol ids"
                ),
            );
        }
        let printable = !self.name.chars().any(char::is_control) && !self.name.trim().is_empty();
        if !printable || self.name.len() > NAME_LENGTH_MAX {
            check.fail(
                "node.name",
                format!("`{}` cannot be a node name", self.name.escape_debug()),
                format!("use 1 to {NAME_LENGTH_MAX} bytes without control characters"),
            );
        }
    }
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "starling".to_owned())
}
