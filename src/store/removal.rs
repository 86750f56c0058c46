//! Takes the store out of a database that is somebody else's.
//!
//! Nothing of anybody else's is removed with it: what others have put into the schema, or built upon it, has
//! to be moved away before.

use tokio_postgres::{Client, Transaction};

use super::{
    Error, LINK_SCHEMA, Schema,
    app_roles::MARK,
    install::{INSTALL_LOCK, holders},
    search_path::{self, begin},
    writers::list,
};

/// Takes the lock that whoever looks after a store holds, if nobody has it. The table in `operation.sql` has
/// all keys of locks.
pub(crate) const HOLD: &str = "select pg_catalog.pg_try_advisory_lock(1398030677, 0)";

/// How long the removal waits for locks on the store's tables. Whoever comes after it queues for as long.
const LOCK_WAIT: &str = "set local lock_timeout = '2s'";

/// What of a store is in a database, and what removing it means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// The node whose store it is, and its cluster.
    pub owner: Option<(String, String)>,
    /// Present operations, which are lost here.
    pub operations: i64,
    /// The store's tables are those of this version of the program, so that it can tell what is its own.
    pub is_current: bool,
    /// A controller uses the store.
    pub in_use: bool,
    /// What others have put into the schema.
    pub strangers: Vec<String>,
    /// What others have built upon the schema, with what mends it.
    pub dependents: Vec<Dependent>,
    /// Functions of others whose text names the schema: they stay, and will fail.
    pub mentions: Vec<String>,
    /// Login roles that `starling app-role` has made on the server: they stay.
    pub app_roles: Vec<String>,
    /// What the database's `search_path` becomes; the inner `None` is the server's.
    pub path: Option<Option<String>>,
}

/// Something of others that cannot be without the schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependent {
    /// What it is.
    pub name: String,
    /// A statement after which it does without, if there is one.
    pub fix: Option<String>,
}

/// Looks for a store; `None` where there is no schema `crdv` of ours. Changes nothing.
///
/// Keeps controllers away from the store for as long as the session lives, unless one is there.
///
/// # Errors
///
/// [`Error::Database`] or [`Error::Privilege`].
pub async fn remains(client: &mut Client) -> Result<Option<Remains>, Error> {
    let transaction = begin(client).await?;
    let installed = transaction
        .query_one("select to_regclass('crdv.installation') is not null", &[])
        .await
        .map_err(Error::attempt("look for the store"))?;
    if !installed.get::<_, bool>(0) {
        return Ok(None);
    }
    let schema = Schema::current();
    // Not waited for: a controller that uses the store is told of instead.
    // The lock is the session's: it stays when this transaction, which only looks, is rolled back.
    let held = transaction
        .query_one(HOLD, &[])
        .await
        .map_err(Error::attempt("take the lock on the store"))?;
    // A store that was installed and never identified has no row in `self`.
    let row = transaction
        .query_one(
            "select s.node, s.cluster, (select count(*) from crdv.element),
               i.migration = $1 and i.definitions is not distinct from $2,
               array(select r.rolname::text from pg_roles r
                      where starts_with(shobj_description(r.oid, 'pg_authid'), $3 || s.cluster || ', ')
                      order by 1)
               from crdv.installation i left join crdv.self s on true",
            &[&schema.version(), &schema.checksum(), &MARK],
        )
        .await
        .map_err(Error::attempt("look at the store"))?;
    Ok(Some(Remains {
        owner: row.get::<_, Option<String>>(0).zip(row.get(1)),
        operations: row.get(2),
        is_current: row.get(3),
        app_roles: row.get(4),
        in_use: !held.get::<_, bool>(0),
        strangers: names(&transaction, STRANGERS, &schema).await?,
        dependents: dependents(&transaction).await?,
        mentions: mentions(&transaction).await?,
        path: search_path::former(&transaction).await?,
    }))
}

