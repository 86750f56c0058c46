//! Stores that come back older than they were, twice, or empty, in clusters of real processes.
//!
//! Counters are the sharpest detector: a number given out twice, or an operation of one's own that is not
//! taken back, shows as a wrong sum.

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use starling::{api::Renewal, store::Doubt};

use crate::harness::{
    process::{Node, all_stream, eventually, folder, start, up},
    server::Server,
};

/// Two nodes that are linked, and a word about each in both stores.
async fn pair(root: &Path, more: &[&str]) -> (Node, Node) {
    let a = start(root, "a", more);
    let b = start(
        root,
        "b",
        &[&["--bootstrap", &a.bootstrap()], more].concat(),
    );
    increment(&a, 1).await;
    increment(&b, 1).await;
    same(&[&a, &b], 2).await;
    (a, b)
}

/// Puts a copy of a folder in the place of another.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Adds to the counter `n` and to its own list of writes, as soon as the store takes writes.
pub(crate) async fn increment(node: &Node, by: i64) {
    let client = node.client().await;
    eventually("the store takes a write", async || {
        let written = client
            .batch_execute(&format!(
                "begin; select crdv.counterInc('n', {by});
                 select crdv.setAdd('log', '{by}@{}'); commit",
                node.data.file_name().unwrap().display()
            ))
            .await;
        let Err(error) = written else { return true };
        let error = error.as_db_error().unwrap().message().to_owned();
        assert!(
            error.contains("takes no writes until its controller"),
            "{error}"
        );
        let _ = client.batch_execute("rollback").await;
        false
    })
    .await;
}

/// What a store holds for its users.
const CONTENT: &str = "select string_agg(concat_ws(' ', type, id, key, site, seq, op, data), E'\\n'
      order by type, id, key, site) from crdv.element where type not in ('v', 'k')";

async fn text(node: &Node, sql: &str) -> String {
    let client = node.client().await;
    let row = client
        .query_one(&format!("select ({sql})::text"), &[])
        .await;
    row.unwrap().get::<_, Option<String>>(0).unwrap_or_default()
}

/// Waits until the counter is `sum` on all nodes, then until they hold the same operations, each once.
pub(crate) async fn same(nodes: &[&Node], sum: i64) {
    for node in nodes {
        let what = format!("{} counts {sum}", node.data.display());
        eventually(&what, async || {
            text(node, "select crdv.counterGet('n')").await == sum.to_string()
        })
        .await;
    }
    eventually("all stores hold the same", async || {
        let mut contents = Vec::new();
        for node in nodes {
            contents.push(text(node, CONTENT).await);
        }
        contents.windows(2).all(|pair| pair[0] == pair[1])
    })
    .await;
    let repeated = "select count(*) - count(distinct (site, seq)) from crdv.element";
    for node in nodes {
        assert_eq!(text(node, repeated).await, "0", "numbers given out twice");
    }
}

pub(crate) fn site(node: &Node) -> i64 {
    node.status().unwrap().node.site
}

pub(crate) fn last_renewal(node: &Node) -> Renewal {
    node.status()
        .unwrap()
        .store
        .renewals
        .last()
        .unwrap()
        .clone()
}

/// The slots of both links with the only neighbour, as soon as they stream.
async fn slots_once_linked(node: &Node) -> BTreeSet<String> {
    let mut slots = BTreeSet::new();
    eventually("both links stream", async || {
        let links = node.status().unwrap().links;
        let streams = all_stream(&links, 1);
        slots = links.into_iter().map(|link| link.slot).collect();
        streams
    })
    .await;
    slots
}

