//! Stores that write, and bring each other what they wrote in any order, each beside its model.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

use futures::future::try_join_all;
use proptest::prelude::{Strategy, any, prop, prop_oneof};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

use super::{
    call::{Call, Prediction, call},
    reads,
};
use crate::{
    harness::server::{Server, Store},
    store::{
        model::{Known, Replica, Write},
        operation::{COLUMNS, Operation},
    },
};

pub(super) const STORES_MAX: usize = 5;

/// Sites of stores that are not there, only what they write is: below and above all others. Their
/// clocks are what the test wants, so that equal ones are no rarity.
const IMAGINED: [i64; 2] = [1, i64::MAX - 1];

/// What went wrong.
pub(super) struct Fault(pub(super) String);

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(format!("{error:?}"))
    }
}

impl From<String> for Fault {
    fn from(fault: String) -> Self {
        Self(fault)
    }
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), Fault> {
    if found == expected {
        return Ok(());
    }
    Err(Fault(format!(
        "{what}: found {found:?}, expected {expected:?}"
    )))
}

/// What happens. Numbers of stores and operations are taken modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    /// A transaction at a store; calls that are not kept are rolled back to a savepoint.
    Write {
        at: usize,
        calls: Vec<(Call, bool)>,
        commits: bool,
    },
    /// A call at an imagined store, where the clock is behind, or equal to another store's.
    Imagine {
        at: usize,
        call: Call,
        is_equal: bool,
    },
    /// Some operations, by their places among all, brought in by one transaction.
    Deliver {
        to: usize,
        places: Vec<usize>,
    },
    CatchUp {
        from: usize,
        to: usize,
        by_vector: bool,
    },
    Read {
        at: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let store = || 0..STORES_MAX;
    let calls = prop::collection::vec((call(), prop::bool::weighted(0.9)), 1..4);
    let write = (store(), calls, prop::bool::weighted(0.9));
    let places = prop::collection::vec(0..10_000_usize, 1..12);
    prop_oneof![
        10 => write.prop_map(|(at, calls, commits)| Step::Write { at, calls, commits }),
        5 => (0..2_usize, call(), any::<bool>())
            .prop_map(|(at, call, is_equal)| Step::Imagine { at, call, is_equal }),
        8 => (0..STORES_MAX + 2, places).prop_map(|(to, places)| Step::Deliver { to, places }),
        1 => (store(), store(), any::<bool>())
            .prop_map(|(from, to, by_vector)| Step::CatchUp { from, to, by_vector }),
        1 => store().prop_map(|at| Step::Read { at }),
    ]
}

/// Steps at some stores. In the end, every store gets everything: some in another order each, the
/// others by a catch-up from the one before.
#[derive(Debug, Clone)]
pub(super) struct Case {
    stores: usize,
    steps: Vec<Step>,
    order: u64,
    catches_up: bool,
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let steps = prop::collection::vec(step(), 1..90);
    (3..=STORES_MAX, steps, any::<u64>(), any::<bool>()).prop_map(
        |(stores, steps, order, catches_up)| Case {
            stores,
            steps,
            order,
            catches_up,
        },
    )
}

/// A store, its model, and the sessions to write to it and to replicate into it.
struct Peer {
    store: Store,
    client: Client,
    worker: Client,
    insert: Statement,
    table: Statement,
    written: Statement,
    reads: Statement,
    model: Replica,
    last: i64,
}

pub(super) struct World {
    peers: Vec<Peer>,
    imagined: [Replica; 2],
    /// Every operation ever written.
    log: Vec<Arc<Known>>,
    calls: usize,
}

impl World {
    pub(super) async fn new() -> Self {
        let server = Server::shared();
        let mut peers = Vec::new();
        for number in 0..STORES_MAX {
            peers.push(Peer::new(server.store(&format!("store{number}")).await).await);
        }
        // Sites are drawn by lot; their order is what a repeated run must find again.
        peers.sort_by_key(|peer| peer.store.site);
        Self {
            peers,
            imagined: Default::default(),
            log: Vec::new(),
            calls: 0,
        }
    }