/// Drops the store with its data, and puts the database's `search_path` back. Its links must have been taken
/// down.
///
/// # Errors
///
/// As for [`remains`]; [`Error::Occupied`] when somebody has built upon the store since, [`Error::Locked`] when
/// others hold locks on it. Nothing is changed then.
pub async fn remove(client: &mut Client) -> Result<(), Error> {
    let removed = remove_once(client).await;
    match removed {
        Err(error) if error.is_locked() => {
            let holders = list(&holders(client).await?);
            let source = Box::new(error);
            Err(Error::Locked { holders, source })
        }
        other => other,
    }
}

async fn remove_once(client: &mut Client) -> Result<(), Error> {
    let transaction = begin(client).await?;
    // In the order of an installation, so that the two never wait for each other.
    for lock in [LOCK_WAIT, INSTALL_LOCK, TABLES] {
        transaction
            .batch_execute(lock)
            .await
            .map_err(Error::attempt("lock the store"))?;
    }
    // Somebody may have come since it was looked at.
    let mut by = names(&transaction, STRANGERS, &Schema::current()).await?;
    by.extend(
        dependents(&transaction)
            .await?
            .into_iter()
            .map(|one| one.name),
    );
    if !by.is_empty() {
        return Err(Error::Occupied { by: by.join(", ") });
    }
    // The record of what was there before goes with the schema.
    search_path::restore(&transaction).await?;
    // Nothing of others is left that `cascade` could take: it was looked for, under the locks.
    transaction
        .batch_execute(&format!(
            "set local client_min_messages = warning;
             drop schema if exists {LINK_SCHEMA} cascade; drop schema crdv cascade"
        ))
        .await
        .map_err(Error::attempt("drop the schema crdv"))?;
    transaction
        .commit()
        .await
        .map_err(Error::attempt("commit the removal"))
}

/// Whoever builds a view or a foreign key upon a table waits for us, and then finds it gone.
const TABLES: &str = "
    do $$
    declare c record;
    begin
      for c in select oid::regclass as name from pg_class
                where relnamespace = 'crdv'::regnamespace and relkind in ('r', 'v') order by oid loop
        execute format('lock table %s in access exclusive mode', c.name);
      end loop;
    end $$";

/// What is in the schema, or hangs on its tables, and is not of the program's own SQL.
const STRANGERS: &str = "
    select pg_describe_object('pg_class'::regclass, c.oid, 0) from pg_class c
     where c.relnamespace = 'crdv'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
       and c.relname <> all ($1)
    union all
    select pg_describe_object('pg_proc'::regclass, p.oid, 0) from pg_proc p
     where p.pronamespace = 'crdv'::regnamespace and p.proname <> all ($1)
    union all
    select pg_describe_object('pg_type'::regclass, t.oid, 0) from pg_type t
      left join pg_class c on c.oid = t.typrelid
     where t.typnamespace = 'crdv'::regnamespace and t.typelem = 0
       and coalesce(c.relkind, 'c') = 'c' and t.typname <> all ($1)
    union all
    select pg_describe_object('pg_trigger'::regclass, t.oid, 0) from pg_trigger t
      join pg_class c on c.oid = t.tgrelid and c.relnamespace = 'crdv'::regnamespace
      join pg_proc p on p.oid = t.tgfoid and p.pronamespace <> 'crdv'::regnamespace
     where not t.tgisinternal
    union all
    select pg_describe_object('pg_policy'::regclass, p.oid, 0) from pg_policy p
      join pg_class c on c.oid = p.polrelid and c.relnamespace = 'crdv'::regnamespace
    union all
    select 'publication ' || quote_ident(p.pubname) from pg_publication p
     where not starts_with(p.pubname::text, 'starling_')
       and (exists (select from pg_publication_rel r
                      join pg_class c on c.oid = r.prrelid and c.relnamespace = 'crdv'::regnamespace
                     where r.prpubid = p.oid)
            or exists (select from pg_publication_namespace n
                        where n.pnpubid = p.oid and n.pnnspid = 'crdv'::regnamespace))
     order by 1";

