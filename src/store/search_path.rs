//! The database's `search_path`: whether the functions can be called by their plain names.
//!
//! The database may be an application's. So its path is changed only where that cannot change the meaning
//! of a name that the application uses, or where the operator says so; what was there before is recorded,
//! and put back when it is no longer wanted. A setting that somebody changed after us is theirs, and what is
//! set for a role is never touched.

use tokio_postgres::{Client, Transaction};
use tracing::info;

use super::{Error, LINK_SCHEMA, Schema, schema::Objects};
use crate::postgres::search_path as set;

mod decision;

use decision::{Found, Record, Step, decide};

/// What is wanted of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchPath {
    /// Ours is not on it.
    Off,
    /// Ours is the last: whatever name the application has means what it meant.
    Last,
    /// Ours is the first: its names win, and new tables land in it.
    First,
    /// Last if nobody else has a name of ours, otherwise off.
    Polite,
}

/// How the path stands after [`settle_search_path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathStanding {
    /// The functions can be called by their plain names.
    On,
    /// They cannot, because it was asked for.
    Off,
    /// They cannot: why, and what to do instead.
    Refrained(String),
}

/// Makes the path what is wanted, as far as that is ours to do. Sessions that are open keep theirs.
///
/// `plain` is a session as any client's, which tells what the server has set.
///
/// # Errors
///
/// [`Error::Database`] or [`Error::Privilege`]; nothing is changed then.
pub async fn settle_search_path(
    client: &mut Client,
    plain: &Client,
    wish: SearchPath,
) -> Result<PathStanding, Error> {
    let server = set::read(plain)
        .await
        .map_err(Error::attempt("look at the server's search_path"))?
        .server;
    let transaction = begin(client).await?;
    let found = observe(&transaction, server).await?;
    let (step, standing) = decide(&found, wish);
    perform(&transaction, &found.database, &step).await?;
    transaction
        .commit()
        .await
        .map_err(Error::attempt("commit the search_path"))?;
    match &step {
        Step::Keep => {}
        Step::Restore(path) => info!(?path, "the database's search_path is as it was before"),
        Step::Set { former, value } => info!(?former, value, "the database's search_path is set"),
    }
    if let PathStanding::Refrained(why) = &standing {
        info!("{why}");
    }
    Ok(standing)
}

/// Puts the path back that was there before ours; a setting that somebody changed since stays.
pub(super) async fn restore(transaction: &Transaction<'_>) -> Result<(), Error> {
    // Without a plain session: what is to be put back stands in the record, whatever the server has set.
    let found = observe(transaction, None).await?;
    let (step, _) = decide(&found, SearchPath::Off);
    perform(transaction, &found.database, &step).await
}

/// What [`restore`] would put back, the inner `None` for the server's; `None` if nothing.
pub(super) async fn former(transaction: &Transaction<'_>) -> Result<Option<Option<String>>, Error> {
    let found = observe(transaction, None).await?;
    Ok(match decide(&found, SearchPath::Off).0 {
        Step::Restore(former) => Some(former),
        Step::Keep | Step::Set { .. } => None,
    })
}

pub(super) async fn begin(client: &mut Client) -> Result<Transaction<'_>, Error> {
    let transaction = client
        .transaction()
        .await
        .map_err(Error::attempt("begin a transaction"))?;
    transaction
        .batch_execute("set local search_path = pg_catalog, pg_temp")
        .await
        .map_err(Error::attempt("prepare a step"))?;
    Ok(transaction)
}

async fn observe(transaction: &Transaction<'_>, server: Option<String>) -> Result<Found, Error> {
    let failed = || Error::attempt("look at the database's search_path");
    let own = set::read(transaction).await.map_err(failed())?;
    // A plain session may see what ours cannot, which pins a path of its own.
    let server = server.or(own.server);
    let row = transaction
        .query_one(
            "select d.datname::text, pg_has_role(d.datdba, 'usage'), r.value, r.former,
                    r.place is distinct from (select system_identifier from pg_control_system()) || '/' || d.oid
               from pg_database d
               left join crdv.database_setting r on r.name = 'search_path'
              where d.datname = current_database()",
            &[],
        )
        .await
        .map_err(failed())?;
    let record = row.get::<_, Option<String>>(2).map(|value| Record {
        value,
        former: row.get(3),
        is_of_another: row.get(4),
    });
    let names = async |path: Option<&str>| match path {
        Some(path) => set::schemas(transaction, path).await,
        None => Ok(Vec::new()),
    };
    let current = names(own.database.as_deref()).await.map_err(failed())?;
    let mut found = Found {
        database: row.get(0),
        is_owner: row.get(1),
        names_ours: current.iter().any(|schema| schema == "crdv"),
        current: own.database,
        record,
        server,
        ..Found::default()
    };
    // New tables land in the first schema that there is.
    found.is_bare = names(found.base().as_deref())
        .await
        .map_err(failed())?
        .is_empty();
    found.collisions = collisions(transaction, &Schema::current().objects()).await?;
    Ok(found)
}

/// Relations, types and functions of others that are called like ones of ours.
async fn collisions(transaction: &Transaction<'_>, ours: &Objects) -> Result<Vec<String>, Error> {
    // Each table is a type, so the two share their names. Functions have names of their own.
    let names: Vec<&String> = ours.relations.iter().chain(&ours.types).collect();
    let functions: Vec<&String> = ours.functions.iter().collect();
    let rows = transaction
        .query(
            "select distinct format('%I.%I', n.nspname, f.name) || f.mark
               from (select t.typnamespace, t.typname::text, '' from pg_type t
                      where t.typname = any ($1)
                     union all
                     select c.relnamespace, c.relname::text, '' from pg_class c
                      where c.relname = any ($1)
                     union all
                     select p.pronamespace, p.proname::text, '()' from pg_proc p
                      where p.proname = any ($2)) f (namespace, name, mark)
               join pg_namespace n on n.oid = f.namespace
              where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'crdv', $3)
              order by 1",
            &[&names, &functions, &LINK_SCHEMA],
        )
        .await
        .map_err(Error::attempt("look for names that others have, too"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The setting goes through a local one, so that it reaches the catalogue byte for byte.
async fn perform(transaction: &Transaction<'_>, database: &str, step: &Step) -> Result<(), Error> {
    let failed = || Error::attempt("set the database's search_path");
    let (value, former) = match step {
        Step::Keep => return Ok(()),
        Step::Restore(former) => (former.as_ref(), None),
        Step::Set { former, value } => (Some(value), Some(former)),
    };
    let database = format!("\"{}\"", database.replace('"', "\"\""));
    if let Some(value) = value {
        let local = "select set_config('search_path', $1, true)";
        transaction
            .execute(local, &[value])
            .await
            .map_err(failed())?;
    }
    let change = match value {
        Some(_) => "set search_path from current",
        None => "reset search_path",
    };
    // The record goes with the setting. One without the other would be taken for somebody's change.
    let set = format!(
        "alter database {database} {change}; set local search_path = pg_catalog, pg_temp;
         delete from crdv.database_setting where name = 'search_path'"
    );
    transaction.batch_execute(&set).await.map_err(failed())?;
    let Some(former) = former else { return Ok(()) };
    transaction
        .execute(
            "insert into crdv.database_setting (name, former, value, place)
             select 'search_path', $1, $2, c.system_identifier || '/' || d.oid
               from pg_control_system() c, pg_database d where d.datname = current_database()",
            &[former, &value],
        )
        .await
        .map_err(Error::attempt("record the search_path"))?;
    Ok(())
}
