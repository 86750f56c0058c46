//! The SQL that this program carries, and its version.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// A step of the tables' history. Never changed once released; a mistake is mended by another step.
#[derive(Debug, Clone)]
pub struct Migration {
    /// What it does, in a word; its number is its place in [`Schema::migrations`], from one.
    pub name: String,
    /// Its statements.
    pub sql: String,
}

/// A file of functions and views, applied again whenever any of them changed.
///
/// All of it is `create or replace`, so that what users built upon it stays. A change that cannot be
/// made that way (a parameter's name, a view's columns) needs a migration that drops the old one.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The file's name.
    pub name: String,
    /// Its statements.
    pub sql: String,
}

/// Everything that a store is made of.
#[derive(Debug, Clone)]
pub struct Schema {
    /// In the order in which they are applied.
    pub migrations: Vec<Migration>,
    /// In the order in which they are applied: each uses only those before it.
    pub definitions: Vec<Definition>,
}

/// `include_str!` by name, so that a file and its name cannot drift apart.
macro_rules! files {
    ($kind:ident, $folder:literal, $($name:literal),+ $(,)?) => {
        vec![$($kind {
            name: $name.to_owned(),
            sql: include_str!(concat!($folder, "/", $name, ".sql")).to_owned(),
        }),+]
    };
}

impl Schema {
    /// The schema of this version of the program.
    #[must_use]
    pub fn current() -> Self {
        Self {
            migrations: files!(
                Migration,
                "migrations",
                "0001-element",
                "0002-entry",
                "0003-integrity",
                "0004-clock-types",
                "0005-own-site",
                "0006-run",
                "0007-early-cover",
            ),
            definitions: files!(
                Definition,
                "definitions",
                "identity",
                "operation",
                "apply",
                "catch_up",
                "checkpoint",
                "register",
                "set",
                "map",
                "counter",
                "list",
                "integrity",
                "nested",
                "data",
                "operations",
            ),
        }
    }

    /// The number of the last migration.
    #[must_use]
    pub fn version(&self) -> i32 {
        i32::try_from(self.migrations.len()).unwrap_or(i32::MAX)
    }

    /// Tells one set of definitions from another.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        for definition in &self.definitions {
            for part in [&definition.name, &definition.sql] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        hash.finalize()
            .iter()
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
    }
}
