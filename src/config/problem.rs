//! What is wrong with a configuration, where it came from, and what mends it.

use std::{fmt, path::PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A key of the configuration file, or the file as a whole when `key` is empty.
    File {
        /// The file.
        path: PathBuf,
        /// The key as written there, section first.
        key: String,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A command line flag.
    Flag {
        /// Its name, without the dashes.
        flag: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, key } if key.is_empty() => write!(f, "{}", path.display()),
            Self::File { path, key } => write!(f, "{}: {key}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag --{flag}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, section first; the key as written if there is no such setting.
    pub key: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong with it.
    pub message: String,
    /// What mends it.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            // The file's key and the setting are one; the others name the setting in their own way.
            Origin::File { .. } => write!(f, "{}", self.origin)?,
            origin => write!(f, "{} ({origin})", self.key)?,
        }
        write!(f, ": {}\n    fix: {}", self.message, self.fix)
    }
}

/// A configuration that cannot be used: everything that is wrong with it, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What is wrong; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the configuration has a problem")?,
            n => write!(f, "the configuration has {n} problems")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
