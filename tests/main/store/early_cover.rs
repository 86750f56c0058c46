//! Another store's answer may arrive before the operation of ours that it covers is visible here: a commit is
//! shipped once it is on the disk. An open transaction is as invisible as such a commit, and stands for it.

use std::time::{Duration, Instant};

use starling::{
    identity::{NodeId, Site},
    store::{self, Doubt},
};
use tokio_postgres::{Client, GenericClient, error::SqlState};

use super::operation::{COLUMNS, Operation, PATIENCE, present, values};
use crate::harness::server::{Server, Store};

const ONE: i64 = 101;
const TWO: i64 = 102;

fn site(number: i64) -> Site {
    Site::new(number).unwrap()
}

/// A session of a link that complains when it has to wait for a local transaction.
async fn link(store: &Store, from: i64) -> Client {
    let worker = store.apply_worker(site(from)).await;
    worker
        .batch_execute("set lock_timeout = '5s'")
        .await
        .unwrap();
    worker
}

/// What this store has written, as the session sees it, without checkpoints and markers.
async fn own(client: &impl GenericClient, store: &Store) -> Vec<Operation> {
    let mut rows = present(client).await;
    rows.retain(|row| row.site == store.site.get() && !"vk".contains(row.kind));
    rows
}

/// The removal of what `seen` is, by another site.
fn answer(seen: &Operation, by: i64, seq: i64, also: &[(i64, i64)]) -> Operation {
    let mut context = vec![(seen.site, seen.seq)];
    context.extend(also);
    context.sort_unstable();
    Operation {
        site: by,
        seq,
        op: 'r',
        data: None,
        context,
        ..seen.clone()
    }
}

async fn entries(client: &Client) -> i64 {
    client
        .query_one("select count(*) from crdv.early_cover", &[])
        .await
        .unwrap()
        .get(0)
}

async fn drop_covered(client: &Client) -> bool {
    client
        .query_one("select crdv.drop_covered()", &[])
        .await
        .unwrap()
        .get(0)
}

