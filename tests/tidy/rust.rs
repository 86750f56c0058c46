//! Rules about the program: who knows whom, and what modules are called.

use std::collections::BTreeSet;

use crate::{Rule, Tree, each_line, has_extension, has_word, in_source, is_word};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "the parts know only what they may know",
        check: arrows,
        bad: &[
            &[("src/store.rs", "use libp2p::PeerId;\n")],
            &[(
                "src/discovery.rs",
                "use crate::{\n    identity::{Site, store},\n    store::{Client},\n};\n",
            )],
            &[("src/replication/plan.rs", "fn f(p: &libp2p::PeerId) {}\n")],
            &[("src/postgres/ready.rs", "use crate::network::Handle;\n")],
            &[("src/network.rs", "use tokio_postgres::Client;\n")],
            &[("src/discovery/mdns.rs", "use crate::{store, identity};\n")],
            &[(
                "protocols/hyparview/src/lib.rs",
                "use tokio_postgres as pg;\n",
            )],
            &[(
                "protocols/hyparview/Cargo.toml",
                "deadpool-postgres = \"0.14\"\n",
            )],
        ],
        good: &[
            &[(
                "src/node.rs",
                "use libp2p::PeerId;\nuse crate::{network, store};\n",
            )],
            &[(
                "src/store.rs",
                "//! Knows nothing of libp2p.\nuse crate::identity;\n",
            )],
            &[(
                "src/network/routing.rs",
                "use crate::{identity::{NodeId, store}, api};\nlet store = 1;\n",
            )],
        ],
    },
    Rule {
        name: "an error of the driver is kept as one that says what the server said",
        check: driver_errors,
        bad: &[
            &[(
                "src/store/error.rs",
                "    Lost {\n        source: tokio_postgres::Error,\n    },\n",
            )],
            &[("src/a.rs", "    Lost(#[source] tokio_postgres::Error),\n")],
        ],
        good: &[
            &[(
                "src/driver.rs",
                "pub struct DriverError(tokio_postgres::Error);\n",
            )],
            &[(
                "src/a.rs",
                "fn f(error: tokio_postgres::Error) -> Error {}\n    cause: DriverError,\n",
            )],
            &[("tests/main/a.rs", "    error: tokio_postgres::Error,\n")],
        ],
    },
    Rule {
        name: "what a file uses of one crate stands in one statement",
        check: uses,
        bad: &[
            &[(
                "src/a.rs",
                "use std::fmt;\nuse std::{\n    io,\n    sync::Arc,\n};\n",
            )],
            &[(
                "tests/main/a.rs",
                "use super::b;\nuse crate::c;\nuse super::d;\n",
            )],
        ],
        good: &[&[(
            "src/a.rs",
            "use std::{fmt, io};\n\nuse super::b;\npub use super::c;\n\nmod tests {\n    use super::d;\n}\n",
        )]],
    },
    Rule {
        name: "modules are files named by what they hold",
        check: module_names,
        bad: &[
            &[("src/store/mod.rs", "")],
            &[("src/utils.rs", "")],
            &[("protocols/hyparview/src/common/a.rs", "")],
            &[("src/a.rs", "pub(crate) mod helpers {\n")],
        ],
        good: &[&[
            ("src/store.rs", "mod clock;\n"),
            ("src/api.rs", "// misc types\n"),
        ]],
    },
    Rule {
        name: "every module is compiled",
        check: orphans,
        bad: &[
            &[("src/lib.rs", "pub mod b;\n"), ("src/a.rs", "")],
            &[
                ("src/lib.rs", "mod a;\n"),
                ("src/a.rs", "// mod b;\n"),
                ("src/a/b.rs", ""),
            ],
        ],
        good: &[&[
            ("src/lib.rs", "mod a;\n"),
            ("src/a.rs", "pub(crate) mod b;\n"),
            ("src/a/b.rs", ""),
            ("src/main.rs", ""),
            ("tests/main.rs", ""),
        ]],
    },
];

