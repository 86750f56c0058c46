//! Elements to begin with: as many of each structure, in the store and in plain tables.

use crate::server::Store;

/// Structures that share the elements.
pub const STRUCTURES: i64 = 5;

/// Entries of one map, members of one set, entries of one list.
pub const ENTRIES: i64 = 20;

/// Ids and keys as [`crate::calls`] makes them: the structure's letter and the number modulo the
/// number of structures, `k` and the number.
///
/// The operations are written as the functions would write them; only not through them, which would
/// take longer than all measurements.
const FILL: &str = r#"
create schema plain;
create table plain.register (id varchar collate "C" primary key, data varchar);
create table plain.map (
  id varchar collate "C", key varchar collate "C", data varchar, primary key (id, key));
create table plain.set (
  id varchar collate "C", member varchar collate "C", present boolean, primary key (id, member));
create table plain.counter (id varchar collate "C" primary key, data bigint);
create table plain.list (
  id varchar collate "C", pos bigserial, data varchar, primary key (id, pos));

insert into plain.register select 'r' || i, 'value ' || i from generate_series(0, $each - 1) i;
insert into plain.map
select 'm' || i / $entries, 'k' || i, 'value ' || i from generate_series(0, $each - 1) i;
insert into plain.set
select 's' || i / $entries, 'k' || i, true from generate_series(0, $each - 1) i;
insert into plain.counter select 'c' || i, 1 from generate_series(0, $each - 1) i;
insert into plain.list (id, data)
select 'l' || i / $entries, 'value ' || i from generate_series(0, $each - 1) i;

insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
select 0, t.id, t.key, crdv.siteid(), nextval('crdv.seq'), t.type, 'a', t.data, '{}', '{}', i.hlc
from (select i, (date_part('epoch', now()) * 1000)::bigint << 16 as hlc
      from generate_series(0, $each - 1) i) i
cross join lateral (values
  ('r'::"char", 'r' || i, '', 'value ' || i),
  ('m', 'm' || i / $entries, 'k' || i, 'value ' || i),
  ('s', 's' || i / $entries, 'k' || i, null),
  ('c', 'c' || i, crdv.siteid()::text, '1'),
  ('l', 'l' || i / $entries, crdv.position_digits(i % $entries) || '.'
     || crdv.site_hex(crdv.siteid()) || crdv.position_digits(i), 'value ' || i)
) as t (type, id, key, data);

create function plain.register(id_ varchar) returns varchar language plpgsql stable as
$$ begin return (select p.data from plain.register p where p.id = id_); end $$;
create function plain.entry(id_ varchar, key_ varchar) returns varchar language plpgsql stable as
$$ begin return (select p.data from plain.map p where p.id = id_ and p.key = key_); end $$;
create function plain.entries(id_ varchar) returns crdv.mentry[] language plpgsql stable as
$$ begin
  return (select array_agg((p.key, p.data)::crdv.mentry order by p.key) from plain.map p where p.id = id_);
end $$;
create function plain.contains(id_ varchar, member_ varchar) returns boolean language plpgsql stable as
$$ begin
  return exists (select from plain.set p where p.id = id_ and p.member = member_ and p.present);
end $$;
create function plain.members(id_ varchar) returns varchar[] language plpgsql stable as
$$ begin
  return (select array_agg(p.member order by p.member) from plain.set p where p.id = id_ and p.present);
end $$;
create function plain.counter(id_ varchar) returns bigint language plpgsql stable as
$$ begin return (select p.data from plain.counter p where p.id = id_); end $$;
create function plain.first(id_ varchar) returns varchar language plpgsql stable as
$$ begin return (select p.data from plain.list p where p.id = id_ order by p.pos limit 1); end $$;
create function plain.list(id_ varchar) returns varchar[] language plpgsql stable as
$$ begin
  return (select array_agg(p.data order by p.pos) from plain.list p where p.id = id_);
end $$;
"#;

/// Fills an empty store and makes the plain tables beside it.
pub async fn fill(store: &Store) {
    let sql = FILL
        .replace("$each", &(store.elements / STRUCTURES).to_string())
        .replace("$entries", &ENTRIES.to_string());
    let client = store.client().await;
    client.batch_execute(&sql).await.unwrap();
    vacuum(store).await;
}

pub async fn vacuum(store: &Store) {
    let client = store.client().await;
    client.batch_execute("vacuum (analyze)").await.unwrap();
    client.batch_execute("checkpoint").await.unwrap();
}
