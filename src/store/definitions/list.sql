-- Why: a sequence that stores insert into and remove from independently.
--
-- Semantics: an entry is an element whose key is its position. Positions never change and never repeat,
-- and the list is read in their order. Entries that were inserted concurrently at one index are all
-- kept, ordered by site. Indexes count from 0; inserting beyond the end appends; popping an empty list
-- does nothing; `listClear` removes the entries that the writer sees, and no other. Null is a value
-- like any other; a list without entries reads as null.
--
-- Positions: path '.' origin. A path is a sequence of integers, written so that the order of the text
-- (collation "C") is the order of the numbers. The origin is the site and a number that it draws, which
-- make the position unique and order equal paths by site.
-- * After the last entry the path's last integer goes up by one, before the first it goes down: a
--   position grows with the logarithm of the number of appends or prepends.
-- * Between two entries the same is tried with the left one, then with the right one, and only when
--   both fail does the path get one integer longer. Typing at one spot, in either direction, therefore
--   grows with a logarithm as well. Only splitting the newest gap again and again, left and right in
--   turn, costs a character for each insertion, and ends after some 1,900 at the length limit of keys.
-- * Between two entries of one path (inserted concurrently) the whole left position is the start of the
--   new path: the origin is a part of it, so nothing ever needs to be moved.
--
-- Leaves out: moving entries; keeping runs that two sites type at one spot from interleaving.

-- An integer as text in its own order: a letter for the sign and the number of digits, then the
-- hexadecimal digits (of a negative number, their complement). No such text starts another one.
create or replace function crdv.position_digits(n bigint) returns text
language sql immutable parallel safe
return case when n >= 0
  then chr(ascii('g') - 1 + length(to_hex(n))) || to_hex(n)
  else chr(ascii('V') + 1 - length(to_hex(-1 - n)))
       || translate(to_hex(-1 - n), '0123456789abcdef', 'fedcba9876543210')
end;
comment on function crdv.position_digits(bigint) is 'an integer of a list position; internal';

-- The path next to a position's: its last integer changed by `step`.
create or replace function crdv.position_step(position_ text, step integer) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  part text[];
  n bigint;
begin
  part := regexp_match(position_ collate "C", '^(.*)([G-Vg-v])([0-9a-f]+)\.[^.]*$');
  if part is null then
    raise 'not a list position: %', position_ using errcode = 'data_corrupted';
  end if;
  if part[2] >= 'g' then
    n := ('x' || lpad(part[3], 16, '0'))::bit(64)::bigint;
  else
    n := -1 - ('x' || lpad(translate(part[3], 'fedcba9876543210', '0123456789abcdef'), 16, '0'))
              ::bit(64)::bigint;
  end if;
  return part[1] || crdv.position_digits(n + step);
end $$;
comment on function crdv.position_step(text, integer) is
  'the path beside a list position; internal';

-- A path between two neighbours; null means the end of the list on that side.
create or replace function crdv.position_between(before_ text, after_ text) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  path text;
begin
  if before_ is null and after_ is null then
    return crdv.position_digits(0);
  end if;
  if before_ is not null then
    path := crdv.position_step(before_, 1);
    -- '/' is the successor of '.': all positions with this path must be below.
    if after_ is null or (path || '/') collate "C" <= after_ then
      return path;
    end if;
  end if;
  path := crdv.position_step(after_, -1);
  if before_ is null or before_ collate "C" < path then
    return path;
  end if;
  path := substr(before_, 1, length(before_) - strpos(reverse(before_), '.'));
  if starts_with(after_, path || '.') then
    return before_ || crdv.position_digits(0);
  end if;
  return path || crdv.position_digits(0);
end $$;
comment on function crdv.position_between(text, text) is
  'path of a list position between two others; internal';

create or replace view crdv.list as
select e.id, e.key as pos, e.data
from crdv.element e
where e.type = 'l' and e.op = 'a'
order by e.id, e.key, e.site;
comment on view crdv.list is 'lists, in order: id, pos, data; a row for each entry';

create or replace view crdv.listtuple as
select e.id, array_agg(e.data order by e.key, e.site) as data
from crdv.element e
where e.type = 'l' and e.op = 'a'
group by e.id;
comment on view crdv.listtuple is 'lists: id, data[]; a row for each list';

grant select on crdv.list, crdv.listtuple to public;

