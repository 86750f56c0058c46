-- Why: values under keys that stores write and remove independently.
--
-- Semantics: an entry is an element; adding or removing it covers what the writer sees of it, so that
-- adding under an existing key replaces. Of concurrent operations, all present,
--   AwMvr  (add wins, all values)     reads the values of all additions, ordered by site;
--   AwLww  (add wins, last value)     reads the addition with the greatest clock;
--   RwMvr  (remove wins, all values)  as AwMvr, but nothing if a removal is present;
--   RwLww  (remove wins, last value)  as AwLww, but nothing if a removal is present;
--   Lww    (last wins)                reads the operation with the greatest clock, if an addition.
-- Of equal clocks that of the lowest site is the greatest. Null is a value like any other. A removal is
-- recorded even of an entry that is not here, and `mapClear` removes the entries of which the writer
-- sees an addition, and no other.
--
-- Leaves out: collecting removals that every store has seen.

create or replace view crdv.mapawmvr as
select e.id,
       (e.key, array_agg(e.data order by e.site))::crdv.mentrymvr as data
from crdv.element e
where e.type = 'm' and e.op = 'a'
group by e.id, e.key;
comment on view crdv.mapawmvr is 'maps, add wins, all values: id, data (key, value[])';

create or replace view crdv.mapawlww as
select distinct on (e.id, e.key) e.id, (e.key, e.data)::crdv.mentry as data
from crdv.element e
where e.type = 'm' and e.op = 'a'
order by e.id, e.key, e.hlc desc, e.site;
comment on view crdv.mapawlww is 'maps, add wins, last value: id, data (key, value)';

create or replace view crdv.maprwmvr as
select e.id,
       (e.key, array_agg(e.data order by e.site))::crdv.mentrymvr as data
from crdv.element e
where e.type = 'm'
group by e.id, e.key
having bool_and(e.op = 'a');
comment on view crdv.maprwmvr is 'maps, remove wins, all values: id, data (key, value[])';

-- A removal sorts before every addition.
create or replace view crdv.maprwlww as
select l.id, (l.key, l.data)::crdv.mentry as data
from (
  select distinct on (e.id, e.key) e.id, e.key, e.data, e.op
  from crdv.element e
  where e.type = 'm'
  order by e.id, e.key, e.op desc, e.hlc desc, e.site
) l
where l.op = 'a';
comment on view crdv.maprwlww is 'maps, remove wins, last value: id, data (key, value)';

create or replace view crdv.maplww as
select l.id, (l.key, l.data)::crdv.mentry as data
from (
  select distinct on (e.id, e.key) e.id, e.key, e.data, e.op
  from crdv.element e
  where e.type = 'm'
  order by e.id, e.key, e.hlc desc, e.site
) l
where l.op = 'a';
comment on view crdv.maplww is 'maps, last wins: id, data (key, value)';

create or replace view crdv.mapawmvrtuple as
select m.id, array_agg(m.data order by (m.data).key) as data from crdv.mapawmvr m group by m.id;
comment on view crdv.mapawmvrtuple is 'maps, add wins, all values: id, data[] (key, value[])';

create or replace view crdv.mapawlwwtuple as
select m.id, array_agg(m.data order by (m.data).key) as data from crdv.mapawlww m group by m.id;
comment on view crdv.mapawlwwtuple is 'maps, add wins, last value: id, data[] (key, value)';

create or replace view crdv.maprwmvrtuple as
select m.id, array_agg(m.data order by (m.data).key) as data from crdv.maprwmvr m group by m.id;
comment on view crdv.maprwmvrtuple is 'maps, remove wins, all values: id, data[] (key, value[])';

create or replace view crdv.maplwwtuple as
select m.id, array_agg(m.data order by (m.data).key) as data from crdv.maplww m group by m.id;
comment on view crdv.maplwwtuple is 'maps, last wins: id, data[] (key, value)';

grant select on crdv.mapawmvr, crdv.mapawlww, crdv.maprwmvr, crdv.maprwlww, crdv.maplww,
  crdv.mapawmvrtuple, crdv.mapawlwwtuple, crdv.maprwmvrtuple, crdv.maplwwtuple to public;

