//! Names that an application's role may have.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// PostgreSQL cuts longer ones.
const BYTES_MAX: usize = 63;

/// The name of an application's role: nothing that would have to be quoted anywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(String);

/// The text is no name of an application's role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRoleName {
    /// Its form.
    #[error(
        "the name of an application's role begins with a letter and has up to {BYTES_MAX} small letters, \
         digits and underscores"
    )]
    Form,
    /// It means something else.
    #[error(
        "`{0}` cannot be the name of an application's role: it is PostgreSQL's or Starling's own"
    )]
    Reserved(String),
}

impl RoleName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoleName {
    type Err = BadRoleName;

    fn from_str(text: &str) -> Result<Self, BadRoleName> {
        // What statements about roles or pg_hba.conf take for something else, and the usual superuser.
        const RESERVED: [&str; 9] = [
            "all",
            "current_role",
            "current_user",
            "none",
            "postgres",
            "public",
            "replication",
            "session_user",
            "user",
        ];
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_formed = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase())
            && text.bytes().all(inner)
            && text.len() <= BYTES_MAX;
        if !is_formed {
            return Err(BadRoleName::Form);
        }
        let ours = ["pg_", "starling", "crdv"]
            .iter()
            .any(|start| text.starts_with(start));
        if ours || RESERVED.contains(&text) {
            return Err(BadRoleName::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RoleName {
    type Error = BadRoleName;

    fn try_from(text: String) -> Result<Self, BadRoleName> {
        text.parse()
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> Self {
        name.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
