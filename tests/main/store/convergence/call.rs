//! Calls of the write functions, and what each must do.

use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, prop, prop_oneof};
use serde_json::Value;

use crate::store::model::{Present, Write};

/// The last one is never held by another structure, and is the only list that holds others.
pub(super) const IDS: [&str; 4] = ["a", "b", "", "top"];
pub(super) const KEYS: [&str; 4] = ["x", "y", "ö", ""];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    RegisterSet,
    SetAdd,
    SetRmv,
    SetClear,
    MapAdd,
    MapRmv,
    MapClear,
    CounterInc,
    CounterDec,
    ListAdd,
    ListAppend,
    ListPrepend,
    ListRmv,
    ListPopFirst,
    ListPopLast,
    ListClear,
    AddIntegrity,
    RmvIntegrity,
    InsertIntoData,
}

/// A call; which of the values matter depends on the function.
#[derive(Debug, Clone)]
pub(super) struct Call {
    function: Function,
    id: &'static str,
    key: &'static str,
    /// An index, an amount, or which kind of rule.
    number: u8,
    is_null: bool,
    /// What a rule leads to.
    dst: &'static str,
}

pub(super) fn call() -> impl Strategy<Value = Call> {
    use Function::*;
    let function = prop_oneof![
        8 => Just(SetAdd),
        8 => Just(MapAdd),
        6 => Just(RegisterSet),
        6 => Just(SetRmv),
        6 => Just(MapRmv),
        4 => Just(ListAdd),
        3 => Just(CounterInc),
        3 => Just(CounterDec),
        3 => Just(ListAppend),
        3 => Just(ListPrepend),
        3 => Just(ListRmv),
        3 => Just(AddIntegrity),
        1 => Just(SetClear),
        1 => Just(MapClear),
        1 => Just(ListPopFirst),
        1 => Just(ListPopLast),
        1 => Just(ListClear),
        1 => Just(RmvIntegrity),
        5 => Just(InsertIntoData),
    ];
    let id = |count: usize| prop::sample::select(&IDS[..count]);
    let key = prop::sample::select(&KEYS[..]);
    let is_null = prop::bool::weighted(0.1);
    (function, id(4), key, 0..8_u8, is_null, id(3)).prop_map(
        |(function, id, key, number, is_null, dst)| Call {
            function,
            id,
            key,
            number,
            is_null,
            dst,
        },
    )
}

/// What a call must do.
#[derive(Debug, Default)]
pub(super) struct Prediction {
    pub(super) sql: String,
    /// In canonical order; the position of a new list entry is given as `?`.
    pub(super) writes: Vec<Write>,
    pub(super) answer: Option<String>,
    /// The list's entries afterwards.
    pub(super) list: Option<Vec<Option<String>>>,
    pub(super) is_refused: bool,
}

fn quoted(value: Option<&str>) -> String {
    value.map_or("null".to_owned(), |value| format!("'{value}'"))
}

