//! What a server keeps of a password.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// PostgreSQL's own number; fewer make guessing cheap.
const ITERATIONS_MIN: u32 = 4_096;

/// Each client has to do this many rounds at every login.
const ITERATIONS_MAX: u32 = 1_000_000;

/// Of a SHA-256, in base64.
const KEY_LETTERS: usize = 44;

/// 48 bytes; PostgreSQL makes 16.
const SALT_LETTERS_MAX: usize = 64;

/// A SCRAM-SHA-256 verifier as PostgreSQL writes it. Proves a password, and nobody can log in with it; it
/// can be guessed at, so it is not shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Verifier(String);

/// The text is no verifier. PostgreSQL would take it for a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no SCRAM-SHA-256 verifier: \
     SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, with {ITERATIONS_MIN} to {ITERATIONS_MAX} \
     iterations and the rest in base64"
)]
pub struct BadVerifier;

impl Verifier {
    /// What the server takes.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SCRAM-SHA-256$***")
    }
}

impl FromStr for Verifier {
    type Err = BadVerifier;

    fn from_str(text: &str) -> Result<Self, BadVerifier> {
        is_verifier(text)
            .filter(|is| *is)
            .map(|_| Self(text.to_owned()))
            .ok_or(BadVerifier)
    }
}

fn is_verifier(text: &str) -> Option<bool> {
    let rest = text.strip_prefix("SCRAM-SHA-256$")?;
    let (iterations, rest) = rest.split_once(':')?;
    let (salt, keys) = rest.split_once('$')?;
    let (stored, server) = keys.split_once(':')?;
    // `parse` alone would take a sign as well.
    let is_number = iterations.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = iterations.parse().ok()?;
    Some(
        is_number
            && (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&number)
            && is_base64(salt)
            && salt.len() <= SALT_LETTERS_MAX
            && [stored, server].iter().all(|key| is_key(key)),
    )
}

fn is_key(text: &str) -> bool {
    // 32 bytes are 43 letters and one `=`.
    text.len() == KEY_LETTERS && is_base64(text) && text.ends_with('=') && !text.ends_with("==")
}

fn is_base64(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    !bare.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - bare.len() <= 2
        && bare.bytes().all(letter)
}

impl TryFrom<String> for Verifier {
    type Error = BadVerifier;

    fn try_from(text: String) -> Result<Self, BadVerifier> {
        text.parse()
    }
}

impl From<Verifier> for String {
    fn from(verifier: Verifier) -> Self {
        verifier.0
    }
}
