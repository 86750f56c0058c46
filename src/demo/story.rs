//! What the demo writes, and how it tells that two stores hold the same.

use anyhow::Context;
use tokio_postgres::Client;

use crate::driver::DriverError;

/// Increments of the shared counter in one round, each a transaction of its own.
pub(super) const VISITS_PER_ROUND: i64 = 10;

/// What a store holds, in brief.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// How many operations are present.
    pub(super) operations: u64,
    /// The counter that every node increments.
    pub(super) visits: i64,
    digest: String,
}

/// One node's round: a register that all fight for, a set and a map that all add to, a counter
/// that all increment.
pub(super) async fn write(store: &Client, writer: &str, round: usize) -> anyhow::Result<()> {
    let round = format!("round {round}");
    let whole = format!("{writer} {round}");
    let text: [(&str, Vec<&str>); 3] = [
        ("select crdv.registerSet('motto', $1)", vec![&whole]),
        ("select crdv.setAdd('guests', $1)", vec![writer]),
        (
            "select crdv.mapAdd('last words', $1, $2)",
            vec![writer, &round],
        ),
    ];
    let wrong = || format!("{writer} cannot write");
    for (statement, values) in text {
        let values: Vec<_> = values.iter().map(|value| value as _).collect();
        store
            .query(statement, &values)
            .await
            .map_err(DriverError::from)
            .with_context(wrong)?;
    }
    for _ in 0..VISITS_PER_ROUND {
        store
            .query("select crdv.counterInc('visits', 1)", &[])
            .await
            .map_err(DriverError::from)
            .with_context(wrong)?;
    }
    Ok(())
}

/// What is in `store`. The stores' own bookkeeping (ids that begin with `$`) is left out.
pub(super) async fn content(store: &Client) -> anyhow::Result<Content> {
    // In the order of their keys, for rows lie otherwise in each store.
    let row = store
        .query_one(
            "select count(*), coalesce(crdv.counterGet('visits'), 0)::bigint,
                    coalesce(md5(string_agg(e::text, e'\\n' order by type, id, key, site)), '')
             from (select id, key, site, seq, type, op, data, hlc
                   from crdv.element where id not like '$%') e",
            &[],
        )
        .await
        .map_err(DriverError::from)
        .context("cannot read a store")?;
    Ok(Content {
        operations: u64::try_from(row.get::<_, i64>(0)).unwrap_or(0),
        visits: row.get(1),
        digest: row.get(2),
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{VISITS_PER_ROUND, content, write};
    use crate::{
        identity::NodeId,
        postgres::{self, PrivateConfig, PrivateServer},
        store,
    };

    #[tokio::test]
    async fn what_is_written_is_told_from_what_was_there_before() {
        let dir = tempfile::tempdir().unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = PrivateConfig {
            listen,
            ..PrivateConfig::new(dir.path())
        };
        let server = PrivateServer::start(config).await.unwrap();
        let mut client = postgres::connect(&server.connection()).await.unwrap();
        store::install(&mut client).await.unwrap();
        store::identify(&mut client, &"a".parse::<NodeId>().unwrap(), "demo")
            .await
            .unwrap();

        let empty = content(&client).await.unwrap();
        assert_eq!(
            (empty.operations, empty.visits),
            (0, 0),
            "bookkeeping is left out"
        );
        write(&client, "node-1", 1).await.unwrap();
        let first = content(&client).await.unwrap();
        assert_eq!((first.operations, first.visits), (4, VISITS_PER_ROUND));
        assert_eq!(content(&client).await.unwrap(), first);
        // As many operations as before, but other ones.
        write(&client, "node-1", 2).await.unwrap();
        let second = content(&client).await.unwrap();
        assert_eq!(
            (second.operations, second.visits),
            (4, 2 * VISITS_PER_ROUND)
        );
        assert_ne!(second.digest, first.digest);
        server.stop().await.unwrap();
    }
}
