//! What unqualified names mean in a database with our schema.

use tokio_postgres::{Client, Error};

use super::{Requirements, role::Role};
use crate::{
    finding::{Finding, Severity},
    postgres::{quote::identifier, search_path},
};

/// More names than this say nothing more.
const NAMES_MAX: usize = 8;

/// What is found by which name, for a role without a path of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The path.
    pub(super) path: String,
    /// It leads to our schema.
    pub(super) reachable: bool,
    /// Names of others that ours have, too.
    pub(super) shared: Vec<String>,
    /// Those of them that mean ours.
    pub(super) taken: Vec<String>,
    /// Roles whose own path leaves ours out.
    pub(super) apart: Vec<String>,
}

/// Names that schema `crdv` and others have, and roles that do not find it.
const SHARED: &str = "
    with named (space, name, mark) as (
      select t.typnamespace, t.typname::text, '' from pg_catalog.pg_type t where t.typelem = 0
      union
      select c.relnamespace, c.relname::text, '' from pg_catalog.pg_class c
       where c.relkind in ('r', 'p', 'f', 'v', 'm', 'S', 'c')
      union
      select p.pronamespace, p.proname::text, '()' from pg_catalog.pg_proc p
    ), shared as (
      select n.nspname, pg_catalog.format('%I.%I', n.nspname, t.name) || t.mark as name
        from named o
        join pg_catalog.pg_namespace c on c.oid = o.space and c.nspname = 'crdv'
        join named t on t.name = o.name and t.mark = o.mark and t.space <> o.space
        join pg_catalog.pg_namespace n on n.oid = t.space
       where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'crdv_link')
    )
    select array(select s.name from shared s order by 1),
      array(select s.name from shared s
             where pg_catalog.array_position($1::text[], 'crdv')
                 < pg_catalog.array_position($1::text[], s.nspname::text) order by 1),
      array(select distinct r.rolname::text
              from pg_catalog.pg_db_role_setting s
              join pg_catalog.pg_roles r on r.oid = s.setrole, pg_catalog.unnest(s.setconfig) c
             where pg_catalog.starts_with(c, 'search_path=') and c !~ 'crdv'
               and not pg_catalog.starts_with(r.rolname::text, 'starling_')
               and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d
                                          where d.datname = pg_catalog.current_database()))
             order by 1)";

impl Names {
    pub(super) async fn observe(client: &Client) -> Result<Self, Error> {
        let path = match search_path::read(client).await?.effective() {
            Some(path) => path.to_owned(),
            // What we have ourselves is the best guess.
            None => client
                .query_one("select pg_catalog.current_setting('search_path')", &[])
                .await?
                .get(0),
        };
        let schemas = search_path::schemas(client, &path).await?;
        let row = client.query_one(SHARED, &[&schemas]).await?;
        Ok(Self {
            path,
            reachable: schemas.iter().any(|schema| schema == "crdv"),
            shared: row.get(0),
            taken: row.get(1),
            apart: row.get(2),
        })
    }
}

pub(super) fn check(
    names: Option<&Names>,
    role: &Role,
    requirements: Requirements,
) -> Vec<Finding> {
    match names {
        None => vec![Finding::ok("SP023", "the schema is not installed yet")],
        Some(names) => vec![reach(names, role, requirements), taken(names)],
    }
}

fn reach(names: &Names, role: &Role, requirements: Requirements) -> Finding {
    if names.reachable {
        let apart = match names.apart.as_slice() {
            [] => String::new(),
            apart => format!(", but not for {}, who have one of their own", list(apart)),
        };
        return Finding::ok("SP023", format!("the schema is in the search_path{apart}"));
    }
    let path = &names.path;
    // Left out on purpose: it was asked for, or names would collide.
    if !requirements.plain_names || !names.shared.is_empty() {
        let why = match names.shared.as_slice() {
            [] => String::new(),
            shared => format!(", and has names that others have, too ({})", list(shared)),
        };
        return Finding::ok(
            "SP023",
            format!("functions are called as crdv.mapAdd: crdv is not in the search_path{why}"),
        );
    }
    let detail = if role.owns_database || role.superuser {
        "functions like mapAdd are found only as crdv.mapAdd"
    } else {
        "functions like mapAdd are found only as crdv.mapAdd; only the owner of the database can change that"
    };
    let with_ours = match search_path::as_sql(path).as_str() {
        "" => "crdv".to_owned(),
        path => format!("{path}, crdv"),
    };
    Finding::bad(
        "SP023",
        Severity::Warning,
        format!("search_path is '{path}', without crdv"),
        detail,
    )
    .fixed_by(format!(
        "alter database {} set search_path = {with_ours};",
        identifier(&role.database)
    ))
}

fn taken(names: &Names) -> Finding {
    if names.taken.is_empty() {
        return Finding::ok("SP027", "no name of the database's own means Starling's");
    }
    Finding::bad(
        "SP027",
        Severity::Warning,
        format!("these names mean Starling's: {}", list(&names.taken)),
        "schema crdv stands before the schemas that have them, so an application that says a name without \
         its schema gets what it did not mean",
    )
    .fixed_by("starling up --search-path last  # or off; sessions that start later follow")
}

/// The first few names.
fn list(names: &[String]) -> String {
    let shown = names.len().min(NAMES_MAX);
    let more = match names.len() - shown {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names[..shown].join(", "))
}
