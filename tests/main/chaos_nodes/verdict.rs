//! Whether all is as it must be in the end.

use std::collections::BTreeSet;

use tokio::time::{Duration, Instant, sleep};

use super::Violations;
use crate::harness::process::Node;

/// How long stores that are left in peace may take to become equal.
const PATIENCE: Duration = Duration::from_secs(120);

const DIGEST: &str = "select md5(string_agg(concat_ws('|', type, id, key, site, seq, op, data, ctx_sites, ctx_seqs, hlc),
    ',' order by type, id, key, site)) from crdv.element where type not in ('v', 'k')";

const COUNTED: &str = "select coalesce(crdv.counterGet('sum'), 0)::text";

const REPEATED: &str = "select (count(*) - count(distinct (site, seq)))::text from crdv.element";

/// What is wrong with the stores, once they are equal or have had time enough for it.
pub(super) async fn judge(nodes: &[&Node], acknowledged: &[String]) -> Violations {
    let mut violations = differences(nodes).await;
    for node in nodes {
        let name = node.data.file_name().unwrap().display();
        let here = tokens(node).await;
        let lost: Vec<_> = acknowledged.iter().filter(|t| !here.contains(*t)).collect();
        if !lost.is_empty() {
            let some = &lost[..lost.len().min(5)];
            violations.push(format!(
                "{name} lacks {} acknowledged: {some:?}",
                lost.len()
            ));
        }
        let raised: i64 = here.iter().map(|token| raise(token)).sum();
        let counted = text(node, COUNTED).await;
        if counted != raised.to_string() {
            violations.push(format!("{name} counts {counted}, its tokens make {raised}"));
        }
        let repeated = text(node, REPEATED).await;
        if repeated != "0" {
            violations.push(format!("{name} has {repeated} numbers twice"));
        }
    }
    violations
}

async fn differences(nodes: &[&Node]) -> Violations {
    let since = Instant::now();
    loop {
        let mut digests = BTreeSet::new();
        for node in nodes {
            digests.insert(text(node, DIGEST).await);
        }
        if digests.len() == 1 {
            println!("equal after {:.1} s", since.elapsed().as_secs_f32());
            return Violations::new();
        }
        if since.elapsed() > PATIENCE {
            return vec![format!("{} stores differ: {digests:?}", nodes.len())];
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// By how much the transaction of this token raised the counter.
fn raise(token: &str) -> i64 {
    token.rsplit('.').next().unwrap().parse().unwrap()
}

/// The tokens of all transactions that a store has.
async fn tokens(node: &Node) -> BTreeSet<String> {
    let client = node.client().await;
    let sql = "select distinct key from crdv.element where type = 's' and id = 'log' and op = 'a'";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn text(node: &Node, sql: &str) -> String {
    let row = node.client().await.query_one(sql, &[]).await.unwrap();
    row.get::<_, Option<String>>(0).unwrap_or_default()
}
