//! Brings a database to this program's schema, from nothing or from any earlier version.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, GenericClient, Transaction, error::SqlState};
use tracing::info;

use super::{
    Error, Schema, access,
    writers::{Holder, PATIENCE, Pending, list},
};

/// Between two attempts to get the locks of a step. Others queue for a tenth of it at most.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Row filters of publications, which links are made of, appeared in this version.
const OLDEST_SERVER: i32 = 150_000;

/// Serialises installers of one database. The table in `operation.sql` has all keys of locks.
pub(super) const INSTALL_LOCK: &str = "select pg_catalog.pg_advisory_xact_lock(1398030676, 0)";

/// What [`install()`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The schema version before; 0 for a database without a store.
    pub from: i32,
    /// The schema version now.
    pub to: i32,
    /// Whether functions and views were applied again.
    pub definitions_applied: bool,
}

/// Installs or upgrades the store of this version. Does nothing when it is there already.
///
/// Each migration is a transaction of its own that moves the store's version with it, so an
/// installation that was cut off goes on where it stopped. Two installers wait for each other. A step
/// that does not get its locks at once is tried again, so that nobody queues behind it.
///
/// # Errors
///
/// See [`Error`]: an unfit server or database, a store of a newer version, missing privileges, a
/// failed statement, or locks that others hold for too long. The store is left at the last finished
/// step.
pub async fn install(client: &mut Client) -> Result<Installed, Error> {
    install_telling(client, PATIENCE, |_| {}).await
}

/// [`install()`] that waits for locks for `patience`. `tell` hears whom it waits for.
///
/// # Errors
///
/// As for [`install()`].
pub async fn install_telling(
    client: &mut Client,
    patience: Duration,
    mut tell: impl FnMut(&[Pending]),
) -> Result<Installed, Error> {
    let began = Instant::now();
    let mut told = Vec::new();
    loop {
        let locked = match Schema::current().install(client).await {
            Err(error) if error.is_locked() => error,
            result => return result,
        };
        // They are looked for after the failure: who was in the way may be gone by now.
        let holders = holders(client).await?;
        if began.elapsed() >= patience {
            return Err(Error::Locked {
                holders: list(&holders),
                source: Box::new(locked),
            });
        }
        let who: Vec<Holder> = holders
            .iter()
            .map(|pending| pending.holder.clone())
            .collect();
        if who != told {
            info!(holders = list(&holders), limit = ?patience, "the store's schema is locked by others");
            tell(&holders);
            told = who;
        }
        sleep(LOCK_PAUSE).await;
    }
}

