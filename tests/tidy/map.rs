//! Rules that hold the map of the tree, in `ARCHITECTURE.md`, and the names that pages give to modules and
//! files.

use crate::{
    Rule, Tree, has_extension, has_word,
    imports::expanded,
    in_source, is_word,
    markdown::prose,
    rust::{named_modules, without_comments},
};

/// Has the map.
const PAGE: &str = "ARCHITECTURE.md";

/// What is below this in a file of the program is a test.
const TESTS: &str = "#[cfg(test)]\nmod tests {";

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "each file has a row in the map of ARCHITECTURE.md, and knows what that says",
        check: map,
        bad: &[
            &[(PAGE, "## Map\n"), ("src/a.rs", "")],
            &[
                (PAGE, "## Map\n| `src/a` | it | no | no |\n"),
                ("src/a.rs", "use libp2p::PeerId;\n"),
            ],
            &[
                (
                    PAGE,
                    "## Map\n| `src/a` | it | names only | names only |\n| `src/a/b` | it | no | no |\n",
                ),
                ("src/a.rs", "use crate::{network, store};\n"),
                ("src/a/b.rs", "use crate::store;\n"),
            ],
            &[
                (PAGE, "## Map\n| `src/a` | it | yes | no |\n"),
                ("src/a.rs", "use crate::network;\n"),
            ],
            &[
                (PAGE, "## Map\n| `src/a` | it | no | names only |\n"),
                ("src/a.rs", "use crate::network_of::x;\n"),
            ],
            &[
                (PAGE, "## Map\n| `src/a` | it | no | perhaps |\n"),
                ("src/a.rs", ""),
            ],
        ],
        good: &[&[
            (
                PAGE,
                concat!(
                    "| `src/a` | before it | no | no |\n## Map\n| place | what | libp2p | PostgreSQL |\n|---|---|---|---|\n",
                    "| `src/{a,c}*` (the rest) | it | no | no |\n| `src/a/b`, `src/a/d` | it | names only | yes |\n",
                    "| `tests/x` | it | | |\n## More\n| `src/a` | after it | yes | yes |\n"
                ),
            ),
            (
                "src/a.rs",
                concat!(
                    "//! Knows no libp2p.\nlet a = \"libp2p\";\n#[cfg(test)]\n",
                    "mod tests {\n    use libp2p::PeerId;\n}\n"
                ),
            ),
            ("src/c/x.rs", "use crate::a;\n"),
            ("src/a/b.rs", "use tokio_postgres::Client;\n"),
            ("src/a/d.rs", "fn f(p: libp2p::PeerId) {}\n"),
            ("src/a/tests.rs", "use crate::store;\n"),
            ("src/lib.rs", "mod a;\n"),
            ("src/main.rs", ""),
        ]],
    },
    Rule {
        name: "modules and files that a page names are there",
        check: names,
        bad: &[
            &[
                (PAGE, "see `a::b`\n"),
                ("src/a.rs", "// b\nfn bc() {}\n"),
                ("src/b.rs", ""),
            ],
            &[
                ("README.md", "see `a::b::c::d`\n"),
                ("src/a.rs", "mod b;\n"),
                ("src/a/b.rs", "fn d() {}\n"),
            ],
            &[("docs/a.md", "see `b/c.rs`\n"), ("src/b/cc.rs", "")],
        ],
        good: &[
            &[
                (
                    PAGE,
                    "`a::b::c`, `a::D`, `a::b`, `x::y`, `a: b`, `std::fmt`, `b.rs`, `a/b.rs`, `{a,b}/c.rs`, `t::of`\n",
                ),
                ("src/a.rs", "mod b;\npub use b::D;\n"),
                ("src/a/b.rs", "fn c() {}\n"),
                ("src/t.rs", ""),
                ("tests/main/t.rs", "fn of() {}\n"),
            ],
            &[
                ("CHANGELOG.md", "`a::gone`\n"),
                ("src/a.rs", ""),
                ("docs/interface.md", "`a::a_test_of_the_store`\n"),
            ],
        ],
    },
];

/// A column of the map.
struct Column {
    /// What is known.
    what: &'static str,
    crates: &'static [&'static str],
    /// The parts of ours that stand for it.
    parts: &'static [&'static str],
}

const COLUMNS: [Column; 2] = [
    Column {
        what: "libp2p",
        crates: &["libp2p"],
        parts: &["network", "discovery"],
    },
    Column {
        what: "PostgreSQL",
        crates: &["tokio_postgres", "postgres_protocol"],
        parts: &["store", "replication", "postgres"],
    },
];

/// What a file, or all of a place, knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Knows {
    Nothing,
    /// A part of ours that stands for it.
    Names,
    /// The crate itself.
    Crate,
}

/// A row of the map.
struct Row<'a> {
    line: &'a str,
    /// Paths of files without the ending, or of folders.
    places: Vec<String>,
    /// By column.
    cells: [&'a str; 2],
}

