//! What the structures mean, said a second time: operations with the whole history that their writer
//! had seen of the element, and what is read from those that are left, by definition.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::operation::Operation;

/// The name of an operation.
type Dot = (i64, i64);

/// An operation and all earlier ones of its element that it was made upon, directly or not.
#[derive(Debug)]
pub(crate) struct Known {
    operation: Operation,
    covers: BTreeSet<Dot>,
}

impl Known {
    pub(crate) fn operation(&self) -> &Operation {
        &self.operation
    }
}

/// What an operation says, before it has a number and a clock: type, id, key, op, data.
pub(crate) type Write = (char, String, String, char, Option<String>);

/// One store: the operations that it has received, whatever became of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Replica {
    received: BTreeMap<Dot, Arc<Known>>,
    covered: BTreeSet<Dot>,
}

fn dot(operation: &Operation) -> Dot {
    (operation.site, operation.seq)
}

impl Replica {
    fn of_element(&self, kind: char, id: &str, key: &str) -> impl Iterator<Item = &Arc<Known>> {
        self.received.values().filter(move |known| {
            let other = &known.operation;
            (other.kind, &*other.id, &*other.key) == (kind, id, key)
        })
    }

    /// All that whoever writes to this element now has seen of it, directly or not.
    fn history(&self, kind: char, id: &str, key: &str) -> BTreeSet<Dot> {
        self.of_element(kind, id, key)
            .flat_map(|known| known.covers.iter().copied().chain([dot(&known.operation)]))
            .collect()
    }

    /// Records an operation that this store wrote.
    ///
    /// # Errors
    ///
    /// What is wrong with it: its clock is not above all that it covers, or its context is not what the
    /// store had seen.
    pub(crate) fn write(&mut self, operation: &Operation) -> Result<Arc<Known>, String> {
        let Operation { kind, id, key, .. } = operation;
        let late = self
            .of_element(*kind, id, key)
            .map(|known| &known.operation)
            .find(|other| operation.hlc <= other.hlc && !self.covered.contains(&dot(other)));
        if let Some(other) = late {
            return Err(format!("the clock went back: {operation:?} on {other:?}"));
        }
        let covers = self.history(*kind, id, key);
        // An operation covers all earlier ones of its site by its number alone.
        let others = covers.iter().filter(|(site, _)| *site != operation.site);
        let context: Vec<_> = others
            .copied()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect();
        if context != operation.context {
            return Err(format!("seen was {context:?}, written was {operation:?}"));
        }
        Ok(self.record(operation.clone(), covers))
    }

    /// Makes an operation as a store does that this program does not talk to. Its clock is `clock`, or
    /// the first above all that it covers.
    pub(crate) fn imagine(&mut self, write: Write, name: Dot, clock: i64) -> Arc<Known> {
        let (kind, id, key, op, data) = write;
        let covers = self.history(kind, &id, &key);
        let seen = self
            .of_element(kind, &id, &key)
            .map(|known| known.operation.hlc + 1);
        let hlc = seen.max().map_or(clock, |first| first.max(clock));
        let others = covers.iter().filter(|(site, _)| *site != name.0);
        let context: BTreeMap<_, _> = others.copied().collect();
        let operation = Operation {
            kind,
            id,
            key,
            site: name.0,
            seq: name.1,
            op,
            data,
            context: context.into_iter().collect(),
            hlc,
        };
        self.record(operation, covers)
    }

    fn record(&mut self, operation: Operation, covers: BTreeSet<Dot>) -> Arc<Known> {
        let known = Arc::new(Known { operation, covers });
        self.receive(&known);
        known
    }

    pub(crate) fn receive(&mut self, known: &Arc<Known>) {
        self.covered.extend(&known.covers);
        self.received
            .insert(dot(&known.operation), Arc::clone(known));
    }

    /// Receives everything that another store has, as a catch-up does.
    pub(crate) fn receive_all(&mut self, other: &Self) {
        for known in other.received.values() {
            self.receive(known);
        }
    }

    /// Whether an operation, or one that covers it, is here.
    pub(crate) fn has(&self, operation: &Operation) -> bool {
        let dot = dot(operation);
        self.received.contains_key(&dot) || self.covered.contains(&dot)
    }

    /// The operations that no other one covers, in a canonical order.
    pub(crate) fn present(&self) -> Present {
        let present = self
            .received
            .iter()
            .filter(|(dot, _)| !self.covered.contains(dot));
        let mut operations: Vec<_> = present.map(|(_, known)| known.operation.clone()).collect();
        operations.sort();
        Present(operations)
    }
}