/// What somebody has dropped of a store that was installed, in words: `schema crdv` stands for all of it.
///
/// # Errors
///
/// See [`Error`]: when the server does not answer.
pub async fn missing(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client
        .query(
            // Tables come from migrations: the look below knows what definitions make.
            "select 'schema crdv' where to_regnamespace('crdv') is null
             union all
             select 'table ' || o.name from unnest(array['element', 'self', 'installation']) o (name)
              where to_regnamespace('crdv') is not null and to_regclass('crdv.' || o.name) is null",
            &[],
        )
        .await
        .map_err(Error::attempt("look for what is missing in the store"))?;
    if rows.is_empty() {
        return Schema::current().missing(client).await;
    }
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Who holds locks on what belongs to the store.
pub(super) async fn holders(client: &Client) -> Result<Vec<Pending>, Error> {
    let rows = client
        .query(HOLDERS, &[])
        .await
        .map_err(Error::attempt("look for who holds locks"))?;
    Ok(rows.iter().map(Pending::read).collect())
}

/// The columns are those of `crdv.writers()`, which may not be there yet.
const HOLDERS: &str = "
    select l.pid, p.gid, coalesce(a.usename, p.owner)::text, a.application_name,
           extract(epoch from pg_catalog.clock_timestamp()
                              - min(coalesce(a.xact_start, p.prepared)))::bigint, a.state
      from pg_catalog.pg_locks l
      join pg_catalog.pg_class c on c.oid = l.relation
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = 'crdv'
      left join pg_catalog.pg_stat_activity a on a.pid = l.pid
      left join (pg_catalog.pg_locks x
                 join pg_catalog.pg_prepared_xacts p on p.transaction = x.transactionid)
        on l.pid is null and x.pid is null and x.virtualtransaction = l.virtualtransaction
     where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
       and l.database = (select d.oid from pg_catalog.pg_database d
                          where d.datname = current_database())
     group by 1, 2, 3, 4, 6
     order by 5 desc nulls last, 1, 2";

/// What a store says about itself.
struct Found {
    migration: i32,
    checksum: Option<String>,
}

impl Schema {
    /// [`install()`] for any schema: tests use ones that fail.
    ///
    /// # Errors
    ///
    /// As for [`install()`].
    pub async fn install(&self, client: &mut Client) -> Result<Installed, Error> {
        check_server(client).await?;
        match self.take_steps(client).await {
            // What was found at the beginning does not count any more. Once: who does it twice may do it for ever.
            Err(Error::Removed) => self.take_steps(client).await,
            result => result,
        }
    }

    async fn take_steps(&self, client: &mut Client) -> Result<Installed, Error> {
        let from = self.installed(client).await?;
        let mut version = from;
        while version < self.version() {
            version = self.advance(client).await?;
        }
        Ok(Installed {
            from,
            to: version,
            definitions_applied: self.define(client).await?,
        })
    }

    /// The version that is there; 0 for a database without a store.
    async fn installed(&self, client: &mut Client) -> Result<i32, Error> {
        let (_, found) = self.begin_step(client).await?;
        Ok(found.migration)
    }

    /// Applies the next migration, if there is one left to apply; returns the version after it.
    async fn advance(&self, client: &mut Client) -> Result<i32, Error> {
        let (transaction, found) = self.begin_step(client).await?;
        // Another installer may have done the rest while this one waited for the lock.
        if found.migration == self.version() {
            return Ok(found.migration);
        }
        self.migrate(&transaction, found.migration).await?;
        commit(transaction).await?;
        Ok(found.migration + 1)
    }

    /// Begins a transaction that no other installer is beside, and looks at what is there. Each step has
    /// to: between two of them, another installer may take its turn.
    async fn begin_step<'a>(
        &self,
        client: &'a mut Client,
    ) -> Result<(Transaction<'a>, Found), Error> {
        let transaction = client
            .transaction()
            .await
            .map_err(Error::attempt("begin a transaction"))?;
        prepare(&transaction).await?;
        let found = read(&transaction).await?;
        if found.migration > self.version() {
            let (found, known) = (found.migration, self.version());
            return Err(Error::NewerStore { found, known });
        }
        Ok((transaction, found))
    }

    /// Applies the migration after number `done`.
    async fn migrate(&self, transaction: &Transaction<'_>, done: i32) -> Result<(), Error> {
        let id = done + 1;
        let migration = &self.migrations[usize::try_from(done).unwrap_or_default()];
        forget_dependents(transaction).await?;
        let failed = |source: tokio_postgres::Error| Error::Migration {
            id,
            name: migration.name.clone(),
            cause: source.into(),
        };
        match transaction.batch_execute(&migration.sql).await {
            // The first migration makes the schema. One that is there without our record is somebody else's.
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_SCHEMA) => {
                return Err(Error::ForeignSchema);
            }
            // Nothing is wrong with the migration: the operator has to grant something.
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                return Err(Error::attempt("create the schema crdv")(error));
            }
            result => result.map_err(failed)?,
        }
        transaction
            .execute("update crdv.installation set migration = $1", &[&id])
            .await
            .map_err(failed)?;
        info!(migration = id, name = migration.name, "store migrated");
        Ok(())
    }

    /// Applies functions and views if they are not these already.
    async fn define(&self, client: &mut Client) -> Result<bool, Error> {
        let (transaction, found) = self.begin_step(client).await?;
        // It was migrated a moment ago.
        if found.migration < self.version() {
            return Err(Error::Removed);
        }
        if found.checksum == Some(self.checksum()) {
            let missing = self.missing(&transaction).await?;
            if missing.is_empty() {
                return Ok(false);
            }
            info!(
                missing = missing.join(", "),
                "the store is not whole; its definitions are applied again"
            );
        }
        self.apply_definitions(&transaction).await?;
        commit(transaction).await?;
        Ok(true)
    }

    /// Replaces all functions and views by these, and records it.
    async fn apply_definitions(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        forget_dependents(transaction).await?;
        for definition in &self.definitions {
            transaction
                .batch_execute(&definition.sql)
                .await
                .map_err(|source| Error::Definition {
                    name: definition.name.clone(),
                    cause: source.into(),
                })?;
        }
        access::settle(transaction, &self.objects()).await?;
        // Last, and in the same transaction: it stands for all of the above.
        let checksum = self.checksum();
        transaction
            .execute(
                "update crdv.installation set definitions = $1",
                &[&checksum],
            )
            .await
            .map_err(Error::attempt("record the definitions"))?;
        info!(checksum, "store definitions applied");
        Ok(())
    }
}

