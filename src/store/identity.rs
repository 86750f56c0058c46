//! Whose store this is.

use rand::RngExt as _;
use tokio_postgres::{Client, Transaction};
use tracing::info;

use super::Error;
use crate::identity::{NodeName, Site};

/// Returns the site of `node`'s store; the first time, draws an incarnation and records it.
///
/// The first time also puts schema `crdv` on the database's `search_path`, so that the functions can
/// be called by their plain names in sessions that start later.
///
/// # Errors
///
/// [`Error::OtherNode`] or [`Error::OtherCluster`] when the store has another owner,
/// [`Error::NotInstalled`] before [`install()`](super::install()); the store is then unchanged.
pub async fn identify(client: &mut Client, node: &NodeName, cluster: &str) -> Result<Site, Error> {
    let transaction = client
        .transaction()
        .await
        .map_err(Error::attempt("begin a transaction"))?;
    let installed: bool = transaction
        .query_one(
            "select pg_catalog.to_regclass('crdv.self') is not null",
            &[],
        )
        .await
        .map_err(Error::attempt("look for the store"))?
        .get(0);
    if !installed {
        return Err(Error::NotInstalled);
    }
    // Conflicts with itself and with every writer of the table: two controllers draw one identity.
    transaction
        .batch_execute("lock table crdv.self in share row exclusive mode")
        .await
        .map_err(Error::attempt("lock the identity"))?;
    let found = transaction
        .query_opt("select site, node, cluster from crdv.self", &[])
        .await
        .map_err(Error::attempt("read the identity"))?;
    let site = match found {
        Some(row) => check(row.get(0), row.get(1), row.get(2), node, cluster)?,
        None => draw(&transaction, node, cluster).await?,
    };
    transaction
        .commit()
        .await
        .map_err(Error::attempt("commit the identity"))?;
    Ok(site)
}

/// Compares a recorded identity with the one that asks.
fn check(
    site: i64,
    found_node: String,
    found_cluster: String,
    node: &NodeName,
    cluster: &str,
) -> Result<Site, Error> {
    if found_node != node.0 {
        return Err(Error::OtherNode {
            found: found_node,
            expected: node.0.clone(),
        });
    }
    if found_cluster != cluster {
        return Err(Error::OtherCluster {
            found: found_cluster,
            expected: cluster.to_owned(),
        });
    }
    Site::new(site).ok_or(Error::BadSite { found: site })
}

/// Draws an incarnation and records the identity that it makes.
async fn draw(
    transaction: &Transaction<'_>,
    node: &NodeName,
    cluster: &str,
) -> Result<Site, Error> {
    let incarnation = rand::rng().random_range(1..=i64::MAX);
    let site = Site::derive(node, incarnation);
    transaction
        .execute(
            "select crdv.become($1, $2, $3, $4)",
            &[&site.get(), &node.0, &incarnation, &cluster],
        )
        .await
        .map_err(Error::attempt("record the identity"))?;
    transaction
        .batch_execute(
            "do $$ begin execute format(
               'alter database %I set search_path = crdv, \"$user\", public', current_database());
             end $$",
        )
        .await
        .map_err(Error::attempt("set the database's search_path"))?;
    info!(%site, incarnation, cluster, "store identified");
    Ok(site)
}
