//! With which `search_path` the sessions of a database begin, read from where it is set.
//!
//! What a session of ours shows says nothing: it pins its own.

use tokio_postgres::{Error, GenericClient};

/// What is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SetPath {
    /// For the database.
    pub(crate) database: Option<String>,
    /// What holds where the database has none; `None` where this role may not see it.
    pub(crate) server: Option<String>,
}

impl SetPath {
    /// What a session of a role without a path of its own begins with.
    pub(crate) fn effective(&self) -> Option<&str> {
        self.database.as_deref().or(self.server.as_deref())
    }
}

/// Reads what is set, in any session. One that pins no path sees more where the role may not read the server's
/// files.
pub(crate) async fn read(client: &impl GenericClient) -> Result<SetPath, Error> {
    let row = client
        .query_one(
            "select
               (select pg_catalog.substr(c, 13)
                  from pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
                 where s.setdatabase = d.oid and s.setrole = 0
                   and pg_catalog.starts_with(c, 'search_path=')),
               coalesce(
                 (select pg_catalog.substr(c, 13)
                    from pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
                   where s.setdatabase = 0 and s.setrole = 0
                     and pg_catalog.starts_with(c, 'search_path=')),
                 case when g.source in ('default', 'environment variable', 'configuration file',
                                        'command line', 'global', 'override')
                      then g.reset_val end),
               g.boot_val,
               pg_catalog.has_table_privilege('pg_catalog.pg_file_settings', 'select')
                 and pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'execute')
             from pg_catalog.pg_database d, pg_catalog.pg_settings g
             where d.datname = pg_catalog.current_database() and g.name = 'search_path'",
            &[],
        )
        .await?;
    let mut found = SetPath {
        database: row.get(0),
        server: row.get(1),
    };
    // A path that the session pins hides that of the server, but not from a look into its files.
    if found.server.is_none() && row.get(3) {
        let file = client
            .query_opt(
                "select f.setting from pg_catalog.pg_file_settings f
                  where f.name = 'search_path' and f.applied order by f.seqno desc limit 1",
                &[],
            )
            .await?;
        found.server = file.map_or(row.get(2), |row| row.get(0));
    }
    Ok(found)
}

/// The schemas that a path leads to in this database, in its order, for the role that asks.
///
/// The server itself reads the path: the setting ends with the statement.
pub(crate) async fn schemas(client: &impl GenericClient, path: &str) -> Result<Vec<String>, Error> {
    let row = client
        .query_one(
            "with s as materialized (select pg_catalog.set_config('search_path', $1, true))
             select pg_catalog.current_schemas(false)::text[] from s",
            &[&path],
        )
        .await?;
    Ok(row.get(0))
}
