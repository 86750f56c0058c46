//! With which `search_path` the sessions of a database begin, read from where it is set.
//!
//! What a session of ours shows says nothing: it pins its own.

use tokio_postgres::{Error, GenericClient};

use super::quote::identifier;

/// A path that stands in a catalogue or a file as a part of a statement: read as the server reads it, a list of
/// names, and each quoted that is not plain. The server keeps what it was given, and a name may hold anything
/// but blanks and commas without being quoted there.
pub(crate) fn as_sql(path: &str) -> String {
    let mut names = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        let (name, is_quoted, after) = first_name(rest);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_plain = name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit());
        match is_plain && !is_quoted {
            // How the server shows a path that is empty; a statement takes no such name.
            _ if name.is_empty() => {}
            true => names.push(name),
            false => names.push(identifier(&name)),
        }
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
    names.join(", ")
}

/// The name at the beginning of a list, whether it was quoted, and what stands behind it.
fn first_name(list: &str) -> (String, bool, &str) {
    let Some(mut rest) = list.strip_prefix('"') else {
        let end = list.find(|c: char| c == ',' || c.is_whitespace());
        let (name, after) = list.split_at(end.unwrap_or(list.len()));
        return (name.to_ascii_lowercase(), false, after);
    };
    let mut name = String::new();
    while let Some((part, after)) = rest.split_once('"') {
        name.push_str(part);
        let Some(more) = after.strip_prefix('"') else {
            return (name, true, after);
        };
        // Two stand for one.
        name.push('"');
        rest = more;
    }
    // No end: the server would not have taken it.
    (name + rest, true, "")
}

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
    // What stands in a setting behind `search_path=` begins with its 13th character.
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

#[cfg(test)]
mod tests {
    use super::as_sql;

    #[test]
    fn a_path_is_a_list_of_names_in_a_statement_whatever_is_in_it() {
        for (path, sql) in [
            ("", ""),
            ("\"$user\", public", "\"$user\", public"),
            ("Public,  a_1 ,\"B \"\"c\"", "public, a_1, \"B \"\"c\""),
            ("a;drop/**/table/**/t;--", "\"a;drop/**/table/**/t;--\""),
            ("a,\n\\!", "a, \"\\!\""),
            ("\"\"", ""),
            ("\"open; x", "\"open; x\""),
        ] {
            assert_eq!(as_sql(path), sql);
        }
    }
}
