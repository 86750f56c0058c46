//! Brings a subscriber level with its publisher before their link begins to stream.
//!
//! Rows go straight from one store to the other: binary `COPY` out of the publisher's into ours, in
//! one transaction here, so that readers see all of it or none.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use tokio::time::timeout;

use crate::{
    identity::Site,
    postgres::session::Session,
    replication::{
        database::refused,
        error::{BEHIND, Error},
        vectors,
    },
    vector::{Seq, Vector},
};

/// The publisher sorts nothing (an index gives the order), so the first row comes soon, and every
/// further one sooner.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Applying takes 40 us a row where it was measured; a drowned server may take 25 times as long.
const APPLY_BASE: Duration = Duration::from_secs(60);
const APPLY_PER_ROW: Duration = Duration::from_millis(1);

/// How far a catch-up is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows received so far.
    pub rows: u64,
    /// Rows expected, at most; zero if nothing is known.
    pub estimate: u64,
    /// All rows are here and are being applied.
    pub applying: bool,
}

/// What a catch-up did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CaughtUp {
    /// Rows received.
    pub(crate) rows: u64,
    /// Rows that were news.
    pub(crate) kept: i64,
}

/// Both ends of a catch-up.
#[derive(Debug)]
pub(crate) struct CatchUp<'a> {
    pub(crate) local: &'a Session,
    /// With a path on which `missing` and `vector` are.
    pub(crate) remote: &'a Session,
    pub(crate) own: Site,
    pub(crate) publisher: Site,
}

impl CatchUp<'_> {
    /// Copies what is missing into a temporary table of a transaction that stays open.
    pub(crate) async fn copy(&self, mut report: impl FnMut(Progress) + Send) -> Result<u64, Error> {
        self.local
            .batch_execute("begin; select crdv.begin_catch_up()")
            .await
            .map_err(refused("begin a catch-up"))?;
        let columns = self.columns().await?;
        let held = held(self.local).await?;
        // All rows from one snapshot: none of them covers another, on which `crdv.apply_catch_up` relies.
        self.remote
            .batch_execute("begin isolation level repeatable read")
            .await
            .map_err(broke("begin a snapshot"))?;
        let mut progress = Progress {
            estimate: self.estimate(&held).await?,
            ..Progress::default()
        };
        report(progress);
        let missing = missing(&held, self.own);
        let source = self
            .remote
            .copy_out(&format!(
                "copy (select {columns} from {missing}) to stdout (format binary)"
            ))
            .await
            .map_err(broke("send what is missing"))?;
        let sink = self
            .local
            .copy_in::<_, Bytes>(&format!(
                "copy pg_temp.catch_up ({columns}) from stdin (format binary)"
            ))
            .await
            .map_err(refused("receive a catch-up"))?;
        futures::pin_mut!(source, sink);
        while let Some(chunk) = timeout(SILENCE_MAX, source.try_next())
            .await
            .map_err(|_| Error::Timeout("the next row of a catch-up"))?
            .map_err(broke("send what is missing"))?
        {
            // Not `send`, which would flush after each row.
            sink.feed(chunk)
                .await
                .map_err(refused("receive a catch-up"))?;
            // Nearly: the trailer comes as one more. The exact number is that of the receiving end.
            progress.rows += 1;
            report(progress);
        }
        let rows = sink.finish().await.map_err(refused("receive a catch-up"))?;
        self.release(rows).await?;
        report(Progress {
            rows,
            applying: true,
            ..progress
        });
        Ok(rows)
    }

    /// Ends the publisher's snapshot, once all that was read from it is on the publisher's disk.
    ///
    /// A snapshot shows commits that a crash may still undo. Were such a row to survive here, its
    /// origin could give its number to another operation. A commit that writes flushes all before it.
    async fn release(&self, rows: u64) -> Result<(), Error> {
        let sql = if rows == 0 {
            "rollback"
        } else {
            "select pg_logical_emit_message(true, 'starling', 'catch-up'); commit"
        };
        self.remote
            .batch_execute(sql)
            .await
            .map_err(broke("end a snapshot"))
    }

    /// Applies what was copied and commits.
    pub(crate) async fn apply(&self, rows: u64) -> Result<CaughtUp, Error> {
        // Without the exclusive lock, for which every link would wait in vain.
        if rows == 0 {
            self.local
                .batch_execute("rollback")
                .await
                .map_err(refused("end a catch-up"))?;
            return Ok(CaughtUp { rows, kept: 0 });
        }
        let limit = APPLY_BASE
            .saturating_add(APPLY_PER_ROW.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX)));
        // Other appliers hold their locks for one transaction each, but a bulk one may be long.
        let limits = format!(
            "set local statement_timeout = {0}; set local lock_timeout = {0}",
            limit.as_millis()
        );
        self.local
            .batch_execute(&limits)
            .await
            .map_err(refused("set a limit"))?;
        let row = self
            .local
            .query_one("select crdv.apply_catch_up($1)", &[&self.publisher.get()])
            .await
            .map_err(applying)?;
        self.local
            .batch_execute("commit")
            .await
            .map_err(refused("commit a catch-up"))?;
        Ok(CaughtUp {
            rows,
            kept: row.get(0),
        })
    }

    /// The columns that this version knows; a newer publisher may have more.
    async fn columns(&self) -> Result<String, Error> {
        let row = self
            .local
            .query_one(
                "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
                  where attrelid = 'pg_temp.catch_up'::regclass and attnum > 0 and not attisdropped",
                &[],
            )
            .await
            .map_err(refused("read the catch-up's columns"))?;
        Ok(row.get(0))
    }

    /// An upper bound: what was written since, and what the table can hold.
    async fn estimate(&self, held: &Vector) -> Result<u64, Error> {
        let theirs = vectors::read(self.remote, "vector")
            .await
            .map_err(broke("read its vector"))?;
        let written = theirs
            .missing_from(held)
            .iter()
            .filter(|(site, _)| *site != self.own)
            .map(|(site, seq)| seq.get().abs_diff(held.get(site).get()))
            .sum();
        let size = "select c.reltuples::bigint from pg_class c join pg_namespace n on n.oid = c.relnamespace
                     where n.nspname = 'crdv' and c.relname = 'element'";
        let row = self
            .remote
            .query_one(size, &[])
            .await
            .map_err(broke("read how large it is"))?;
        // Never analysed is -1.
        let rows = u64::try_from(row.get::<_, i64>(0))
            .ok()
            .filter(|rows| *rows > 0);
        Ok(rows.map_or(written, |rows| rows.min(written)))
    }
}

