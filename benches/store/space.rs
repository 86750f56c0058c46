//! Bytes on disk.

use crate::{report::Report, server::Store};

const SIZES: &str = "
  with plain as (
    select sum(pg_relation_size(c.oid)) as heap, sum(pg_indexes_size(c.oid)) as indexes
    from pg_class c where c.relnamespace = 'plain'::regnamespace and c.relkind = 'r'
  ), rows as (
    select (select count(*) from crdv.element) as store,
           (select count(*) from plain.register) + (select count(*) from plain.map)
           + (select count(*) from plain.set) + (select count(*) from plain.counter)
           + (select count(*) from plain.list) as plain
  )
  select pg_relation_size('crdv.element') / r.store::float8,
         pg_relation_size('crdv.element_pkey') / r.store::float8,
         pg_relation_size('crdv.element_site_seq') / r.store::float8,
         pg_relation_size('crdv.element_list') / r.store::float8,
         p.heap / r.plain::float8, p.indexes / r.plain::float8
  from rows r, plain p";

/// Reports the space that an element takes, on average over the structures.
pub async fn measure(store: &Store, when: &str, report: &mut Report) {
    let client = store.client().await;
    let row = client.query_one(SIZES, &[]).await.unwrap();
    let names = [
        "table bytes",
        "element_pkey",
        "element_site_seq",
        "element_list",
        "plain table",
        "plain indexes",
    ];
    let figures = names.into_iter().zip((0..).map(|column| row.get(column)));
    report.add(
        "space per element",
        format!("{} / {when}", store.elements),
        figures.collect(),
    );
}
