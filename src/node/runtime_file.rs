//! `<data>/node.json`: where the node that owns a data directory can be reached.
//!
//! With ports of 0 nobody knows them beforehand; other programs on this machine read them here.
//! The file is replaced as a whole once a node is up, and when it stops in order: then it has no `pid`, and the
//! addresses may be somebody else's. What it says of the store stays true. A node that was killed cannot say so:
//! whoever reads the file compares `pid`, or simply asks the HTTP API who it is.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Where a node can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFile {
    /// Process id of the controller; `None` once it has stopped.
    pub pid: Option<u32>,
    /// PeerId.
    pub peer_id: String,
    /// Site of its store.
    #[serde(with = "crate::api::digits")]
    pub site: i64,
    /// Human name.
    pub name: String,
    /// Cluster name.
    pub cluster: String,
    /// Address of the HTTP API, with the port in use.
    pub http: SocketAddr,
    /// Multiaddrs that the network listens on, with the ports in use and `/p2p/<PeerId>`: what
    /// other nodes take for `--bootstrap`.
    pub listen: Vec<String>,
    /// The store, for `psql`; no password in it.
    pub store_url: String,
}

impl RuntimeFile {
    /// Where it is.
    #[must_use]
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("node.json")
    }

    /// Replaces the file; a reader sees the old one or the new one, never a part.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        let new = data_dir.join("node.json.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, Self::path(data_dir))
    }

    /// The node has stopped: from now on its file, if there is one, names no process.
    ///
    /// # Errors
    ///
    /// The file cannot be read or replaced, or is not one of ours.
    pub fn mark_stopped(data_dir: &Path) -> io::Result<()> {
        match Self::read(data_dir)? {
            Some(file) => Self { pid: None, ..file }.write(data_dir),
            None => Ok(()),
        }
    }

    /// Reads the file; `None` when there is none yet.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not one of ours.
    pub fn read(data_dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(Self::path(data_dir)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RuntimeFile;

    fn file() -> RuntimeFile {
        RuntimeFile {
            pid: Some(7),
            peer_id: "peer".to_owned(),
            site: 9,
            name: "n".to_owned(),
            cluster: "c".to_owned(),
            http: ([127, 0, 0, 1], 7480).into(),
            listen: vec!["/ip4/127.0.0.1/tcp/7400".to_owned()],
            store_url: "postgresql://starling@/starling".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RuntimeFile::read(dir.path()).unwrap(), None);
        let mut file = file();
        file.write(dir.path()).unwrap();
        file.pid = Some(8);
        file.write(dir.path()).unwrap();
        assert_eq!(RuntimeFile::read(dir.path()).unwrap(), Some(file));
        std::fs::write(RuntimeFile::path(dir.path()), "{").unwrap();
        assert!(RuntimeFile::read(dir.path()).is_err());
    }

    #[test]
    fn a_node_that_has_stopped_has_no_process_and_the_same_store() {
        let dir = tempfile::tempdir().unwrap();
        RuntimeFile::mark_stopped(dir.path()).unwrap();
        assert_eq!(RuntimeFile::read(dir.path()).unwrap(), None);
        // As earlier versions write it, too.
        let json = serde_json::to_value(file()).unwrap();
        assert_eq!(json["pid"], 7);
        std::fs::write(RuntimeFile::path(dir.path()), json.to_string()).unwrap();
        RuntimeFile::mark_stopped(dir.path()).unwrap();
        let stopped = RuntimeFile::read(dir.path()).unwrap().unwrap();
        let file = RuntimeFile {
            pid: None,
            ..file()
        };
        assert_eq!(stopped, file);
    }
}
