-- Why: one value under one id.
--
-- Semantics: setting covers what the writer sees. Concurrent settings are all present;
--   Mvr  reads all of them, ordered by site;
--   Lww  reads the one with the greatest clock (of equal ones, that of the lowest site).
-- A register that was never set reads as null, and so does one that `reset_data` or an insert into `Data`
-- removed, unless it is set concurrently. Null is a value like any other.

create or replace view crdv.registermvr as
select e.id, array_agg(e.data order by e.site) as data
from crdv.element e
where e.type = 'r' and e.op = 'a'
group by e.id;
comment on view crdv.registermvr is 'registers with all concurrent values: id, data[]';

create or replace view crdv.registerlww as
select distinct on (e.id) e.id, e.data
from crdv.element e
where e.type = 'r' and e.op = 'a'
order by e.id, e.hlc desc, e.site;
comment on view crdv.registerlww is 'registers with the last value: id, data';

grant select on crdv.registermvr, crdv.registerlww to public;

create or replace function crdv.registermvrget(id text) returns varchar[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return (
    select array_agg(e.data order by e.site) from crdv.element e
    where e.type = 'r' and e.id = id_ and e.key = '' and e.op = 'a');
end $$;
comment on function crdv.registermvrget(text) is 'all concurrent values of a register, by site';

create or replace function crdv.registerlwwget(id text) returns varchar
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return (
    select e.data from crdv.element e
    where e.type = 'r' and e.id = id_ and e.key = '' and e.op = 'a'
    order by e.hlc desc, e.site limit 1);
end $$;
comment on function crdv.registerlwwget(text) is 'the last value of a register';

create or replace function crdv.registerset(id text, value text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  value_ alias for value;
  number bigint;
begin
  number := crdv.write('r', id_, '', 'a', value_);
end $$;
comment on function crdv.registerset(text, text) is 'sets a register';
