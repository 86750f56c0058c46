//! One table for what stands in several places, in SQL and in Rust: the head of `operation.sql`.

mod find;

use std::collections::BTreeSet;

use crate::{Rule, Tree, has_extension};
use find::{FINDERS, first_key, keys};

pub(crate) const RULES: &[Rule] = &[Rule {
    name: "what stands in SQL and in Rust alike is in the table of operation.sql, and where that says",
    check: contracts,
    bad: &[
        &[],
        &[
            (TABLE, "-- | limit | 20 | bytes | operation.sql |\n"),
            (
                "src/store/definitions/core/a.sql",
                "if octet_length(a) + octet_length(b) > 21 then\n",
            ),
        ],
        &[
            (TABLE, "-- | limit | 20 | bytes | a.sql |\n"),
            ("src/store/definitions/core/b.sql", "octet_length(a) > 20\n"),
        ],
        &[
            (
                TABLE,
                "-- | lock | 1398030674, 0 | | a.rs |\n-- | lock | 1398030674, 1 | | b.sql |\n",
            ),
            ("src/a.rs", "\"select pg_advisory_lock(1398030674, 1)\"\n"),
            (
                "src/store/definitions/b.sql",
                "perform pg_advisory_xact_lock_shared(1398030674, 1);\n",
            ),
        ],
        &[
            (TABLE, "-- | lock | 1398030674, 0 | | a.rs |\n"),
            ("src/a.rs", "\"pg_advisory_lock(1398030674, 0)\"\n"),
            ("tests/main/a.rs", "\"where classid = 1398030673\"\n"),
        ],
        &[
            (TABLE, "-- | type | r | register | |\n"),
            (
                "src/a.rs",
                "\"select from crdv.element where type = 's'\"\n",
            ),
        ],
        &[
            (
                TABLE,
                "-- | type | r | register | |\n-- | type | s | set | |\n-- | types | r s | | a.sql |\n",
            ),
            ("src/store/definitions/a.sql", "return type_ in ('r');\n"),
        ],
        &[
            (
                TABLE,
                "-- | name | starling_ | | a.rs |\n-- | site in name | 9, 16 | | a.sql |\n",
            ),
            ("src/a.rs", "const PREFIX: &str = \"starling_\";\n"),
            (
                "src/store/definitions/a.sql",
                "('x' || substr(s.subname, 9, 16))::bit(64)\n",
            ),
        ],
        &[
            (TABLE, "-- | type | r | register; key '' | |\n"),
            (
                "src/store/migrations/0001-a.sql",
                "comment on column crdv.element.type is 'r registers';\n",
            ),
        ],
    ],
    good: &[&[
        (
            TABLE,
            concat!(
                "-- | kind | value | meaning | where |\n-- |---|---|---|---|\n",
                "-- | type | r | register; key '' | |\n-- | own type | v | checkpoint | |\n-- | types | r v | | a.sql |\n",
                "-- | id | $site | | a.sql |\n-- | limit | 20 | bytes | a.sql |\n-- | clock | 16 | bits | a.sql |\n",
                "-- | lock | 1398030674, 0 | | a.sql b.rs |\n-- | lock | 1398030675, f(a.b) | | a.sql |\n",
                "-- | name | starling_ | | b.rs |\n-- | name | ^starling_[0-9a-f]{16}_[0-9a-f]{16}$ | | b.rs |\n",
                "-- | site in name | 10, 16 | | a.sql |\n-- | digits | ^[0-9]{1,18}$ | | a.sql |\n",
                "-- | letter | 102 | | a.sql |\n-- | error | SL001 | | b.rs |\n"
            ),
        ),
        (
            "src/store/definitions/core/a.sql",
            concat!(
                "-- where type = 'x', octet_length(a) > 21\n",
                "crdv.write('v', '$site', null) where e.type not in ('v', 'r') and octet_length(f(a)) > 20;\n",
                "pg_advisory_xact_lock(1398030674, 0) is null or pg_advisory_xact_lock(1398030675, f(a.b)) is null\n",
                "('x' || substr(s.subname, 10, 16))::bit(64) a ~ '^[0-9]{1,18}$' b::bigint << 16, c << 20;\n",
                "chr(102 + 1) || chr(ascii('g') - 1) || ascii(a) - 102\n"
            ),
        ),
        (
            "src/store/migrations/0001-a.sql",
            "comment on column crdv.element.type is 'v checkpoint';\n",
        ),
        (
            "src/store/migrations/0002-a.sql",
            "comment on column crdv.element.type is 'r register, v checkpoint';\n",
        ),
        (
            "src/b.rs",
            concat!(
                "const PREFIX: &str = \"starling_\"; const P: &str = \"^starling_[0-9a-f]{16}_[0-9a-f]{16}$\";\n",
                "// SL002\n\"l.locktype = 'advisory' and l.classid = 1398030674 and l.objid = 0\" \"SL001\"\n"
            ),
        ),
        (
            "tests/main/a.rs",
            "\"where classid = 1398030674 and granted\"\n",
        ),
    ]],
}];

/// Its head is the table.
const TABLE: &str = "src/store/definitions/core/operation.sql";

/// What is below this in a file of the program may say anything.
const TESTS: &str = "#[cfg(test)]\nmod tests {";