    /// Runs statements in every store, after what a case left unfinished.
    pub(super) async fn everywhere(&self, sql: &str) {
        for peer in &self.peers {
            peer.client.batch_execute("rollback").await.unwrap();
            peer.client.batch_execute(sql).await.unwrap();
        }
    }

    /// Puts every function and view back to what they are.
    pub(super) async fn repair(&mut self) {
        self.everywhere("update crdv.installation set definitions = null")
            .await;
        for peer in &mut self.peers {
            starling::store::install(&mut peer.client).await.unwrap();
        }
    }

    /// Plays a case from empty stores.
    pub(super) async fn play(&mut self, case: &Case) -> Result<(), Fault> {
        self.imagined = Default::default();
        self.log.clear();
        for peer in &mut self.peers {
            peer.empty().await?;
        }
        for step in &case.steps {
            self.step(step, case.stores)
                .await
                .map_err(|Fault(fault)| Fault(format!("{fault}\nin {step:?}")))?;
        }
        self.end(case).await
    }

    async fn step(&mut self, step: &Step, stores: usize) -> Result<(), Fault> {
        match step {
            Step::Write { at, calls, commits } => self.write(at % stores, calls, *commits).await,
            Step::Imagine { at, call, is_equal } => {
                self.imagine(*at, call, *is_equal);
                Ok(())
            }
            Step::Deliver { to, places } => {
                let count = self.log.len();
                let places = places.iter().filter(|_| count > 0);
                let batch: Vec<_> = places
                    .map(|place| Arc::clone(&self.log[place % count]))
                    .collect();
                let to = to % (stores + IMAGINED.len());
                let Some(imagined) = to.checked_sub(stores) else {
                    return self.peers[to].receive(&batch).await;
                };
                for known in &batch {
                    self.imagined[imagined].receive(known);
                }
                Ok(())
            }
            Step::CatchUp {
                from,
                to,
                by_vector,
            } => self.catch_up(from % stores, to % stores, *by_vector).await,
            Step::Read { at } => self.peers[at % stores].read().await,
        }
    }

    async fn write(
        &mut self,
        at: usize,
        calls: &[(Call, bool)],
        commits: bool,
    ) -> Result<(), Fault> {
        let peer = &mut self.peers[at];
        let before = (peer.model.clone(), self.log.len());
        peer.client.batch_execute("begin").await?;
        for (call, is_kept) in calls {
            let before = (peer.model.clone(), self.log.len());
            self.calls += 1;
            peer.client.batch_execute("savepoint before").await?;
            peer.call(call, &format!("v{}", self.calls), &mut self.log)
                .await?;
            if !is_kept {
                peer.client.batch_execute("rollback to before").await?;
                peer.model = before.0;
                self.log.truncate(before.1);
            }
        }
        if commits {
            peer.client.batch_execute("commit").await?;
        } else {
            peer.client.batch_execute("rollback").await?;
            peer.model = before.0;
            self.log.truncate(before.1);
        }
        peer.compare_table().await
    }

    fn imagine(&mut self, at: usize, call: &Call, is_equal: bool) {
        self.calls += 1;
        let (model, site) = (&mut self.imagined[at], IMAGINED[at]);
        let present = model.present();
        let prediction = call.predict(&present, site, &format!("v{}", self.calls));
        if prediction.is_refused {
            return;
        }
        for mut write in prediction.writes {
            let name = (site, i64::try_from(self.log.len()).unwrap() + 1);
            if write.2 == "?" {
                write.2 = imagined_position(&present.list(&write.1), call, name);
            }
            let others = self
                .log
                .iter()
                .map(|known| known.operation())
                .filter(|other| {
                    (other.kind, &other.id, &other.key) == (write.0, &write.1, &write.2)
                });
            let equal = others.map(|other| other.hlc).max().filter(|_| is_equal);
            let known = model.imagine(write, name, equal.unwrap_or(1 << 32));
            self.log.push(known);
        }
    }

