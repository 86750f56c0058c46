//! Takes down every link of a store, without asking anybody.
//!
//! For a store that may be an older copy of itself. The links of an older copy lead into a history that is not
//! its own: a slot stands where another log had got to, a subscription would go on behind a gap. Peers
//! find theirs gone, and make new ones.

use super::{
    database::Database,
    error::Error,
    links::observed::Observer,
    publisher::{credentials, drop_end},
    subscriber::drop_subscription,
};
use crate::postgres::Conninfo;

/// Drops all subscriptions, slots, publications and roles of links; returns how many links it were.
///
/// # Errors
///
/// The store cannot be reached, or refuses. What is dropped by then is gone; doing it again is safe.
pub async fn clear(store: impl Into<Conninfo>) -> Result<usize, Error> {
    let database = Database::new(store.into());
    let inventory = Observer::open(&database).await?.look().await?;
    let session = database.session().await?;
    for name in inventory.incoming.keys() {
        drop_subscription(&session, &name.to_string()).await?;
    }
    for name in inventory.outgoing.keys() {
        drop_end(&session, *name).await?;
    }
    Ok(inventory.incoming.len() + inventory.outgoing.len())
}

/// How many links a store has, in both directions, whole or in part.
///
/// # Errors
///
/// The store cannot be reached or is not identified.
pub async fn count_links(store: impl Into<Conninfo>) -> Result<usize, Error> {
    let database = Database::new(store.into());
    let inventory = Observer::open(&database).await?.look().await?;
    Ok(inventory.incoming.len() + inventory.outgoing.len())
}

/// Takes the links' group role out of the database, and out of the server if no other store uses it.
///
/// # Errors
///
/// As for [`clear`].
pub async fn drop_group(store: impl Into<Conninfo>) -> Result<(), Error> {
    let session = Database::new(store.into()).session().await?;
    credentials::drop_group(&session).await
}