impl Call {
    pub(super) fn id(&self) -> &'static str {
        self.id
    }

    /// Which entry of a list of this length the call is about.
    pub(super) fn index(&self, length: usize) -> usize {
        usize::from(self.number) % (length + 2)
    }

    fn delta(&self) -> i64 {
        i64::from(self.number) - 3
    }

    fn one(&self, kind: char, key: &str, op: char, data: Option<&str>) -> Vec<Write> {
        let (id, key) = (self.id.to_owned(), key.to_owned());
        vec![(kind, id, key, op, data.map(str::to_owned))]
    }

    fn removals(&self, present: &Present, kind: char) -> Vec<Write> {
        let keys = present.visible(kind, self.id).into_iter();
        keys.flat_map(|key| self.one(kind, &key, 'r', None))
            .collect()
    }

    /// What the call must do at the store of `site` that has `present`. `value` is new.
    pub(super) fn predict(&self, present: &Present, site: i64, value: &str) -> Prediction {
        use Function::*;
        let Self { id, key, .. } = self;
        let data = Some(value).filter(|_| !self.is_null);
        let text = quoted(data);
        let (sql, writes) = match self.function {
            RegisterSet => (
                format!("registerSet('{id}', {text})"),
                self.one('r', "", 'a', data),
            ),
            SetAdd => (
                format!("setAdd('{id}', '{key}')"),
                self.one('s', key, 'a', None),
            ),
            SetRmv => (
                format!("setRmv('{id}', '{key}')"),
                self.one('s', key, 'r', None),
            ),
            SetClear => (format!("setClear('{id}')"), self.removals(present, 's')),
            MapAdd => (
                format!("mapAdd('{id}', '{key}', {text})"),
                self.one('m', key, 'a', data),
            ),
            MapRmv => (
                format!("mapRmv('{id}', '{key}')"),
                self.one('m', key, 'r', None),
            ),
            MapClear => (format!("mapClear('{id}')"), self.removals(present, 'm')),
            CounterInc => self.counter("Inc", self.delta(), present, site),
            CounterDec => self.counter("Dec", -self.delta(), present, site),
            AddIntegrity | RmvIntegrity => return self.integrity(present),
            InsertIntoData => return self.data(present, site, data),
            _ => return self.list(present, data),
        };
        Prediction {
            sql: format!("select crdv.{sql}"),
            writes: with_sources(present, writes),
            ..Prediction::default()
        }
    }

    /// An insert into the view `Data`, by the type of the operation.
    fn data(&self, present: &Present, site: i64, data: Option<&str>) -> Prediction {
        let (id, text) = (self.id, quoted(data));
        let insert = |key: &str, kind: char, data: &str, op: char| {
            format!(
                "insert into crdv.data (id, key, type, data, op)
                 values ('{id}', '{key}', '{kind}', {data}, '{op}')"
            )
        };
        let (op, removes) = if self.number.is_multiple_of(2) {
            ('a', false)
        } else {
            ('r', true)
        };
        let kept = data.filter(|_| !removes);
        let list = present.list(id);
        let entry = list.get(self.index(list.len()));
        let mut after = None;
        let (sql, writes) = match (self.number / 2, entry) {
            (0, _) => (insert("", 'r', &text, op), self.one('r', "", op, kept)),
            (1, _) => (
                insert(self.key, 's', &text, op),
                self.one('s', self.key, op, None),
            ),
            (2, Some((position, _))) => {
                let mut entries = list.clone();
                entries.retain(|(other, _)| other != position);
                entries.extend((!removes).then(|| (position.clone(), data.map(str::to_owned))));
                entries.sort_by(|one, other| one.0.cmp(&other.0));
                after = Some(entries.into_iter().map(|(_, data)| data).collect());
                (
                    insert(position, 'l', &text, op),
                    self.one('l', position, op, kept),
                )
            }
            (2, None) => {
                let share = self.delta().to_string();
                let writes = self.one('c', &site.to_string(), 'a', Some(&share));
                (insert("", 'c', &share, 'a'), writes)
            }
            _ => (
                insert(self.key, 'm', &text, op),
                self.one('m', self.key, op, kept),
            ),
        };
        Prediction {
            sql,
            writes: with_sources(present, writes),
            list: after,
            ..Prediction::default()
        }
    }

    fn counter(
        &self,
        name: &str,
        change: i64,
        present: &Present,
        site: i64,
    ) -> (String, Vec<Write>) {
        let share = present.counter_share(self.id, site) + change;
        let sql = format!("counter{name}('{}', {})", self.id, self.delta());
        let data = share.to_string();
        (sql, self.one('c', &site.to_string(), 'a', Some(&data)))
    }

    fn list(&self, present: &Present, data: Option<&str>) -> Prediction {
        let id = self.id;
        let (positions, mut after): (Vec<_>, Vec<_>) = present.list(id).into_iter().unzip();
        let (length, text) = (after.len(), quoted(data));
        let index = self.index(length);
        let call = |name: &str, rest: &str| format!("select crdv.list{name}('{id}'{rest})");
        let (sql, enters, leaves) = match self.function {
            Function::ListAdd => (
                call("Add", &format!(", {index}, {text}")),
                Some(index),
                None,
            ),
            Function::ListAppend => (call("Append", &format!(", {text}")), Some(length), None),
            Function::ListPrepend => (call("Prepend", &format!(", {text}")), Some(0), None),
            Function::ListRmv => (call("Rmv", &format!(", {index}")), None, Some(index)),
            Function::ListPopFirst => (call("PopFirst", ""), None, Some(0)),
            Function::ListPopLast => (call("PopLast", ""), None, Some(length.wrapping_sub(1))),
            _ => {
                return Prediction {
                    sql: call("Clear", ""),
                    writes: self.removals(present, 'l'),
                    list: Some(Vec::new()),
                    ..Prediction::default()
                };
            }
        };
        let mut prediction = Prediction {
            sql,
            ..Prediction::default()
        };
        if let Some(index) = enters {
            let mut index = index.min(length);
            // Values at one position, which was written concurrently, stay together.
            while 0 < index && index < length && positions[index] == positions[index - 1] {
                index += 1;
            }
            after.insert(index, data.map(str::to_owned));
            prediction.writes = with_sources(present, self.one('l', "?", 'a', data));
        }
        if let Some(index) = leaves.filter(|index| *index < length) {
            let position = &positions[index];
            let popped = std::mem::take(&mut after).into_iter().zip(&positions);
            let (gone, left): (Vec<_>, Vec<_>) = popped
                .enumerate()
                .partition(|(_, (_, other))| *other == position);
            let at =
                |(nth, (data, _)): (usize, (Option<String>, _))| (nth == index).then_some(data);
            let gone = gone.into_iter().find_map(at).flatten();
            after = left.into_iter().map(|(_, (data, _))| data).collect();
            prediction.writes = self.one('l', position, 'r', None);
            if self.function != Function::ListRmv {
                prediction.answer = gone;
            }
        }
        prediction.list = Some(after);
        prediction
    }

    fn integrity(&self, present: &Present) -> Prediction {
        let Self { id, key, dst, .. } = self;
        let (add_function, id, src) = match self.number {
            0 | 1 => (
                "listAdd",
                &IDS[3],
                format!("{},{}", IDS[3], KEYS.iter().position(|k| k == key).unwrap()),
            ),
            number if number % 3 == 0 => ("mapAdd", id, format!("{id},{key}")),
            number if number % 3 == 1 => ("setAdd", id, (*id).to_owned()),
            _ => ("registerSet", id, (*id).to_owned()),
        };
        let src: Vec<_> = src.split(',').collect();
        let array = format!("array['{}']", src.join("', '"));
        let rule = Value::from(src).to_string().replace("\",\"", "\", \"");
        let rule = format!("{{\"dst\": \"{dst}\", \"src\": {rule}}}");
        let (sql, op, data) = if self.function == Function::AddIntegrity {
            let sql = format!(
                "select crdv.add_referential_integrity({array}, '{dst}', '{add_function}')"
            );
            (sql, 'a', Some(add_function.to_lowercase()))
        } else {
            let sql = format!("select crdv.rmv_referential_integrity({array}, '{dst}')");
            (sql, 'r', None)
        };
        let holds_itself = id == dst || present.above(id).iter().any(|rule| rule.src == *dst);
        Prediction {
            sql,
            writes: vec![('i', "$integrity".to_owned(), rule, op, data)],
            is_refused: op == 'a' && holds_itself,
            ..Prediction::default()
        }
    }
}

/// Adds what holds the structures that were added to. Of several writes to one element the last stays.
fn with_sources(present: &Present, writes: Vec<Write>) -> Vec<Write> {
    let mut last: BTreeMap<_, Write> = BTreeMap::new();
    let mut put = |write: Write| {
        // New entries of a list are told apart by what they hold.
        let new = write.4.clone().filter(|_| write.2 == "?");
        last.insert((write.0, write.1.clone(), write.2.clone(), new), write);
    };
    for write in writes {
        let above = present.above(&write.1);
        let is_addition = write.3 == 'a';
        put(write);
        if is_addition {
            above
                .iter()
                .map(|rule| rule.write(present))
                .for_each(&mut put);
        }
    }
    let mut writes: Vec<_> = last.into_values().collect();
    writes.sort();
    writes
}
