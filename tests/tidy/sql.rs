//! Rules about the store's SQL.

use std::collections::BTreeSet;

use crate::{Rule, Tree, each_line, has_extension, has_word, is_word};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "every SQL function whose body is text pins its search_path, to what the guard tells it by",
        check: search_paths,
        bad: &[
            &[(
                "src/store/definitions/a.sql",
                "create or replace function crdv.f() returns int\n  language sql as $$ select 1 $$;\n",
            )],
            &[(
                "src/store/migrations/0001-a.sql",
                "create procedure crdv.f() language plpgsql\nas $b$ begin set search_path = x; end $b$;\n",
            )],
            &[(
                "src/store/definitions/a.sql",
                "create function crdv.f() -- set search_path\n  returns int language sql as 'set search_path';\n",
            )],
            &[(
                "src/store/definitions/a.sql",
                "create function crdv.write_all() returns int language plpgsql as $$ begin end $$;\n",
            )],
            &[(
                "src/store/definitions/a.sql",
                "create function crdv.f() returns int language sql set search_path = pg_catalog as $$ select 1 $$;\n",
            )],
        ],
        good: &[
            &[(
                "src/store/definitions/a.sql",
                "-- create function x\ncreate or replace function crdv.f() returns int language sql\n  set search_path = pg_catalog, pg_temp as $$ select 1; create function $$;\nselect 1;\n",
            )],
            &[(
                "src/store/definitions/a.sql",
                "create function crdv.write() returns int language plpgsql as $$ begin end $$;\n",
            )],
            &[(
                "src/store/definitions/a.sql",
                "create function crdv.f() returns int language sql\nreturn 1;\ncreate function crdv.g() returns int\nbegin atomic select 1; end;\n",
            )],
            &[(
                "src/store/migrations/tests/0001-a.sql",
                "create function pg_temp.f() returns int;\n",
            )],
        ],
    },
    Rule {
        name: "what a statement returns names no row of a trigger: since version 18 it has rows of these names itself",
        check: returned_rows,
        bad: &[
            &[(
                "src/store/definitions/a.sql",
                "$$ delete from crdv.a e returning e.b = new.b; $$\n",
            )],
            &[(
                "src/store/definitions/a.sql",
                "$$ for x in delete from crdv.a e\n  returning e.b,\n    old.b\n  loop $$\n",
            )],
        ],
        good: &[&[(
            "src/store/definitions/a.sql",
            "$$ for x in delete from crdv.a e where e.b = new.b\n  returning e.b -- new.b\n  loop y := x = new.b; end loop; $$\n",
        )]],
    },
    Rule {
        name: "SQL keywords are lower-case",
        check: sql_case,
        bad: &[
            &[("src/store/definitions/a.sql", "SELECT 1;\n")],
            &[(
                "src/store/definitions/a.sql",
                "do $$\nBEGIN perform 1; end $$;\n",
            )],
        ],
        good: &[&[(
            "src/store/definitions/a.sql",
            "-- INSERT only\nselect 'INSERT', \"FROM\" /* WHERE */;\n",
        )]],
    },
    Rule {
        name: "each file of definitions is in the list that says their order",
        check: definitions,
        bad: &[
            &[
                ("src/store/definitions/core/a.sql", ""),
                (LIST, "\"core/b\",\n"),
            ],
            &[("src/store/definitions/a.sql", ""), (LIST, "\"a\",\n")],
        ],
        good: &[&[
            ("src/store/definitions/core/a.sql", ""),
            (LIST, "    \"core/a\",\n"),
        ]],
    },
    Rule {
        name: "migrations are numbered without gaps, and each has its twin",
        check: migrations,
        bad: &[
            &[("src/store/migrations/0001-a.sql", "")],
            &[
                ("src/store/migrations/0002-a.sql", ""),
                ("src/store/migrations/tests/0002-a.sql", ""),
            ],
            &[("src/store/migrations/tests/0001-a.sql", "")],
            &[
                ("src/store/migrations/a.sql", ""),
                ("src/store/migrations/tests/a.sql", ""),
            ],
        ],
        good: &[&[
            ("src/store/migrations/0001-a.sql", ""),
            ("src/store/migrations/0002-b.sql", ""),
            ("src/store/migrations/tests/0001-a.sql", ""),
            ("src/store/migrations/tests/0002-b.sql", ""),
        ]],
    },
];

/// Has the definitions in their order.
const LIST: &str = "src/store/schema.rs";

/// Called only by functions that pin it, or by apply workers, whose path is empty. Pinning costs them up to
/// a tenth of what they take, for each operation.
const UNDER_THEIR_CALLERS_PATH: [&str; 2] = ["crdv.write(", "crdv.apply("];

/// The trigger `guard_delete` knows our functions by this very text.
const PATH: &str = "set search_path = pg_catalog, pg_temp";

