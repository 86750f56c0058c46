//! Whether stores have what their writers were told is done, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;

use super::crowd::{Effect, Transaction, Written};

/// Where values are added and taken away, and how all of them are read.
const PLACES: [(&str, &str); 7] = [
    ("members", "setAwGet('members')"),
    ("set", "setAwGet('cleared')"),
    (
        "map",
        "array(select (data).key from mapAwLww where id = 'cleared')",
    ),
    ("queue", "listGet('queue')"),
    ("thinned", "listGet('thinned')"),
    ("cleared", "listGet('cleared')"),
    ("log", "listGet('log')"),
];

/// An effect, with the number of its store, its transaction, and its place therein.
type Event<'a> = (usize, &'a Transaction, usize, &'a Effect);

fn events(written: &[Written]) -> impl Iterator<Item = Event<'_>> {
    written.iter().flat_map(|writer| {
        let of = |done: &'_ Transaction| done.effects.len();
        let all = writer.transactions.iter();
        all.flat_map(move |done| {
            (0..of(done)).map(move |nth| (writer.store, done, nth, &done.effects[nth]))
        })
    })
}

/// Whether one happened before the other, for all who could see it.
fn precedes(one: &Event<'_>, other: &Event<'_>) -> bool {
    let is_same = std::ptr::eq(one.1, other.1);
    one.0 == other.0 && (one.1.ended < other.1.began || is_same && one.2 < other.2)
}

/// Complaints about stores, which are equal and idle. One client for each.
pub(crate) async fn judge(stores: &[&Client], written: &[Written]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, client) in stores.iter().enumerate() {
        let mut found = Vec::new();
        for (place, read) in PLACES {
            let sql = format!("select coalesce({read}, '{{}}')::text[]");
            let present: Vec<String> = client.query_one(&sql, &[]).await.unwrap().get(0);
            found.extend(judge_place(place, &present, written));
        }
        found.extend(judge_counters(client, written).await);
        found.extend(judge_cells(client, written).await);
        complaints.extend(
            found
                .into_iter()
                .map(|one| format!("store {number}: {one}")),
        );
    }
    complaints.extend(judge_pops(written));
    complaints
}

fn judge_place(name: &str, present: &[String], written: &[Written]) -> Vec<String> {
    let mut complaints = Vec::new();
    let (mut added, mut removed, mut popped) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let (mut clears, mut thinnings) = (Vec::new(), Vec::new());
    for event in events(written) {
        match event.3 {
            Effect::Add { place, tag } if *place == name => drop(added.insert(tag, event)),
            Effect::Remove { place, tag } if *place == name => drop(removed.insert(tag)),
            Effect::Pop {
                place,
                tag: Some(tag),
            } if *place == name => drop(popped.insert(tag)),
            Effect::Clear { place } if *place == name => clears.push(event),
            Effect::RemoveAt { place } if *place == name => thinnings.push(event),
            _ => {}
        }
    }
    let here: BTreeSet<_> = present.iter().collect();
    if here.len() < present.len() {
        complaints.push(format!("{name} has something twice: {present:?}"));
    }
    for tag in here.iter().chain(&popped) {
        if !added.contains_key(*tag) {
            complaints.push(format!("{name} has or had {tag}, which nobody added"));
        }
    }
    for tag in popped.union(&removed).filter(|tag| here.contains(**tag)) {
        complaints.push(format!("{name} still has {tag}, which was taken"));
    }
    let mut thinned = 0;
    for (tag, add) in &added {
        if here.contains(*tag) {
            if clears.iter().any(|clear| precedes(add, clear)) {
                complaints.push(format!("{name} still has {tag}, which a clear had seen"));
            }
        } else if !removed.contains(*tag) && !popped.contains(*tag) {
            thinned += 1;
            let mut takers = clears.iter().chain(&thinnings);
            if takers.all(|taker| taker.1.ended < add.1.began) {
                complaints.push(format!("{name} has lost {tag}"));
            }
        }
    }
    if clears.is_empty() && thinned > thinnings.len() {
        let count = thinnings.len();
        complaints.push(format!("{name} has lost {thinned} by {count} removals"));
    }
    if name == "log" {
        let order: Vec<_> = present.iter().filter_map(|tag| added.get(tag)).collect();
        for (nth, late) in order.iter().enumerate() {
            if let Some(early) = order[nth + 1..].iter().find(|early| precedes(early, late)) {
                complaints.push(format!("{:?} was appended before {:?}", early.3, late.3));
            }
        }
    }
    complaints
}

/// At one store, nobody takes what somebody else took.
fn judge_pops(written: &[Written]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut popped = BTreeSet::new();
    for (store, _, _, effect) in events(written) {
        if let Effect::Pop {
            place,
            tag: Some(tag),
        } = effect
            && !popped.insert((store, tag))
        {
            complaints.push(format!(
                "{tag} was popped twice from {place} at store {store}"
            ));
        }
    }
    complaints
}

async fn judge_counters(client: &Client, written: &[Written]) -> Vec<String> {
    let mut expected = BTreeMap::<_, i64>::new();
    for (_, _, _, effect) in events(written) {
        if let Effect::Count { id, change } = effect {
            *expected.entry(id).or_default() += change;
        }
    }
    let mut complaints = Vec::new();
    for (id, expected) in expected {
        let sql = "select counterGet($1)";
        let found: i64 = client.query_one(sql, &[&id]).await.unwrap().get(0);
        if found != expected {
            complaints.push(format!("{id} is {found}, and should be {expected}"));
        }
    }
    complaints
}

/// A cell has a value that was put there and that nobody, having seen it, replaced.
async fn judge_cells(client: &Client, written: &[Written]) -> Vec<String> {
    let mut cells: BTreeMap<&String, Vec<(Event<'_>, &Option<String>)>> = BTreeMap::new();
    let mut bumps = 0;
    for event in events(written) {
        match event.3 {
            Effect::Set { cell, value } => cells.entry(cell).or_default().push((event, value)),
            Effect::Bump => bumps += 1,
            _ => {}
        }
    }
    let mut complaints = Vec::new();
    for (cell, writes) in cells {
        let sql = format!("select {cell}");
        let found: Option<String> = client.query_one(&sql, &[]).await.unwrap().get(0);
        let is_last = |event: &Event<'_>| !writes.iter().any(|(other, _)| precedes(event, other));
        let mut last = writes.iter().filter(|(event, _)| is_last(event));
        if !last.any(|(_, value)| **value == found) {
            complaints.push(format!(
                "{cell} is {found:?}, which was overwritten or never set"
            ));
        }
    }
    if bumps > 0 {
        let sql = "select registerLwwGet('bumps')::int::bigint";
        let found: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        if found != bumps {
            complaints.push(format!(
                "{bumps} times one was added, and the sum is {found}"
            ));
        }
    }
    complaints
}