/// A row of the table.
struct Row<'a> {
    kind: &'a str,
    value: &'a str,
    meaning: &'a str,
    /// Ends of paths; none for what may stand anywhere.
    places: Vec<&'a str>,
}

fn contracts(tree: &Tree) -> Vec<String> {
    let rows: Vec<Row<'_>> = tree
        .get(TABLE)
        .map_or("", String::as_str)
        .lines()
        .filter_map(row)
        .collect();
    if rows.is_empty() {
        return vec![format!("{TABLE}: has no table")];
    }
    let mut found = derived(&rows, tree);
    let mut met = BTreeSet::new();
    for (path, text) in tree {
        let is_sql = path.starts_with("src/store/") && has_extension(path, "sql");
        let is_rust = path.starts_with("src/") && has_extension(path, "rs");
        let code = without_comments(text.split(TESTS).next().unwrap_or_default());
        for finder in &FINDERS {
            if !(is_sql || is_rust && finder.is_shared) {
                continue;
            }
            for (at, value) in (finder.find)(&code) {
                let row = rows
                    .iter()
                    .position(|row| finder.kinds.contains(&row.kind) && row.value == value);
                let complaint = match row.map(|row| (row, place(&rows[row], path))) {
                    None => "is not in the table of operation.sql",
                    Some((_, None)) => "is not to be here by the table of operation.sql",
                    Some((row, Some(place))) => {
                        met.insert((row, place));
                        continue;
                    }
                };
                let line = 1 + code[..at].matches('\n').count();
                found.push(format!(
                    "{path}:{line}: {} `{value}` {complaint}",
                    finder.kinds[0]
                ));
            }
        }
        if path.starts_with("tests/main/") || path.starts_with("benches/") {
            let known = |key: &str| {
                rows.iter()
                    .any(|row| row.kind == "lock" && first_key(row.value) == key)
            };
            let unknown = keys(&code).into_iter().filter(|(_, key)| !known(key));
            found.extend(unknown.map(|(_, key)| {
                format!("{path}: no lock `{key}` is in the table of operation.sql")
            }));
        }
    }
    for (at, row) in rows.iter().enumerate() {
        let missing = row
            .places
            .iter()
            .filter(|place| !met.contains(&(at, **place)));
        found.extend(
            missing.map(|place| format!("{place}: lacks the {} `{}`", row.kind, row.value)),
        );
    }
    found
}

fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> = line
        .strip_prefix("-- |")?
        .split('|')
        .map(str::trim)
        .collect();
    let [kind, value, meaning, places, ""] = cells[..] else {
        return None;
    };
    let is_head = kind == "kind" || kind.starts_with("---");
    (!is_head).then(|| Row {
        kind,
        value,
        meaning,
        places: places.split_whitespace().collect(),
    })
}

/// Which of a row's places this file is; an empty one where a row may stand anywhere.
fn place<'a>(row: &Row<'a>, path: &str) -> Option<&'a str> {
    if row.places.is_empty() {
        return Some("");
    }
    row.places
        .iter()
        .copied()
        .find(|place| path.ends_with(&format!("/{place}")))
}

/// What follows from other rows, and the comment of the column of types, which a migration has written.
fn derived(rows: &[Row<'_>], tree: &Tree) -> Vec<String> {
    let values = |kind: &'static str| {
        rows.iter()
            .filter(move |row| row.kind == kind)
            .map(|row| row.value)
    };
    let mut found = Vec::new();
    let prefix = values("name").find(|name| !name.starts_with('^'));
    for value in values("site in name") {
        let start = prefix.map_or(0, str::len) + 1;
        if value != format!("{start}, 16") {
            found.push(format!(
                "{TABLE}: a site in a name begins at {start}, and has 16 digits"
            ));
        }
    }
    let first = values("lock")
        .map(first_key)
        .min()
        .and_then(|key| key.parse::<u32>().ok());
    if first.is_some_and(|key| key.to_be_bytes() != *b"STAR") {
        found.push(format!("{TABLE}: the first key of all locks is not STAR"));
    }
    let letters: Vec<String> = rows
        .iter()
        .filter(|row| ["type", "own type"].contains(&row.kind))
        .map(|row| {
            format!(
                "{} {}",
                row.value,
                row.meaning.split(';').next().unwrap_or_default()
            )
        })
        .collect();
    let comment = format!(
        "comment on column crdv.element.type is '{}';",
        letters.join(", ")
    );
    let migrations = tree
        .iter()
        .filter(|(path, _)| path.starts_with("src/store/migrations/"));
    let mut said = migrations.flat_map(|(path, text)| {
        let lines = text.lines().map(move |line| (path, line));
        lines.filter(|(_, line)| line.starts_with("comment on column crdv.element.type "))
    });
    // An older one did not know of types that have come since.
    let wrong = said.next_back().filter(|(_, line)| *line != comment);
    found.extend(wrong.map(|(path, _)| format!("{path}: expected {comment}")));
    found
}

/// Lines of comments are empty then; others keep their number.
fn without_comments(text: &str) -> String {
    let is_comment = |line: &str| {
        ["--", "//"]
            .iter()
            .any(|mark| line.trim_start().starts_with(mark))
    };
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| if is_comment(line) { "\n" } else { line })
        .collect()
}
