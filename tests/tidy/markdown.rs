//! Rules about the documentation.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Rule, Tree, has_extension, is_word};

pub(crate) const RULES: &[Rule] = &[Rule {
    name: "links in Markdown lead somewhere",
    check: links,
    bad: &[
        &[("README.md", "[a](ARCHITECTURE.md)\n")],
        &[("README.md", "[a](#nowhere)\n# Somewhere\n")],
        &[
            ("deployment/README.md", "[a](../README.md#b)\n"),
            ("README.md", "# A\n"),
        ],
        &[("README.md", "see [a]\n\n[a]: gone.md\n")],
    ],
    good: &[
        &[
            (
                "README.md",
                "[a](https://example.org) [b](deployment/) [c](#it-is-2-words)\n## It is `2` words!\n",
            ),
            ("deployment/a/b.md", "[x](../../README.md)\n"),
        ],
        &[(
            "README.md",
            "```\n[a](gone.md)\n```\n`[a](gone.md)` [`State`](crate::State)\n",
        )],
    ],
}];

fn links(tree: &Tree) -> Vec<String> {
    let pages = || tree.iter().filter(|(path, _)| has_extension(path, "md"));
    let anchors: BTreeMap<&str, BTreeSet<String>> = pages()
        .map(|(path, text)| (path.as_str(), prose(text).filter_map(anchor).collect()))
        .collect();
    let mut found = Vec::new();
    for (path, text) in pages() {
        for target in prose(text).flat_map(link_targets) {
            if target.contains(':') {
                continue; // an address, or an item of the program
            }
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = if file.is_empty() {
                path.clone()
            } else {
                beside(path, file)
            };
            let folder = format!("{file}/");
            let exists =
                tree.contains_key(&file) || tree.keys().any(|path| path.starts_with(&folder));
            let heading_exists = heading.is_empty()
                || anchors
                    .get(file.as_str())
                    .is_some_and(|known| known.contains(heading));
            if !exists || !heading_exists {
                found.push(format!("{path}: `{target}` leads nowhere"));
            }
        }
    }
    found
}

/// The lines of a page outside its code blocks.
pub(crate) fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// What a heading is reached by.
fn anchor(line: &str) -> Option<String> {
    let title = line
        .strip_prefix('#')?
        .trim_start_matches('#')
        .trim()
        .to_lowercase();
    let kept = title.chars().filter(|c| is_word(*c) || " -".contains(*c));
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}

/// The targets of `[text](target)` and `[name]: target`, outside `code`.
fn link_targets(line: &str) -> Vec<String> {
    let text: Vec<&str> = line.split('`').step_by(2).collect();
    let text = text.join("");
    let inline = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next());
    let reference = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
        .and_then(|(_, target)| target.split_whitespace().next());
    inline.chain(reference).map(str::to_owned).collect()
}

/// A relative path as seen from the folder that holds `page`.
fn beside(page: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in relative.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}