/// Makes a checkpoint; other tests write on the same server.
async fn checkpoint(client: &Client) {
    let begin = "select upto, horizon from crdv.checkpoint_begin()";
    let row = client.query_one(begin, &[]).await.unwrap();
    let (upto, horizon): (i64, i64) = (row.get(0), row.get(1));
    let deadline = Instant::now() + PATIENCE;
    let finish = "select crdv.checkpoint_finish($1, $2)";
    loop {
        let row = client.query_one(finish, &[&upto, &horizon]).await.unwrap();
        if row.get(0) {
            return;
        }
        assert!(Instant::now() < deadline, "the checkpoint never finished");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a new link would bring, without checkpoints and markers.
async fn missing(client: &Client) -> Vec<Operation> {
    let sql =
        format!("select {COLUMNS} from crdv.missing('{{}}', '{{}}') where type not in ('v', 'k')");
    let rows = client.query(&sql, &[]).await.unwrap();
    let mut rows: Vec<_> = rows.iter().map(Operation::read).collect();
    rows.sort();
    rows
}

/// All that is present but checkpoints and markers.
async fn content(client: &Client) -> Vec<Operation> {
    let mut rows = present(client).await;
    rows.retain(|row| !"vk".contains(row.kind));
    rows
}

#[tokio::test]
async fn what_is_answered_before_it_is_visible_goes_with_a_checkpoint() {
    let store = Server::shared().store("n").await;
    let (client, mut writer) = (store.connect().await, store.connect().await);
    let worker = link(&store, ONE).await;
    // Whoever makes the first rule changes a function, which others wait for.
    let first = "select add_referential_integrity('{m, first}', 'other', 'mapAdd')";
    client.batch_execute(first).await.unwrap();
    let before = content(&client).await.len();
    let local = writer.transaction().await.unwrap();
    local
        .batch_execute(
            "select setAdd('s', 'x'), registerSet('r', 'v'), mapAdd('m', 'k', 'v'),
               listAppend('l', 'v'), setAdd('s', 'y'), setRmv('s', 'y'),
               add_referential_integrity('{m, s}', 's', 'mapAdd')",
        )
        .await
        .unwrap();
    let mut written = own(&local, &store).await;
    written.retain(|row| !row.key.contains("other"));
    let kinds: String = written.iter().map(|row| row.kind).collect();
    assert_eq!(kinds, "ilmrss");
    let mut answers = Vec::new();
    for (seq, seen) in (1..).zip(&written) {
        let answer = answer(seen, ONE, seq, &[]);
        assert!(answer.apply(&worker).await);
        answers.push(answer);
    }
    answers.sort();
    assert_eq!(entries(&client).await, 6);

    // Nothing is certain as long as the commit hangs.
    assert!(drop_covered(&client).await);
    assert_eq!(entries(&client).await, 6);
    local.commit().await.unwrap();
    assert!(drop_covered(&client).await);
    assert_eq!(
        content(&client).await.len(),
        12 + before,
        "no checkpoint vouches yet"
    );
    let present = |mut rows: Vec<Operation>| {
        rows.retain(|row| !row.key.contains("other"));
        rows
    };
    let shown = present(missing(&client).await);
    assert_eq!(shown, answers, "others get the answers only");
    checkpoint(&client).await;
    assert!(drop_covered(&client).await);
    assert_eq!(present(content(&client).await), answers);
    assert!(!drop_covered(&client).await, "nothing is left to do");
}

/// A commit that hangs holds the row that it replaces. A link does not wait for it.
#[tokio::test]
async fn an_answer_does_not_wait_for_the_commit_that_it_answers() {
    for catches_up in [false, true] {
        let store = Server::shared().store("n").await;
        let (mut client, mut writer) = (store.connect().await, store.connect().await);
        client
            .batch_execute("select mapAdd('map', 'key', 'first')")
            .await
            .unwrap();
        let local = writer.transaction().await.unwrap();
        local
            .batch_execute("select mapAdd('map', 'key', 'second')")
            .await
            .unwrap();
        let second = own(&local, &store).await.remove(0);
        let answer = answer(&second, ONE, 1, &[]);
        if catches_up {
            bring(&mut client, std::slice::from_ref(&answer)).await;
        } else {
            assert!(answer.apply(&link(&store, ONE).await).await);
        }
        assert_eq!(entries(&client).await, 1);
        local.commit().await.unwrap();
        assert_eq!(missing(&client).await, std::slice::from_ref(&answer));
        checkpoint(&client).await;
        assert!(drop_covered(&client).await);
        assert_eq!(content(&client).await, [answer], "catch-up: {catches_up}");
    }
}

/// Applies a catch-up that fails when it has to wait for a local transaction.
async fn bring(client: &mut Client, rows: &[Operation]) {
    let transaction = client.transaction().await.unwrap();
    transaction
        .batch_execute("set local lock_timeout = '5s'; select crdv.begin_catch_up()")
        .await
        .unwrap();
    for row in rows {
        row.insert(&transaction, "catch_up").await.unwrap();
    }
    let apply = "select crdv.apply_catch_up($1)";
    transaction.query_one(apply, &[&ONE]).await.unwrap();
    transaction.commit().await.unwrap();
}

/// The answer may have been answered itself, and the last word may come alone, or behind the others.
#[tokio::test]
async fn an_answer_that_was_covered_covers_all_the_same() {
    for comes_alone in [false, true] {
        let store = Server::shared().store("n").await;
        let (client, mut writer) = (store.connect().await, store.connect().await);
        let worker = link(&store, ONE).await;
        let local = writer.transaction().await.unwrap();
        local
            .batch_execute("select mapAdd('map', 'key', 'v')")
            .await
            .unwrap();
        let written = own(&local, &store).await.remove(0);
        let first = answer(&written, ONE, 1, &[]);
        let last = answer(&written, TWO, 1, &[(ONE, 1)]);
        if !comes_alone {
            assert!(first.apply(&worker).await);
        }
        assert!(last.apply(&worker).await);
        // Over another link both come again.
        assert!(!first.apply(&worker).await);
        assert!(!last.apply(&worker).await);
        assert_eq!(entries(&client).await, 1, "it is noted once");
        local.commit().await.unwrap();
        assert!(
            !last.apply(&worker).await,
            "known, also beside what it covers"
        );
        checkpoint(&client).await;
        drop_covered(&client).await;
        assert_eq!(content(&client).await, [last]);
    }
}

/// The answer is decided about before the operation is visible, and commits after the checkpoint.
#[tokio::test]
async fn an_answer_that_commits_behind_the_checkpoint_is_not_forgotten() {
    let store = Server::shared().store("n").await;
    let (client, mut writer) = (store.connect().await, store.connect().await);
    let mut worker = link(&store, ONE).await;
    let local = writer.transaction().await.unwrap();
    local
        .batch_execute("select mapAdd('map', 'key', 'v')")
        .await
        .unwrap();
    let written = own(&local, &store).await.remove(0);
    // Nothing of it is written yet, so no checkpoint waits for it: what it notes is written last.
    let transaction = worker.transaction().await.unwrap();
    let answer = answer(&written, ONE, 1, &[]);
    assert!(answer.apply(&transaction).await);
    let id = "select pg_current_xact_id()::text::bigint";
    let answer_id: i64 = transaction.query_one(id, &[]).await.unwrap().get(0);
    local.commit().await.unwrap();
    // As if the answer's transaction had drawn its id behind the horizon.
    let upto = "select last_value from crdv.seq";
    let upto: i64 = client.query_one(upto, &[]).await.unwrap().get(0);
    let finish = "select crdv.checkpoint_finish($1, $2)";
    let row = client.query_one(finish, &[&upto, &0_i64]).await.unwrap();
    assert!(row.get::<_, bool>(0), "transaction {answer_id} is open");
    assert!(!drop_covered(&client).await, "nothing is to be seen of it");
    transaction.commit().await.unwrap();
    assert!(drop_covered(&client).await);
    assert_eq!(content(&client).await, [answer]);
}

#[tokio::test]
async fn local_writers_go_on_in_between() {
    let store = Server::shared().store("n").await;
    let (client, mut writer) = (store.connect().await, store.connect().await);
    let worker = link(&store, ONE).await;
    let local = writer.transaction().await.unwrap();
    local
        .batch_execute("select mapAdd('map', 'key', 'v')")
        .await
        .unwrap();
    let written = own(&local, &store).await.remove(0);
    assert!(answer(&written, ONE, 1, &[]).apply(&worker).await);
    local.commit().await.unwrap();
    // One has begun before, and is told that things have changed; one comes now, and covers both.
    let slow = writer
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .start()
        .await
        .unwrap();
    assert_eq!(own(&slow, &store).await.len(), 1);
    client
        .batch_execute("select mapAdd('map', 'key', 'later')")
        .await
        .unwrap();
    checkpoint(&client).await;
    assert!(drop_covered(&client).await);
    assert_eq!(entries(&client).await, 0);
    assert_eq!(
        values(&client).await,
        ["later"],
        "it is not what was covered"
    );
    let error = slow
        .batch_execute("select mapAdd('map', 'key', 'slow')")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
}

/// Whoever holds the row may hold it for hours.
#[tokio::test]
async fn what_somebody_holds_is_dropped_later() {
    let store = Server::shared().store("n").await;
    let (client, mut writer) = (store.connect().await, store.connect().await);
    let worker = link(&store, ONE).await;
    let local = writer.transaction().await.unwrap();
    local
        .batch_execute("select mapAdd('map', 'key', 'v')")
        .await
        .unwrap();
    let written = own(&local, &store).await.remove(0);
    let answer = answer(&written, ONE, 1, &[]);
    assert!(answer.apply(&worker).await);
    local.commit().await.unwrap();
    checkpoint(&client).await;
    client
        .batch_execute("set lock_timeout = '5s'")
        .await
        .unwrap();
    let holder = writer.transaction().await.unwrap();
    let hold = "select from crdv.element where site = $1 and type = 'm' for update";
    holder.query(hold, &[&store.site.get()]).await.unwrap();
    assert!(drop_covered(&client).await);
    assert_eq!(
        (content(&client).await.len(), entries(&client).await),
        (2, 1)
    );
    holder.rollback().await.unwrap();
    assert!(drop_covered(&client).await);
    assert_eq!(content(&client).await, [answer]);
}

/// A store that goes on as another site has no checkpoint of the former one to wait for.
#[tokio::test]
async fn a_former_sites_operations_are_dropped_too() {
    for doubt in [Doubt::None, Doubt::Behind] {
        let store = Server::shared().store("n").await;
        let (client, mut writer) = (store.connect().await, store.connect().await);
        let worker = link(&store, ONE).await;
        let local = writer.transaction().await.unwrap();
        local
            .batch_execute("select mapAdd('map', 'key', 'v')")
            .await
            .unwrap();
        let written = own(&local, &store).await.remove(0);
        let answer = answer(&written, ONE, 1, &[]);
        assert!(answer.apply(&worker).await);
        local.commit().await.unwrap();
        let node = "n".parse::<NodeId>().unwrap();
        store::renew(&client, &node, "test", doubt).await.unwrap();
        assert_eq!(missing(&client).await, std::slice::from_ref(&answer));
        assert!(drop_covered(&client).await);
        assert_eq!(content(&client).await, [answer]);
        assert_eq!(entries(&client).await, 0);
    }
}

/// What is visible is covered as ever, and nothing is noted.
#[tokio::test]
async fn nothing_is_noted_of_what_is_visible() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let worker = link(&store, ONE).await;
    let write = async |data: &str| {
        let sql = "select crdv.write('m', 'map', 'key', 'a', $1)";
        let seq: i64 = client.query_one(sql, &[&data]).await.unwrap().get(0);
        seq
    };
    let entry = |by: i64, seq: i64, context: &[(Site, i64)]| {
        Operation::entry(site(by), seq, &format!("{by} {seq}"), context)
    };
    let first = write("first").await;
    let own = store.site;
    assert!(entry(ONE, 1, &[(own, first)]).apply(&worker).await);
    assert_eq!(values(&client).await, ["101 1"]);
    // One that had seen the same, and one that had seen more.
    assert!(entry(TWO, 1, &[(own, first)]).apply(&worker).await);
    assert!(
        entry(ONE, 2, &[(site(TWO), 1), (own, first)])
            .apply(&worker)
            .await
    );
    assert_eq!(values(&client).await, ["101 2"]);
    // What others had not seen of us stays.
    write("second").await;
    assert!(entry(TWO, 2, &[(own, first)]).apply(&worker).await);
    assert!(!entry(TWO, 2, &[(own, first)]).apply(&worker).await);
    assert_eq!(values(&client).await.len(), 2);
    assert_eq!(entries(&client).await, 0);
}