    /// As a new link does: all that `from` has and `to` may lack, in one transaction.
    async fn catch_up(&mut self, from: usize, to: usize, by_vector: bool) -> Result<(), Fault> {
        let vector = if by_vector {
            self.vector(to)
        } else {
            BTreeMap::new()
        };
        let (sites, seqs): (Vec<i64>, Vec<i64>) = vector.into_iter().unzip();
        let sql = format!("select {COLUMNS} from crdv.missing($1, $2)");
        let rows = self.peers[from]
            .client
            .query(&sql, &[&sites, &seqs])
            .await?;
        let rows: Vec<_> = rows.iter().map(Operation::read).collect();
        let model = self.peers[from].model.clone();
        let site = self.peers[from].store.site.get();
        let peer = &mut self.peers[to];
        let transaction = peer.client.transaction().await?;
        transaction
            .batch_execute("select crdv.begin_catch_up()")
            .await?;
        let insert = Operation::prepare(&transaction, "pg_temp.catch_up").await?;
        try_join_all(rows.iter().map(|row| row.insert_by(&transaction, &insert))).await?;
        transaction
            .query_one("select crdv.apply_catch_up($1)", &[&site])
            .await?;
        transaction.commit().await?;
        peer.model.receive_all(&model);
        // The marker is an operation of its own.
        peer.collect(&mut self.log).await?;
        peer.compare_table().await
    }

    /// What may be said of a store truly: it has every operation of a site up to a number.
    fn vector(&self, of: usize) -> BTreeMap<i64, i64> {
        let mut by_site: BTreeMap<i64, BTreeMap<i64, bool>> = BTreeMap::new();
        for known in &self.log {
            let operation = known.operation();
            let is_here = self.peers[of].model.has(operation);
            by_site
                .entry(operation.site)
                .or_default()
                .insert(operation.seq, is_here);
        }
        let upto = |(site, seqs): (i64, BTreeMap<i64, bool>)| {
            let here = seqs.into_iter().take_while(|(_, is_here)| *is_here);
            here.last().map(|(seq, _)| (site, seq))
        };
        by_site.into_iter().filter_map(upto).collect()
    }

    async fn end(&mut self, case: &Case) -> Result<(), Fault> {
        let mut rng = StdRng::seed_from_u64(case.order);
        if case.catches_up {
            for to in 1..case.stores {
                self.catch_up(to - 1, to, rng.random()).await?;
            }
        }
        for at in 0..case.stores {
            let mut all = self.log.clone();
            all.extend_from_within(..all.len() / 4);
            all.shuffle(&mut rng);
            for batch in all.chunks(rng.random_range(1..=40)) {
                self.peers[at].receive(batch).await?;
            }
            self.peers[at].read().await?;
        }
        let first = self.peers[0].present().await?;
        for peer in &self.peers[1..case.stores] {
            same(
                "stores with the same operations",
                &peer.present().await?,
                &first,
            )?;
        }
        Ok(())
    }
}

/// A position for an imagined store's list entry: beside another entry that was put there meanwhile.
fn imagined_position(
    list: &[(String, Option<String>)],
    call: &Call,
    (site, seq): (i64, i64),
) -> String {
    let beside = list.get(call.index(list.len())).or(list.first());
    let path = beside.map_or("g0", |(position, _)| position.rsplit_once('.').unwrap().0);
    let digits = format!("{seq:x}");
    let length = char::from(b'f' + u8::try_from(digits.len()).unwrap());
    format!("{path}.{site:016x}{length}{digits}")
}

impl Peer {
    async fn new(store: Store) -> Self {
        let client = store.connect().await;
        let worker = store.apply_worker(store.site).await;
        for session in [&client, &worker] {
            session
                .batch_execute("set synchronous_commit = off")
                .await
                .unwrap();
        }
        let table = format!("select {COLUMNS} from crdv.element");
        let written = format!("{table} where site = $1 and seq > $2 order by seq");
        Self {
            insert: Operation::prepare(&worker, "crdv.element").await.unwrap(),
            table: client.prepare(&table).await.unwrap(),
            written: client.prepare(&written).await.unwrap(),
            reads: client.prepare(&reads::query()).await.unwrap(),
            store,
            client,
            worker,
            model: Replica::default(),
            last: 0,
        }
    }