fn arrows(tree: &Tree) -> Vec<String> {
    const STORE_SIDE: &[&str] = &["src/store", "src/replication", "src/postgres"];
    const NETWORK_SIDE: &[&str] = &["src/network", "src/discovery"];
    const ARROWS: &[(&[&str], &[&str], &[&str])] = &[
        // Who, the crates it may not name, the modules of ours it may not name.
        (
            STORE_SIDE,
            &["libp2p", "hyparview"],
            &["network", "discovery", "node"],
        ),
        (
            NETWORK_SIDE,
            &["tokio_postgres", "deadpool_postgres", "deadpool"],
            &["store", "replication", "postgres", "node"],
        ),
        (
            &["protocols"],
            &[
                "tokio_postgres",
                "deadpool_postgres",
                "deadpool",
                "starling",
            ],
            &[],
        ),
    ];
    let belongs = |path: &str, part: &str| {
        path.strip_prefix(part)
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    let mut found = Vec::new();
    for (path, text) in tree {
        let manifest = path.ends_with("Cargo.toml");
        if !(manifest || has_extension(path, "rs")) {
            continue;
        }
        let code = without_comments(&if manifest {
            text.replace('-', "_")
        } else {
            text.clone()
        });
        let modules = named_modules(&code);
        for (who, crates, forbidden) in ARROWS {
            if !who.iter().any(|part| belongs(path, part)) {
                continue;
            }
            let crates = crates.iter().filter(|name| has_word(&code, name));
            let modules = forbidden.iter().filter(|name| modules.contains(*name));
            found.extend(
                crates
                    .chain(modules)
                    .map(|name| format!("{path}: may not know `{name}`")),
            );
        }
    }
    found
}

/// A field or variant of the driver's type, which prints as "db error".
fn driver_errors(tree: &Tree) -> Vec<String> {
    each_line(tree, |path, line| {
        let line = line.trim();
        let is_kept = line.ends_with(": tokio_postgres::Error,")
            || line.ends_with(" tokio_postgres::Error),")
            || line.ends_with("(tokio_postgres::Error),");
        (in_source(path) && is_kept && path != "src/driver.rs")
            .then(|| "keep a crate::driver::DriverError".to_owned())
    })
}

/// Without lines that are comments.
pub(crate) fn without_comments(code: &str) -> String {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules of ours that are named: `a` and `b` in `crate::a` and `crate::{a, b::{c, d}}`.
pub(crate) fn named_modules(code: &str) -> BTreeSet<&str> {
    let word = |text: &'_ str| text.find(|c| !is_word(c)).unwrap_or(text.len());
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(&rest[..word(rest)]);
            continue;
        };
        let (mut depth, mut at) = (1, 0);
        let mut first = true;
        while let Some(next) = list[at..].chars().next().filter(|_| depth > 0) {
            match next {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => first = true,
                _ if first && is_word(next) => {
                    let end = at + word(&list[at..]);
                    names.insert(&list[at..end]);
                    first = false;
                }
                _ => {}
            }
            at += next.len_utf8();
        }
    }
    names
}

fn uses(tree: &Tree) -> Vec<String> {
    let rust = tree.iter().filter(|(path, _)| has_extension(path, "rs"));
    rust.flat_map(|(path, text)| {
        let mut roots = BTreeSet::new();
        // A statement of a module inside is indented, and one that is made public is another matter.
        let used = text.lines().filter_map(|line| line.strip_prefix("use "));
        let twice = used.filter_map(move |used| {
            let root = used.split(|c| !is_word(c)).next()?;
            (!roots.insert(root)).then(|| format!("{path}: uses `{root}` in a second statement"))
        });
        twice.collect::<Vec<_>>()
    })
    .collect()
}

fn module_names(tree: &Tree) -> Vec<String> {
    const BUCKETS: [&str; 5] = ["utils", "common", "types", "helpers", "misc"];
    let rust = tree.keys().filter(|path| has_extension(path, "rs"));
    let files = rust.filter_map(|path| {
        let mut parts = path.trim_end_matches(".rs").split('/');
        parts
            .find(|part| *part == "mod" || BUCKETS.contains(part))
            .map(|part| format!("{path}: `{part}` says nothing"))
    });
    let inline = each_line(tree, |path, line| {
        let module = has_extension(path, "rs")
            .then(|| declared_module(line))
            .flatten()?;
        BUCKETS
            .contains(&module)
            .then(|| format!("`{module}` says nothing"))
    });
    files.chain(inline).collect()
}

fn orphans(tree: &Tree) -> Vec<String> {
    let declared = |parent: &str, module: &str| {
        tree.get(parent).is_some_and(|text| {
            text.lines()
                .any(|line| declared_module(line) == Some(module))
        })
    };
    tree.keys()
        .filter(|path| has_extension(path, "rs") && in_source(path) && !path.contains("/bin/"))
        .filter(|path| {
            let (folder, module) = path
                .trim_end_matches(".rs")
                .rsplit_once('/')
                .unwrap_or_default();
            let root = folder == "src" || folder.ends_with("/src");
            let parents = if root {
                vec![format!("{folder}/lib.rs"), format!("{folder}/main.rs")]
            } else {
                vec![format!("{folder}.rs")]
            };
            let entry = root && ["lib", "main"].contains(&module);
            !entry && !parents.iter().any(|parent| declared(parent, module))
        })
        .map(|path| format!("{path}: no `mod` declares it"))
        .collect()
}

/// The name in `mod name;` or `pub(crate) mod name {`.
fn declared_module(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = if line.starts_with("pub") {
        line.split_once(' ')?.1
    } else {
        line
    };
    let name = rest
        .strip_prefix("mod ")?
        .split(|c: char| !is_word(c))
        .next()?;
    (!name.is_empty()).then_some(name)
}
