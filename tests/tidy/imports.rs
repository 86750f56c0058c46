//! Rules about who imports whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Rule, Tree, has_extension, in_source, is_word, rust::without_comments};

/// Names the circles that stay, each with its reason.
const PAGE: &str = "ARCHITECTURE.md";

/// What is below this in a file of the program is a test.
const TESTS: &str = "#[cfg(test)]\nmod tests {";

/// How often a name may lead to another one. More would be a circle of names.
const HOPS_MAX: usize = 8;

pub(crate) const RULES: &[Rule] = &[Rule {
    name: "files import each other in a circle only where ARCHITECTURE.md says why",
    check: circles,
    bad: &[
        &[
            ("src/lib.rs", "mod a;\nmod b;\n"),
            ("src/a.rs", "use crate::b::B;\n"),
            ("src/b.rs", "pub(crate) use super::a;\n"),
        ],
        &[
            (
                "src/lib.rs",
                "mod a;\nmod c;\nmod d;\npub use self::c::{\n    Other,\n    C as X,\n};\n",
            ),
            ("src/a.rs", "fn f() {\n    crate::X::new()\n}\n"),
            ("src/c.rs", "use std::fmt;\n\nuse crate::d::{self, D};\n"),
            ("src/d.rs", "use super::{\n    Y,\n    a::{A, B},\n};\n"),
        ],
        &[
            ("protocols/p/src/lib.rs", "mod a;\nmod b;\n"),
            ("protocols/p/src/a.rs", "mod c;\n"),
            ("protocols/p/src/a/c.rs", "use super::super::b::B;\n"),
            ("protocols/p/src/b.rs", "fn f(c: crate::a::c::C) {}\n"),
        ],
        &[
            (PAGE, "- `a` and `b`: gone.\n"),
            ("src/lib.rs", "mod a;\nmod b;\n"),
            ("src/a.rs", "use crate::b::B;\n"),
            ("src/b.rs", ""),
        ],
    ],
    good: &[
        &[
            ("src/lib.rs", "mod a;\npub use a::A;\n"),
            ("src/a.rs", "mod b;\nuse b::B;\nuse crate::C;\n"),
            ("src/a/b.rs", "use super::A;\n"),
        ],
        &[
            (PAGE, "- `a::x` and `b`: they have to.\n- `a`: no circle.\n"),
            ("src/lib.rs", "mod a;\nmod b;\n"),
            ("src/a.rs", "mod x;\n"),
            ("src/a/x.rs", "use crate::b::B;\n"),
            ("src/b.rs", "use crate::a::x::X;\n"),
        ],
        &[
            ("src/lib.rs", "mod a;\nmod b;\n"),
            (
                "src/a.rs",
                concat!(
                    "// use crate::b::B;\n#[cfg(test)]\n",
                    "mod tests {\n    use crate::b::B;\n}\n"
                ),
            ),
            ("src/b.rs", "use crate::a::A;\n"),
            ("src/main.rs", "use crate::b::B;\n"),
        ],
    ],
}];

/// A set of modules that import each other, by their files without the ending.
type Circle = BTreeSet<String>;

fn circles(tree: &Tree) -> Vec<String> {
    let there = Modules::of(tree).circles();
    let named = named_circles(tree);
    let unnamed = there.difference(&named).map(|circle| {
        let files: Vec<&str> = circle.iter().map(String::as_str).collect();
        format!("{}: import each other in a circle", files.join(", "))
    });
    let gone = named.difference(&there).map(|circle| {
        let files: Vec<&str> = circle.iter().map(String::as_str).collect();
        format!("{PAGE}: {} import each other no longer", files.join(", "))
    });
    unnamed.chain(gone).collect()
}

/// Those in lines that begin with two names.
fn named_circles(tree: &Tree) -> BTreeSet<Circle> {
    let page = tree.get(PAGE).map_or("", String::as_str);
    let circles = page.lines().filter_map(|line| {
        let (names, _) = line.strip_prefix("- `")?.split_once("`: ")?;
        let circle: Circle = names
            .split("` and `")
            .map(|name| {
                let path = name.replace("::", "/");
                match path.split_once('/') {
                    // A module of the program, or of a protocol's crate.
                    Some((first, rest)) if !tree.contains_key(&format!("src/{first}.rs")) => {
                        format!("protocols/{first}/src/{rest}")
                    }
                    _ => format!("src/{path}"),
                }
            })
            .collect();
        (circle.len() > 1).then_some(circle)
    });
    circles.collect()
}

/// All modules of the program and of the protocols.
struct Modules {
    /// What each consists of, by its file without the ending.
    code: BTreeMap<String, String>,
    /// What each brings into its scope: the path behind a name.
    brought: BTreeMap<String, BTreeMap<String, String>>,
}

impl Modules {
    fn of(tree: &Tree) -> Self {
        let mut code = BTreeMap::new();
        for (path, text) in tree {
            let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
            if !in_source(path) || !has_extension(path, "rs") || is_test {
                continue;
            }
            let module = path.trim_end_matches(".rs");
            // A program uses its library as others do.
            if module.ends_with("/main") {
                continue;
            }
            let module = module.trim_end_matches("/lib").to_owned();
            let text = text.split(TESTS).next().unwrap_or_default();
            code.insert(module, without_comments(text));
        }
        let brought = code.iter().map(|(module, code)| {
            let names = used(code).into_iter().map(|path| {
                let (path, name) = name_of(&path);
                (name.to_owned(), path.to_owned())
            });
            (module.clone(), names.collect::<BTreeMap<_, _>>())
        });
        let brought = brought.collect();
        Self { code, brought }
    }

