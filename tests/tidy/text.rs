//! Rules about any text.

use std::collections::BTreeSet;

use crate::{LINES_601, Rule, Tree, each_line, has_extension, has_word, in_source, is_word};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "production files fit in a head: 600 lines at most",
        check: long_files,
        bad: &[
            &[("src/a.rs", LINES_601)],
            &[("src/store/definitions/a.sql", LINES_601)],
        ],
        good: &[&[("tests/a.rs", LINES_601), ("src/a/tests.rs", LINES_601)]],
    },
    Rule {
        name: "nothing is left to do later",
        check: markers,
        bad: &[
            &[("src/a.rs", concat!("// TO", "DO: think\n"))],
            &[("a.sh", concat!("echo FIX", "ME\n"))],
            &[("src/a.rs", concat!("fn f() { unimple", "mented!() }\n"))],
            &[("src/a.rs", concat!("#[ign", "ore]\n#[test]\n"))],
            &[("src/a.rs", concat!("#[ign", "ore = \"slow\"]\n"))],
        ],
        good: &[&[
            ("a.sh", "mktemp -d /tmp/a.XXXXXX\n"),
            ("a.rs", "let mastodon = todos;\n"),
        ]],
    },
    Rule {
        name: "text has clean line ends",
        check: line_ends,
        bad: &[
            &[("a.md", "a \n")],
            &[("a.rs", "a\t\n")],
            &[("a.sh", "a")],
            &[("a.toml", "a\r\n")],
        ],
        good: &[&[("a.md", "a\n\nb\n"), ("empty", "")]],
    },
    Rule {
        name: "nothing depends on one machine",
        check: machines,
        bad: &[
            &[("a.sh", concat!("cd /wo", "rk/starling\n"))],
            &[(
                "src/a.rs",
                concat!("const P: &str = \"/ho", "me/someone/data\";\n"),
            )],
            &[("a.md", concat!("see `/ro", "ot/.cargo`\n"))],
            &[("Dockerfile", concat!("RUN echo deb.deb", "ian.org\n"))],
            &[(
                "Cargo.lock",
                "source = \"registry+https://mirror.example/index\"\n",
            )],
        ],
        good: &[&[
            (
                "a.md",
                "https://example.org/work/a and ./root/b and under/home/c\n",
            ),
            (
                "Cargo.lock",
                "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
            ),
        ]],
    },
    Rule {
        name: "scripts stop at the first failure",
        check: scripts,
        bad: &[
            &[("a.sh", "#!/bin/sh\necho\n")],
            &[(".ci/run", "set -eu\n")],
        ],
        good: &[&[
            ("a.sh", "#!/bin/sh\nset -eu\n"),
            (".ci/run", "#!/usr/bin/env bash\nset -euo pipefail\n"),
        ]],
    },
    Rule {
        name: "the top level is the designed one",
        check: top_level,
        bad: &[
            &[("scripts/a.sh", "")],
            &[("NOTES.md", "")],
            &[(".cargo/config.toml", "")],
        ],
        good: &[&[("src/lib.rs", ""), ("README.md", ""), (".ci/run", "")]],
    },
    Rule {
        name: "each protocol rule that a comment names has a text",
        check: numbered_rules,
        bad: &[
            &[("protocols/a/src/b.rs", "// (R3)\n")],
            &[
                ("protocols/a/src/b.rs", "/// R4 to R6.\n"),
                ("protocols/a/src/rules.md", "## R4\n\n## R60\n"),
            ],
            &[
                ("protocols/a/src/b.rs", "let a = 1; // (R3)\n"),
                ("protocols/a/src/rules.md", "About R3.\n"),
            ],
        ],
        good: &[
            &[
                ("protocols/a/src/b.rs", "//! Why (R3, R4).\nlet r = R5;\n"),
                ("protocols/a/src/rules.md", "## R3\n"),
                ("protocols/b/src/rules.md", "## R4\n"),
            ],
            &[("src/b.rs", "// R3\n")],
        ],
    },
];

