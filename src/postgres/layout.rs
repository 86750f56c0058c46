//! Where the parts of a private server lie.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{account::Account, error::Error};

/// The longest path of a Unix socket, without the closing zero byte.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The longest file name that PostgreSQL gives a socket.
const SOCKET_NAME: &str = ".s.PGSQL.65535";

/// How the folders begin in which `initdb` works.
pub(super) const UNFINISHED: &str = "data.unfinished";

/// The paths of one private server. All absolute.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The node's data directory.
    pub(super) node: PathBuf,
    /// The server's folder in it.
    pub(super) base: PathBuf,
    /// PostgreSQL's data directory.
    pub(super) data: PathBuf,
    /// Where `initdb` works until it is done. No two starts share it: an `initdb` outlives a controller that
    /// is killed beside it, and would write into what the next one makes.
    pub(super) unfinished: PathBuf,
    /// What the server says.
    pub(super) log: PathBuf,
    /// The previous part of it.
    pub(super) old_log: PathBuf,
    lock: PathBuf,
}

impl Layout {
    /// The layout below the node's data directory, which is made if it does not exist.
    pub(super) fn new(node: &Path) -> Result<Self, Error> {
        fs::create_dir_all(node).map_err(|error| Error::io("create", node, error))?;
        // Without links in it, because it is compared with what processes and servers say of themselves.
        let node = node
            .canonicalize()
            .map_err(|error| Error::io("resolve", node, error))?;
        let base = node.join("postgres");
        Ok(Self {
            data: base.join("data"),
            unfinished: base.join(format!("{UNFINISHED}.{:08x}", rand::random::<u32>())),
            log: base.join("server.log"),
            old_log: base.join("server.log.1"),
            lock: base.join("lock"),
            node,
            base,
        })
    }

    /// The file in which a running postmaster writes who and where it is.
    pub(super) fn pid_file(&self) -> PathBuf {
        self.data.join("postmaster.pid")
    }

    /// Takes the server for this process; given back when the file is dropped, however the process
    /// ends. The server itself does not inherit it.
    pub(super) fn lock(&self) -> Result<File, Error> {
        fs::create_dir_all(&self.base).map_err(|error| Error::io("create", &self.base, error))?;
        let file = File::options()
            .create(true)
            .append(true)
            .open(&self.lock)
            .map_err(|error| Error::io("open", &self.lock, error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::InUse {
                dir: self.base.clone(),
            }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &self.lock, error)),
        }
    }

    /// Makes the folder of the socket, closed to all but root and the server's user.
    ///
    /// It is `run` beside the data directory, unless a socket in there would have too long a path:
    /// then a short folder in `/tmp`, named by a hash of the data directory.
    pub(super) fn socket_folder(&self, account: &Account) -> Result<PathBuf, Error> {
        let near = self.base.join("run");
        if fits(&near) {
            account.own_folder(&near)?;
            return Ok(near);
        }
        let short = self.short_folder(account.number());
        // Anybody may make names in /tmp: take the folder only if the server's user owns it.
        if short.symlink_metadata().is_ok() && !account.owns(&short) {
            return Err(Error::PermissionDenied {
                what: format!("{} belongs to another user", short.display()),
            });
        }
        account.own_folder(&short)?;
        Ok(short)
    }

    fn short_folder(&self, user: u32) -> PathBuf {
        let digest = Sha256::digest(self.data.as_os_str().as_encoded_bytes());
        let hash: String = digest[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        PathBuf::from(format!("/tmp/starling-{user}-{hash}"))
    }
}

fn fits(folder: &Path) -> bool {
    folder.as_os_str().len() + 1 + SOCKET_NAME.len() <= SOCKET_PATH_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_fits_up_to_the_limit() {
        let room = SOCKET_PATH_BYTES_MAX - SOCKET_NAME.len() - 1;
        assert!(fits(Path::new(&"a".repeat(room))));
        assert!(!fits(Path::new(&"a".repeat(room + 1))));
    }

    #[test]
    fn a_server_has_one_controller() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        let held = layout.lock().unwrap();
        assert!(matches!(layout.lock(), Err(Error::InUse { .. })));
        drop(held);
        assert!(layout.lock().is_ok());
    }

    #[test]
    fn short_folders_differ_by_data_directory_and_user() {
        let one = tempfile::tempdir().unwrap();
        let two = tempfile::tempdir().unwrap();
        let (one, two) = (
            Layout::new(one.path()).unwrap(),
            Layout::new(two.path()).unwrap(),
        );
        assert_ne!(one.short_folder(1), two.short_folder(1));
        assert_ne!(one.short_folder(1), one.short_folder(2));
        assert!(fits(&one.short_folder(u32::MAX)));
    }
}
