//! Where a store stands in its own history, so that an older copy of it can be told from itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, types::PgLsn};

use super::Error;

/// Where a store stands. In one history, no part of it ever goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The server's system identifier: `initdb` draws one.
    pub system: i64,
    /// Its timeline: each recovery to a point in time, and each promotion, begins a new one.
    pub timeline: u32,
    /// The end of what is on disk of its write-ahead log.
    pub wal: u64,
    /// The database's object id: each `create database` draws one.
    pub database: u32,
    /// The object id of the table of operations: each `create table` draws one, so a restored dump has
    /// another. 0 in records of versions that did not look.
    #[serde(default)]
    pub table: u32,
    /// The last checkpoint of the store's own site; 0 before the first. Unlike the last number given
    /// out it never goes back in a crash.
    pub checkpoint: i64,
    /// The last number given out. While the server runs it never goes back.
    #[serde(default)]
    pub number: i64,
    /// When the server was started, Unix microseconds.
    pub started: i64,
}

/// Why a store is not, or not certainly, the one that a [`Position`] was taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Another server.
    System,
    /// Another database.
    Database,
    /// Another table.
    Table,
    /// Another branch of the server's history.
    Timeline,
    /// The log ends earlier.
    Wal,
    /// Its own checkpoint is an earlier one.
    Checkpoint,
    /// Numbers are given out again.
    Number,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "the store is in another server than before (a clone, or restored)",
            Self::Database => "the store is in another database than before (restored or cloned)",
            Self::Table => "the store's tables are not those that it had (restored from a dump)",
            Self::Timeline => "the server was recovered to a point in time, or promoted",
            Self::Wal => "the server is an older copy of itself: its log ends before where it was",
            Self::Checkpoint => "the store is an older copy of itself: it lacks its own checkpoint",
            Self::Number => "the sequence crdv.seq was set back: numbers were given out twice",
        })
    }
}

impl Position {
    /// Why this cannot be a later state of the store that stood at `recorded`; `None` when it can.
    #[must_use]
    pub fn departs_from(&self, recorded: &Self) -> Option<Break> {
        // From the outside to the inside: in another server or timeline, nothing below can be compared.
        if self.system != recorded.system {
            Some(Break::System)
        } else if self.timeline != recorded.timeline {
            Some(Break::Timeline)
        } else if self.wal < recorded.wal {
            Some(Break::Wal)
        } else if self.database != recorded.database {
            Some(Break::Database)
        } else if self.table != recorded.table && recorded.table != 0 {
            Some(Break::Table)
        } else if self.checkpoint < recorded.checkpoint {
            Some(Break::Checkpoint)
        } else if self.number < recorded.number && self.started == recorded.started {
            // A crash forgets numbers that nobody has got, so this is told within one run only.
            Some(Break::Number)
        } else {
            None
        }
    }

    /// Whether the server has not been restarted since `recorded`: then it is the same for certain.
    #[must_use]
    pub fn is_same_run(&self, recorded: &Self) -> bool {
        self.departs_from(recorded).is_none() && self.started == recorded.started
    }
}

/// Asks the server where the store stands. The store must be installed.
///
/// # Errors
///
/// [`Error::Database`] when the server does not answer, or is a standby.
pub async fn position(client: &Client) -> Result<Position, Error> {
    // The timeline of the log is right at once after a promotion; the control file's is not. The log's
    // end is read last: whatever else was read is in it.
    let row = client
        .query_one(
            "select s.system_identifier, d.oid,
                    coalesce((select v.upto from crdv.vector v join crdv.self o using (site)), 0),
                    (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint,
                    pg_catalog.substr(pg_catalog.pg_walfile_name(
                      pg_catalog.pg_current_wal_flush_lsn()), 1, 8),
                    'crdv.element'::pg_catalog.regclass::oid, q.last_value,
                    pg_catalog.pg_current_wal_flush_lsn()
               from crdv.seq q, pg_catalog.pg_control_system() s, pg_catalog.pg_database d
              where d.datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(Error::attempt("tell where the store stands"))?;
    Ok(Position {
        system: row.get(0),
        database: row.get(1),
        checkpoint: row.get(2),
        started: row.get(3),
        // The server writes eight hexadecimal digits.
        timeline: u32::from_str_radix(row.get(4), 16).unwrap_or_default(),
        table: row.get(5),
        number: row.get(6),
        wal: row.get::<_, PgLsn>(7).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Break, Position};

    fn recorded() -> Position {
        Position {
            system: 7,
            timeline: 1,
            wal: 1_000,
            database: 5,
            table: 6,
            checkpoint: 50,
            number: 55,
            started: 9,
        }
    }

    #[test]
    fn a_store_that_went_on_is_the_same() {
        let later = Position {
            wal: 2_000,
            checkpoint: 60,
            ..recorded()
        };
        assert_eq!(later.departs_from(&recorded()), None);
        assert!(later.is_same_run(&recorded()));
        // A crash forgets numbers that nobody has got.
        let restarted = Position {
            started: 10,
            number: 54,
            ..later
        };
        assert_eq!(restarted.departs_from(&recorded()), None);
        assert!(!restarted.is_same_run(&recorded()));
    }

    #[test]
    fn whatever_went_back_or_was_exchanged_is_noticed() {
        let now = recorded();
        for (found, expected) in [
            (
                Position {
                    system: 8,
                    ..now.clone()
                },
                Break::System,
            ),
            (
                Position {
                    timeline: 2,
                    wal: 9_000,
                    ..now.clone()
                },
                Break::Timeline,
            ),
            (
                Position {
                    wal: 999,
                    ..now.clone()
                },
                Break::Wal,
            ),
            (
                Position {
                    database: 6,
                    wal: 9_000,
                    ..now.clone()
                },
                Break::Database,
            ),
            (
                Position {
                    checkpoint: 49,
                    wal: 9_000,
                    ..now.clone()
                },
                Break::Checkpoint,
            ),
            (
                Position {
                    table: 7,
                    wal: 9_000,
                    ..now.clone()
                },
                Break::Table,
            ),
            (
                Position {
                    number: 54,
                    wal: 9_000,
                    ..now.clone()
                },
                Break::Number,
            ),
        ] {
            assert_eq!(found.departs_from(&now), Some(expected));
            assert!(!found.is_same_run(&now));
        }
    }
}
