//! Operations as they travel: rows of `crdv.element`, and waiting for what other sessions do.

use std::time::{Duration, Instant};

use starling::identity::Site;
use tokio_postgres::{Client, GenericClient, Row, Statement, error::SqlState};

/// Longer than anything waited for takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The columns of an operation, in the order of the fields below.
pub(crate) const COLUMNS: &str = "id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc";

/// A row of `crdv.element`, without the link it came by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Operation {
    pub(crate) kind: char,
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) site: i64,
    pub(crate) seq: i64,
    pub(crate) op: char,
    pub(crate) data: Option<String>,
    pub(crate) context: Vec<(i64, i64)>,
    pub(crate) hlc: i64,
}

impl Operation {
    /// An addition of `data` to the map entry `(id, key)`.
    pub(crate) fn entry(site: Site, seq: i64, data: &str, context: &[(Site, i64)]) -> Self {
        Self {
            kind: 'm',
            id: "map".to_owned(),
            key: "key".to_owned(),
            site: site.get(),
            seq,
            op: 'a',
            data: Some(data.to_owned()),
            context: context
                .iter()
                .map(|&(site, seq)| (site.get(), seq))
                .collect(),
            hlc: 1 << 32 | seq,
        }
    }

    /// The same under another key.
    pub(crate) fn with_key(self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self
        }
    }

    pub(crate) fn read(row: &Row) -> Self {
        let char_at = |index: usize| char::from(row.get::<_, i8>(index).unsigned_abs());
        let (sites, seqs): (Vec<i64>, Vec<i64>) = (row.get(7), row.get(8));
        assert_eq!(
            sites.len(),
            seqs.len(),
            "the arrays of a context are parallel"
        );
        Self {
            id: row.get(0),
            key: row.get(1),
            site: row.get(2),
            seq: row.get(3),
            kind: char_at(4),
            op: char_at(5),
            data: row.get(6),
            context: sites.into_iter().zip(seqs).collect(),
            hlc: row.get(9),
        }
    }

    /// The statement for [`Operation::insert_by`].
    pub(crate) async fn prepare(
        client: &impl GenericClient,
        table: &str,
    ) -> Result<Statement, tokio_postgres::Error> {
        let sql = format!(
            "insert into {table} ({COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        );
        client.prepare(&sql).await
    }

    /// Brings the operation in as replication would: the session is an apply worker's, or the table
    /// is `catch_up`. True if the row was kept.
    pub(crate) async fn insert(
        &self,
        client: &impl GenericClient,
        table: &str,
    ) -> Result<bool, tokio_postgres::Error> {
        let statement = Self::prepare(client, table).await?;
        self.insert_by(client, &statement).await
    }

    /// [`Operation::insert`] by a prepared statement.
    pub(crate) async fn insert_by(
        &self,
        client: &impl GenericClient,
        statement: &Statement,
    ) -> Result<bool, tokio_postgres::Error> {
        let (sites, seqs): (Vec<i64>, Vec<i64>) = self.context.iter().copied().unzip();
        let byte = |c: char| i8::try_from(u32::from(c)).unwrap();
        let kept = client
            .execute(
                statement,
                &[
                    &self.id,
                    &self.key,
                    &self.site,
                    &self.seq,
                    &byte(self.kind),
                    &byte(self.op),
                    &self.data,
                    &sites,
                    &seqs,
                    &self.hlc,
                ],
            )
            .await?;
        Ok(kept == 1)
    }

    /// [`Operation::insert`] into the element table.
    pub(crate) async fn apply(&self, client: &impl GenericClient) -> bool {
        self.insert(client, "crdv.element").await.unwrap()
    }
}

/// All present operations, in a canonical order.
pub(crate) async fn present(client: &impl GenericClient) -> Vec<Operation> {
    let sql = format!("select {COLUMNS} from crdv.element");
    let mut rows: Vec<_> = client
        .query(&sql, &[])
        .await
        .unwrap()
        .iter()
        .map(Operation::read)
        .collect();
    rows.sort();
    rows
}

/// The values of a map entry made by [`Operation::entry`], ordered by site.
pub(crate) async fn values(client: &impl GenericClient) -> Vec<String> {
    let row = client
        .query_one("select crdv.mapAwMvrValue('map', 'key')", &[])
        .await
        .unwrap();
    row.get::<_, Option<Vec<String>>>(0).unwrap_or_default()
}

/// The process that serves a session.
pub(crate) async fn backend(client: &Client) -> i32 {
    client
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0)
}

/// Returns once the session served by `pid` waits for a lock, of any kind.
pub(crate) async fn until_blocked(observer: &Client, pid: i32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let blocked: bool = observer
            .query_one("select cardinality(pg_blocking_pids($1)) > 0", &[&pid])
            .await
            .unwrap()
            .get(0);
        if blocked {
            return;
        }
        assert!(Instant::now() < deadline, "the session never waited");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether an error says "try the transaction again".
pub(crate) fn is_retryable(error: &tokio_postgres::Error) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ]
    .iter()
    .any(|state| error.code() == Some(state))
}