    fn circles(&self) -> BTreeSet<Circle> {
        let edges: BTreeMap<&str, BTreeSet<String>> = self
            .code
            .iter()
            .map(|(module, code)| (module.as_str(), self.imports(module, code)))
            .collect();
        let reached: BTreeMap<&str, BTreeSet<&str>> = edges
            .keys()
            .map(|module| (*module, reached(&edges, module)))
            .collect();
        let circles = reached.iter().map(|(module, all)| {
            let circle = all.iter().copied().filter(|other| {
                let theirs = reached.get(other);
                theirs.is_some_and(|theirs| theirs.contains(module))
            });
            circle.map(str::to_owned).collect::<Circle>()
        });
        circles.filter(|circle| !circle.is_empty()).collect()
    }

    /// The modules that one imports, but for those that it is a part of, and its own parts.
    fn imports(&self, module: &str, code: &str) -> BTreeSet<String> {
        let uses = used(code);
        let paths = uses
            .iter()
            .map(|path| name_of(path).0)
            .chain(inline_paths(code));
        paths
            .filter_map(|path| self.resolve(module, path, 0))
            .filter(|other| !is_below(module, other) && !is_below(other, module))
            .collect()
    }

    /// The module that a path leads to, also by names that others have brought into their scope.
    fn resolve(&self, from: &str, path: &str, hops: usize) -> Option<String> {
        let mut parts = path.split("::").peekable();
        let mut at = from.to_owned();
        let first = *parts.peek()?;
        match first {
            "crate" => {
                at = root(from).to_owned();
                parts.next();
            }
            "self" => {
                parts.next();
            }
            "super" => {
                while parts.next_if_eq(&"super").is_some() {
                    at = at.rsplit_once('/')?.0.to_owned();
                }
            }
            // Another crate, or a name of the same scope.
            _ if !self.code.contains_key(&format!("{from}/{first}")) => return None,
            _ => {}
        }
        while let Some(part) = parts.peek() {
            let below = format!("{at}/{part}");
            if !self.code.contains_key(&below) {
                break;
            }
            at = below;
            parts.next();
        }
        let target = parts
            .next()
            .and_then(|name| self.brought.get(&at)?.get(name))
            .filter(|_| hops < HOPS_MAX);
        let Some(target) = target else {
            return Some(at);
        };
        let rest: String = parts.flat_map(|part| ["::", part]).collect();
        self.resolve(&at, &format!("{target}{rest}"), hops + 1)
            .or(Some(at))
    }
}

/// Whether this is the same module as the other, or one inside it.
fn is_below(module: &str, other: &str) -> bool {
    module
        .strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The root of a module's crate.
fn root(module: &str) -> &str {
    if !module.starts_with("protocols/") {
        return "src";
    }
    let end = module.find("/src").map_or(module.len(), |at| at + 4);
    &module[..end]
}

/// All that can be come to from a module; itself only by a circle.
fn reached<'a>(edges: &'a BTreeMap<&str, BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(next) = open.pop() {
        for other in edges.get(next.as_str()).into_iter().flatten() {
            if seen.insert(other.as_str()) {
                open.push(other.clone());
            }
        }
    }
    seen
}

/// The paths in all `use` statements, each in full.
fn used(code: &str) -> Vec<String> {
    let statements = code.match_indices("use ").filter_map(|(at, word)| {
        let line = code[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = code[line..at].trim();
        let is_use = before.is_empty() || before.starts_with("pub");
        let (statement, _) = code[at + word.len()..].split_once(';')?;
        is_use.then_some(statement)
    });
    statements.flat_map(expanded).collect()
}

/// `a::b` and `a::c` for `a::{b, c}`.
pub(crate) fn expanded(list: &str) -> Vec<String> {
    let Some((stem, list)) = list.split_once('{') else {
        return vec![list.trim().to_owned()];
    };
    let list = list.trim_end();
    let list = list.strip_suffix('}').unwrap_or(list);
    let mut depth = 0_usize;
    let parts = list.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    parts
        .flat_map(expanded)
        .map(|part| format!("{}{part}", stem.trim()))
        .collect()
}

/// A path of a `use`, and the name that it brings into scope.
fn name_of(path: &str) -> (&str, &str) {
    let (path, alias) = match path.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias)),
        None => (path, None),
    };
    let path = path.strip_suffix("::self").unwrap_or(path);
    let last = path.rsplit("::").next().unwrap_or(path);
    (path, alias.unwrap_or(last))
}

/// Paths that begin at the crate, at the module or above it, wherever they stand.
fn inline_paths(code: &str) -> impl Iterator<Item = &str> {
    let starts = ["crate::", "super::", "self::"].into_iter();
    let found = starts.flat_map(move |start| code.match_indices(start));
    found.filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let is_inside = before.is_some_and(|c| is_word(c) || c == ':');
        let path = &code[at..];
        let end = path.find(|c: char| !is_word(c) && c != ':');
        let path = &path[..end.unwrap_or(path.len())];
        (!is_inside).then(|| path.trim_end_matches(':'))
    })
}
