//! How what stands in several places is found in SQL and in Rust.

use crate::is_word;

/// How the values of a kind are found in code, with the kinds that name them.
pub(crate) struct Finder {
    pub(crate) kinds: &'static [&'static str],
    pub(crate) find: fn(&str) -> Vec<(usize, String)>,
    /// Whether Rust has them as well.
    pub(crate) is_shared: bool,
}

pub(crate) const FINDERS: [Finder; 10] = [
    Finder {
        kinds: &["type", "own type"],
        find: types,
        is_shared: true,
    },
    Finder {
        kinds: &["types"],
        find: lists_of_types,
        is_shared: false,
    },
    Finder {
        kinds: &["id"],
        find: ids,
        is_shared: false,
    },
    Finder {
        kinds: &["limit"],
        find: limits,
        is_shared: false,
    },
    Finder {
        kinds: &["clock"],
        find: clock_bits,
        is_shared: false,
    },
    Finder {
        kinds: &["lock"],
        find: locks,
        is_shared: true,
    },
    Finder {
        kinds: &["name", "digits"],
        find: patterns,
        is_shared: true,
    },
    Finder {
        kinds: &["site in name"],
        find: offsets,
        is_shared: false,
    },
    Finder {
        kinds: &["letter"],
        find: codes_of_letters,
        is_shared: false,
    },
    Finder {
        kinds: &["error"],
        find: errors,
        is_shared: true,
    },
];

/// What the keys of locks begin with, in ASCII: the first key of all is "STAR".
const LOCKS: &str = "13980306";

/// What comes after each `mark`, with its place.
fn after<'a>(code: &'a str, mark: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    code.match_indices(mark)
        .map(move |(at, _)| (at, &code[at + mark.len()..]))
}

/// The digits at the beginning, if there are any.
fn number(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// What is between quotes at the beginning.
fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.split('\'').next()
}

