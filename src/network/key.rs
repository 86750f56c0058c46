//! The node's identity: an Ed25519 key in a file of the data directory, made once.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use libp2p::identity::{KeyType, Keypair};

use crate::{files, identity::NodeId};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "identity.key";

/// An Ed25519 key pair in libp2p's protobuf form has 68 bytes; no other key type has 4 KiB.
const FILE_BYTES_MAX: u64 = 4096;

/// The identity could not be had. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others than the owner may read the file: the key may be known to anybody.
    #[error(
        "{} can be read by others than its owner (mode {mode:03o}); \
         if nobody used that: chmod 600 {}", path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is not a key.
    #[error(
        "{} does not hold an Ed25519 key ({what}); restore it from a backup, or remove it to \
         start as a new node", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It could not be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Loads the identity from `data_dir`, which must exist; makes one if there is none.
///
/// # Errors
///
/// If the file is exposed, corrupt, or cannot be read or written.
pub fn identity(data_dir: &Path) -> Result<Keypair, KeyError> {
    let path = data_dir.join(FILE_NAME);
    let failed = |source| KeyError::Io {
        path: path.clone(),
        source,
    };
    match File::open(&path) {
        Ok(file) => load(&path, file),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let keypair = Keypair::generate_ed25519();
            let bytes = keypair
                .to_protobuf_encoding()
                .map_err(|error| failed(io::Error::other(error)))?;
            match files::create(&path, &bytes) {
                Ok(()) => Ok(keypair),
                // Another process was faster; there must be one identity.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    load(&path, File::open(&path).map_err(failed)?)
                }
                Err(error) => Err(failed(error)),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// The id by which the data plane knows the owner of `keypair`.
#[must_use]
pub fn node_id(keypair: &Keypair) -> NodeId {
    NodeId::from_base58(keypair.public().to_peer_id().to_base58())
}

fn load(path: &Path, file: File) -> Result<Keypair, KeyError> {
    let failed = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    let corrupt = |what| KeyError::Corrupt {
        path: path.to_owned(),
        what,
    };
    // Asked of the open file: the one that is checked is the one that is read.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.is_empty() {
        return Err(corrupt("it is empty".to_owned()));
    }
    let keypair =
        Keypair::from_protobuf_encoding(&bytes).map_err(|error| corrupt(error.to_string()))?;
    match keypair.key_type() {
        KeyType::Ed25519 => Ok(keypair),
        other => Err(corrupt(format!("it holds a key of type {other}"))),
    }
}

/// Reads a whole small text file, bounded.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use super::{FILE_NAME, KeyError, identity};

    #[test]
    fn it_is_made_once_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = identity(folder.path()).unwrap();
        let again = identity(folder.path()).unwrap();
        assert_eq!(first.public(), again.public());
        let mode = fs::metadata(folder.path().join(FILE_NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn racing_starts_agree_on_one() {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| identity(folder.path())))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        let last = identity(folder.path()).unwrap().public();
        for key in keys {
            assert_eq!(key.unwrap().public(), last);
        }
    }

    #[test]
    fn an_exposed_key_is_refused_with_the_command_that_fixes_it() {
        let folder = tempfile::tempdir().unwrap();
        identity(folder.path()).unwrap();
        let path = folder.path().join(FILE_NAME);
        for mode in [0o640, 0o604, 0o644] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = identity(folder.path()).unwrap_err();
            assert!(matches!(error, KeyError::Exposed { mode: found, .. } if found == mode));
            assert!(
                error
                    .to_string()
                    .contains(&format!("chmod 600 {}", path.display()))
            );
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        identity(folder.path()).unwrap();
    }

    #[test]
    fn a_corrupt_file_is_a_clear_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        for content in [&b""[..], b"garbage", &[8, 1, 18, 64, 1, 2, 3]] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let error = identity(folder.path()).unwrap_err();
            assert!(matches!(error, KeyError::Corrupt { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }
}