/// In whichever of the protocols' pages of rules.
fn numbered_rules(tree: &Tree) -> Vec<String> {
    let pages = tree
        .iter()
        .filter(|(path, _)| path.starts_with("protocols/") && path.ends_with("/rules.md"));
    let known: BTreeSet<&str> = pages
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let is_rule = |word: &&str| {
        word.strip_prefix('R').is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
        })
    };
    each_line(tree, |path, line| {
        let is_source = path.starts_with("protocols/") && has_extension(path, "rs");
        let (_, comment) = line.split_once("//").filter(|_| is_source)?;
        let mut words = comment.split(|letter: char| !letter.is_alphanumeric());
        let unknown = words.find(|word| is_rule(word) && !known.contains(word))?;
        Some(format!("`{unknown}` is in no rules.md"))
    })
}

fn long_files(tree: &Tree) -> Vec<String> {
    let production = |path: &str| {
        let test = path.contains("/tests/") || path.ends_with("tests.rs");
        (has_extension(path, "rs") || has_extension(path, "sql")) && in_source(path) && !test
    };
    tree.iter()
        .filter(|(path, _)| production(path))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect()
}

fn markers(tree: &Tree) -> Vec<String> {
    const WORDS: [&str; 7] = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("HA", "CK"),
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("#[ign", "ore"),
    ];
    each_line(tree, |_, line| {
        WORDS
            .into_iter()
            .find(|word| has_word(line, word))
            .map(|word| format!("`{word}`"))
    })
}

fn line_ends(tree: &Tree) -> Vec<String> {
    let mut found = each_line(tree, |_, line| {
        (line.trim_end() != line).then(|| "white space at the end of the line".to_owned())
    });
    let cut = tree
        .iter()
        .filter(|(_, text)| !text.is_empty() && !text.ends_with('\n'));
    found.extend(cut.map(|(path, _)| format!("{path}: no newline at the end")));
    found
}

fn machines(tree: &Tree) -> Vec<String> {
    const FOLDERS: [&str; 3] = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    /// Homebrew's folder on every Linux machine.
    const EVERYWHERE: &str = concat!("/ho", "me/linuxbrew/");
    const HOSTS: [&str; 7] = [
        concat!("deb.deb", "ian.org"),
        concat!("snapshot.deb", "ian.org"),
        concat!("index.cra", "tes.io"),
        concat!("static.cra", "tes.io"),
        concat!("registry.npm", "js.org"),
        concat!("py", "pi.org"),
        concat!("proxy.go", "lang.org"),
    ];
    const INDEX: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    each_line(tree, |path, line| {
        if path == "Cargo.lock" {
            return (line.starts_with("source = ") && line != INDEX).then(|| line.to_owned());
        }
        let absolute = |folder: &&str| {
            line.match_indices(*folder).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| is_word(c) || "./-~}$".contains(c))
                    && !line[at..].starts_with(EVERYWHERE)
            })
        };
        let host = || HOSTS.into_iter().find(|host| line.contains(host));
        FOLDERS
            .into_iter()
            .find(absolute)
            .or_else(host)
            .map(|what| format!("`{what}`"))
    })
}

fn scripts(tree: &Tree) -> Vec<String> {
    tree.iter()
        .filter(|(path, _)| has_extension(path, "sh") || *path == ".ci/run")
        .filter(|(_, text)| !(text.starts_with("#!") && text.contains("\nset -eu")))
        .map(|(path, _)| format!("{path}: needs `#!` and `set -eu`"))
        .collect()
}

fn top_level(tree: &Tree) -> Vec<String> {
    const DESIGNED: &[&str] = &[
        "Cargo.toml",
        "src",
        "protocols",
        "deployment",
        "docs",
        "findings",
        "examples",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "Makefile",
        "benches",
        "clippy.toml",
        "deny.toml",
        "rustfmt.toml",
        "tests",
        ".ci",
        ".config",
        ".dockerignore",
        ".gitignore",
    ];
    let names: BTreeSet<&str> = tree
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    let foreign = names.into_iter().filter(|name| !DESIGNED.contains(name));
    foreign
        .map(|name| format!("{name}: is not part of the top level"))
        .collect()
}