async fn names(
    transaction: &Transaction<'_>,
    query: &str,
    schema: &Schema,
) -> Result<Vec<String>, Error> {
    let ours = schema.objects();
    let ours: Vec<&String> = [&ours.relations, &ours.types, &ours.functions]
        .into_iter()
        .flatten()
        .collect();
    let rows = transaction
        .query(query, &[&ours])
        .await
        .map_err(Error::attempt(
            "look for what others have put into the schema",
        ))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What is not part of our schemas, and refers to a part of them. A view's columns are the view's.
const DEPENDENTS: &str = "
    with recursive parts (classid, objid) as (
      select d.classid, d.objid from pg_depend d
       where d.refclassid = 'pg_namespace'::regclass
         and d.refobjid in ('crdv'::regnamespace, to_regnamespace($1))
      union
      select d.classid, d.objid from pg_depend d
        join parts p on d.refclassid = p.classid and d.refobjid = p.objid
       where d.deptype in ('a', 'i')
    ), others as (
      select d.* from pg_depend d
        join parts p on d.refclassid = p.classid and d.refobjid = p.objid
       where d.deptype = 'n'
         and not exists (select from parts q where q.classid = d.classid and q.objid = d.objid)
    ), named as (
      select coalesce(w.ev_class, c.oid) as relation, o.classid, o.objid, o.objsubid
        from others o
        left join pg_rewrite w on o.classid = 'pg_rewrite'::regclass and w.oid = o.objid
        left join pg_class c on o.classid = 'pg_class'::regclass and c.oid = o.objid and c.relkind in ('v', 'm')
    )
    select distinct
      case when n.relation is null then pg_describe_object(n.classid, n.objid, n.objsubid)
           else pg_describe_object('pg_class'::regclass, n.relation, 0) end,
      case when n.relation is not null then
             (select case c.relkind when 'm' then 'drop materialized view ' when 'v' then 'drop view ' end
                     || n.relation::regclass from pg_class c where c.oid = n.relation)
           when n.classid = 'pg_proc'::regclass then 'drop routine ' || n.objid::regprocedure
           when n.classid = 'pg_class'::regclass and n.objsubid > 0 then
             (select format('alter table %s alter column %I type text', a.attrelid::regclass, a.attname)
                from pg_attribute a where a.attrelid = n.objid and a.attnum = n.objsubid)
           when n.classid = 'pg_constraint'::regclass then
             (select format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname)
                from pg_constraint k where k.oid = n.objid and k.conrelid <> 0)
           when n.classid = 'pg_attrdef'::regclass then
             (select format('alter table %s alter column %I drop %s', a.attrelid::regclass, a.attname,
                            case a.attgenerated when '' then 'default' else 'expression' end)
                from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
               where d.oid = n.objid) end
      from named n order by 1";

async fn dependents(transaction: &Transaction<'_>) -> Result<Vec<Dependent>, Error> {
    let rows = transaction
        .query(DEPENDENTS, &[&LINK_SCHEMA])
        .await
        .map_err(Error::attempt("look for what is built upon the schema"))?;
    let read = |row: &tokio_postgres::Row| Dependent {
        name: row.get(0),
        fix: row.get(1),
    };
    Ok(rows.iter().map(read).collect())
}

/// The server knows what a function with a body of text depends on only when it runs.
async fn mentions(transaction: &Transaction<'_>) -> Result<Vec<String>, Error> {
    let query = "
        select p.oid::regprocedure::text from pg_proc p
          join pg_namespace n on n.oid = p.pronamespace
         where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'crdv', $1)
           and p.prosqlbody is null and p.prosrc ~* '\\mcrdv\\.'
         order by 1";
    let rows = transaction
        .query(query, &[&LINK_SCHEMA])
        .await
        .map_err(Error::attempt("look for functions that name the schema"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
