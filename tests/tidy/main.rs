//! Style that the compiler cannot check.
//!
//! A rule looks at the whole tree and names every place that breaks it. It cannot be written down
//! without samples: files that it must complain about, and files that it must leave alone. What would
//! make this very file untidy is spelt in two halves.

mod contracts;
mod imports;
mod log;
mod map;
mod markdown;
mod rust;
mod sql;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Every file of the tree, by its path from the top, with `/` between the parts.
type Tree = BTreeMap<String, String>;

/// A few files, for a sample.
type Sample = &'static [(&'static str, &'static str)];

struct Rule {
    name: &'static str,
    check: fn(&Tree) -> Vec<String>,
    /// Each must be complained about.
    bad: &'static [Sample],
    /// Each must be left alone.
    good: &'static [Sample],
}

const RULES: [&[Rule]; 8] = [
    rust::RULES,
    imports::RULES,
    map::RULES,
    sql::RULES,
    text::RULES,
    markdown::RULES,
    log::RULES,
    contracts::RULES,
];

fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.into_iter().flatten()
}

#[test]
fn the_tree_is_tidy() {
    let tree = read_tree(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(
        tree.contains_key("tests/tidy/main.rs"),
        "the tree was not read: {:?}",
        tree.keys()
    );
    let found: Vec<String> = rules()
        .flat_map(|rule| {
            (rule.check)(&tree)
                .into_iter()
                .map(|at| format!("{at} ({})", rule.name))
        })
        .collect();
    assert!(found.is_empty(), "not tidy:\n{}", found.join("\n"));
}

#[test]
fn every_rule_sees_what_it_is_for() {
    for rule in rules() {
        assert!(
            !rule.bad.is_empty() && !rule.good.is_empty(),
            "{}: no samples",
            rule.name
        );
        for sample in rule.bad {
            let found = (rule.check)(&planted(sample));
            assert!(!found.is_empty(), "{}: missed {sample:?}", rule.name);
        }
    }
}

#[test]
fn no_rule_complains_without_reason() {
    for rule in rules() {
        for sample in rule.good {
            assert_eq!((rule.check)(&planted(sample)), [""; 0], "{}", rule.name);
        }
    }
}

/// Stands for a file of 601 lines in a sample.
const LINES_601: &str = "601 lines";

fn planted(sample: Sample) -> Tree {
    let text = |text: &str| {
        if text == LINES_601 {
            "\n".repeat(601)
        } else {
            text.to_owned()
        }
    };
    sample
        .iter()
        .map(|(path, content)| ((*path).to_owned(), text(content)))
        .collect()
}

/// Reads what is not ignored. Only plain names are known of what `.gitignore` can say; it uses no more.
fn read_tree(top: &Path) -> Tree {
    let ignored = fs::read_to_string(top.join(".gitignore")).expect(".gitignore");
    let ignored: BTreeSet<&str> = ignored
        .lines()
        .map(|line| line.trim_matches('/'))
        .chain([".git"])
        .collect();
    let mut tree = Tree::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name in UTF-8");
            if ignored.contains(name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("a readable file");
                let from_top = path.strip_prefix(top).expect("below the top");
                let from_top = from_top
                    .to_str()
                    .expect("a path in UTF-8")
                    .replace('\\', "/");
                // A picture has a path to check, but no text.
                tree.insert(from_top, String::from_utf8(bytes).unwrap_or_default());
            }
        }
    }
    tree
}

/// What `complain` says of each line, with the place before it.
fn each_line(tree: &Tree, complain: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree {
        let lines = text.split('\n').zip(1..);
        found.extend(lines.filter_map(|(line, number)| {
            complain(path, line).map(|complaint| format!("{path}:{number}: {complaint}"))
        }));
    }
    found
}

fn in_source(path: &str) -> bool {
    path.starts_with("src/") || (path.starts_with("protocols/") && path.contains("/src/"))
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let joined = |next: Option<char>| next.is_some_and(is_word);
        let ends_open = !word.ends_with(is_word);
        !joined(line[..at].chars().next_back())
            && (ends_open || !joined(line[at + word.len()..].chars().next()))
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
