//! Clients in other session roles than the ordinary one: settings of roles and databases, and tools that
//! restore or load in bulk, bring them about.

use tokio_postgres::Client;

use super::operation::Operation;
use crate::harness::server::{Server, Store};

const ROLES: [&str; 3] = ["origin", "local", "replica"];

/// Every function that writes, twice on each element, so that each also replaces.
const WRITES: &str =
    "select mapAdd('m', 'k', '1'), mapAdd('m', 'gone', '1'), setAdd('s', 'a'), setAdd('s', 'b'),
         registerSet('r', '1'), counterInc('c', 5), listAppend('l', '1'), listPrepend('l', '0'),
         listAdd('l', 1, '2');
    select mapAdd('m', 'k', '2'), mapRmv('m', 'gone'), setRmv('s', 'a'), registerSet('r', '2'),
         counterDec('c', 2), listRmv('l', 0), listPopLast('l'),
         add_referential_integrity('{m,k}', 'inner', 'mapAdd');
    select setAdd('inner', 'member')";

/// All that there is, but for numbers and clocks.
const CONTENT: &str = "select string_agg(concat_ws(' ', e.type, e.id, e.op, e.data, e.via), '; '
                          order by e.type, e.id, e.key, e.site)
    from crdv.element e where e.site = crdv.siteid() and e.type <> 'l'";

const READS: &str = "select concat_ws('; ', mapAwLwwGet('m'), setAwGet('s'), registerLwwGet('r'),
                             counterGet('c'), listGet('l'))";

async fn session(store: &Store, role: &str) -> Client {
    let client = store.connect().await;
    // A write that takes its own row for somebody else's would try for ever.
    let setting = format!("set session_replication_role = {role}; set statement_timeout = '30s'");
    client.batch_execute(&setting).await.unwrap();
    client
}

async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_write_is_a_write_in_every_session_role() {
    let mut expected = None;
    for role in ROLES {
        let store = Server::shared().store("n").await;
        let client = session(&store, role).await;
        client.batch_execute(WRITES).await.unwrap();
        let found = (text(&client, CONTENT).await, text(&client, READS).await);
        assert_eq!(
            expected.get_or_insert_with(|| found.clone()),
            &found,
            "{role}"
        );
    }
    println!("{expected:?}");
}

#[tokio::test]
async fn a_checkpoint_and_a_catch_up_work_in_session_role_replica() {
    let store = Server::shared().store("n").await;
    let client = session(&store, "replica").await;
    let peer = starling::identity::Site::new(7).unwrap();
    client
        .batch_execute("select counterInc('c', 1); begin; select crdv.begin_catch_up()")
        .await
        .unwrap();
    let entry = Operation::entry(peer, 1, "v", &[]);
    entry.insert(&client, "catch_up").await.unwrap();
    let kept = client
        .query_one("select crdv.apply_catch_up($1)", &[&peer.get()])
        .await
        .unwrap();
    assert_eq!(kept.get::<_, i64>(0), 1);
    client.batch_execute("commit").await.unwrap();
    let markers = "select count(*)::text from crdv.element where type = 'k'";
    assert_eq!(
        text(&client, markers).await,
        "1",
        "neighbours learn of a catch-up by its marker"
    );
    assert_eq!(
        text(&client, "select via::text from crdv.element where site = 7").await,
        "7"
    );

    let begun = client
        .query_one("select upto, horizon from crdv.checkpoint_begin()", &[])
        .await
        .unwrap();
    let (upto, horizon): (i64, i64) = (begun.get(0), begun.get(1));
    // Other tests of the server have transactions that a checkpoint waits for.
    let finish = client
        .prepare("select crdv.checkpoint_finish($1, $2)")
        .await
        .unwrap();
    while !client
        .query_one(&finish, &[&upto, &horizon])
        .await
        .unwrap()
        .get::<_, bool>(0)
    {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let vector = "select max(upto)::text from crdv.vector where site = crdv.siteid()";
    assert_eq!(text(&client, vector).await, (upto + 1).to_string());
}

/// Its trigger does not fire there, and PostgreSQL would say `INSERT 0 1`.
#[tokio::test]
async fn an_insert_into_data_is_refused_in_session_role_replica() {
    let store = Server::shared().store("n").await;
    for role in ROLES {
        let client = session(&store, role).await;
        for insert in [
            "insert into Data (id, key, type, data, op) values ('d', 'k', 'm', 'v', 'a')",
            "insert into Data (id, key, type, data, op, lts) values ('d', 'k', 'm', 'v', 'a', '{1,2}')",
            "insert into Data select * from Data where id = 'd'",
        ] {
            let result = client.batch_execute(insert).await;
            assert_eq!(
                result.is_ok(),
                role != "replica",
                "{role}: {insert}: {result:?}"
            );
        }
    }
}

/// Whose session a client takes over, or what it did before, must not matter.
#[tokio::test]
async fn a_session_that_changes_its_role_writes_as_before() {
    let store = Server::shared().store("n").await;
    let client = session(&store, "origin").await;
    for (number, role) in ["replica", "origin", "replica", "local", "replica"]
        .iter()
        .enumerate()
    {
        let write = format!(
            "set session_replication_role = {role}; begin; select mapAdd('m', 'k', '{number}'); commit;
             begin; select mapAdd('m', 'other', 'x'); rollback"
        );
        client.batch_execute(&write).await.unwrap();
        let read = "select string_agg(concat_ws(' ', key, data, via), ';') from crdv.element";
        assert_eq!(text(&client, read).await, format!("k {number} 0"));
    }
    let isolation = "select current_setting('default_transaction_isolation')";
    client
        .batch_execute(
            "set default_transaction_isolation = serializable; select mapAdd('m', 'k', 'v')",
        )
        .await
        .unwrap();
    assert_eq!(text(&client, isolation).await, "serializable");
    // Whatever the isolation level: only what links bring is bound to one.
    for level in ["serializable", "repeatable read"] {
        let write =
            format!("begin isolation level {level}; select mapAdd('m', 'k', '{level}'); commit");
        client.batch_execute(&write).await.unwrap();
        let read = "select data from crdv.element where id = 'm' and key = 'k'";
        assert_eq!(text(&client, read).await, level);
    }
}
