//! The pre-shared key that admits to a private network.
//!
//! The file has the form that libp2p implementations share: `/key/swarm/psk/1.0.0/`, `/base16/`,
//! and 64 hexadecimal digits, each on a line.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use libp2p::pnet::{KeyParseError, PreSharedKey};

use super::key;
use crate::files;

/// A pre-shared key. Its debug form shows a fingerprint, never the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SwarmKey(PreSharedKey);

/// The swarm key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SwarmKeyError {
    /// The file does not have the shared form.
    #[error(
        "{} is not a swarm key: {what}; it has three lines: /key/swarm/psk/1.0.0/, /base16/, \
         and 64 hexadecimal digits", path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
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

impl SwarmKey {
    /// A new random key.
    #[must_use]
    pub fn generate() -> Self {
        Self(PreSharedKey::new(rand::random()))
    }

    /// Reads the key from a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read or is not a swarm key.
    pub fn load(path: &Path) -> Result<Self, SwarmKeyError> {
        let failed = |source| SwarmKeyError::Io {
            path: path.to_owned(),
            source,
        };
        let text = key::read_text(path).map_err(failed)?;
        text.parse().map_err(|what| SwarmKeyError::Malformed {
            path: path.to_owned(),
            what,
        })
    }

    /// Writes the key to a new file for the owner alone.
    ///
    /// # Errors
    ///
    /// If there is such a file, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), SwarmKeyError> {
        files::create(path, self.0.to_key_file().as_bytes()).map_err(|source| SwarmKeyError::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// Tells keys apart without showing them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string()
    }

    pub(super) fn pre_shared(self) -> PreSharedKey {
        self.0
    }
}

impl FromStr for SwarmKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Editors and secret stores add blanks and carriage returns.
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines
            .join("\n")
            .parse()
            .map(Self)
            .map_err(|error| match error {
                KeyParseError::InvalidKeyFile => "lines are missing",
                KeyParseError::InvalidKeyType => "the first line is another",
                KeyParseError::InvalidKeyEncoding => "the second line is another",
                KeyParseError::InvalidKeyLength => "the key does not have 64 digits",
                KeyParseError::InvalidKeyChar(_) => "a digit of the key is not hexadecimal",
            })
    }
}

impl fmt::Debug for SwarmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwarmKey")
            .field("fingerprint", &self.fingerprint())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{SwarmKey, SwarmKeyError};

    #[test]
    fn a_key_comes_back_from_its_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("swarm.key");
        let key = SwarmKey::generate();
        key.save(&path).unwrap();
        assert_eq!(SwarmKey::load(&path).unwrap(), key);
        assert_ne!(SwarmKey::generate(), key);
        assert!(key.save(&path).is_err(), "never replaced");
        let text = std::fs::read_to_string(&path).unwrap();
        let secret = text.lines().nth(2).unwrap();
        assert!(!format!("{key:?}").contains(secret));
    }

    #[test]
    fn the_shared_form_is_read_with_any_line_ends() {
        let text = format!(
            "/key/swarm/psk/1.0.0/\r\n/base16/\r\n{}\r\n",
            "a1".repeat(32)
        );
        assert!(text.parse::<SwarmKey>().is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("swarm.key");
        let good = "0".repeat(64);
        for (text, what) in [
            (String::new(), "lines are missing"),
            (format!("/key/\n/base16/\n{good}"), "first line"),
            (
                format!("/key/swarm/psk/1.0.0/\n/base64/\n{good}"),
                "second line",
            ),
            (
                "/key/swarm/psk/1.0.0/\n/base16/\n00".to_owned(),
                "64 digits",
            ),
            (
                format!("/key/swarm/psk/1.0.0/\n/base16/\n{}", "z".repeat(64)),
                "hexadecimal",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = SwarmKey::load(&path).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert!(matches!(error, SwarmKeyError::Malformed { .. }));
        }
    }
}
