//! Writers of random transactions, who remember what they were told is done.

use std::{collections::BTreeMap, env, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Error, IsolationLevel, SimpleQueryMessage};

use super::begin;
use crate::store::operation::is_retryable;

/// What the writers of a run do.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    pub(crate) level: IsolationLevel,
    /// Transactions of each writer.
    pub(crate) rounds: usize,
    pub(crate) seed: u64,
    /// There is one store only, so that who reads, adds one and writes at a level that forbids to
    /// miss anybody loses nothing.
    pub(crate) is_alone: bool,
}

impl Course {
    pub(crate) fn new(level: IsolationLevel) -> Self {
        let seed = env::var("STARLING_TEST_SEED").map(|seed| seed.parse().unwrap());
        Self {
            level,
            rounds: 40,
            seed: seed.unwrap_or_else(|_| rand::random::<u32>().into()),
            is_alone: true,
        }
    }
}

/// What a call did, as far as its caller knows.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Count {
        id: String,
        change: i64,
    },
    Add {
        place: &'static str,
        tag: String,
    },
    Remove {
        place: &'static str,
        tag: String,
    },
    RemoveAt {
        place: &'static str,
    },
    Clear {
        place: &'static str,
    },
    Pop {
        place: &'static str,
        tag: Option<String>,
    },
    /// Of a register, a map's entry or a set's member; `None` removes it.
    Set {
        cell: String,
        value: Option<String>,
    },
    Bump,
}

/// A transaction that was acknowledged. It happened between the two points in time.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) effects: Vec<Effect>,
}

/// What a writer knows in the end.
#[derive(Debug)]
pub(crate) struct Written {
    /// Number of the store.
    pub(crate) store: usize,
    pub(crate) transactions: Vec<Transaction>,
    /// Attempts that had to be repeated, by error.
    pub(crate) repeated: BTreeMap<String, u32>,
    /// The longest that an attempt took.
    pub(crate) longest: Duration,
}

pub(crate) struct Writer {
    client: Client,
    course: Course,
    number: usize,
    rng: StdRng,
    tags: usize,
    written: Written,
}

/// A call to make: the statement, and what it does when all is well.
type Act = (String, Effect);

impl Writer {
    pub(crate) fn new(client: Client, course: Course, store: usize, number: usize) -> Self {
        let seed = course.seed + (store * 100 + number) as u64;
        Self {
            client,
            course,
            number,
            rng: StdRng::seed_from_u64(seed),
            tags: 0,
            written: Written {
                store,
                transactions: Vec::new(),
                repeated: BTreeMap::new(),
                longest: Duration::ZERO,
            },
        }
    }

    pub(crate) async fn run(mut self) -> Written {
        for _ in 0..self.course.rounds {
            let acts: Vec<_> = (0..self.rng.random_range(1..=5))
                .map(|_| self.act())
                .collect();
            loop {
                let began = Instant::now();
                let attempt = self.attempt(&acts).await;
                self.written.longest = self.written.longest.max(began.elapsed());
                let error = match attempt {
                    Ok(effects) => {
                        let ended = Instant::now();
                        let done = Transaction {
                            began,
                            ended,
                            effects,
                        };
                        self.written.transactions.push(done);
                        break;
                    }
                    Err(error) => error,
                };
                assert!(is_retryable(&error), "{acts:?}: {error:?}");
                let code = error.code().unwrap().code().to_owned();
                *self.written.repeated.entry(code).or_default() += 1;
                self.client.batch_execute("rollback").await.unwrap();
                sleep(Duration::from_millis(self.rng.random_range(0..10))).await;
            }
        }
        self.written
    }

    /// Makes the calls in one transaction. Some are rolled back to a savepoint; so are, sometimes, those
    /// that fail.
    async fn attempt(&mut self, acts: &[Act]) -> Result<Vec<Effect>, Error> {
        self.client.batch_execute(&begin(self.course.level)).await?;
        let mut effects = Vec::new();
        for (sql, effect) in acts {
            if self.rng.random_ratio(1, 8) {
                sleep(Duration::from_millis(self.rng.random_range(0..4))).await;
            }
            if self.rng.random_ratio(3, 4) {
                effects.push(self.call(sql, effect).await?);
                continue;
            }
            self.client.batch_execute("savepoint s").await?;
            let called = self.call(sql, effect).await;
            let end = if self.rng.random() {
                "release s"
            } else {
                "rollback to s"
            };
            match called {
                Ok(effect) if end == "release s" => effects.push(effect),
                Err(error) if end == "release s" || !is_retryable(&error) => return Err(error),
                _ => {}
            }
            self.client.batch_execute(end).await?;
        }
        if self.rng.random_ratio(1, 10) {
            self.client.batch_execute("rollback").await?;
            return Ok(Vec::new());
        }
        self.client.batch_execute("commit").await?;
        Ok(effects)
    }

