//! Who may use what of schema `crdv`.
//!
//! Whoever has `usage` on the schema has the interface, and nobody but the owner has more. A database's
//! default privileges say otherwise in both directions: they may keep new functions from PUBLIC, and
//! give an application's role write access to all new tables. So after every definition each of our
//! objects is granted and revoked by name. What others have put into the schema is left alone.

use tokio_postgres::Transaction;

use super::{Error, schema::Objects};

/// The schema of all that links may name. Their roles have no access to schema `crdv`, in which whoever may use the
/// schema may call the interface.
pub(crate) const LINK_SCHEMA: &str = "crdv_link";

/// Statements that open the interface: its functions, and the types that they speak in.
///
/// Its views are granted where they are defined.
const OPEN: &str = "
    select format('grant execute on function %s to public', p.oid::regprocedure)
    from pg_proc p
    where p.pronamespace = 'crdv'::regnamespace and p.prokind = 'f'
      and p.proname = any ($1) and p.proname <> all ($2)
    union all
    select format('grant usage on type %s to public', t.oid::regtype)
    from pg_type t
    where t.typnamespace = 'crdv'::regnamespace and t.typname = any ($3)";

/// Statements that close the rest to all but the owner and the role of links.
///
/// Reading is left to whom an administrator has granted it, and taken from whom a default gave it.
const CLOSE: &str = "
    with given as (
      select 'function ' || p.oid::regprocedure as object, a.grantee, a.privilege_type, false as is_default
      from pg_proc p, aclexplode(p.proacl) a
      where p.pronamespace = 'crdv'::regnamespace and p.proname = any ($1) and a.grantee <> p.proowner
      union all
      select case c.relkind when 'S' then 'sequence ' else 'table ' end || c.oid::regclass,
        a.grantee, a.privilege_type,
        exists (select from pg_default_acl d, aclexplode(d.defaclacl) da
                where d.defaclrole = c.relowner
                  and d.defaclnamespace in (0, c.relnamespace)
                  and d.defaclobjtype = case c.relkind when 'S' then 'S' else 'r' end::\"char\"
                  and da.grantee = a.grantee)
      from pg_class c, aclexplode(c.relacl) a
      where c.relnamespace = 'crdv'::regnamespace and c.relkind in ('r', 'v', 'S')
        and c.relname = any ($2) and a.grantee <> c.relowner
        and not exists (select from aclexplode(c.relacl) open where open.grantee = 0)
      union all
      select 'schema crdv', a.grantee, a.privilege_type, false
      from pg_namespace n, aclexplode(n.nspacl) a
      where n.nspname = 'crdv' and a.grantee <> n.nspowner and a.privilege_type = 'CREATE'
    )
    select format('revoke %s on %s from %s cascade', g.privilege_type, g.object,
                  case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end)
    from given g
    where (g.privilege_type <> 'SELECT' or g.is_default)
      and g.grantee is distinct from to_regrole('starling_replication')::oid";

/// Makes the privileges on `objects` what they are meant to be. The path must be `pg_catalog`.
pub(super) async fn settle(transaction: &Transaction<'_>, objects: &Objects) -> Result<(), Error> {
    let list =
        |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
    let (functions, internal) = (list(&objects.functions), list(&objects.internal));
    let (relations, types) = (list(&objects.relations), list(&objects.types));
    let look = Error::attempt("look at the privileges in schema crdv");
    let opening = transaction
        .query(OPEN, &[&functions, &internal, &types])
        .await
        .map_err(look)?;
    let look = Error::attempt("look at the privileges in schema crdv");
    let closing = transaction
        .query(CLOSE, &[&internal, &relations])
        .await
        .map_err(look)?;
    let statements: Vec<String> = opening
        .iter()
        .chain(&closing)
        .map(|row| row.get(0))
        .collect();
    transaction
        .batch_execute(&statements.join(";\n"))
        .await
        .map_err(Error::attempt("grant and revoke in schema crdv"))
}