-- Not through the views, whose rows hide the key: the index gives the entries in the order of their
-- keys, and nothing has to be sorted again.
create or replace function crdv.mapawmvrget(id text) returns crdv.mentrymvr[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return nullif(array(
    select (e.key, array_agg(e.data order by e.site))::crdv.mentrymvr from crdv.element e
    where e.type = 'm' and e.id = id_ and e.op = 'a'
    group by e.key order by e.key), '{}');
end $$;
comment on function crdv.mapawmvrget(text) is 'entries of a map, add wins, all values';

create or replace function crdv.mapawlwwget(id text) returns crdv.mentry[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return nullif(array(
    select (l.key, l.data)::crdv.mentry
    from (
      select distinct on (e.key) e.key, e.data from crdv.element e
      where e.type = 'm' and e.id = id_ and e.op = 'a'
      order by e.key, e.hlc desc, e.site
    ) l
    order by l.key), '{}');
end $$;
comment on function crdv.mapawlwwget(text) is 'entries of a map, add wins, last value';

create or replace function crdv.maprwmvrget(id text) returns crdv.mentrymvr[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return nullif(array(
    select (e.key, array_agg(e.data order by e.site))::crdv.mentrymvr from crdv.element e
    where e.type = 'm' and e.id = id_
    group by e.key having bool_and(e.op = 'a') order by e.key), '{}');
end $$;
comment on function crdv.maprwmvrget(text) is 'entries of a map, remove wins, all values';

create or replace function crdv.maplwwget(id text) returns crdv.mentry[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return nullif(array(
    select (l.key, l.data)::crdv.mentry
    from (
      select distinct on (e.key) e.key, e.data, e.op from crdv.element e
      where e.type = 'm' and e.id = id_
      order by e.key, e.hlc desc, e.site
    ) l
    where l.op = 'a'
    order by l.key), '{}');
end $$;
comment on function crdv.maplwwget(text) is 'entries of a map, last wins';

create or replace function crdv.mapawmvrvalue(id text, key text) returns varchar[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
begin
  return (
    select array_agg(e.data order by e.site) from crdv.element e
    where e.type = 'm' and e.id = id_ and e.key = key_ and e.op = 'a');
end $$;
comment on function crdv.mapawmvrvalue(text, text) is 'value of a map entry, add wins, all values';

create or replace function crdv.mapawlwwvalue(id text, key text) returns varchar
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
begin
  return (
    select e.data from crdv.element e
    where e.type = 'm' and e.id = id_ and e.key = key_ and e.op = 'a'
    order by e.hlc desc, e.site limit 1);
end $$;
comment on function crdv.mapawlwwvalue(text, text) is 'value of a map entry, add wins, last value';

create or replace function crdv.maprwmvrvalue(id text, key text) returns varchar[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
begin
  return (
    select array_agg(e.data order by e.site) from crdv.element e
    where e.type = 'm' and e.id = id_ and e.key = key_
    having bool_and(e.op = 'a'));
end $$;
comment on function crdv.maprwmvrvalue(text, text) is 'value of a map entry, remove wins, all values';

create or replace function crdv.maplwwvalue(id text, key text) returns varchar
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
begin
  return (
    select case e.op when 'a' then e.data end from crdv.element e
    where e.type = 'm' and e.id = id_ and e.key = key_
    order by e.hlc desc, e.site limit 1);
end $$;
comment on function crdv.maplwwvalue(text, text) is 'value of a map entry, last wins';

create or replace function crdv.mapawmvrcontains(id text, key text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
begin
  return exists (
    select from crdv.element e
    where e.type = 'm' and e.id = id_ and e.key = key_ and e.op = 'a');
end $$;
comment on function crdv.mapawmvrcontains(text, text) is 'whether a map has a key, add wins, all values';

-- Which values there are does not matter here. The planner puts the other call in the place of this one.
create or replace function crdv.mapawlwwcontains(id text, key text) returns boolean
language sql stable
return crdv.mapawmvrcontains(id, key);
comment on function crdv.mapawlwwcontains(text, text) is 'whether a map has a key, add wins, last value';

create or replace function crdv.maprwmvrcontains(id text, key text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
begin
  return coalesce((
    select bool_and(e.op = 'a') from crdv.element e
    where e.type = 'm' and e.id = id_ and e.key = key_), false);
end $$;
comment on function crdv.maprwmvrcontains(text, text) is 'whether a map has a key, remove wins, all values';

create or replace function crdv.maplwwcontains(id text, key text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
begin
  return coalesce((
    select e.op = 'a' from crdv.element e
    where e.type = 'm' and e.id = id_ and e.key = key_
    order by e.hlc desc, e.site limit 1), false);
end $$;
comment on function crdv.maplwwcontains(text, text) is 'whether a map has a key, last wins';

create or replace function crdv.mapadd(id text, key text, value text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
  value_ alias for value;
  number bigint;
begin
  number := crdv.write('m', id_, key_, 'a', value_);
end $$;
comment on function crdv.mapadd(text, text, text) is 'adds or replaces a map entry';

create or replace function crdv.maprmv(id text, key text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
  number bigint;
begin
  number := crdv.write('m', id_, key_, 'r', null);
end $$;
comment on function crdv.maprmv(text, text) is 'removes a map entry';

create or replace function crdv.mapclear(id text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  number bigint;
  entry text;
begin
  for entry in
    select distinct e.key from crdv.element e
    where e.type = 'm' and e.id = id_ and e.op = 'a' order by e.key
  loop
    number := crdv.write('m', id_, entry, 'r', null);
  end loop;
end $$;
comment on function crdv.mapclear(text) is 'removes the entries of a map that are visible here';
