//! The SQL that this program carries, and its version.

use std::{collections::BTreeSet, fmt::Write as _};

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
    /// The file's path below `definitions/`, without its ending.
    pub name: String,
    /// Its statements.
    pub sql: String,
}

/// Everything that a store is made of.
#[derive(Debug, Clone)]
pub struct Schema {
    /// In the order in which they are applied.
    pub migrations: Vec<Migration>,
    /// In the order in which they are applied. What a view, a trigger or a body of SQL proper names is looked
    /// up at once, and comes before it; a body that is text may name what comes later.
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
                "0008-parameter-names",
                "0009-database-setting",
                "0010-guard",
            ),
            definitions: files!(
                Definition,
                "definitions",
                "core/identity",
                "core/operation",
                "core/validity",
                "core/apply",
                "core/guard",
                "core/catch_up",
                "core/checkpoint",
                "structures/register",
                "structures/set",
                "structures/map",
                "structures/counter",
                "structures/list",
                "structures/integrity",
                "interface/nested",
                "interface/data",
                "interface/operations",
                "interface/typed",
            ),
        }
    }

    /// What the SQL makes of each kind, by name, and which functions of it nobody else may call.
    pub(super) fn objects(&self) -> Objects {
        let texts = self.migrations.iter().map(|migration| &migration.sql);
        let texts = texts.chain(self.definitions.iter().map(|definition| &definition.sql));
        Objects::of(texts)
    }

    /// What the definitions make, without what migrations have made and may have dropped.
    pub(super) fn defined(&self) -> Objects {
        Objects::of(self.definitions.iter().map(|definition| &definition.sql))
    }

    /// The number of the last migration.
    #[must_use]
    pub fn version(&self) -> i32 {
        i32::try_from(self.migrations.len()).unwrap_or(i32::MAX)
    }

    /// Tells one set of definitions from another. A file that is only renamed or moved makes another set as well:
    /// that costs an upgrade one more application of what is there already.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        for definition in &self.definitions {
            // Each length is part of it, so that nothing can move from one text to the next unnoticed.
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

/// The names of what a schema is made of, without their schema.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Objects {
    /// All functions.
    pub(super) functions: BTreeSet<String>,
    /// Those that statements make, not other functions.
    pub(super) stated: BTreeSet<String>,
    /// Triggers, each with its table or view.
    pub(super) triggers: BTreeSet<(String, String)>,
    /// Those that are not for users: their definition takes them from PUBLIC.
    pub(super) internal: BTreeSet<String>,
    /// Tables, views and sequences.
    pub(super) relations: BTreeSet<String>,
    /// Types and domains.
    pub(super) types: BTreeSet<String>,
}

impl Objects {
    fn of<'a>(texts: impl Iterator<Item = &'a String>) -> Self {
        let mut objects = Self::default();
        for text in texts {
            // Bodies fall into pieces as well; none of them begins like one of these statements.
            let code: Vec<&str> = text.lines().filter(|line| !is_comment(line)).collect();
            let code = code.join("\n");
            objects.note_functions(&code);
            for statement in code.split(';') {
                objects.note(&one_line(statement));
            }
        }
        objects
    }

    /// Also those that a function makes anew.
    fn note_functions(&mut self, code: &str) {
        let made = code.match_indices("function crdv.").filter(|(at, _)| {
            code[..*at].ends_with("create ") || code[..*at].ends_with("create or replace ")
        });
        let names = made.map(|(at, _)| bare_name(&code[at + "function ".len()..]));
        self.functions.extend(names);
    }

    fn note(&mut self, statement: &str) {
        if statement.starts_with("revoke all on function ") {
            let names = statement
                .match_indices("crdv.")
                .map(|(at, _)| &statement[at..]);
            // Types of parameters are qualified names as well; only a function's is followed by a parenthesis.
            let functions = names.filter(|rest| rest[name_of(rest).len()..].starts_with('('));
            self.internal.extend(functions.map(bare_name));
            return;
        }
        let Some(made) = statement.strip_prefix("create ") else {
            return;
        };
        let made = made.strip_prefix("or replace ").unwrap_or(made);
        let Some((kind, rest)) = made.split_once(' ') else {
            return;
        };
        if kind == "trigger" {
            let table = rest
                .split_once(" on crdv.")
                .map(|(_, table)| bare_name(table));
            self.triggers
                .extend(table.map(|table| (bare_name(rest), table)));
            return;
        }
        if !rest.starts_with("crdv.") {
            return;
        }
        match kind {
            "function" => self.stated.insert(bare_name(rest)),
            "table" | "view" | "sequence" => self.relations.insert(bare_name(rest)),
            "type" | "domain" => self.types.insert(bare_name(rest)),
            _ => false,
        };
    }
}

/// The qualified name that `text` begins with.
fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| c != '.' && c != '_' && !c.is_ascii_alphanumeric());
    &text[..end.unwrap_or(text.len())]
}

fn bare_name(text: &str) -> String {
    let name = name_of(text);
    name.strip_prefix("crdv.").unwrap_or(name).to_owned()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("--")
}

fn one_line(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Definition, Schema};

    #[test]
    fn the_objects_of_a_schema_are_read_from_its_sql() {
        let sql = "-- why; and how
            create or replace function crdv.f(a crdv.t) returns void
            language plpgsql as $$ begin perform 1; execute 'create function crdv.made() '; end $$;
            create function crdv.g() returns int return 1;
            revoke all on function crdv.g(), crdv.h(crdv.t) from public;
            create or replace trigger t before insert on crdv.r for each row execute function crdv.f();
            create table crdv.r (a int); create domain crdv.t as int; create sequence crdv.s";
        let schema = Schema {
            migrations: Vec::new(),
            definitions: vec![Definition {
                name: "a".to_owned(),
                sql: sql.to_owned(),
            }],
        };
        let objects = schema.objects();
        let names = |set: &std::collections::BTreeSet<String>| {
            set.iter().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&objects.functions), "f g made");
        assert_eq!(names(&objects.stated), "f g");
        assert_eq!(names(&objects.internal), "g h");
        let trigger = ("t".to_owned(), "r".to_owned());
        assert_eq!(objects.triggers, [trigger].into());
        assert_eq!(names(&objects.relations), "r s");
        assert_eq!(names(&objects.types), "t");
    }
}
