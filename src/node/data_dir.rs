//! The node's data directory: one process at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};

/// Held by the process that runs the node.
const LOCK: &str = "lock";

/// The data directory of this process's node. Dropping it lets another process have it.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Makes the directory if there is none, and takes its lock.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        // Others may pass through, because the server's user has to reach its own folder; the files
        // that nobody else may read are made with mode 0600.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .with_context(|| {
                format!("cannot make the data directory {shown}; name another with --data-dir")
            })?;
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot enter {shown}"))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .with_context(|| format!("cannot write to the data directory {shown}"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                bail!(
                    "{shown} is in use by another starling process; stop it, or name another directory with --data-dir"
                )
            }
            Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {shown}")),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::DataDir;

    #[test]
    fn one_process_at_a_time_has_a_data_directory() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/data");
        let first = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).unwrap_err().to_string();
        assert!(refused.contains("in use"), "{refused}");
        drop(first);
        DataDir::open(&path).unwrap();
    }
}