/// The operations that no other one covers.
#[derive(Debug, Clone)]
pub(crate) struct Present(pub(crate) Vec<Operation>);

/// The operations of one structure by key, each by site.
type Elements<'a> = BTreeMap<&'a str, Vec<&'a Operation>>;

/// The greatest clock; of equal ones, that of the lowest site.
fn greatest<'a>(operations: impl Iterator<Item = &'a Operation>) -> Option<&'a Operation> {
    operations.max_by_key(|operation| (operation.hlc, -operation.site))
}

fn is_addition(operation: &Operation) -> bool {
    operation.op == 'a'
}

fn additions<'a>(all: &[&'a Operation]) -> Vec<&'a Operation> {
    all.iter().copied().filter(|one| is_addition(one)).collect()
}

fn values(operations: &[&Operation]) -> Value {
    operations
        .iter()
        .map(|operation| json!(operation.data))
        .collect()
}

fn share(operation: &Operation) -> i64 {
    operation.data.as_ref().unwrap().parse().unwrap()
}

/// Whether a member is read, by the operations on it.
type SetRule = fn(&[&Operation]) -> bool;

/// What is read of an entry, by the operations on it.
type MapRule = fn(&[&Operation]) -> Option<Value>;

pub(crate) const SETS: [(&str, SetRule); 3] = [
    ("SetAw", |all| all.iter().any(|one| is_addition(one))),
    ("SetRw", |all| all.iter().all(|one| is_addition(one))),
    ("SetLww", |all| {
        greatest(all.iter().copied()).is_some_and(is_addition)
    }),
];

pub(crate) const MAPS: [(&str, MapRule); 5] = [
    ("MapAwMvr", |all| {
        let added = additions(all);
        (!added.is_empty()).then(|| values(&added))
    }),
    ("MapAwLww", |all| {
        greatest(additions(all).into_iter()).map(|one| json!(one.data))
    }),
    ("MapRwMvr", |all| {
        all.iter().all(|one| is_addition(one)).then(|| values(all))
    }),
    ("MapRwLww", |all| {
        let is_kept = all.iter().all(|one| is_addition(one));
        let last = greatest(all.iter().copied()).filter(|_| is_kept);
        last.map(|one| json!(one.data))
    }),
    ("MapLww", |all| {
        let last = greatest(all.iter().copied());
        last.filter(|one| is_addition(one))
            .map(|one| json!(one.data))
    }),
];

/// What holds what: while it holds, an addition to `dst` adds `dst` to `src` again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) src: String,
    pub(crate) src_key: Option<String>,
    pub(crate) dst: String,
    pub(crate) add_function: String,
}

impl Rule {
    /// The write that adds `dst` to `src`; a list's first entry that holds it is written again.
    pub(crate) fn write(&self, present: &Present) -> Write {
        let (src, dst) = (self.src.clone(), self.dst.clone());
        match &*self.add_function {
            "mapadd" => ('m', src, self.src_key.clone().unwrap(), 'a', Some(dst)),
            "setadd" => ('s', src, dst, 'a', None),
            "registerset" => ('r', src, String::new(), 'a', Some(dst)),
            "listadd" => {
                let entries = present.list(&src).into_iter();
                let mut holders = entries.filter(|(_, data)| data.as_ref() == Some(&dst));
                let position = holders
                    .next()
                    .map_or("?".to_owned(), |(position, _)| position);
                ('l', src, position, 'a', Some(dst))
            }
            other => panic!("no such function: {other}"),
        }
    }
}

impl Present {
    fn structure(&self, kind: char, id: &str) -> Elements<'_> {
        let mut elements = Elements::new();
        for operation in &self.0 {
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
        let elements = self.structure('l', id).into_values();
        let entries = elements
            .flatten()
            .filter(|operation| is_addition(operation));
        entries
            .map(|entry| (entry.key.clone(), entry.data.clone()))
            .collect()
    }

    /// The keys of a structure of which an addition is present.
    pub(crate) fn visible(&self, kind: char, id: &str) -> Vec<String> {
        let elements = self.structure(kind, id).into_iter();
        let visible = elements.filter(|(_, all)| !additions(all).is_empty());
        visible.map(|(key, _)| key.to_owned()).collect()
    }

    /// A site's share of a counter.
    pub(crate) fn counter_share(&self, id: &str, site: i64) -> i64 {
        let shares = self.structure('c', id);
        shares
            .get(&*site.to_string())
            .map_or(0, |all| share(all[0]))
    }

