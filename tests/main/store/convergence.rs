//! Equal sets of operations give equal reads: random writes of all types at three stores, delivered in
//! random order, with duplicates, in batches and by catch-ups, against the model.

use std::env;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use tokio_postgres::Client;

use super::model::{Known, Replica, Write};
use super::operation::{Operation, present};
use crate::support::{Server, Store};

const IDS: [&str; 3] = ["a", "b", ""];
const KEYS: [&str; 4] = ["x", "y", "ö", ""];
const STEPS: usize = 150;

/// The read functions whose answer is a whole structure, with the view of the same content.
const READS: [(&str, &str); 11] = [
    ("RegisterMvr", "RegisterMvr"),
    ("RegisterLww", "RegisterLww"),
    ("SetAw", "SetAwTuple"),
    ("SetRw", "SetRwTuple"),
    ("SetLww", "SetLwwTuple"),
    ("MapAwMvr", "MapAwMvrTuple"),
    ("MapAwLww", "MapAwLwwTuple"),
    ("MapRwMvr", "MapRwMvrTuple"),
    ("MapLww", "MapLwwTuple"),
    ("Counter", "Counter"),
    ("List", "ListTuple"),
];

/// A store, its model, and the sessions to write to it and to replicate into it.
struct Peer {
    store: Store,
    client: Client,
    worker: Client,
    model: Replica,
    last: i64,
}

struct World {
    rng: StdRng,
    peers: Vec<Peer>,
    /// Every operation ever written.
    log: Vec<Known>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let server = Server::shared();
        let mut peers = Vec::new();
        for node in ["one", "two", "three"] {
            let store = server.store(&format!("{node} {seed}")).await;
            let client = store.connect().await;
            let worker = store.apply_worker(store.site).await;
            peers.push(Peer {
                store,
                client,
                worker,
                model: Replica::default(),
                last: 0,
            });
        }
        Self {
            rng: StdRng::seed_from_u64(seed),
            peers,
            log: Vec::new(),
        }
    }

    /// A random call, and what it must write at this store.
    fn call(&mut self, at: usize) -> (String, Vec<Write>) {
        let Self { rng, peers, log } = self;
        let model = &peers[at].model;
        let id = *IDS.choose(rng).unwrap();
        let key = *KEYS.choose(rng).unwrap();
        let value = format!("v{}", log.len());
        let one = |kind: char, key: &str, op: char, data: Option<&str>| {
            vec![(
                kind,
                id.to_owned(),
                key.to_owned(),
                op,
                data.map(str::to_owned),
            )]
        };
        let removals = |kind: char| -> Vec<Write> {
            let keys = model.visible(kind, id).into_iter();
            keys.map(|key| (kind, id.to_owned(), key, 'r', None))
                .collect()
        };
        let list = model.list(id);
        let index = rng.random_range(0..=list.len() + 1);
        let position = |index: usize| list.get(index).map(|(position, _)| position.clone());
        let removal = |index: Option<usize>| -> Vec<Write> {
            index
                .and_then(position)
                .map_or_else(Vec::new, |key| one('l', &key, 'r', None))
        };
        let entry = one('l', "?", 'a', Some(&value));
        match rng.random_range(0..18) {
            0 | 1 => (
                format!("registerSet('{id}', '{value}')"),
                one('r', "", 'a', Some(&value)),
            ),
            2 | 3 => (format!("setAdd('{id}', '{key}')"), one('s', key, 'a', None)),
            4 | 5 => (format!("setRmv('{id}', '{key}')"), one('s', key, 'r', None)),
            6 => (format!("setClear('{id}')"), removals('s')),
            7 | 8 => (
                format!("mapAdd('{id}', '{key}', '{value}')"),
                one('m', key, 'a', Some(&value)),
            ),
            9 | 10 => (format!("mapRmv('{id}', '{key}')"), one('m', key, 'r', None)),
            11 => (format!("mapClear('{id}')"), removals('m')),
            12 | 13 => {
                let share = model.counter_share(id, peers[at].store.site.get());
                let delta: i64 = rng.random_range(-9..=9);
                let data = (share + delta).to_string();
                let site = peers[at].store.site.to_string();
                (
                    format!("counterInc('{id}', {delta})"),
                    one('c', &site, 'a', Some(&data)),
                )
            }
            14 => match rng.random_range(0..3) {
                0 => (format!("listAppend('{id}', '{value}')"), entry),
                1 => (format!("listPrepend('{id}', '{value}')"), entry),
                _ => (format!("listAdd('{id}', {index}, '{value}')"), entry),
            },
            15 => (format!("listAdd('{id}', {index}, '{value}')"), entry),
            16 => match rng.random_range(0..3) {
                0 => (format!("listPopFirst('{id}')"), removal(Some(0))),
                1 => (
                    format!("listPopLast('{id}')"),
                    removal(list.len().checked_sub(1)),
                ),
                _ => (format!("listRmv('{id}', {index})"), removal(Some(index))),
            },
            _ => (format!("listClear('{id}')"), removals('l')),
        }
    }

    /// Makes a random call at a store and checks what it wrote.
    async fn write(&mut self, at: usize) {
        let (call, expected) = self.call(at);
        let peer = &mut self.peers[at];
        peer.client
            .batch_execute(&format!("select crdv.{call}"))
            .await
            .unwrap();
        let written = peer.collect(&mut self.log).await;
        let mut wrote: Vec<Write> = written
            .into_iter()
            .map(|o| {
                let key = if o.kind == 'l' && o.op == 'a' {
                    "?".to_owned()
                } else {
                    o.key
                };
                (o.kind, o.id, key, o.op, o.data)
            })
            .collect();
        wrote.sort();
        assert_eq!(wrote, expected, "{call}");
    }

    /// Brings random operations to a store in one transaction, some of them twice.
    async fn deliver(&mut self, to: usize) {
        let count = self.rng.random_range(1..=8);
        let batch: Vec<Known> = (0..count)
            .filter_map(|_| self.log.choose(&mut self.rng).cloned())
            .collect();
        self.peers[to].receive(&batch).await;
    }

    async fn catch_up(&mut self, from: usize, to: usize) {
        let rows = present(&self.peers[from].client).await;
        let model = self.peers[from].model.clone();
        let site = self.peers[from].store.site.get();
        let peer = &mut self.peers[to];
        let transaction = peer.client.transaction().await.unwrap();
        transaction
            .batch_execute("select crdv.begin_catch_up()")
            .await
            .unwrap();
        for row in &rows {
            row.insert(&transaction, "catch_up").await.unwrap();
        }
        transaction
            .query_one("select crdv.apply_catch_up($1)", &[&site])
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        peer.model.receive_all(&model);
        // The marker is an operation of its own.
        peer.collect(&mut self.log).await;
    }

    async fn run(&mut self) {
        for _ in 0..STEPS {
            let at = self.rng.random_range(0..self.peers.len());
            match self.rng.random_range(0..20) {
                0..=10 => self.write(at).await,
                11..=17 => self.deliver(at).await,
                18 => {
                    let from = self.rng.random_range(0..self.peers.len());
                    self.catch_up(from, at).await;
                }
                _ => self.peers[at].check().await,
            }
        }
        for at in 0..self.peers.len() {
            let mut all = self.log.clone();
            all.shuffle(&mut self.rng);
            self.peers[at].receive(&all).await;
            self.peers[at].check().await;
        }
        let first = present(&self.peers[0].client).await;
        for peer in &self.peers[1..] {
            assert_eq!(present(&peer.client).await, first);
        }
    }
}