fn map(tree: &Tree) -> Vec<String> {
    let rows = rows(tree.get(PAGE).map_or("", String::as_str));
    let mut found = Vec::new();
    let mut known = vec![[Knows::Nothing; 2]; rows.len()];
    for (path, text) in tree {
        let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
        let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        if !in_source(path) || !has_extension(path, "rs") || is_test || is_root {
            continue;
        }
        let Some(at) = row_of(&rows, path) else {
            found.push(format!("{path}: has no row in the map"));
            continue;
        };
        let code = without_comments(text.split(TESTS).next().unwrap_or_default());
        for (place, column) in COLUMNS.iter().enumerate() {
            let knows = knowledge(path, &code, column);
            if rows[at].cells[place] == "no" && knows > Knows::Nothing {
                found.push(format!("{path}: may not know {}", column.what));
            }
            known[at][place] = known[at][place].max(knows);
        }
    }
    for (row, known) in rows.iter().zip(known) {
        for (cell, knows) in row.cells.into_iter().zip(known) {
            let holds = match cell {
                "yes" => knows == Knows::Crate,
                "names only" => knows > Knows::Nothing,
                // Of what is not in the program nothing is said. "no" was looked at above.
                "no" | "" => true,
                _ => false,
            };
            if !holds {
                found.push(format!("{PAGE}: `{cell}` does not hold: {}", row.line));
            }
        }
    }
    found
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let lines = page.lines().skip_while(|line| *line != "## Map").skip(1);
    let lines = lines.take_while(|line| !line.starts_with("## "));
    lines.filter_map(row).collect()
}

fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let ["", place, _, first, second, ""] = cells[..] else {
        return None;
    };
    let names = place.split('`').skip(1).step_by(2);
    let places = names.flat_map(|name| expanded(name.trim_end_matches('*')));
    Some(Row {
        line,
        places: places.collect(),
        cells: [first, second],
    })
    .filter(|row| !row.places.is_empty())
}

/// The row of the longest place that holds the file.
fn row_of(rows: &[Row<'_>], path: &str) -> Option<usize> {
    let holds = |place: &&String| {
        path.strip_prefix(place.as_str())
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    let places = rows.iter().enumerate().filter_map(|(at, row)| {
        let lengths = row.places.iter().filter(holds).map(String::len);
        Some((lengths.max()?, at))
    });
    places.max().map(|(_, at)| at)
}

fn knowledge(path: &str, code: &str, column: &Column) -> Knows {
    let names = |name: &&str| has_word(code, &format!("{name}::"));
    if column.crates.iter().any(names) {
        return Knows::Crate;
    }
    let modules = named_modules(code);
    // A protocol's crate has modules of its own, whatever they are called.
    if path.starts_with("src/") && column.parts.iter().any(|part| modules.contains(part)) {
        Knows::Names
    } else {
        Knows::Nothing
    }
}

fn names(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree {
        // What was is in the one; the other names tests, and has a test of its own.
        let is_exempt = path.ends_with("CHANGELOG.md") || path == "docs/interface.md";
        if !has_extension(path, "md") || is_exempt {
            continue;
        }
        for line in prose(text) {
            let code = line.split('`').skip(1).step_by(2);
            let gone = code.filter(|name| !is_there(tree, name));
            found.extend(gone.map(|name| format!("{path}: there is no `{name}`")));
        }
    }
    found
}

/// Whether a module, what it holds, or a file is there. Anything else passes.
fn is_there(tree: &Tree, name: &str) -> bool {
    let is_path = name.chars().all(|c| is_word(c) || "./-".contains(c));
    if is_path && name.contains('/') && [".rs", ".sql"].iter().any(|end| name.ends_with(end)) {
        let end = format!("/{name}");
        return tree.contains_key(name) || tree.keys().any(|path| path.ends_with(&end));
    }
    let parts: Vec<&str> = name.split("::").collect();
    let are_words = parts
        .iter()
        .all(|part| !part.is_empty() && part.chars().all(is_word));
    let is_module = tree.contains_key(&format!("src/{}.rs", parts[0]));
    if parts.len() < 2 || !are_words || !is_module {
        return true;
    }
    // A test is named as what it is about.
    ["src", "tests/main"]
        .iter()
        .any(|folder| holds(tree, folder, &parts))
}

/// Whether the modules below `folder` lead to the last of these names, or to a module that has the next one.
fn holds(tree: &Tree, folder: &str, parts: &[&str]) -> bool {
    let mut module = folder.to_owned();
    let mut text: Option<&String> = None;
    for part in parts {
        module = format!("{module}/{part}");
        match (tree.get(&format!("{module}.rs")), text) {
            (Some(below), _) => text = Some(below),
            (None, Some(text)) => return has_word(&without_comments(text), part),
            (None, None) => return false,
        }
    }
    true
}
