//! What is called, and what plain tables do in its place.

use crate::fill::ENTRIES;

/// A call and its counterpart, with the same parameters.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub name: &'static str,
    /// On the store.
    pub store: &'static str,
    /// On plain tables.
    pub plain: &'static str,
    /// The least ratio to aim at; 0 where there is no aim.
    pub target: f64,
    /// The parameters for an element's number.
    pub parameters: fn(i64) -> Vec<String>,
}

fn register(i: i64) -> Vec<String> {
    vec![format!("r{i}")]
}

fn register_value(i: i64) -> Vec<String> {
    vec![format!("r{i}"), format!("value {i}")]
}

fn map(i: i64) -> Vec<String> {
    vec![format!("m{}", i / ENTRIES)]
}

fn entry(i: i64) -> Vec<String> {
    vec![format!("m{}", i / ENTRIES), format!("k{i}")]
}

fn entry_value(i: i64) -> Vec<String> {
    vec![
        format!("m{}", i / ENTRIES),
        format!("k{i}"),
        format!("value {i}"),
    ]
}

fn set(i: i64) -> Vec<String> {
    vec![format!("s{}", i / ENTRIES)]
}

fn member(i: i64) -> Vec<String> {
    vec![format!("s{}", i / ENTRIES), format!("k{i}")]
}

fn counter(i: i64) -> Vec<String> {
    vec![format!("c{i}")]
}

fn list(i: i64) -> Vec<String> {
    vec![format!("l{}", i / ENTRIES)]
}

fn list_value(i: i64) -> Vec<String> {
    vec![format!("l{}", i / ENTRIES), format!("value {i}")]
}

/// One element each, mostly one that is there.
pub const WRITES: [Call; 5] = [
    Call {
        name: "registerSet",
        store: "select crdv.registerset($1, $2)",
        plain: "insert into plain.register (id, data) values ($1, $2)
                on conflict (id) do update set data = excluded.data",
        target: 0.75,
        parameters: register_value,
    },
    Call {
        name: "mapAdd",
        store: "select crdv.mapadd($1, $2, $3)",
        plain: "insert into plain.map (id, key, data) values ($1, $2, $3)
                on conflict (id, key) do update set data = excluded.data",
        target: 0.75,
        parameters: entry_value,
    },
    Call {
        name: "setAdd",
        store: "select crdv.setadd($1, $2)",
        plain: "insert into plain.set (id, member, present) values ($1, $2, true)
                on conflict (id, member) do update set present = excluded.present",
        target: 0.6,
        parameters: member,
    },
    Call {
        name: "counterInc",
        store: "select crdv.counterinc($1, 1)",
        plain: "insert into plain.counter as c (id, data) values ($1, 1)
                on conflict (id) do update set data = c.data + excluded.data",
        target: 0.6,
        parameters: counter,
    },
    Call {
        name: "listAppend",
        store: "select crdv.listappend($1, $2)",
        plain: "insert into plain.list (id, data) values ($1, $2)",
        target: 0.0,
        parameters: list_value,
    },
];

const READ_TARGET: f64 = 0.667;

/// A read and its counterpart; the plain functions are PL/pgSQL, the fastest that plain tables have.
const fn read(
    name: &'static str,
    store: &'static str,
    plain: &'static str,
    parameters: fn(i64) -> Vec<String>,
) -> Call {
    Call {
        name,
        store,
        plain,
        target: READ_TARGET,
        parameters,
    }
}

/// By function, then by view.
pub const READS: [Call; 17] = [
    read(
        "registerLwwGet",
        "select crdv.registerlwwget($1)",
        "select plain.register($1)",
        register,
    ),
    read(
        "registerMvrGet",
        "select crdv.registermvrget($1)",
        "select plain.register($1)",
        register,
    ),
    read(
        "mapAwLwwValue",
        "select crdv.mapawlwwvalue($1, $2)",
        "select plain.entry($1, $2)",
        entry,
    ),
    read(
        "mapAwMvrValue",
        "select crdv.mapawmvrvalue($1, $2)",
        "select plain.entry($1, $2)",
        entry,
    ),
    read(
        "mapLwwValue",
        "select crdv.maplwwvalue($1, $2)",
        "select plain.entry($1, $2)",
        entry,
    ),
    read(
        "mapAwLwwGet (20 entries)",
        "select crdv.mapawlwwget($1)",
        "select plain.entries($1)",
        map,
    ),
    read(
        "mapAwMvrGet (20 entries)",
        "select crdv.mapawmvrget($1)",
        "select plain.entries($1)",
        map,
    ),
    read(
        "setAwContains",
        "select crdv.setawcontains($1, $2)",
        "select plain.contains($1, $2)",
        member,
    ),
    read(
        "setLwwContains",
        "select crdv.setlwwcontains($1, $2)",
        "select plain.contains($1, $2)",
        member,
    ),
    read(
        "setAwGet (20 members)",
        "select crdv.setawget($1)",
        "select plain.members($1)",
        set,
    ),
    read(
        "counterGet",
        "select crdv.counterget($1)",
        "select plain.counter($1)",
        counter,
    ),
    read(
        "listGetFirst",
        "select crdv.listgetfirst($1)",
        "select plain.first($1)",
        list,
    ),
    read(
        "listGet (20 entries)",
        "select crdv.listget($1)",
        "select plain.list($1)",
        list,
    ),
    read(
        "view registerLww",
        "select data from crdv.registerlww where id = $1",
        "select data from plain.register where id = $1",
        register,
    ),
    read(
        "view mapAwLww (20 entries)",
        "select data from crdv.mapawlww where id = $1",
        "select (key, data)::crdv.mentry from plain.map where id = $1 order by key",
        map,
    ),
    read(
        "view setAw (one member)",
        "select data from crdv.setaw where id = $1 and data = $2",
        "select member from plain.set where id = $1 and member = $2 and present",
        member,
    ),
    read(
        "view counter",
        "select data from crdv.counter where id = $1",
        "select data from plain.counter where id = $1",
        counter,
    ),
];
