//! `<data>/node.json`: where the node that owns a data directory can be reached.
//!
//! With ports of 0 nobody knows them beforehand; other programs on this machine read them here.
//! The file is replaced as a whole at each start and stays when the node stops: whoever reads it
//! compares `pid`, or simply asks the HTTP API.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Where a node can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFile {
    /// Process id of the controller.
    pub pid: u32,
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

    #[test]
    fn what_is_written_is_read_back_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RuntimeFile::read(dir.path()).unwrap(), None);
        let mut file = RuntimeFile {
            pid: 7,
            peer_id: "peer".to_owned(),
            site: 9,
            name: "n".to_owned(),
            cluster: "c".to_owned(),
            http: ([127, 0, 0, 1], 7480).into(),
            listen: vec!["/ip4/127.0.0.1/tcp/7400".to_owned()],
            store_url: "postgresql://starling@/starling".to_owned(),
        };
        file.write(dir.path()).unwrap();
        file.pid = 8;
        file.write(dir.path()).unwrap();
        assert_eq!(RuntimeFile::read(dir.path()).unwrap(), Some(file));
        std::fs::write(RuntimeFile::path(dir.path()), "{").unwrap();
        assert!(RuntimeFile::read(dir.path()).is_err());
    }
}