    async fn call(&self, sql: &str, effect: &Effect) -> Result<Effect, Error> {
        let answers = self.client.simple_query(sql).await?;
        let mut effect = effect.clone();
        if let Effect::Pop { tag, .. } = &mut effect {
            *tag = answers.iter().find_map(|answer| match answer {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
        }
        Ok(effect)
    }

    /// A member of the set "members" that this writer knows to be there.
    fn own_member(&mut self) -> Option<String> {
        let mut own = Vec::new();
        for effect in self
            .written
            .transactions
            .iter()
            .flat_map(|done| &done.effects)
        {
            match effect {
                Effect::Add {
                    place: "members",
                    tag,
                } => own.push(tag.clone()),
                Effect::Remove { tag, .. } => own.retain(|other| other != tag),
                _ => {}
            }
        }
        let nth = self.rng.random_range(0..own.len().max(1));
        own.get(nth).cloned()
    }

    /// A random call. All writers use the same few structures, and every value is new.
    fn act(&mut self) -> Act {
        self.tags += 1;
        let tag = format!("{}.{}.{}", self.written.store, self.number, self.tags);
        let few = self.rng.random_range(0..3);
        let (sql, effect) = match self.rng.random_range(0..30) {
            0..=3 => self.count(few),
            4..=12 => self.gather(tag),
            13..=18 => self.set(few, tag),
            _ => self.list(few, tag),
        };
        (format!("select {sql}"), effect)
    }

    fn count(&mut self, few: usize) -> Act {
        let (id, change) = (format!("counter {few}"), self.rng.random_range(-9..=9_i64));
        let call = if self.rng.random() {
            format!("counterInc('{id}', {change})")
        } else {
            format!("counterDec('{id}', {})", -change)
        };
        (call, Effect::Count { id, change })
    }

    /// Adds to a set or a map that only grows, or is cleared now and then.
    fn gather(&mut self, tag: String) -> Act {
        let (call, place) = match self.rng.random_range(0..9) {
            0 => match self.own_member() {
                Some(tag) => {
                    let call = format!("setRmv('members', '{tag}')");
                    return (
                        call,
                        Effect::Remove {
                            place: "members",
                            tag,
                        },
                    );
                }
                None => (format!("setAdd('members', '{tag}')"), "members"),
            },
            1 => {
                return (
                    "setClear('cleared')".to_owned(),
                    Effect::Clear { place: "set" },
                );
            }
            2 => {
                return (
                    "mapClear('cleared')".to_owned(),
                    Effect::Clear { place: "map" },
                );
            }
            3..=5 => (format!("setAdd('members', '{tag}')"), "members"),
            6 | 7 => (format!("setAdd('cleared', '{tag}')"), "set"),
            _ => (format!("mapAdd('cleared', '{tag}', '')"), "map"),
        };
        (call, Effect::Add { place, tag })
    }

    /// Overwrites what others overwrite.
    fn set(&mut self, few: usize, tag: String) -> Act {
        let register = format!("registerLwwGet('register {few}')");
        let entry = format!("mapAwLwwValue('map', '{few}')");
        let is_exact = !matches!(self.course.level, IsolationLevel::ReadCommitted);
        let (call, cell, value) = match self.rng.random_range(0..6) {
            0 if self.course.is_alone && is_exact => {
                let sum = "coalesce(registerLwwGet('bumps'), '0')::int + 1";
                return (format!("registerSet('bumps', ({sum})::text)"), Effect::Bump);
            }
            0 | 1 => (format!("mapRmv('map', '{few}')"), entry, None),
            2 | 3 => (format!("mapAdd('map', '{few}', '{tag}')"), entry, Some(tag)),
            _ => (
                format!("registerSet('register {few}', '{tag}')"),
                register,
                Some(tag),
            ),
        };
        (call, Effect::Set { cell, value })
    }

    /// Uses a list that is only appended to, one that is also popped, one from which entries are removed
    /// as well, and one that is cleared.
    fn list(&mut self, few: usize, tag: String) -> Act {
        let place = ["queue", "thinned", "cleared"][few];
        let index = self.rng.random_range(0..5);
        let (call, place) = match self.rng.random_range(0..12) {
            0 => {
                return (
                    "listClear('cleared')".to_owned(),
                    Effect::Clear { place: "cleared" },
                );
            }
            1 => {
                let place = ["thinned", "cleared"][few % 2];
                return (
                    format!("listRmv('{place}', {few})"),
                    Effect::RemoveAt { place },
                );
            }
            2 | 3 => {
                return (
                    format!("listPopFirst('{place}')"),
                    Effect::Pop { place, tag: None },
                );
            }
            4 => {
                return (
                    format!("listPopLast('{place}')"),
                    Effect::Pop { place, tag: None },
                );
            }
            5 | 6 => (format!("listAppend('log', '{tag}')"), "log"),
            7 => (format!("listPrepend('{place}', '{tag}')"), place),
            8 => (format!("listAdd('{place}', {index}, '{tag}')"), place),
            _ => (format!("listAppend('{place}', '{tag}')"), place),
        };
        (call, Effect::Add { place, tag })
    }
}