    /// Forgets what was, also what a case left unfinished.
    async fn empty(&mut self) -> Result<(), Fault> {
        self.worker.batch_execute("rollback").await?;
        let forget = "rollback; delete from crdv.element_unguarded;
            create or replace function crdv.has_rules() returns boolean
              language sql immutable parallel safe return false";
        self.client.batch_execute(forget).await?;
        self.model = Replica::default();
        let last = "select coalesce(pg_sequence_last_value('crdv.seq'), 0)";
        self.last = self.client.query_one(last, &[]).await?.get(0);
        Ok(())
    }

    /// Calls a function and compares what it did with what it must do.
    async fn call(
        &mut self,
        call: &Call,
        value: &str,
        log: &mut Vec<Arc<Known>>,
    ) -> Result<(), Fault> {
        let present = self.model.present();
        let positions = present.0.iter().filter(|other| other.kind == 'l');
        let positions: BTreeSet<_> = positions.map(|other| other.key.clone()).collect();
        let Prediction {
            sql,
            writes,
            answer,
            list,
            is_refused,
        } = call.predict(&present, self.store.site.get(), value);
        let answered = self.client.simple_query(&sql).await;
        same(
            &format!("{sql} is refused"),
            &answered.is_err(),
            &is_refused,
        )
        .map_err(|Fault(fault)| Fault(format!("{fault} {answered:?}")))?;
        let Ok(answered) = answered else {
            self.client.batch_execute("rollback to before").await?;
            return Ok(());
        };
        let rows = answered.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0)),
            _ => None,
        });
        // What returns nothing answers with an empty text.
        let answered = rows.flatten().filter(|_| sql.contains("Pop"));
        same(&sql, &answered, &answer.as_deref())?;
        let written = self.collect(log).await?.into_iter().map(|operation| {
            let is_entry = operation.kind == 'l' && !positions.contains(&operation.key);
            let key = if is_entry {
                "?".to_owned()
            } else {
                operation.key
            };
            (
                operation.kind,
                operation.id,
                key,
                operation.op,
                operation.data,
            )
        });
        let mut written: Vec<Write> = written.collect();
        written.sort();
        same(&sql, &written, &writes)?;
        if let Some(list) = list {
            let entries = self.model.present().list(call.id()).into_iter();
            same(&sql, &entries.map(|(_, data)| data).collect(), &list)?;
        }
        Ok(())
    }

    /// Takes note of the operations that this store wrote since the last time.
    async fn collect(&mut self, log: &mut Vec<Arc<Known>>) -> Result<Vec<Operation>, Fault> {
        let site = self.store.site.get();
        let rows = self
            .client
            .query(&self.written, &[&site, &self.last])
            .await?;
        let written: Vec<_> = rows.iter().map(Operation::read).collect();
        for operation in &written {
            self.last = operation.seq;
            log.push(self.model.write(operation)?);
        }
        Ok(written)
    }

    /// Brings operations in by one transaction, as a link does.
    async fn receive(&mut self, batch: &[Arc<Known>]) -> Result<(), Fault> {
        let transaction = self.worker.transaction().await?;
        let rows = batch.iter().map(|known| known.operation());
        try_join_all(rows.map(|row| row.insert_by(&transaction, &self.insert))).await?;
        transaction.commit().await?;
        for known in batch {
            self.model.receive(known);
        }
        self.compare_table().await
    }

    async fn present(&self) -> Result<Vec<Operation>, Fault> {
        let rows = self.client.query(&self.table, &[]).await?;
        let mut present: Vec<_> = rows.iter().map(Operation::read).collect();
        present.sort();
        Ok(present)
    }

    async fn compare_table(&self) -> Result<(), Fault> {
        same("the table", &self.present().await?, &self.model.present().0)
    }

    /// Compares every view and every read function with the model.
    async fn read(&self) -> Result<(), Fault> {
        let answer = self.client.query_one(&self.reads, &[]).await?.get(0);
        let (found, expected) = (
            reads::found(answer),
            reads::expected(&self.model.present(), self.store.site.get()),
        );
        for (name, expected) in &expected {
            same(name, &found.get(name), &Some(expected))?;
        }
        same("the number of reads", &found.len(), &expected.len())
    }
}