    pub(crate) fn rules(&self) -> BTreeSet<Rule> {
        let elements = self.structure('i', "$integrity");
        let rule = |(key, all): (&str, &Vec<&Operation>)| {
            let last = greatest(additions(all).into_iter())?;
            let key: Value = serde_json::from_str(key).unwrap();
            let text = |value: &Value| value.as_str().map(str::to_owned);
            Some(Rule {
                src: text(&key["src"][0]).unwrap(),
                src_key: text(&key["src"][1]),
                dst: text(&key["dst"]).unwrap(),
                add_function: last.data.clone().unwrap(),
            })
        };
        elements
            .iter()
            .filter_map(|(key, all)| rule((key, all)))
            .collect()
    }

    /// The rules that lead to what holds `dst`, and to what holds that.
    pub(crate) fn above(&self, dst: &str) -> BTreeSet<Rule> {
        let rules = self.rules();
        let mut above = BTreeSet::new();
        let mut reached = vec![dst.to_owned()];
        while let Some(id) = reached.pop() {
            for rule in rules.iter().filter(|rule| rule.dst == id) {
                if above.insert(rule.clone()) {
                    reached.push(rule.src.clone());
                }
            }
        }
        above
    }

    /// What the view `Data` must show at a site: vectors are over all sites that it has heard of.
    pub(crate) fn data(&self, site: i64) -> Vec<Value> {
        let sites: BTreeSet<_> = self.0.iter().map(|one| one.site).chain([site]).collect();
        let users = self
            .0
            .iter()
            .filter(|operation| "rsmcl".contains(operation.kind));
        let row = |operation: &Operation| {
            let seen: BTreeMap<_, _> = operation.context.iter().copied().collect();
            let lts = sites.iter().map(|site| match seen.get(site) {
                _ if *site == operation.site => operation.seq,
                seen => seen.copied().unwrap_or(0),
            });
            let (physical, logical) = (operation.hlc >> 16, operation.hlc & 0xffff);
            json!({
                "id": operation.id, "key": operation.key, "type": operation.kind.to_string(),
                "data": operation.data, "site": operation.site, "op": operation.op.to_string(),
                "lts": lts.collect::<Vec<_>>(),
                "pts": { "physical_time": physical, "logical_time": logical },
            })
        };
        users.map(row).collect()
    }

    /// The members of a set and the entries of a map, by each rule.
    fn collections(&self, id: &str) -> Vec<(&'static str, Vec<Value>)> {
        let mut collections = Vec::new();
        for (view, rule) in SETS {
            let all = self
                .structure('s', id)
                .into_iter()
                .filter(|(_, all)| rule(all));
            collections.push((view, all.map(|(key, _)| json!(key)).collect()));
        }
        for (view, rule) in MAPS {
            let all = self.structure('m', id).into_iter();
            let entry = |(key, all): (_, Vec<_>)| {
                rule(&all).map(|value| json!({ "key": key, "value": value }))
            };
            collections.push((view, all.filter_map(entry).collect()));
        }
        collections
    }

    /// What each view must show, by its name: rows, in any order.
    pub(crate) fn views(&self, ids: &[&str]) -> BTreeMap<String, Vec<Value>> {
        let mut views: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut show = |view: &str, row: Value| views.entry(view.to_owned()).or_default().push(row);
        for id in ids {
            let all = self.structure('r', id).remove("").unwrap_or_default();
            let all = additions(&all);
            if let Some(last) = greatest(all.iter().copied()) {
                show("RegisterMvr", json!({ "id": id, "data": values(&all) }));
                show("RegisterLww", json!({ "id": id, "data": last.data }));
            }
            let shares = self.structure('c', id);
            if !shares.is_empty() {
                let sum: i64 = shares.values().flatten().copied().map(share).sum();
                show("Counter", json!({ "id": id, "data": sum }));
            }
            let list = self.list(id);
            for (pos, data) in &list {
                show("List", json!({ "id": id, "pos": pos, "data": data }));
            }
            if !list.is_empty() {
                let data: Vec<_> = list.iter().map(|(_, data)| data).collect();
                show("ListTuple", json!({ "id": id, "data": data }));
            }
            for (view, entries) in self.collections(id) {
                if !entries.is_empty() {
                    show(
                        &format!("{view}Tuple"),
                        json!({ "id": id, "data": entries }),
                    );
                }
                for data in entries {
                    show(view, json!({ "id": id, "data": data }));
                }
            }
        }
        views
    }
}