/// The node is another site than `before`, says why, and its old links are gone everywhere.
async fn went_on_as_another_site(node: &Node, peers: &[&Node], before: i64, why: &str) {
    eventually("the store goes on as another site", async || {
        node.status().is_some_and(|s| s.node.site != before)
    })
    .await;
    let renewal = last_renewal(node);
    assert_eq!((renewal.from, renewal.to), (before, site(node)));
    assert!(renewal.why.contains(why), "{}", renewal.why);
    assert!(node.log().contains("goes on as another site; nothing"));
    let old = format!("{before:016x}");
    let names = "select coalesce(string_agg(name, ' '), '') from (
        select subname::text from pg_subscription union all select slot_name from pg_replication_slots
        union all select pubname from pg_publication) as t (name)";
    for peer in peers {
        eventually("no link of the old site is left", async || {
            !text(peer, names).await.contains(&old)
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_put_back_to_an_older_copy_takes_back_what_it_had_written_since() {
    let root = folder();
    let (a, mut b) = pair(root.path(), &[]).await;
    let (server, backup) = (b.data.join("postgres"), root.path().join("backup"));
    assert_eq!(b.terminate(), Some(0));
    copy(&server, &backup);

    b.resume();
    let before = site(&b);
    increment(&b, 10).await;
    same(&[&a, &b], 12).await;
    assert_eq!(site(&b), before, "an ordinary restart keeps the site");
    assert_eq!(b.terminate(), Some(0));
    copy(&backup, &server);

    b.resume();
    increment(&b, 100).await;
    increment(&a, 1_000).await;
    same(&[&a, &b], 1_112).await;
    went_on_as_another_site(&b, &[&a, &b], before, "an older copy of itself").await;
}

/// What a snapshot of a machine is: everything as it was, the record of the store included.
#[tokio::test]
async fn a_machine_put_back_to_a_snapshot_is_found_out_by_its_peers() {
    let root = folder();
    let (mut a, mut b) = pair(root.path(), &[]).await;
    let snapshot = root.path().join("snapshot");
    b.kill();
    copy(&b.data, &snapshot);

    b.resume();
    let before = site(&b);
    increment(&b, 10).await;
    same(&[&a, &b], 12).await;
    assert_eq!(site(&b), before, "a crash keeps the site");
    b.kill();
    copy(&snapshot, &b.data);

    // A peer that was restarted as well knows of no later start, but of later operations.
    assert_eq!(a.terminate(), Some(0));
    b.resume();
    a.resume_with(&["--bootstrap", &b.bootstrap()]);
    increment(&b, 100).await;
    same(&[&a, &b], 112).await;
    went_on_as_another_site(&b, &[&a, &b], before, "that this store does not know").await;
}

/// Nothing in such a store tells that it is an older copy, but its peers know of a later start. Its links must
/// not go on where the others had got to.
#[tokio::test]
async fn a_machine_that_wrote_nothing_since_its_snapshot_misses_nothing() {
    let root = folder();
    let (a, mut b) = pair(root.path(), &[]).await;
    let snapshot = root.path().join("snapshot");
    // So that it has no checkpoint left to write either; and in order, because a crash skips numbers.
    eventually("the store has nothing more to say", async || {
        let unsaid = "select count(*) from crdv.checkpoint_begin()";
        text(&b, unsaid).await == "0"
    })
    .await;
    let old = slots_once_linked(&b).await;
    assert_eq!(b.terminate(), Some(0));
    copy(&b.data, &snapshot);

    b.resume();
    let before = site(&b);
    let new = slots_once_linked(&b).await;
    assert!(new.is_disjoint(&old), "a link went on: {old:?}, {new:?}");
    // Over the link, not by a catch-up: the store that takes it in writes nothing of its own.
    increment(&a, 10).await;
    same(&[&a, &b], 12).await;
    // By now the publisher's slot is beyond what the snapshot has.
    increment(&a, 100).await;
    same(&[&a, &b], 112).await;
    b.kill();
    copy(&snapshot, &b.data);

    b.resume();
    increment(&a, 1_000).await;
    same(&[&a, &b], 1_112).await;
    went_on_as_another_site(&b, &[&a, &b], before, "a copy from before that start").await;
}

/// Whether the node knows of another process that has its key.
fn has_twin(node: &Node) -> bool {
    node.status().is_some_and(|status| status.node.has_twin)
}

#[tokio::test]
async fn a_clone_of_a_machine_is_another_site_and_both_are_told() {
    let root = folder();
    let (a, mut b) = pair(root.path(), &[]).await;
    let before = site(&b);
    assert_eq!(b.terminate(), Some(0));
    copy(&b.data, &root.path().join("c"));
    // It writes nothing, so that operations do not tell which is which.
    b.resume();
    eventually("the original is confirmed", async || {
        b.status().is_some_and(|status| !status.store.unconfirmed)
    })
    .await;

    let mut c = start(root.path(), "c", &["--bootstrap", &a.bootstrap()]);
    assert_eq!(
        c.status().unwrap().node.peer_id,
        b.status().unwrap().node.peer_id
    );
    increment(&c, 100).await;
    increment(&b, 1_000).await;
    assert_eq!(site(&b), before, "the original is what it was");
    // It is told by a peer's answer, or by what the original says: whichever comes first.
    went_on_as_another_site(&c, &[], before, "a copy").await;
    for node in [&b, &c] {
        eventually("both notice one another", async || has_twin(node)).await;
        let (_, stdout, _) = node.run(&["doctor"]);
        assert!(
            stdout.contains("another process runs with a copy"),
            "{stdout}"
        );
        assert!(node.log().contains("another process runs with a copy"));
    }
    increment(&c, 10_000).await;
    increment(&b, 100_000).await;

    // The cure.
    assert_eq!(c.terminate(), Some(0));
    std::fs::remove_file(c.data.join("identity.key")).unwrap();
    c.resume();
    same(&[&a, &b, &c], 111_102).await;
    for node in [&a, &b, &c] {
        eventually("nobody has a twin any more", async || !has_twin(node)).await;
    }
    assert_eq!(site(&b), before);
}

#[tokio::test]
async fn a_node_that_is_started_again_is_never_taken_for_another_one() {
    let root = folder();
    let (a, mut b) = pair(root.path(), &[]).await;
    let before = site(&b);
    let mut sum = 2;
    for round in 0..5 {
        match round {
            0 | 3 => assert_eq!(b.terminate(), Some(0)),
            1 | 2 => b.kill(),
            _ => b.kill_controller(),
        }
        b.resume();
        // Two of the restarts come before anything could be said.
        if round != 1 && round != 3 {
            increment(&b, 10).await;
            sum += 10;
            same(&[&a, &b], sum).await;
        }
    }
    assert_eq!(site(&b), before, "{:?}", b.status().unwrap().store.renewals);
    for node in [&a, &b] {
        assert!(!has_twin(node));
        for words in ["another process runs", "two processes are connected"] {
            assert!(!node.log().contains(words), "{words}");
        }
    }
}

#[tokio::test]
async fn a_restarted_store_that_nobody_can_confirm_goes_on_as_another_site() {
    let root = folder();
    let (mut a, mut b) = pair(root.path(), &["--confirm-within", "2s"]).await;
    let snapshot = root.path().join("snapshot");
    b.kill();
    copy(&b.data, &snapshot);
    b.resume();
    let before = site(&b);
    increment(&b, 10).await;
    same(&[&a, &b], 12).await;
    b.kill();
    a.kill();
    copy(&snapshot, &b.data);

    b.resume();
    let status = b.status().unwrap();
    assert!(status.store.unconfirmed, "{status:?}");
    let (code, stdout, _) = b.run(&["status"]);
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("takes no writes"), "{stdout}");
    increment(&b, 100).await;
    went_on_as_another_site(&b, &[&b], before, "no peer could say").await;
    assert_eq!(text(&b, "select crdv.counterGet('n')").await, "102");

    a.resume_with(&["--bootstrap", &b.bootstrap()]);
    same(&[&a, &b], 112).await;
    let (_, stdout, _) = b.run(&["status"]);
    assert!(stdout.contains("no peer could say"), "{stdout}");
}

#[tokio::test]
async fn a_copy_of_a_store_under_another_node_is_another_site() {
    let root = folder();
    let (a, mut b) = pair(root.path(), &[]).await;
    let before = site(&b);
    assert_eq!(b.terminate(), Some(0));
    let clone = root.path().join("c");
    std::fs::create_dir(&clone).unwrap();
    copy(&b.data.join("postgres"), &clone.join("postgres"));
    b.resume();
    increment(&b, 10).await;

    let c = start(root.path(), "c", &["--bootstrap", &a.bootstrap()]);
    increment(&c, 100).await;
    increment(&b, 1_000).await;
    increment(&a, 10_000).await;
    same(&[&a, &b, &c], 11_112).await;
    assert_eq!(site(&b), before, "the original is what it was");
    went_on_as_another_site(&c, &[], before, "copy of node").await;
}

#[tokio::test]
async fn a_wiped_store_gets_back_all_that_the_cluster_has_its_own_included() {
    let root = folder();
    let (a, mut b) = pair(root.path(), &[]).await;
    let before = site(&b);
    increment(&b, 10).await;
    same(&[&a, &b], 12).await;
    assert_eq!(b.terminate(), Some(0));
    std::fs::remove_dir_all(b.data.join("postgres")).unwrap();

    b.resume();
    increment(&b, 100).await;
    same(&[&a, &b], 112).await;
    went_on_as_another_site(&b, &[&a, &b], before, "empty").await;
}

#[tokio::test]
async fn an_evicted_node_that_returns_is_a_new_member_with_all_that_it_had() {
    let root = folder();
    let (a, mut b) = pair(root.path(), &[]).await;
    let before = site(&b);
    let peer = b.status().unwrap().node.peer_id;
    // What nobody has received when the node is gone.
    let client = a.client().await;
    let pause = "do $$ begin execute (select format('alter subscription %I disable', subname)
                  from pg_subscription); end $$";
    client.batch_execute(pause).await.unwrap();
    increment(&b, 10).await;
    b.kill();
    assert_eq!(text(&a, "select crdv.counterGet('n')").await, "2");
    eventually("the node can be evicted", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        a.run(&["evict", &peer]).0 == 0
    })
    .await;

    b.resume();
    increment(&b, 100).await;
    went_on_as_another_site(&b, &[&a, &b], before, "evicted").await;
    increment(&b, 1_000).await;
    increment(&a, 10_000).await;
    same(&[&a, &b], 11_112).await;
    let alive = a.nodes().into_iter().find(|n| n.peer_id == peer).unwrap();
    assert!(alive.alive && alive.site == site(&b), "{alive:?}");
}