fn search_paths(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in store_sql(tree) {
        let code = without_literals(text, true);
        let mut end = 0;
        for statement in code.split(';') {
            let start = end + statement.len() - statement.trim_start().len();
            end += statement.len() + 1;
            let words: Vec<&str> = statement.split_whitespace().take(4).collect();
            let routine = |word: &&str| ["function", "procedure"].contains(word);
            let creates = words.first() == Some(&"create")
                && words.get(1).into_iter().chain(words.get(3)).any(routine);
            // Names in a body of SQL proper are bound once, when it is defined; a body that is text is
            // read again in every session, with that session's path.
            let bound = has_word(statement, "return") || statement.contains("begin atomic");
            let exempt = (UNDER_THEIR_CALLERS_PATH.iter()).any(|name| statement.contains(name));
            if creates && !bound && !exempt && !statement.contains(PATH) {
                let line = 1 + code[..start].matches('\n').count();
                found.push(format!("{path}:{line}: a function without `{PATH}`"));
            }
        }
    }
    found
}

fn sql_case(tree: &Tree) -> Vec<String> {
    const KEYWORDS: [&str; 14] = [
        "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "FROM", "WHERE",
        "BEGIN", "END", "RETURN", "NULL", "SET",
    ];
    let code = store_sql(tree)
        .map(|(path, text)| (path.clone(), without_literals(text, false)))
        .collect();
    each_line(&code, |_, line| {
        KEYWORDS
            .into_iter()
            .find(|word| has_word(line, word))
            .map(|word| format!("`{word}`"))
    })
}

fn returned_rows(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in store_sql(tree) {
        let code = without_literals(text, false);
        let mut is_returned = false;
        for (line, number) in code.split('\n').zip(1..) {
            for word in
                line.split_inclusive(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
            {
                match word.trim() {
                    "returning" => is_returned = true,
                    "new." | "old." if is_returned => {
                        found.push(format!("{path}:{number}: `{word}`"));
                    }
                    // The list is over.
                    "loop" | "into" => is_returned = false,
                    word if word.ends_with(';') => is_returned = false,
                    _ => {}
                }
            }
        }
    }
    found
}

fn store_sql(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.iter().filter(|(path, _)| {
        path.starts_with("src/store/") && has_extension(path, "sql") && !path.contains("/tests/")
    })
}

/// SQL without comments and quoted text, and on demand without function bodies; newlines stay.
fn without_literals(sql: &str, and_bodies: bool) -> String {
    let mut code = String::new();
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        let dollar = dollar_quote(rest);
        let skipped = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if next == '\'' || next == '"' {
            rest[1..].find(next).map_or(rest.len(), |at| at + 2)
        } else if let Some(quote) = dollar {
            let end = rest[quote.len()..]
                .find(quote)
                .map_or(rest.len(), |at| at + 2 * quote.len());
            if and_bodies { end } else { quote.len() }
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        code.push(' ');
        code.extend(rest[..skipped].matches('\n'));
        rest = &rest[skipped..];
    }
    code
}

/// `$$` or `$name$` at the start.
fn dollar_quote(text: &str) -> Option<&str> {
    let name = text.strip_prefix('$')?;
    let end = name.find(|c: char| !is_word(c))?;
    let quote = name[end..].starts_with('$') && !name.starts_with(|c: char| c.is_ascii_digit());
    quote.then(|| &text[..end + 2])
}

fn definitions(tree: &Tree) -> Vec<String> {
    let list = tree.get(LIST).map_or("", String::as_str);
    let files = tree.keys().filter_map(|path| {
        path.strip_prefix("src/store/definitions/")?
            .strip_suffix(".sql")
    });
    let astray = files.filter_map(|name| {
        if !name.contains('/') {
            return Some(format!("{name}.sql: is in no folder of definitions"));
        }
        let is_listed = list.contains(&format!("\"{name}\","));
        (!is_listed).then(|| format!("{name}.sql: is not in {LIST}"))
    });
    astray.collect()
}

fn migrations(tree: &Tree) -> Vec<String> {
    let named = |folder: &str| -> BTreeSet<&str> {
        tree.keys()
            .filter_map(|path| path.strip_prefix(folder))
            .filter(|name| !name.contains('/') && has_extension(name, "sql"))
            .collect()
    };
    let steps = named("src/store/migrations/");
    let twins = named("src/store/migrations/tests/");
    let unnumbered = steps.iter().enumerate().filter_map(|(at, step)| {
        let number = format!("{:04}-", at + 1);
        (!step.starts_with(&number)).then(|| format!("{step}: expected {number}"))
    });
    let single = steps
        .symmetric_difference(&twins)
        .map(|name| format!("{name}: has no twin"));
    unnumbered.chain(single).collect()
}
