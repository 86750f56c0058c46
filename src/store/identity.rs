//! Whose store this is.

use rand::RngExt as _;
use tokio_postgres::{Client, Transaction};
use tracing::info;

use super::Error;
use crate::identity::{NodeId, Site};

/// Returns the site of `node`'s store; the first time, draws an incarnation and records it.
///
/// # Errors
///
/// [`Error::OtherNode`] or [`Error::OtherCluster`] when the store has another owner,
/// [`Error::NotInstalled`] before [`install()`](super::install()); the store is then unchanged.
pub async fn identify(client: &mut Client, node: &NodeId, cluster: &str) -> Result<Site, Error> {
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
        .batch_execute(
            "set local lock_timeout = '10s'; lock table crdv.self in share row exclusive mode",
        )
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

/// Whose store it is, by its own record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The site as which it writes.
    pub site: Site,
    /// The node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: String,
    /// Whether it takes local writes, in this run of its server.
    pub is_open: bool,
    /// Whether it may be an older copy of itself: it takes nothing in from links either.
    pub is_in_doubt: bool,
}

/// Reads whose store it is; `None` when it has no identity yet. The store must be installed.
///
/// # Errors
///
/// [`Error::Database`], or [`Error::BadSite`] or [`Error::BadNode`] for a record that makes no sense.
pub async fn owner(client: &Client) -> Result<Option<Owner>, Error> {
    let found = client
        .query_opt(
            "select site, node, cluster, crdv.siteid() is not null, crdv.own_site() is null
               from crdv.self",
            &[],
        )
        .await
        .map_err(Error::attempt("read the identity"))?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some(Owner {
        site: Site::new(row.get(0)).ok_or(Error::BadSite { found: row.get(0) })?,
        node: row.get::<_, &str>(1).parse()?,
        cluster: row.get(2),
        is_open: row.get(3),
        is_in_doubt: row.get(4),
    }))
}

/// What may be wrong with a store that goes on as another site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing: it has all that its vector says, and its numbers are its own.
    None,
    /// Its vector is not to be believed, so the next catch-up brings everything. What it has written since
    /// it was opened is written anew.
    Behind,
    /// The same, and another copy of it, which writes too, does the same. Each has to.
    Twin {
        /// The last number that the copies had in common, if it is known. Else it is the last before each
        /// was opened, which is lower in a copy that was open when the other was made.
        trusted: Option<i64>,
    },
}

impl Doubt {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Behind => "behind",
            Self::Twin { .. } => "twin",
        }
    }

    fn trusted(self) -> Option<i64> {
        match self {
            Self::Twin { trusted } => trusted,
            Self::None | Self::Behind => None,
        }
    }
}

/// Makes the store go on as another site, one of `node`, and opens it to writers; returns that site.
///
/// All links must have been taken down, and the store closed and [settled](super::settle).
///
/// # Errors
///
/// [`Error::Database`], also while somebody who wrote as the former site goes on; the store is then as before.
pub async fn renew(
    client: &Client,
    node: &NodeId,
    cluster: &str,
    doubt: Doubt,
) -> Result<Site, Error> {
    // Random, so that two copies of a store that are both renewed become two sites.
    let incarnation = rand::rng().random_range(1..=i64::MAX);
    let site = Site::derive(node, incarnation);
    client
        .execute(
            "select crdv.renew($1, $2, $3, $4, $5, $6)",
            &[
                &site.get(),
                &node.as_str(),
                &incarnation,
                &cluster,
                &doubt.name(),
                &doubt.trusted(),
            ],
        )
        .await
        .map_err(Error::attempt("go on as another site"))?;
    info!(%site, incarnation, cluster, "store identified anew");
    Ok(site)
}

/// Compares a recorded identity with the one that asks.
fn check(
    site: i64,
    found_node: String,
    found_cluster: String,
    node: &NodeId,
    cluster: &str,
) -> Result<Site, Error> {
    if found_node != node.as_str() {
        return Err(Error::OtherNode {
            found: found_node,
            expected: node.to_string(),
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
async fn draw(transaction: &Transaction<'_>, node: &NodeId, cluster: &str) -> Result<Site, Error> {
    // Random: a node whose store was wiped must not get its former site, or numbers would be given out twice.
    let incarnation = rand::rng().random_range(1..=i64::MAX);
    let site = Site::derive(node, incarnation);
    transaction
        .execute(
            "select crdv.become($1, $2, $3, $4)",
            &[&site.get(), &node.as_str(), &incarnation, &cluster],
        )
        .await
        .map_err(Error::attempt("record the identity"))?;
    info!(%site, incarnation, cluster, "store identified");
    Ok(site)
}