#[tokio::test]
async fn a_closed_store_refuses_writes_in_old_sessions_too_and_a_renewed_one_vouches_for_nothing() {
    let store = Server::shared().store("n").await;
    let (client, admin) = (store.connect().await, store.connect().await);
    client
        .batch_execute("select crdv.counterInc('c', 1)")
        .await
        .unwrap();
    starling::store::close_in_doubt(&admin).await.unwrap();
    for write in [
        "select crdv.counterInc('c', 1)",
        "select crdv.mapAdd('m', 'k', 'v')",
        "select crdv.listAppend('l', 'v')",
    ] {
        let error = client.batch_execute(write).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert!(
            error
                .message()
                .contains("takes no writes until its controller"),
            "{error:?}"
        );
    }
    let arrival = "set session_replication_role = replica; set crdv.via = 7;
        insert into crdv.element (id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
          values ('r', '', 7, 1, 'r', 'a', 'v', '{}', '{}', 1)";
    let error = admin.batch_execute(arrival).await.unwrap_err();
    let error = error.as_db_error().unwrap().message().to_owned();
    assert!(
        error.contains("takes no writes until its controller"),
        "{error}"
    );
    admin
        .batch_execute("reset session_replication_role")
        .await
        .unwrap();
    let owner = starling::store::owner(&admin).await.unwrap().unwrap();
    assert_eq!((owner.site, owner.is_open), (store.site, false));
    assert!(owner.is_in_doubt);
    starling::store::open(&admin).await.unwrap();
    let owner = starling::store::owner(&admin).await.unwrap().unwrap();
    assert!(owner.is_open && !owner.is_in_doubt);
    let checkpoint =
        "begin; select crdv.counterInc('c', 1); select crdv.write('v', '$site', crdv.site_hex(crdv.siteid()), 'a', '1');
                      commit";
    client.batch_execute(checkpoint).await.unwrap();

    let site = starling::store::renew(&admin, &owner.node, "test", Doubt::Behind)
        .await
        .unwrap();
    assert_ne!(site, store.site);
    client
        .batch_execute("select crdv.counterInc('c', 1)")
        .await
        .unwrap();
    let count = async |sql: &str| -> i64 { client.query_one(sql, &[]).await.unwrap().get(0) };
    assert_eq!(count("select crdv.counterGet('c')").await, 3);
    // What nobody can have got is all the new site's.
    assert_eq!(
        count("select count(*) from crdv.element where type = 'c'").await,
        1
    );
    assert_eq!(count("select count(*) from crdv.vector").await, 0);
}

/// An attached store may be in use by its owner, so a node takes it over only when it is told to.
#[tokio::test]
async fn an_attached_store_of_another_node_is_adopted_only_on_demand() {
    let store = Server::shared().store("somebody").await;
    let client = store.connect().await;
    client
        .batch_execute("select crdv.counterInc('n', 5)")
        .await
        .unwrap();
    let row = client
        .query_one(
            "select split_part(setting, ',', 1), current_setting('port')
               from pg_settings where name = 'unix_socket_directories'",
            &[],
        )
        .await
        .unwrap();
    let sockets: String = row.get::<_, String>(0).trim_matches('\"').to_owned();
    let (port, database): (String, _) = (row.get(1), &store.database.name);
    let url = format!("postgresql://starling@/{database}?host={sockets}&port={port}");
    let root = folder();
    let data = root.path().join("n");
    let attach = ["--cluster", "test", "--postgres", &url];
    let refused = up(&data, &attach).output().unwrap();
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(
        stderr.contains("belongs to node somebody") && stderr.contains("--adopt-store"),
        "{stderr}"
    );

    let node = Node::start(&data, &[&attach[..], &["--adopt-store", "on"]].concat());
    assert_ne!(site(&node), store.site.get());
    assert!(last_renewal(&node).why.contains("copy of node somebody"));
    client
        .batch_execute("select crdv.counterInc('n', 5)")
        .await
        .unwrap();
    let sum = client
        .query_one("select crdv.counterGet('n')", &[])
        .await
        .unwrap();
    assert_eq!(sum.get::<_, i64>(0), 10);
}
