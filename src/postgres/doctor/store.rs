//! Checks of the store itself: what its links and checkpoints rest on, and what it refused.

use tokio_postgres::{Client, Error};

use crate::finding::{Finding, Severity};

/// What is wrong with the store's tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StoreState {
    /// In words, each with the statement that mends it.
    pub(super) flaws: Vec<(String, String)>,
    /// Operations that came and were refused; `None` if the role may not look.
    pub(super) parked: Option<i64>,
}

/// All of it can be altered by the owner of the table, or by a superuser, with one statement.
const FLAWS: &str = "\
with t as (select c.* from pg_catalog.pg_class c where c.oid = pg_catalog.to_regclass('crdv.element'))
select 'crdv.element is not logged: links carry nothing, and a crash empties it',
       'alter table crdv.element set logged'
  from t where t.relpersistence <> 'p'
union all
select 'row level security is on for crdv.element: peers that catch up see a part of it',
       'alter table crdv.element disable row level security; alter table crdv.element no force row level security'
  from t where t.relrowsecurity or t.relforcerowsecurity
union all
select 'the trigger ' || n.name || ' of crdv.element is off',
       'alter table crdv.element enable ' || n.mode || 'trigger ' || n.name
  from t, (values ('apply', 'R', 'replica '), ('guard', 'A', 'always '), ('guard_delete', 'O', '')) n (name, state, mode)
  left join pg_catalog.pg_trigger g on g.tgname = n.name
        and g.tgrelid = pg_catalog.to_regclass('crdv.element')
 where g.tgenabled is distinct from n.state::\"char\"
union all
select 'a trigger that is none of ours is on crdv.element: ' || g.tgname,
       'drop trigger ' || pg_catalog.quote_ident(g.tgname) || ' on crdv.element'
  from t join pg_catalog.pg_trigger g on g.tgrelid = t.oid
 where not g.tgisinternal and g.tgname not in ('apply', 'guard', 'guard_delete')
union all
select 'a rule is on crdv.element: ' || r.rulename,
       'drop rule ' || pg_catalog.quote_ident(r.rulename) || ' on crdv.element'
  from t join pg_catalog.pg_rewrite r on r.ev_class = t.oid
union all
select 'an index of crdv.element cannot be used: ' || i.indexrelid::pg_catalog.regclass,
       'reindex index ' || i.indexrelid::pg_catalog.regclass
  from t join pg_catalog.pg_index i on i.indrelid = t.oid where not i.indisvalid or not i.indisready
union all
select 'the sequence of numbers, crdv.seq, was altered: no checkpoint is made until it is as it was',
       'alter sequence crdv.seq as bigint increment 1 no maxvalue cache 1 no cycle; alter sequence crdv.seq set logged'
  from pg_catalog.pg_sequence s join pg_catalog.pg_class c on c.oid = s.seqrelid
 where s.seqrelid = pg_catalog.to_regclass('crdv.seq')
   and (s.seqcache <> 1 or s.seqincrement <> 1 or s.seqcycle or s.seqmax <> 9223372036854775807
        or c.relpersistence <> 'p')
union all
select 'the publication ' || p.pubname || ' of a link does not publish what is inserted into crdv.element',
       'drop publication ' || p.pubname
  from t cross join pg_catalog.pg_publication p
 where p.pubname ~ '^starling_[0-9a-f]{16}_[0-9a-f]{16}$'
   and (not p.pubinsert or not exists (
     select from pg_catalog.pg_publication_rel r where r.prpubid = p.oid and r.prrelid = t.oid))";

impl StoreState {
    /// Asks the catalogue; a database without a store has no flaws.
    pub(super) async fn observe(client: &Client) -> Result<Self, Error> {
        let rows = client.query(FLAWS, &[]).await?;
        // Where there is no store there is no such table, and a statement that names it fails.
        let may_look = "select coalesce(pg_catalog.has_table_privilege(\
                        pg_catalog.to_regclass('crdv.parked'), 'select'), false)";
        let parked = if client.query_one(may_look, &[]).await?.get(0) {
            let count = "select pg_catalog.count(*) from crdv.parked";
            Some(client.query_one(count, &[]).await?.get(0))
        } else {
            None
        };
        Ok(Self {
            flaws: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
            parked,
        })
    }
}

/// All findings about the store.
pub(super) fn check(store: &StoreState) -> Vec<Finding> {
    vec![flaws(&store.flaws), parked(store.parked)]
}

fn flaws(flaws: &[(String, String)]) -> Finding {
    if flaws.is_empty() {
        return Finding::ok("SP050", "what links and checkpoints rest on is in place");
    }
    let each = |of: fn(&(String, String)) -> &str| flaws.iter().map(of).collect::<Vec<_>>();
    Finding::bad(
        "SP050",
        Severity::Critical,
        each(|flaw| &flaw.0).join("; "),
        "somebody altered the store's tables; writes may be missing at other nodes; a running node puts \
         triggers and sequence back, and makes links again",
    )
    .fixed_by(each(|flaw| &flaw.1).join("; "))
}

fn parked(count: Option<i64>) -> Finding {
    match count {
        None => Finding::ok("SP051", "the role does not see refused operations"),
        Some(0) => Finding::ok("SP051", "no operation was refused"),
        Some(count) => Finding::bad(
            "SP051",
            Severity::Warning,
            format!("operations of other stores that were refused: {count}, the newest in crdv.parked"),
            "a row that no store can make use of was written into a member's table by hand, or by a program that \
             is not this one; every node refuses it; empty crdv.parked once that is understood",
        )
        .fixed_by("select parked_at, via, reason, operation from crdv.parked order by parked_at"),
    }
}
