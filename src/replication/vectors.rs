//! Reads the vector of a store, our own or a publisher's: the one query for it.

use tokio_postgres::Row;

use crate::{
    identity::Site,
    postgres::session::Session,
    vector::{Seq, Vector},
};

/// The query of the vector where it is called `relation`: `crdv.vector` at home, another name for the
/// role of a link.
pub(crate) fn query(relation: &str) -> String {
    format!("select site, upto from {relation}")
}

/// What [`query`] gives. A site that is none, which a publisher may say, is passed over.
pub(crate) fn decode(rows: &[Row]) -> Vector {
    rows.iter()
        .filter_map(|row| Some((Site::new(row.get(0))?, Seq::new(row.get(1)))))
        .collect()
}

/// The vector of the store at the other end of `session`.
pub(crate) async fn read(
    session: &Session,
    relation: &str,
) -> Result<Vector, tokio_postgres::Error> {
    Ok(decode(&session.query(&query(relation), &[]).await?))
}
