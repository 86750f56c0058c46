//! The query that reads nested structures as JSON: the text that the store's function `nested_query`
//! gives, for those who have no store at hand. A test holds the two to each other.

use Kind::{Counter, List, Map, MapMvr, Register, RegisterMvr, Set};

/// How a view shows a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A row for each register.
    Register,
    /// A row for each register, with an array of values.
    RegisterMvr,
    /// A row for each member.
    Set,
    /// A row for each entry: key and value.
    Map,
    /// A row for each entry: key and array of values.
    MapMvr,
    /// A row for each entry: position and value.
    List,
    /// A row for each counter, with a number, that leads nowhere.
    Counter,
}

/// The views that can be nested: those with a row for each entry.
const VIEWS: [(&str, Kind); 12] = [
    ("RegisterMvr", RegisterMvr),
    ("RegisterLww", Register),
    ("SetAw", Set),
    ("SetRw", Set),
    ("SetLww", Set),
    ("MapAwMvr", MapMvr),
    ("MapAwLww", Map),
    ("MapRwMvr", MapMvr),
    ("MapRwLww", Map),
    ("MapLww", Map),
    ("List", List),
    ("Counter", Counter),
];

/// Why a chain of views cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NestedError {
    /// There is no view in the chain.
    #[error("no view was given; these can be nested: {}", names())]
    Empty,
    /// No such view, or one that cannot be nested.
    #[error("not a view that can be nested: {given}; these can: {}", names())]
    NoSuchView {
        /// What was given.
        given: String,
    },
    /// A counter is not the last.
    #[error("a counter holds no ids: {given} cannot follow Counter")]
    AfterCounter {
        /// What follows it.
        given: String,
    },
}

fn names() -> String {
    VIEWS.map(|(name, _)| name).join(", ")
}

/// The query, with the columns `id` and `data` (jsonb), that reads a chain of views, outermost first.
///
/// A map becomes an object, a set, a list and concurrent values become arrays, a counter a number, a
/// value a string; what an id of the next level leads to stands in its place.
///
/// # Errors
///
/// See [`NestedError`].
pub fn nested_query<S: AsRef<str>>(chain: &[S]) -> Result<String, NestedError> {
    let views = chain
        .iter()
        .map(|given| find(given.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let (outermost, _) = views.first().ok_or(NestedError::Empty)?;
    let end = views.len() - 1;
    // The last one may be a counter: nothing follows it.
    if let Some(at) = views[..end].iter().position(|(_, kind)| *kind == Counter) {
        let given = chain[at + 1].as_ref().to_owned();
        return Err(NestedError::AfterCounter { given });
    }
    let value = read(&views, 1, "l0.id");
    Ok(format!(
        "select l0.id, {value} as data from (select distinct id from crdv.{outermost}) l0"
    ))
}

/// A view by its name, which is the same in upper and lower case.
fn find(given: &str) -> Result<(String, Kind), NestedError> {
    let given = given.to_owned();
    VIEWS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(&given))
        .map(|(name, kind)| (name.to_ascii_lowercase(), *kind))
        .ok_or(NestedError::NoSuchView { given })
}

/// The expression for the structure whose id `id` is an expression for, read through `views`. Aliases
/// carry the level, so that inner queries can name outer ones.
fn read(views: &[(String, Kind)], level: usize, id: &str) -> String {
    let Some(((view, kind), inner)) = views.split_first() else {
        return format!("to_jsonb({id})");
    };
    let row = format!("l{level}");
    let value = match kind {
        Map => format!("({row}.data).value"),
        MapMvr | RegisterMvr => format!("v{level}"),
        Register | Set | List | Counter => format!("{row}.data"),
    };
    let inner = read(inner, level + 1, &value);
    let aggregate = match kind {
        Register | Counter => inner,
        RegisterMvr => format!("(select jsonb_agg({inner}) from unnest({row}.data) {value})"),
        MapMvr => format!(
            "jsonb_object_agg(({row}.data).key, \
             (select jsonb_agg({inner}) from unnest(({row}.data).value) {value}))"
        ),
        Map => format!("jsonb_object_agg(({row}.data).key, {inner})"),
        List => format!("jsonb_agg({inner} order by {row}.pos)"),
        // A set has no order of its own: by its members it is the same on all stores.
        Set => format!("jsonb_agg({inner} order by {row}.data)"),
    };
    format!("(select {aggregate} from crdv.{view} {row} where {row}.id = {id})")
}
