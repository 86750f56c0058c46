//! The token that commands need: whoever can read the node's data directory may steer the node.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::files;

/// The file's name in the data directory. A client sends nobody what lies in a file of another name.
const FILE_NAME: &str = "http.token";

/// 256 random bits, in hexadecimal digits.
const DIGITS: usize = 64;

/// The digits, with room for what an editor leaves around them.
const FILE_BYTES_MAX: u64 = 1024;

/// The token of a node, and where its users find it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    path: PathBuf,
}

impl Token {
    /// Reads `<data_dir>/http.token`, which only its owner can read; makes it at the first start. Removing
    /// the file and starting the node again gives a new one.
    ///
    /// # Errors
    ///
    /// The file cannot be read or made, or holds no token.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(FILE_NAME);
        // Made first and read then: of two that start at once, both take the one that came first.
        match files::create(&path, draw().as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let text = read(&path)?;
        // Users find it from wherever they are.
        let path = path.canonicalize()?;
        Ok(Self { text, path })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes as long for a wrong token as for the right one, so that it cannot be guessed digit by digit.
    pub(super) fn is(&self, given: &str) -> bool {
        let differences = self.text.bytes().zip(given.bytes());
        given.len() == self.text.len()
            && differences.fold(0, |all, (ours, theirs)| all | (ours ^ theirs)) == 0
    }
}

/// Never shows the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Reads a token from a file of ours, and from no other: whoever answers at the node's address has named
/// the path.
///
/// # Errors
///
/// The file has another name, cannot be read, or holds no token.
pub(super) fn read_named_by_node(path: &Path) -> io::Result<String> {
    if path.file_name().is_none_or(|name| name != FILE_NAME) {
        let reason = format!("a token lies in a file named {FILE_NAME}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    read(path)
}

/// Reads a token from a file that the user names.
///
/// # Errors
///
/// The file cannot be read, or holds no token.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // One that is longer is none.
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)?;
    let text = text.trim();
    // For the client, too: whoever answers names the file, and is to get nothing else out of it.
    if text.len() == DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        Ok(text.to_owned())
    } else {
        let reason = "it holds no token; remove it and start the node again, which makes a new one";
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}

fn draw() -> String {
    (0..DIGITS / 16)
        .map(|_| format!("{:016x}", rand::random::<u64>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{Token, read, read_named_by_node};

    #[test]
    fn it_is_made_once_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::open(dir.path()).unwrap();
        assert_eq!(Token::open(dir.path()).unwrap(), token);
        let mode = fs::metadata(token.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{token:?}").contains(&token.text));
        let other = Token::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert_ne!(other.text, token.text);
    }

    #[test]
    fn only_the_whole_token_is_it() {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::open(dir.path()).unwrap();
        let text = read(token.path()).unwrap();
        assert!(token.is(&text));
        for wrong in ["", &text[1..], &format!("{text}0"), &"0".repeat(64)] {
            assert!(!token.is(wrong), "{wrong}");
        }
    }

    #[test]
    fn only_the_user_may_name_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, "0".repeat(64)).unwrap();
        assert!(read_named_by_node(&secret).is_err());
        assert_eq!(read(&secret).unwrap(), "0".repeat(64));
        let broken = dir.path().join("http.token");
        fs::write(&broken, "root:x:0:0").unwrap();
        assert!(read(&broken).is_err());
        assert!(Token::open(dir.path()).is_err());
    }
}