/// The arguments of a call, from behind its parenthesis, and what follows.
fn arguments(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1_usize;
    let end = text.find(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    Some((&text[..end], &text[end + 1..]))
}

fn types(code: &str) -> Vec<(usize, String)> {
    let compared = tests_of_types(code).filter_map(|(at, test)| {
        let value = test
            .strip_prefix("= ")
            .or_else(|| test.strip_prefix("<> "))?;
        Some((at, quoted(value)?))
    });
    let listed =
        tests_of_types(code).flat_map(|(at, test)| letters(test).map(move |letter| (at, letter)));
    let called = ["crdv.write(", "crdv.refuse("]
        .into_iter()
        .flat_map(|call| after(code, call));
    let called = called.filter_map(|(at, arguments)| Some((at, quoted(arguments)?)));
    let all = compared.chain(listed).chain(called);
    all.map(|(at, letter)| (at, letter.to_owned())).collect()
}

/// What a column or a parameter of that name is compared with.
fn tests_of_types(code: &str) -> impl Iterator<Item = (usize, &str)> {
    ["type ", "type_ "]
        .into_iter()
        .flat_map(|name| after(code, name))
        .filter(|(at, _)| !code[..*at].chars().next_back().is_some_and(is_word))
}

/// The members of a list at the beginning of a comparison.
fn letters(test: &str) -> impl Iterator<Item = &str> {
    let list = test
        .strip_prefix("not ")
        .unwrap_or(test)
        .strip_prefix("in (");
    let list = list.and_then(arguments).map_or("", |(list, _)| list);
    list.split(", ").filter_map(quoted)
}

fn lists_of_types(code: &str) -> Vec<(usize, String)> {
    /// In the order of the table.
    const ORDER: &str = "rsmclvki";
    let lists = tests_of_types(code).map(|(at, test)| (at, letters(test).collect::<Vec<_>>()));
    let lists = lists.filter(|(_, list)| !list.is_empty());
    lists
        .map(|(at, mut list)| {
            list.sort_by_key(|letter| ORDER.find(letter));
            (at, list.join(" "))
        })
        .collect()
}

fn ids(code: &str) -> Vec<(usize, String)> {
    let found = after(code, "'$").filter(|(_, id)| id.starts_with(is_word));
    found
        .map(|(at, id)| {
            (
                at,
                format!("${}", id.split('\'').next().unwrap_or_default()),
            )
        })
        .collect()
}

fn limits(code: &str) -> Vec<(usize, String)> {
    let compared = after(code, "octet_length(").filter_map(|(at, call)| {
        let (_, rest) = arguments(call)?;
        Some((at, rest.strip_prefix(" > ")?))
    });
    let others = [
        "bytes together, at most ",
        "bytes, at most ",
        "repeat(' ', ",
    ];
    let all = compared.chain(others.into_iter().flat_map(|mark| after(code, mark)));
    all.filter_map(|(at, value)| Some((at, number(value)?)))
        .collect()
}

fn clock_bits(code: &str) -> Vec<(usize, String)> {
    let marks = ["::bigint << ", "hlc >> ", "hlc & "];
    let found = marks.into_iter().flat_map(|mark| after(code, mark));
    found
        .filter_map(|(at, value)| Some((at, number(value)?)))
        .collect()
}

/// Both keys, where both are said.
fn locks(code: &str) -> Vec<(usize, String)> {
    let taken = after(code, "advisory_").filter_map(|(at, call)| {
        let (name, rest) = call.split_once('(')?;
        let keys = name
            .chars()
            .all(is_word)
            .then(|| arguments(rest))
            .flatten()?
            .0;
        (!keys.is_empty()).then(|| (at, keys.to_owned()))
    });
    let seen = keys(code).into_iter().filter_map(|(at, key)| {
        let rest = &code[at + key.len()..];
        let second = after(rest, "objid = ")
            .next()
            .and_then(|(_, value)| number(value))?;
        (!rest.starts_with(',')).then(|| (at, format!("{key}, {second}")))
    });
    taken.chain(seen).collect()
}

/// The first keys of locks, wherever they stand.
pub(crate) fn keys(code: &str) -> Vec<(usize, String)> {
    let found = code
        .match_indices(LOCKS)
        .filter(|(at, _)| !code[..*at].ends_with(is_word));
    found
        .filter_map(|(at, _)| Some((at, number(&code[at..])?)))
        .collect()
}

/// Of the two keys of a lock.
pub(crate) fn first_key(value: &str) -> &str {
    value.split(',').next().unwrap_or(value)
}

fn patterns(code: &str) -> Vec<(usize, String)> {
    let found = ["starling_", "^starling_", "^[0-9]{1,", "^-?[0-9]{1,"].into_iter();
    let found = found
        .flat_map(|start| code.match_indices(start))
        .filter_map(|(at, start)| {
            let mark = code[..at]
                .chars()
                .next_back()
                .filter(|mark| "'\"".contains(*mark))?;
            let value = code[at..].split(mark).next()?;
            // A name that only begins so is one of a metric, or a whole one.
            (start != "starling_" || value == start).then(|| (at, value.to_owned()))
        });
    found.collect()
}

fn offsets(code: &str) -> Vec<(usize, String)> {
    let found = after(code, "'x' || substr(").filter_map(|(at, call)| {
        let (_, place) = arguments(call)?.0.split_once(", ")?;
        Some((at, place.to_owned()))
    });
    found.collect()
}

/// What the code of a letter is compared with, taken from, or made of.
fn codes_of_letters(code: &str) -> Vec<(usize, String)> {
    let operator = |rest: &'_ str| {
        let operators = [" - ", " > ", " >= "].into_iter();
        operators
            .filter_map(|sign| rest.strip_prefix(sign))
            .find_map(number)
    };
    // Of a letter that is named, nothing has to be known.
    let calls = after(code, "ascii(").filter(|(_, call)| !call.starts_with('\''));
    let calls = calls.filter_map(|(at, call)| Some((at, arguments(call)?.1)));
    let variables = after(code, "letter");
    let minuends = calls.chain(variables).flat_map(|(at, rest)| {
        let before = code[..at].strip_suffix(" - ").unwrap_or_default();
        let start = before
            .rfind(|c: char| !c.is_ascii_digit())
            .map_or(0, |at| at + 1);
        [operator(rest), number(&before[start..])].map(|value| (at, value))
    });
    let made = after(code, "chr(").map(|(at, call)| (at, number(call)));
    let all = minuends.chain(made);
    all.filter_map(|(at, value)| Some((at, value?))).collect()
}

fn errors(code: &str) -> Vec<(usize, String)> {
    let found = after(code, "SL").filter(|(at, _)| !code[..*at].ends_with(is_word));
    let found = found.filter_map(|(at, rest)| Some((at, number(rest)?)));
    found
        .filter(|(_, digits)| digits.len() == 3)
        .map(|(at, digits)| (at, format!("SL{digits}")))
        .collect()
}