create or replace function crdv.listget(id_ varchar) returns varchar[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  return (select l.data from crdv.listtuple l where l.id = id_);
end $$;
comment on function crdv.listget(varchar) is 'entries of a list';

create or replace function crdv.listgetat(id_ varchar, index_ bigint) returns varchar
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  if index_ < 0 then
    return null;
  end if;
  return (
    select e.data from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key offset index_ limit 1);
end $$;
comment on function crdv.listgetat(varchar, bigint) is 'entry of a list at an index, from 0';

create or replace function crdv.listgetfirst(id_ varchar) returns varchar
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select e.data from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key limit 1);
end $$;
comment on function crdv.listgetfirst(varchar) is 'first entry of a list';

create or replace function crdv.listgetlast(id_ varchar) returns varchar
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select e.data from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key desc limit 1);
end $$;
comment on function crdv.listgetlast(varchar) is 'last entry of a list';

-- Writes an entry between two positions.
create or replace function crdv.list_insert(id_ text, before_ text, after_ text, elem_ text)
returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  origin constant text := crdv.site_hex(crdv.siteid()) || crdv.position_digits(nextval('crdv.seq'));
begin
  return crdv.write(
    'l', id_, crdv.position_between(before_, after_) || '.' || origin, 'a', elem_);
end $$;
comment on function crdv.list_insert(text, text, text, text) is 'writes a list entry; internal';
revoke all on function crdv.list_insert(text, text, text, text) from public;

create or replace function crdv.listadd(id_ varchar, index_ bigint, elem_ varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  near text[];
  number bigint;
begin
  if index_ is null or index_ < 0 then
    raise 'a list index must not be null or negative' using errcode = 'invalid_parameter_value';
  end if;
  if index_ = 0 then
    perform crdv.listprepend(id_, elem_);
    return;
  end if;
  near := array(
    select e.key from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key offset index_ - 1 limit 2);
  if near[1] is null then
    perform crdv.listappend(id_, elem_);
  else
    number := crdv.list_insert(id_, near[1], near[2], elem_);
  end if;
end $$;
comment on function crdv.listadd(varchar, bigint, varchar) is
  'inserts before the entry at an index, from 0; beyond the end, appends';

create or replace function crdv.listappend(id_ varchar, elem_ varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  last text;
  number bigint;
begin
  select e.key into last from crdv.element e
  where e.type = 'l' and e.op = 'a' and e.id = id_
  order by e.key desc limit 1;
  number := crdv.list_insert(id_, last, null, elem_);
end $$;
comment on function crdv.listappend(varchar, varchar) is 'appends to a list';

create or replace function crdv.listprepend(id_ varchar, elem_ varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  first text;
  number bigint;
begin
  select e.key into first from crdv.element e
  where e.type = 'l' and e.op = 'a' and e.id = id_
  order by e.key limit 1;
  number := crdv.list_insert(id_, null, first, elem_);
end $$;
comment on function crdv.listprepend(varchar, varchar) is 'inserts at the start of a list';

create or replace function crdv.listrmv(id_ varchar, index_ bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  position_ text;
  number bigint;
begin
  if index_ < 0 then
    return;
  end if;
  select e.key into position_ from crdv.element e
  where e.type = 'l' and e.op = 'a' and e.id = id_
  order by e.key offset index_ limit 1;
  if found then
    number := crdv.write('l', id_, position_, 'r', null);
  end if;
end $$;
comment on function crdv.listrmv(varchar, bigint) is
  'removes the entry at an index, from 0; does nothing beyond the end';

-- Two local writers pop different entries: the row lock of the first makes the second go on to the
-- next row.
create or replace function crdv.listpopfirst(id_ varchar) returns varchar
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  entry record;
  number bigint;
begin
  select e.key, e.data into entry from crdv.element e
  where e.type = 'l' and e.op = 'a' and e.id = id_
  order by e.key limit 1 for update;
  if found then
    number := crdv.write('l', id_, entry.key, 'r', null);
    return entry.data;
  end if;
  return null;
end $$;
comment on function crdv.listpopfirst(varchar) is 'removes and returns the first entry of a list';

create or replace function crdv.listpoplast(id_ varchar) returns varchar
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  entry record;
  number bigint;
begin
  select e.key, e.data into entry from crdv.element e
  where e.type = 'l' and e.op = 'a' and e.id = id_
  order by e.key desc limit 1 for update;
  if found then
    number := crdv.write('l', id_, entry.key, 'r', null);
    return entry.data;
  end if;
  return null;
end $$;
comment on function crdv.listpoplast(varchar) is 'removes and returns the last entry of a list';

create or replace function crdv.listclear(id_ varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  position_ text;
  number bigint;
begin
  for position_ in
    select e.key from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key
  loop
    number := crdv.write('l', id_, position_, 'r', null);
  end loop;
end $$;
comment on function crdv.listclear(varchar) is 'removes the entries of a list that are visible here';
