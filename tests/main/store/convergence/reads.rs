//! Everything that can be read of a store, in one query, and what the model says of each answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::call::{IDS, KEYS};
use crate::store::model::{MAPS, Present, SETS};

/// What is read, by the text of the call or the name of the view.
pub(super) type Reads = BTreeMap<String, Value>;

const VIEWS: [&str; 22] = [
    "RegisterMvr",
    "RegisterLww",
    "Counter",
    "List",
    "ListTuple",
    "SetAw",
    "SetAwTuple",
    "SetRw",
    "SetRwTuple",
    "SetLww",
    "SetLwwTuple",
    "MapAwMvr",
    "MapAwMvrTuple",
    "MapAwLww",
    "MapAwLwwTuple",
    "MapRwMvr",
    "MapRwMvrTuple",
    "MapRwLww",
    "MapLww",
    "MapLwwTuple",
    "integrity_rule",
    "Data",
];

/// The views with a function that gets one structure, and the view that has it in one row.
const GETS: [(&str, &str); 11] = [
    ("RegisterMvr", "RegisterMvr"),
    ("RegisterLww", "RegisterLww"),
    ("Counter", "Counter"),
    ("List", "ListTuple"),
    ("SetAw", "SetAwTuple"),
    ("SetRw", "SetRwTuple"),
    ("SetLww", "SetLwwTuple"),
    ("MapAwMvr", "MapAwMvrTuple"),
    ("MapAwLww", "MapAwLwwTuple"),
    ("MapRwMvr", "MapRwMvrTuple"),
    ("MapLww", "MapLwwTuple"),
];

const INDEXES: std::ops::Range<i64> = -1..4;

/// One row, one object.
pub(super) fn query() -> String {
    let mut parts = Vec::new();
    for view in VIEWS {
        parts.push(format!(
            "('{view}', (select jsonb_agg(to_jsonb(v)) from crdv.{view} v))"
        ));
    }
    let mut call = |function: &str, arguments: &str| {
        let call = format!("{function}({arguments})");
        let name = call.replace('\'', "''");
        parts.push(format!("('{name}', to_jsonb(crdv.{call}))"));
    };
    for id in IDS {
        for (name, _) in GETS {
            call(&format!("{name}Get"), &format!("'{id}'"));
        }
        call("ListGetFirst", &format!("'{id}'"));
        call("ListGetLast", &format!("'{id}'"));
        for index in INDEXES {
            call("ListGetAt", &format!("'{id}', {index}"));
        }
        for key in KEYS {
            let arguments = format!("'{id}', '{key}'");
            for (rule, _) in SETS {
                call(&format!("{rule}Contains"), &arguments);
            }
            for (rule, _) in gettable_maps() {
                call(&format!("{rule}Contains"), &arguments);
                call(&format!("{rule}Value"), &arguments);
            }
        }
    }
    let parts = parts.join(",\n");
    format!("select jsonb_object_agg(name, data) from (values {parts}) as reads (name, data)")
}

fn gettable_maps() -> impl Iterator<Item = (&'static str, &'static str)> {
    let has_get = |view: &str| GETS.into_iter().find(|(name, _)| *name == view);
    MAPS.into_iter().filter_map(move |(view, _)| has_get(view))
}

/// What was found, with the rows of the views in canonical order.
pub(super) fn found(answer: Value) -> Reads {
    let Value::Object(answer) = answer else {
        panic!("not an object: {answer}");
    };
    let mut reads: Reads = answer.into_iter().collect();
    for view in VIEWS {
        let rows = reads.remove(view).unwrap_or_default();
        let rows = rows.as_array().cloned().unwrap_or_default();
        reads.insert(view.to_owned(), in_order(rows));
    }
    reads
}

fn in_order(mut rows: Vec<Value>) -> Value {
    rows.sort_by_cached_key(Value::to_string);
    rows.into()
}

pub(super) fn expected(present: &Present, site: i64) -> Reads {
    let mut views = present.views(&IDS);
    let rules = present.rules().into_iter().map(|rule| {
        json!({ "dst": rule.dst, "add_function": rule.add_function,
                "src": rule.src, "src_key": rule.src_key })
    });
    views.insert("integrity_rule".to_owned(), rules.collect());
    views.insert("Data".to_owned(), present.data(site));
    let mut reads = Reads::new();
    for id in IDS {
        let of = |view: &str| -> Value {
            let rows = views.get(view).into_iter().flatten();
            let mut own = rows.filter(|row| row["id"] == id);
            own.next().map_or(Value::Null, |row| row["data"].clone())
        };
        for (name, view) in GETS {
            reads.insert(format!("{name}Get('{id}')"), of(view));
        }
        let list = of("ListTuple");
        let list = list.as_array().cloned().unwrap_or_default();
        let entry = |entry: Option<&Value>| entry.cloned().unwrap_or_default();
        reads.insert(format!("ListGetFirst('{id}')"), entry(list.first()));
        reads.insert(format!("ListGetLast('{id}')"), entry(list.last()));
        for index in INDEXES {
            let at = usize::try_from(index)
                .ok()
                .and_then(|index| list.get(index));
            reads.insert(format!("ListGetAt('{id}', {index})"), entry(at));
        }
        for (rule, _) in SETS {
            let members = of(&format!("{rule}Tuple"));
            for key in KEYS {
                let is_in = members
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(key)));
                reads.insert(format!("{rule}Contains('{id}', '{key}')"), is_in.into());
            }
        }
        for (rule, view) in gettable_maps() {
            let entries = of(view);
            let entries: Map<String, Value> = entries
                .as_array()
                .into_iter()
                .flatten()
                .map(|entry| {
                    (
                        entry["key"].as_str().unwrap().to_owned(),
                        entry["value"].clone(),
                    )
                })
                .collect();
            for key in KEYS {
                let (call, entry) = (format!("('{id}', '{key}')"), entries.get(key));
                reads.insert(format!("{rule}Contains{call}"), entry.is_some().into());
                reads.insert(
                    format!("{rule}Value{call}"),
                    entry.cloned().unwrap_or_default(),
                );
            }
        }
    }
    for view in VIEWS {
        let rows = views.remove(view).unwrap_or_default();
        reads.insert(view.to_owned(), in_order(rows));
    }
    reads
}
