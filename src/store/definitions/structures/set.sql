-- Why: members that stores add and remove independently.
--
-- Semantics: a member is an element; adding or removing it covers what the writer sees of it. When an
-- addition and a removal are concurrent, both are present, and
--   Aw   (add wins)     reads the member if any addition is present;
--   Rw   (remove wins)  reads it if no removal is present;
--   Lww  (last wins)    reads it if the operation with the greatest clock (of equal ones, that of the
--                       lowest site) is an addition.
-- So a removal is recorded even of a member that is not here: under Rw it counts against an addition
-- that is on its way. `setClear` removes the members whose addition the writer sees, and no other.
--
-- Leaves out: collecting removals that every store has seen.

create or replace view crdv.setaw as
select distinct e.id, e.key as data
from crdv.element e
where e.type = 's' and e.op = 'a';
comment on view crdv.setaw is 'sets, add wins: id, data; a row for each member';

create or replace view crdv.setrw as
select e.id, e.key as data
from crdv.element e
where e.type = 's'
group by e.id, e.key
having bool_and(e.op = 'a');
comment on view crdv.setrw is 'sets, remove wins: id, data; a row for each member';

create or replace view crdv.setlww as
select l.id, l.data
from (
  select distinct on (e.id, e.key) e.id, e.key as data, e.op
  from crdv.element e
  where e.type = 's'
  order by e.id, e.key, e.hlc desc, e.site
) l
where l.op = 'a';
comment on view crdv.setlww is 'sets, last wins: id, data; a row for each member';

create or replace view crdv.setawtuple as
select s.id, array_agg(s.data order by s.data) as data from crdv.setaw s group by s.id;
comment on view crdv.setawtuple is 'sets, add wins: id, data[]; a row for each set';

create or replace view crdv.setrwtuple as
select s.id, array_agg(s.data order by s.data) as data from crdv.setrw s group by s.id;
comment on view crdv.setrwtuple is 'sets, remove wins: id, data[]; a row for each set';

create or replace view crdv.setlwwtuple as
select s.id, array_agg(s.data order by s.data) as data from crdv.setlww s group by s.id;
comment on view crdv.setlwwtuple is 'sets, last wins: id, data[]; a row for each set';

grant select on crdv.setaw, crdv.setrw, crdv.setlww,
  crdv.setawtuple, crdv.setrwtuple, crdv.setlwwtuple to public;

-- The index gives the members in their order, so nothing is sorted here; it would be for the tuples.
create or replace function crdv.setawget(id text) returns varchar[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return nullif(array(select s.data from crdv.setaw s where s.id = id_ order by s.data), '{}');
end $$;
comment on function crdv.setawget(text) is 'members of a set, add wins';

create or replace function crdv.setrwget(id text) returns varchar[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return nullif(array(select s.data from crdv.setrw s where s.id = id_ order by s.data), '{}');
end $$;
comment on function crdv.setrwget(text) is 'members of a set, remove wins';

create or replace function crdv.setlwwget(id text) returns varchar[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return nullif(array(select s.data from crdv.setlww s where s.id = id_ order by s.data), '{}');
end $$;
comment on function crdv.setlwwget(text) is 'members of a set, last wins';

create or replace function crdv.setawcontains(id text, elem text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  elem_ alias for elem;
begin
  return exists (select from crdv.setaw s where s.id = id_ and s.data = elem_);
end $$;
comment on function crdv.setawcontains(text, text) is 'whether a set has a member, add wins';

create or replace function crdv.setrwcontains(id text, elem text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  elem_ alias for elem;
begin
  return exists (select from crdv.setrw s where s.id = id_ and s.data = elem_);
end $$;
comment on function crdv.setrwcontains(text, text) is 'whether a set has a member, remove wins';

create or replace function crdv.setlwwcontains(id text, elem text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  elem_ alias for elem;
begin
  return exists (select from crdv.setlww s where s.id = id_ and s.data = elem_);
end $$;
comment on function crdv.setlwwcontains(text, text) is 'whether a set has a member, last wins';

create or replace function crdv.setadd(id text, value text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  value_ alias for value;
  number bigint;
begin
  number := crdv.write('s', id_, value_, 'a', null);
end $$;
comment on function crdv.setadd(text, text) is 'adds a member to a set';

create or replace function crdv.setrmv(id text, value text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  value_ alias for value;
  number bigint;
begin
  number := crdv.write('s', id_, value_, 'r', null);
end $$;
comment on function crdv.setrmv(text, text) is 'removes a member from a set';

create or replace function crdv.setclear(id text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  number bigint;
  member text;
begin
  for member in select s.data from crdv.setaw s where s.id = id_ order by s.data loop
    number := crdv.write('s', id_, member, 'r', null);
  end loop;
end $$;
comment on function crdv.setclear(text) is 'removes the members of a set that are visible here';
