//! Every pair of calls on one structure: the second starts while the first is not committed.

use std::time::Duration;

use tokio_postgres::{Client, IsolationLevel};

use super::{LEVELS, begin};
use crate::{
    harness::server::Server,
    store::operation::{backend, is_retryable},
};

/// Calls on one structure, and a query for all of it.
struct Structure {
    setup: &'static str,
    calls: &'static [&'static str],
    read: &'static str,
}

const STRUCTURES: [Structure; 5] = [
    Structure {
        setup: "select registerSet('x', 'old')",
        calls: &["registerSet('x', '?')"],
        read: "select (registerMvrGet('x'), registerLwwGet('x'))::text",
    },
    Structure {
        setup: "select setAdd('x', 'k')",
        calls: &[
            "setAdd('x', 'k')",
            "setAdd('x', '?')",
            "setRmv('x', 'k')",
            "setClear('x')",
        ],
        read: "select (setAwGet('x'), setRwGet('x'), setLwwGet('x'))::text",
    },
    Structure {
        setup: "select mapAdd('x', 'k', 'old'), mapAdd('x', 'l', 'old')",
        calls: &[
            "mapAdd('x', 'k', '?')",
            "mapAdd('x', '?', '')",
            "mapRmv('x', 'k')",
            "mapClear('x')",
        ],
        read: "select (mapAwMvrGet('x'), mapRwMvrGet('x'), mapLwwGet('x'))::text",
    },
    Structure {
        setup: "select counterInc('x', 5)",
        calls: &["counterInc('x', 2)", "counterDec('x', 3)"],
        read: "select counterGet('x')::text",
    },
    Structure {
        setup: "select listAppend('x', n::text) from generate_series(0, 2) n",
        calls: &[
            "listAdd('x', 1, '?')",
            "listAppend('x', '?')",
            "listPrepend('x', '?')",
            "listRmv('x', 0)",
            "listPopFirst('x')",
            "listPopLast('x')",
            "listClear('x')",
        ],
        read: "select listGet('x')::text",
    },
];

/// What can be read, and whether the second call had to be tried again.
type Outcome = (Option<String>, bool);

struct Pair<'a> {
    observer: &'a Client,
    first: &'a Client,
    second: &'a Client,
    structure: &'a Structure,
    calls: [String; 2],
}

impl Pair<'_> {
    async fn set_up(&self, is_there: bool) {
        let empty = "delete from crdv.element_unguarded";
        self.observer.batch_execute(empty).await.unwrap();
        if is_there {
            self.observer
                .batch_execute(self.structure.setup)
                .await
                .unwrap();
        }
    }

    async fn read(&self) -> Option<String> {
        self.observer
            .query_one(self.structure.read, &[])
            .await
            .unwrap()
            .get(0)
    }

    /// What is left after these calls, one after the other.
    async fn serial(&self, is_there: bool, order: &[usize]) -> Option<String> {
        self.set_up(is_there).await;
        for call in order {
            let call = format!("select {}", self.calls[*call]);
            self.observer.batch_execute(&call).await.unwrap();
        }
        self.read().await
    }

    /// What is left when the second call starts before the first one's transaction ends.
    async fn race(&self, is_there: bool, level: IsolationLevel, end: &str) -> Outcome {
        self.set_up(is_there).await;
        let [first, second] = self.calls.each_ref().map(|call| format!("select {call}"));
        let pid = backend(self.second).await;
        for (session, statement) in [
            (self.first, &*first),
            (self.second, "select 1 from crdv.element"),
        ] {
            session.batch_execute(&begin(level)).await.unwrap();
            session.batch_execute(statement).await.unwrap();
        }
        let writes = self.second.batch_execute(&second);
        let finish = async {
            until_blocked_or(self.observer, pid).await;
            self.first.batch_execute(end).await.unwrap();
        };
        let (written, ()) = tokio::join!(writes, finish);
        let committed = match written {
            Ok(()) => self.second.batch_execute("commit").await,
            Err(error) => {
                self.second.batch_execute("rollback").await.unwrap();
                Err(error)
            }
        };
        if let Err(error) = &committed {
            assert!(
                is_retryable(error),
                "{:?} at {level:?}: {error:?}",
                self.calls
            );
            self.second.batch_execute(&second).await.unwrap();
        }
        (self.read().await, committed.is_err())
    }
}

/// Waits until a session waits for a lock, or is done.
async fn until_blocked_or(observer: &Client, pid: i32) {
    let sql = "select cardinality(pg_blocking_pids(pid)) > 0 or state = 'idle in transaction'
                 and query !~ 'from crdv.element' or state ~ 'aborted'
               from pg_stat_activity where pid = $1";
    while !observer
        .query_one(sql, &[&pid])
        .await
        .unwrap()
        .get::<_, bool>(0)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The result of two concurrent calls is that of one after the other. There are two exceptions. At READ
/// COMMITTED, who removes by index removes the entry that was there when the call began, even if
/// somebody else has just removed it. Below SERIALIZABLE, first entries of an empty list that are put
/// there concurrently, wherever, come in the order of their numbers.
#[tokio::test]
async fn two_concurrent_calls_leave_what_one_after_the_other_leaves() {
    let store = Server::shared().store("n").await;
    let (observer, first, second) = (
        store.connect().await,
        store.connect().await,
        store.connect().await,
    );
    for session in [&observer, &first, &second] {
        let hurry = "set synchronous_commit = off";
        session.batch_execute(hurry).await.unwrap();
    }
    let (mut races, mut repeated) = (0, 0);
    for structure in &STRUCTURES {
        for (one, other, is_there) in structure.pairs() {
            let pair = Pair {
                observer: &observer,
                first: &first,
                second: &second,
                structure,
                calls: [one.replace('?', "one"), other.replace('?', "other")],
            };
            let serial = [
                pair.serial(is_there, &[0, 1]).await,
                pair.serial(is_there, &[1, 0]).await,
            ];
            let alone = pair.serial(is_there, &[1]).await;
            for level in LEVELS {
                let what = format!("{:?}, {is_there}, {level:?}", pair.calls);
                if matches!(level, IsolationLevel::RepeatableRead) {
                    let left = pair.race(is_there, level, "rollback").await;
                    assert_eq!(left, (alone.clone(), false), "rolled back: {what}");
                }
                let (left, is_repeated) = pair.race(is_there, level, "commit").await;
                let mut allowed = serial.to_vec();
                if matches!(level, IsolationLevel::ReadCommitted) {
                    assert!(!is_repeated, "{what}");
                    if other.starts_with("listRmv") {
                        allowed.push(pair.serial(is_there, &[0]).await);
                    }
                }
                if !is_there && !matches!(level, IsolationLevel::Serializable) {
                    allowed.push(Some("{one,other}".to_owned()));
                }
                assert!(
                    allowed.contains(&left),
                    "{what}: {left:?}, not of {allowed:?}"
                );
                races += 1;
                repeated += i32::from(is_repeated);
            }
        }
    }
    println!("{races} races, of which {repeated} had to be repeated");
    assert!(repeated > 0);
}

impl Structure {
    /// All pairs of calls, on what is there and on what is not.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let seconds = |first| self.calls.iter().map(move |second| (first, *second));
        let pairs = self.calls.iter().flat_map(move |first| seconds(*first));
        pairs.flat_map(|(first, second)| [(first, second, true), (first, second, false)])
    }
}
