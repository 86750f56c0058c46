//! The role that a server is examined as, and what it may do.

use tokio_postgres::{Client, Error};

use crate::postgres::version::Version;

/// The role that we are connected as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) database: String,
    pub(super) superuser: bool,
    pub(super) replication: bool,
    pub(super) create_role: bool,
    pub(super) create_subscription: bool,
    /// May read how far the origins of links are, and place one.
    pub(super) use_origins: bool,
    pub(super) create_in_database: bool,
    /// A catch-up comes in through a temporary table.
    pub(super) temporary: bool,
    /// The role of links may connect, or this one may let it.
    pub(super) admit_links: bool,
    pub(super) use_plpgsql: bool,
    pub(super) owns_database: bool,
}

impl Role {
    /// Asks for the rights of the current role.
    pub(super) async fn observe(client: &Client, version: Version) -> Result<Self, Error> {
        // The predefined role came with 16; naming it earlier is an error.
        let create_subscription = if version.major >= 16 {
            "pg_catalog.pg_has_role(r.oid, 'pg_create_subscription', 'usage')"
        } else {
            "r.rolsuper"
        };
        let query = format!(
            "select r.rolname::text, d.datname::text, r.rolsuper, r.rolreplication, \
             r.rolcreaterole, {create_subscription}, \
             pg_catalog.has_database_privilege(d.oid, 'create'), \
             pg_catalog.pg_has_role(r.oid, d.datdba, 'usage'), \
             pg_catalog.has_database_privilege(d.oid, 'temporary'), \
             pg_catalog.has_database_privilege(d.oid, 'connect with grant option') \
             or exists (select from pg_catalog.aclexplode(coalesce(d.datacl, \
             pg_catalog.acldefault('d', d.datdba))) a where a.privilege_type = 'CONNECT' \
             and a.grantee in (0, pg_catalog.to_regrole('starling_replication'))), \
             pg_catalog.has_language_privilege('plpgsql', 'usage'), \
             pg_catalog.has_table_privilege('pg_catalog.pg_replication_origin_status', 'select') \
             and pg_catalog.has_function_privilege(\
             'pg_catalog.pg_show_replication_origin_status()', 'execute') \
             and pg_catalog.has_function_privilege(\
             'pg_catalog.pg_replication_origin_advance(text, pg_lsn)', 'execute') \
             from pg_catalog.pg_roles r, pg_catalog.pg_database d \
             where r.rolname = current_user and d.datname = pg_catalog.current_database()"
        );
        let row = client.query_one(query.as_str(), &[]).await?;
        Ok(Self {
            name: row.get(0),
            database: row.get(1),
            superuser: row.get(2),
            replication: row.get(3),
            create_role: row.get(4),
            create_subscription: row.get(5),
            create_in_database: row.get(6),
            owns_database: row.get(7),
            temporary: row.get(8),
            admit_links: row.get(9),
            use_plpgsql: row.get(10),
            use_origins: row.get(11),
        })
    }
}
