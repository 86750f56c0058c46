//! Rules about what the log says.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Rule, Tree, has_extension, in_source, is_word};

/// The table of all that the log warns of.
const TABLE: &str = "docs/observability.md";

pub(crate) const RULES: &[Rule] = &[Rule {
    name: "docs/observability.md has a row for each warning and error, and for nothing else",
    check: table,
    bad: &[
        &[
            (
                "src/a.rs",
                "fn f() { tracing::warn!(%error, \"it broke\"); }\n",
            ),
            (TABLE, "| message | meaning | where |\n|---|---|---|\n"),
        ],
        &[
            ("src/a.rs", ""),
            (TABLE, "| `it broke` | it broke | `warnings` |\n"),
        ],
        &[
            ("src/a.rs", "fn f() { error!(\"it broke\"); }\n"),
            (TABLE, "| `it broke` | it broke | nowhere |\n"),
        ],
        &[
            ("src/a.rs", "fn f() { error!(\"it broke\"); }\n"),
            (TABLE, "| `it broke` | it broke | SN999 |\n"),
        ],
        &[
            ("src/a.rs", "fn f() { error!(peer = \"it broke\"); }\n"),
            (TABLE, "| `it broke` | it broke | `warnings` |\n"),
        ],
        &[
            (
                "src/a.rs",
                "fn f() { error!(\"it broke\"); info!(over = \"it bent\", \"it works\"); }\n",
            ),
            (TABLE, "| `it broke` | it broke | `warnings` |\n"),
        ],
    ],
    good: &[&[
        (
            "src/a.rs",
            concat!(
                "fn f() {\n    warn!(\n        what = \"x (\\\" \",\n        \"it \\\n            broke\"\n    );\n",
                "    debug!(\n        %peer,\n        over = \"it br\",\n        \"it works\"\n    );\n",
                "    finding(\"SN001\");\n    my_error!(\"no log\");\n    // warn!(\"a comment\")\n}\n",
                "#[cfg(test)]\nmod tests {\n    fn f() { warn!(\"of a test\") }\n}\n"
            ),
        ),
        (
            TABLE,
            "| message | meaning | where |\n|---|---|---|\n| `it broke` | it broke | SN001, `links` |\n",
        ),
    ]],
}];

fn table(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let rows = rows(tree.get(TABLE).map_or("", String::as_str));
    let mut logged: BTreeSet<String> = BTreeSet::new();
    let mut over = Vec::new();
    let mut sources = String::new();
    for (path, text) in tree {
        if !(in_source(path) && has_extension(path, "rs")) || path.ends_with("/tests.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next();
        let code = code.unwrap_or_default();
        for message in messages(code) {
            match message {
                Some(message) if rows.contains_key(message.as_str()) => {}
                Some(message) => found.push(format!("{path}: no row for `{message}`")),
                None => found.push(format!("{path}: a warning without a message")),
            }
        }
        logged.extend(messages(code).into_iter().flatten());
        over.extend(beginnings(code).map(|text| (path, text)));
        sources.push_str(code);
    }
    for (path, text) in over {
        if !logged.iter().any(|message| message.starts_with(text)) {
            found.push(format!("{path}: no warning begins with `{text}`"));
        }
    }
    for (message, place) in rows {
        if !logged.contains(message) {
            found.push(format!("{TABLE}: nothing logs `{message}`"));
        }
        if let Some(complaint) = misplaced(place, &sources) {
            found.push(format!("{TABLE}: `{message}`: {complaint}"));
        }
    }
    found
}

/// The first and the last cell of each row.
fn rows(table: &str) -> BTreeMap<&str, &str> {
    table.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<(&str, &str)> {
    let line = line.trim().strip_prefix("| `")?.strip_suffix('|')?;
    let (message, rest) = line.split_once("` |")?;
    Some((message, rest.rsplit('|').next()?.trim()))
}

/// Whether a cell names no place in which an operator finds it: a finding, or a field or metric in code
/// type.
fn misplaced(place: &str, sources: &str) -> Option<String> {
    let words = place.split(|c: char| !is_word(c));
    let is_code = |word: &&str| {
        let digits = word.strip_prefix("SN").or_else(|| word.strip_prefix("SP"));
        digits.is_some_and(|digits| digits.len() == 3 && digits.parse::<u16>().is_ok())
    };
    let codes: Vec<&str> = words.filter(is_code).collect();
    let unknown = codes
        .iter()
        .find(|code| !sources.contains(&format!("\"{code}\"")));
    match unknown {
        Some(code) => Some(format!("there is no finding {code}")),
        None if codes.is_empty() && !place.contains('`') => {
            Some("it names neither a finding nor a field".to_owned())
        }
        None => None,
    }
}

/// How the messages begin that are said to be over.
fn beginnings(code: &str) -> impl Iterator<Item = &str> {
    let texts = code.split("over = \"").skip(1);
    texts.filter_map(|rest| rest.split('"').next())
}

/// The messages of all warnings and errors that are logged, in order; `None` for one without.
fn messages(code: &str) -> Vec<Option<String>> {
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut places = Vec::new();
    for name in ["warn!(", "error!("] {
        let calls = code.match_indices(name);
        places.extend(calls.filter_map(|(at, _)| {
            let joined = code[..at].chars().next_back().is_some_and(is_word);
            (!joined).then_some(at + name.len())
        }));
    }
    places.sort_unstable();
    places.into_iter().map(|at| message(&code[at..])).collect()
}

/// The first text among the arguments that is not the value of a field.
fn message(arguments: &str) -> Option<String> {
    let mut depth = 1_usize;
    let mut before = '(';
    let mut rest = arguments.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '"' => {
                let mut escaped = false;
                let end = rest.find(|(_, c)| {
                    let ends = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                });
                if depth == 1 && before != '=' {
                    return end.map(|(end, _)| joined(&arguments[at + 1..end]));
                }
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
        if !c.is_whitespace() {
            before = c;
        }
    }
    None
}

/// A text whose lines end in a backslash, as one line.
fn joined(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start())
}