async fn held(local: &Session) -> Result<Vector, Error> {
    vectors::read(local, "crdv.vector")
        .await
        .map_err(refused("read the vector"))
}

/// `COPY` takes no parameters; numbers need no quoting.
///
/// Of ourselves we lack nothing: an operation leaves its store only once it is on its disk.
fn missing(held: &Vector, own: Site) -> String {
    let others = held.iter().filter(|(site, _)| *site != own);
    let (sites, seqs) = others
        .chain([(own, Seq::MAX)])
        .collect::<Vector>()
        .columns();
    let array = |numbers: Vec<i64>| {
        let digits: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        format!("'{{{}}}'::bigint[]", digits.join(","))
    };
    format!("missing({}, {})", array(sites), array(seqs))
}

/// The store knows itself for an older copy when others have seen numbers that it never gave out.
fn applying(error: tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(told) if told.code().code() == BEHIND => Error::Behind(told.message().to_owned()),
        _ => refused("apply a catch-up")(error),
    }
}

fn broke(what: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Error {
    move |source| Error::Publisher {
        what,
        cause: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::missing;
    use crate::identity::Site;
    use crate::vector::{Vector, tests::vector};

    #[test]
    fn a_store_lacks_nothing_of_its_own() {
        let own = Site::new(5).unwrap();
        let call = |held| missing(&held, own);
        let max = i64::MAX;
        assert_eq!(
            call(Vector::default()),
            format!("missing('{{5}}'::bigint[], '{{{max}}}'::bigint[])")
        );
        assert_eq!(
            call(vector(&[(3, 30), (5, 50), (7, 70)])),
            format!("missing('{{3,5,7}}'::bigint[], '{{30,{max},70}}'::bigint[])")
        );
    }
}