impl Schema {
    /// What is defined and not there: somebody has dropped it.
    async fn missing(&self, client: &impl GenericClient) -> Result<Vec<String>, Error> {
        let objects = self.defined();
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        let (triggers, tables): (Vec<_>, Vec<_>) = objects.triggers.iter().cloned().unzip();
        let rows = client
            .query(
                "select 'function ' || o.name from unnest($1::text[]) o (name)
                  where not exists (select from pg_proc p
                                     where p.pronamespace = to_regnamespace('crdv') and p.proname = o.name)
                 union all
                 select 'relation ' || o.name from unnest($2::text[]) o (name)
                  where to_regclass('crdv.' || quote_ident(o.name)) is null
                 union all
                 select 'trigger ' || o.name from unnest($3::text[], $4::text[]) o (name, relation)
                  where not exists (select from pg_trigger t
                                     where t.tgname = o.name and t.tgrelid = to_regclass('crdv.' || quote_ident(o.relation)))",
                &[&list(&objects.stated), &list(&objects.relations), &triggers, &tables],
            )
            .await
            .map_err(Error::attempt("look for what is missing in the store"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// Drops what links may read of the store: it would keep what it is made of from changing. The next link makes it
/// again.
async fn forget_dependents(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction
        .batch_execute(&format!(
            "drop schema if exists {} cascade",
            access::LINK_SCHEMA
        ))
        .await
        .map_err(Error::attempt("drop what links may read"))
}

/// Refuses servers and databases that no store can live in.
async fn check_server(client: &Client) -> Result<(), Error> {
    let row = client
        .query_one(
            "select pg_catalog.current_setting('server_version_num')::int,
                    pg_catalog.current_setting('server_version'),
                    pg_catalog.current_setting('server_encoding')",
            &[],
        )
        .await
        .map_err(Error::attempt("read the server's version"))?;
    if row.get::<_, i32>(0) < OLDEST_SERVER {
        return Err(Error::OldServer { found: row.get(1) });
    }
    let encoding: String = row.get(2);
    if encoding != "UTF8" {
        return Err(Error::Encoding { found: encoding });
    }
    Ok(())
}

/// Waits for other installers, and makes the step independent of the role's and database's settings.
async fn prepare(transaction: &Transaction<'_>) -> Result<(), Error> {
    // The isolation level comes first: what the lock waited for must be visible after it. Whoever comes
    // after us waits behind us for the lock, so we do not wait for long. An autovacuum gives way to who
    // waits for it for as long as the deadlock timeout.
    let settings = "set transaction isolation level read committed, read write;
        set local lock_timeout = '50ms';
        select case when pg_catalog.has_parameter_privilege('deadlock_timeout', 'set')
               then pg_catalog.set_config('deadlock_timeout', '10ms', true) end;
        set local client_min_messages = warning;
        set local search_path = pg_catalog, pg_temp;
        set local check_function_bodies = on;";
    transaction
        .batch_execute(settings)
        .await
        .map_err(Error::attempt("prepare a step"))?;
    transaction
        .batch_execute(INSTALL_LOCK)
        .await
        .map_err(Error::attempt("lock the installation"))
}

async fn commit(transaction: Transaction<'_>) -> Result<(), Error> {
    transaction
        .commit()
        .await
        .map_err(Error::attempt("commit a step of the installation"))
}

/// Reads which version is installed.
async fn read(transaction: &Transaction<'_>) -> Result<Found, Error> {
    // Not by `to_regclass`: a session that has looked before remembers that there was nothing, and the wait
    // for an advisory lock, unlike one for a table, does not make it look again.
    let is_there: bool = transaction
        .query_one(
            "select exists (
               select from pg_catalog.pg_class c
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                where n.nspname = 'crdv' and c.relname = 'installation')",
            &[],
        )
        .await
        .map_err(Error::attempt("look for the store"))?
        .get(0);
    if !is_there {
        return Ok(Found {
            migration: 0,
            checksum: None,
        });
    }
    let row = transaction
        .query_one("select migration, definitions from crdv.installation", &[])
        .await
        .map_err(|error| {
            let gone = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
            match error.code() {
                Some(code) if gone.contains(code) => Error::Removed,
                _ => Error::attempt("read the store's version")(error),
            }
        })?;
    Ok(Found {
        migration: row.get(0),
        checksum: row.get(1),
    })
}
