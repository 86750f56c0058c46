//! What the structures mean, said a second time: operations with the whole history that their writer
//! had seen of the element, and reads by definition.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::operation::Operation;

/// The name of an operation.
type Dot = (i64, i64);

/// One store: the operations that it has received, whatever became of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Replica {
    received: BTreeMap<Dot, Known>,
}

/// An operation and all earlier ones of its element that its writer's store had received.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    operation: Operation,
    covers: BTreeSet<Dot>,
}

impl Known {
    pub(crate) fn operation(&self) -> &Operation {
        &self.operation
    }
}

/// The present operations of one structure by key, each by site.
type Elements<'a> = BTreeMap<&'a str, Vec<&'a Operation>>;

/// A write: what an operation says, before it has a number and a clock.
pub(crate) type Write = (char, String, String, char, Option<String>);

fn greatest<'a>(operations: impl Iterator<Item = &'a Operation>) -> Option<&'a Operation> {
    operations.max_by_key(|operation| (operation.hlc, -operation.site))
}

fn is_addition(operation: &Operation) -> bool {
    operation.op == 'a'
}

fn array(values: impl Iterator<Item = Value>) -> Value {
    let values: Vec<_> = values.collect();
    if values.is_empty() {
        Value::Null
    } else {
        values.into()
    }
}

fn all_values(operations: &[&Operation]) -> Value {
    array(operations.iter().map(|operation| json!(operation.data)))
}

impl Replica {
    /// Records a local operation. Its clock must be above all that it covers.
    pub(crate) fn write(&mut self, operation: &Operation) -> Known {
        let same_element = self.received.values().filter(|known| {
            let other = &known.operation;
            (other.kind, &other.id, &other.key) == (operation.kind, &operation.id, &operation.key)
        });
        let present: Vec<_> = same_element
            .clone()
            .filter(|known| self.is_present(known))
            .collect();
        for known in present {
            assert!(operation.hlc > known.operation.hlc, "a clock went back");
        }
        let covers = same_element
            .map(|known| (known.operation.site, known.operation.seq))
            .collect();
        let known = Known {
            operation: operation.clone(),
            covers,
        };
        self.receive(&known);
        known
    }

    pub(crate) fn receive(&mut self, known: &Known) {
        self.received
            .insert((known.operation.site, known.operation.seq), known.clone());
    }

    /// Receives everything that another store has, as a catch-up does.
    pub(crate) fn receive_all(&mut self, other: &Self) {
        for known in other.received.values() {
            self.receive(known);
        }
    }

    fn is_present(&self, known: &Known) -> bool {
        let dot = (known.operation.site, known.operation.seq);
        !self
            .received
            .values()
            .any(|other| other.covers.contains(&dot))
    }

    pub(crate) fn present(&self) -> Vec<Operation> {
        let present = self
            .received
            .values()
            .filter(|known| self.is_present(known));
        let mut operations: Vec<_> = present.map(|known| known.operation.clone()).collect();
        operations.sort();
        operations
    }

    fn structure<'a>(present: &'a [Operation], kind: char, id: &str) -> Elements<'a> {
        let mut elements = Elements::new();
        for operation in present {
            if operation.kind == kind && operation.id == id {
                elements.entry(&operation.key).or_default().push(operation);
            }
        }
        for operations in elements.values_mut() {
            operations.sort_by_key(|operation| operation.site);
        }
        elements
    }

    /// The entries of a list, with their positions.
    pub(crate) fn list(&self, id: &str) -> Vec<(String, Option<String>)> {
        let present = self.present();
        let list = Self::structure(&present, 'l', id);
        let entries = list
            .into_values()
            .flatten()
            .filter(|operation| is_addition(operation));
        entries
            .map(|entry| (entry.key.clone(), entry.data.clone()))
            .collect()
    }

    /// The keys of a structure of which an addition is present.
    pub(crate) fn visible(&self, kind: char, id: &str) -> Vec<String> {
        let present = self.present();
        let elements = Self::structure(&present, kind, id).into_iter();
        let visible =
            elements.filter(|(_, all)| all.iter().any(|operation| is_addition(operation)));
        visible.map(|(key, _)| key.to_owned()).collect()
    }

    /// A site's share of a counter.
    pub(crate) fn counter_share(&self, id: &str, site: i64) -> i64 {
        let present = self.present();
        let shares = Self::structure(&present, 'c', id);
        shares
            .get(&*site.to_string())
            .map_or(0, |all| share(all[0]))
    }

    /// What each read function must answer for `id`.
    pub(crate) fn reads(&self, id: &str) -> Map<String, Value> {
        let present = self.present();
        let of = |kind| Self::structure(&present, kind, id);
        let mut reads = Map::new();
        let register = of('r').remove("").unwrap_or_default();
        let last = greatest(register.iter().copied());
        let counter: Vec<_> = of('c').into_values().flatten().map(share).collect();
        let list = self.list(id).into_iter().map(|(_, data)| json!(data));
        for (name, value) in [
            ("RegisterMvr", all_values(&register)),
            (
                "RegisterLww",
                last.map_or(Value::Null, |operation| json!(operation.data)),
            ),
            (
                "Counter",
                (!counter.is_empty())
                    .then(|| counter.iter().sum::<i64>())
                    .into(),
            ),
            ("List", array(list)),
        ] {
            reads.insert(name.to_owned(), value);
        }
        read_set(&of('s'), &mut reads);
        read_map(&of('m'), &mut reads);
        reads
    }
}

fn share(operation: &Operation) -> i64 {
    operation.data.as_ref().unwrap().parse().unwrap()
}

fn read_set(set: &Elements<'_>, reads: &mut Map<String, Value>) {
    let mut read = |name: &str, rule: fn(&[&Operation]) -> bool| {
        let members = set
            .iter()
            .filter(|(_, all)| rule(all))
            .map(|(key, _)| json!(key));
        reads.insert(name.to_owned(), array(members));
    };
    read("SetAw", |all| all.iter().any(|one| is_addition(one)));
    read("SetRw", |all| all.iter().all(|one| is_addition(one)));
    read("SetLww", |all| {
        greatest(all.iter().copied()).is_some_and(is_addition)
    });
}

fn read_map(map: &Elements<'_>, reads: &mut Map<String, Value>) {
    let mut read = |name: &str, rule: fn(&[&Operation]) -> Option<Value>| {
        let entries = map
            .iter()
            .filter_map(|(key, all)| rule(all).map(|value| json!({ "key": key, "value": value })));
        reads.insert(name.to_owned(), array(entries));
    };
    read("MapAwMvr", |all| {
        let added: Vec<_> = all.iter().copied().filter(|one| is_addition(one)).collect();
        (!added.is_empty()).then(|| all_values(&added))
    });
    read("MapAwLww", |all| {
        let added = all.iter().copied().filter(|one| is_addition(one));
        greatest(added).map(|one| json!(one.data))
    });
    read("MapRwMvr", |all| {
        all.iter()
            .all(|one| is_addition(one))
            .then(|| all_values(all))
    });
    read("MapLww", |all| {
        let last = greatest(all.iter().copied());
        last.filter(|one| is_addition(one))
            .map(|one| json!(one.data))
    });
}