impl Peer {
    /// Takes note of the operations that this store wrote since the last time.
    async fn collect(&mut self, log: &mut Vec<Known>) -> Vec<Operation> {
        let site = self.store.site.get();
        let mut written: Vec<_> = present(&self.client)
            .await
            .into_iter()
            .filter(|operation| operation.site == site && operation.seq > self.last)
            .collect();
        written.sort_by_key(|operation| operation.seq);
        for operation in &written {
            self.last = operation.seq;
            log.push(self.model.write(operation));
        }
        written
    }

    async fn receive(&mut self, batch: &[Known]) {
        let transaction = self.worker.transaction().await.unwrap();
        for known in batch {
            known.operation().apply(&transaction).await;
        }
        transaction.commit().await.unwrap();
        for known in batch {
            self.model.receive(known);
        }
    }

    /// Compares the table, every read function and every view with the model.
    async fn check(&self) {
        assert_eq!(present(&self.client).await, self.model.present());
        for id in IDS {
            assert_eq!(
                functions(&self.client, id).await,
                self.model.reads(id),
                "id {id:?}"
            );
            self.check_keys(id).await;
        }
        for (name, view) in READS {
            let sql =
                format!("select coalesce(jsonb_object_agg(id, data), '{{}}') from crdv.{view}");
            let found: Value = self.client.query_one(&sql, &[]).await.unwrap().get(0);
            let expected: Map<String, Value> = IDS
                .into_iter()
                .map(|id| (id.to_owned(), self.model.reads(id)[name].clone()))
                .filter(|(_, value)| !value.is_null())
                .collect();
            assert_eq!(found, Value::from(expected), "view {view}");
        }
    }

    /// Compares the functions that ask for one key with those that read the whole.
    async fn check_keys(&self, id: &str) {
        let reads = self.model.reads(id);
        for key in KEYS {
            for rule in ["SetAw", "SetRw", "SetLww"] {
                let expected = reads[rule]
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(key)));
                let sql = format!("select crdv.{rule}Contains($1, $2)");
                let found: bool = self
                    .client
                    .query_one(&sql, &[&id, &key])
                    .await
                    .unwrap()
                    .get(0);
                assert_eq!(found, expected, "{rule} {id:?} {key:?}");
            }
            for rule in ["MapAwMvr", "MapAwLww", "MapRwMvr", "MapLww"] {
                let entry = reads[rule]
                    .as_array()
                    .and_then(|all| all.iter().find(|entry| entry["key"] == key));
                let expected = json!([
                    entry.is_some(),
                    entry.map_or(Value::Null, |entry| entry["value"].clone())
                ]);
                let sql = format!(
                    "select jsonb_build_array(crdv.{rule}Contains($1, $2), crdv.{rule}Value($1, $2))"
                );
                let found: Value = self
                    .client
                    .query_one(&sql, &[&id, &key])
                    .await
                    .unwrap()
                    .get(0);
                assert_eq!(found, expected, "{rule} {id:?} {key:?}");
            }
        }
    }
}

/// What the read functions say about `id`.
async fn functions(client: &Client, id: &str) -> Map<String, Value> {
    let pairs: Vec<_> = READS
        .iter()
        .map(|(name, _)| format!("'{name}', to_jsonb(crdv.{name}Get($1))"))
        .collect();
    let sql = format!("select jsonb_build_object({})", pairs.join(", "));
    let found: Value = client.query_one(&sql, &[&id]).await.unwrap().get(0);
    match found {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

#[tokio::test]
async fn stores_with_equal_operations_read_equal() {
    let seeds: Vec<u64> = match env::var("STARLING_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=3).collect(),
    };
    for seed in seeds {
        println!("STARLING_TEST_SEED={seed}");
        World::new(seed).await.run().await;
    }
}
