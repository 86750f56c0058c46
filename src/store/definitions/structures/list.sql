-- Why: a sequence that stores insert into and remove from independently.
--
-- Semantics: an entry is an element whose key is its position. Positions never change and never repeat,
-- and the list is read in their order. Entries that were inserted concurrently at one index are all
-- kept, ordered by site. Indexes count from 0; inserting beyond the end appends; popping an empty list
-- does nothing; `listClear` removes the entries that the writer sees, and no other. Null is a value
-- like any other; a list without entries reads as null.
--
-- Positions: path '.' origin. The order of the text (collation "C") is the order of the list. The origin
-- is the site and the operation's number, which make the position unique and order equal paths by site.
-- A path is a head, an integer, and below it any number of steps, each of which is one of, in order:
--     ':' run   an integer that counts down    for entries put before the last one again and again
--     a symbol  one of 63, in the middle       for a gap that is split
--     '~' run   an integer that counts up      for entries put after the last one again and again
-- A path sorts before everything below it: '.' is less than every symbol.
-- * After the last entry the head goes up by one, before the first it goes down: a position grows with
--   the logarithm of the number of appends or prepends.
-- * In between, a new step starts with the middle symbol; a gap between symbols is halved, and beyond
--   the first or last symbol a run begins. So typing at one spot, in either direction, grows with the
--   logarithm as well, and splitting the newest gap, left and right in turn, costs one character for
--   six insertions: n bits for n of them are needed, whatever the scheme.
-- * Between two entries of one path (inserted concurrently) the whole left position is the start of the
--   new path: the origin is a part of it, so nothing ever needs to be moved.
-- Each candidate is compared with both neighbours before it is taken, so that no position, whoever
-- made it, leads to a wrong order.
--
-- Leaves out: moving entries; keeping runs that two sites type at one spot from interleaving.

-- An integer as text in its own order: a letter for the sign and the number of digits, then the
-- hexadecimal digits (of a negative number, their complement). No such text starts another one.
-- 'g' to 'v' stand for 1 to 16 digits, 'V' down to 'G' for those of a negative number. Elsewhere the codes
-- of the letters are numbers:
--   103          'g' itself: from here on an integer is not negative;
--   102 and 87   'f' and 'W', beside 'g' and 'V': a letter is as far from these as it has digits;
--   101 and 88   'e' and 'X', one further: as far from these as letter and digits have characters.
create or replace function crdv.position_digits(n bigint) returns text
language sql immutable parallel safe
return case when n >= 0
  then chr(ascii('g') - 1 + length(to_hex(n))) || to_hex(n)
  else chr(ascii('V') + 1 - length(to_hex(-1 - n)))
       || translate(to_hex(-1 - n), '0123456789abcdef', 'fedcba9876543210')
end;
comment on function crdv.position_digits(bigint) is 'an integer of a list position; internal';

-- The head of a position, changed by `change`: a path after, or before, everything below that head.
create or replace function crdv.position_head(position_ text, change integer) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  head constant text := substring(position_ collate "C" from '^[g-v][0-9a-f]+|^[G-V][0-9a-f]+');
  size constant integer := case when head >= 'g' then ascii(head) - 102 else 87 - ascii(head) end;
  digits constant text := substr(head, 2, size);
begin
  if digits is null or length(digits) < size then
    raise 'not a list position: %', position_ using errcode = 'data_corrupted';
  end if;
  return crdv.position_digits(change + case when head >= 'g'
    then ('x' || lpad(digits, 16, '0'))::bit(64)::bigint
    else -1 - ('x' || lpad(translate(digits, 'fedcba9876543210', '0123456789abcdef'), 16, '0'))
              ::bit(64)::bigint
  end);
end $$;
comment on function crdv.position_head(text, integer) is
  'the head of a list position, or of one beside it; internal';

-- A run: how many digits, and the digits; counting down, both as complements.
create or replace function crdv.position_run(up boolean, n bigint) returns text
language sql immutable parallel safe
return case when n > 999999999 then null when up then '~' || length(n::text) || n
  else ':' || translate(length(n::text) || n::text, '0123456789', '9876543210') end;
comment on function crdv.position_run(boolean, bigint) is 'a run of a list position; internal';

-- The path beside `near_` with the same steps but the last, in the direction of `far_`, which is null at
-- the end of the list. Null if there is none.
create or replace function crdv.position_beside(near_ text, far_ text, up boolean) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  symbols constant text := ';<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz';
  path text;
  letter integer;
  last text;
  -- Places of symbols; 0 and 64 are beyond the ends.
  here integer;
  there integer;
begin
  path := left(near_, - strpos(reverse(near_), '.'));
  letter := ascii(near_);
  if far_ is null
     or length(path) = (case when letter >= 103 then letter - 101 else 88 - letter end) then
    return crdv.position_head(near_, case when up then 1 else -1 end);
  end if;
  last := right(path, 1);
  here := strpos(symbols, last);
  if here = 0 then
    -- Of a run that nobody here would make there is none beside it.
    last := substring(path from '(?:~[1-9]|:[0-8])[0-9]{1,9}$');
    if last is null then
      return null;
    end if;
    if (last like '~%') = up or last <> crdv.position_run(not up, 0) then
      return left(path, - length(last)) || crdv.position_run(last like '~%',
        translate(substr(last, 3), '0123456789',
                  case when last like '~%' then '0123456789' else '9876543210' end)::bigint
        + case when (last like '~%') = up then 1 else -1 end);
    end if;
    here := case when up then 0 else 64 end;
  end if;
  path := left(path, - length(last));
  there := case when starts_with(far_, path)
    then nullif(strpos(symbols, nullif(substr(far_, length(path) + 1, 1), '')), 0) end;
  there := coalesce(there, case when up then 64 else 0 end);
  return path || case
    when abs(there - here) > 1 then substr(symbols, (here + there) / 2, 1)
    when there in (0, 64) then crdv.position_run(up, 0)
  end;
end $$;
comment on function crdv.position_beside(text, text, boolean) is
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
    path := crdv.position_beside(before_, after_, true);
    -- '/' is the successor of '.': all positions with this path must be below.
    if after_ is null or before_ < path collate "C" and (path || '/') collate "C" <= after_ then
      return path;
    end if;
  end if;
  path := crdv.position_beside(after_, before_, false);
  if before_ is null or before_ collate "C" < path and (path || '/') collate "C" <= after_ then
    return path;
  end if;
  path := left(before_, - strpos(reverse(before_), '.')) || 'Z';
  if (path || '/') collate "C" <= after_ then
    return path;
  end if;
  path := before_ || 'Z';
  if (path || '/') collate "C" <= after_ then
    return path;
  end if;
  raise 'there is no position between % and %', before_, after_ using errcode = 'data_corrupted';
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

create or replace function crdv.listget(id text) returns varchar[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return (select l.data from crdv.listtuple l where l.id = id_);
end $$;
comment on function crdv.listget(text) is 'entries of a list';

create or replace function crdv.listgetat(id text, index bigint) returns varchar
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  index_ alias for index;
begin
  if index_ < 0 then
    return null;
  end if;
  return (
    select e.data from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key, e.site offset index_ limit 1);
end $$;
comment on function crdv.listgetat(text, bigint) is 'entry of a list at an index, from 0';

create or replace function crdv.listgetfirst(id text) returns varchar
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return (
    select e.data from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key, e.site limit 1);
end $$;
comment on function crdv.listgetfirst(text) is 'first entry of a list';

create or replace function crdv.listgetlast(id text) returns varchar
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return (
    select e.data from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key desc, e.site desc limit 1);
end $$;
comment on function crdv.listgetlast(text) is 'last entry of a list';

-- Writes an entry between two of the list. Its key is new, so nothing of its element can be there to be
-- covered, and a write is an insert. As everywhere, the transaction has its id before the number is drawn.
create or replace function crdv.list_insert(id_ text, before_ text, after_ text, elem_ text)
returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  position_ text;
begin
  if crdv.siteid() is null or octet_length(elem_) > 268435456 then
    perform crdv.refuse('l', id_, before_, elem_);
  end if;
  insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
  select 0, id_, p.path || '.' || crdv.site_hex(crdv.siteid()) || crdv.position_digits(n.number),
         crdv.writing_site(), n.number, 'l', 'a', elem_, '{}', '{}',
         (date_part('epoch', clock_timestamp()) * 1000)::bigint << 16
  from nextval(case when pg_current_xact_id() is not null then 'crdv.seq'::regclass end) n (number),
       crdv.position_between(before_, after_) p (path)
  returning key into position_;
  if octet_length(id_) + octet_length(position_) > 2000 then
    raise 'list % has no room left at this spot: id and position would have % bytes, at most 2000',
      id_, octet_length(id_) + octet_length(position_) using errcode = 'program_limit_exceeded',
      hint = 'Write the list anew in one transaction: read it by listGet, empty it by listClear, '
             'and add its entries by listAppend.';
  end if;
  if crdv.has_rules() then
    perform crdv.keep_sources(id_);
  end if;
end $$;
comment on function crdv.list_insert(text, text, text, text) is 'writes a list entry; internal';
revoke all on function crdv.list_insert(text, text, text, text) from public;

-- At the ends, which are the most frequent places, in one statement.
create or replace function crdv.listappend(id text, elem text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  elem_ alias for elem;
begin
  if crdv.siteid() is null or id_ is null or starts_with(id_, '$') or octet_length(id_) > 1900
     or octet_length(elem_) > 268435456 then
    perform crdv.refuse('l', id_, repeat(' ', 100), elem_);
  end if;
  insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
  select 0, id_,
         case when near.key is null then 'g0' when near.key >= 'g' then
           chr(102 + length(to_hex(near.head + 1))) || to_hex(near.head + 1)
         else crdv.position_head(near.key, 1) end
         || '.' || crdv.site_hex(crdv.siteid()) || chr(102 + length(to_hex(n.number))) || to_hex(n.number),
         crdv.writing_site(), n.number, 'l', 'a', elem_, '{}', '{}',
         (date_part('epoch', clock_timestamp()) * 1000)::bigint << 16
  from nextval(case when pg_current_xact_id() is not null then 'crdv.seq'::regclass end) n (number)
  left join (
    select e.key, ('x' || lpad(substr(e.key, 2, greatest(ascii(e.key) - 102, 0)), 16, '0'))
                  ::bit(64)::bigint as head
    from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key desc limit 1
  ) near on true;
  if crdv.has_rules() then
    perform crdv.keep_sources(id_);
  end if;
end $$;
comment on function crdv.listappend(text, text) is 'appends to a list';

create or replace function crdv.listprepend(id text, elem text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  elem_ alias for elem;
begin
  if crdv.siteid() is null or id_ is null or starts_with(id_, '$') or octet_length(id_) > 1900
     or octet_length(elem_) > 268435456 then
    perform crdv.refuse('l', id_, repeat(' ', 100), elem_);
  end if;
  insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
  select 0, id_,
         case when near.key is null then 'g0' when near.key < 'W' then
           chr(87 - length(to_hex(near.below + 1)))
           || translate(to_hex(near.below + 1), '0123456789abcdef', 'fedcba9876543210')
         else crdv.position_head(near.key, -1) end
         || '.' || crdv.site_hex(crdv.siteid()) || chr(102 + length(to_hex(n.number))) || to_hex(n.number),
         crdv.writing_site(), n.number, 'l', 'a', elem_, '{}', '{}',
         (date_part('epoch', clock_timestamp()) * 1000)::bigint << 16
  from nextval(case when pg_current_xact_id() is not null then 'crdv.seq'::regclass end) n (number)
  left join (
    select e.key, ('x' || lpad(translate(substr(e.key, 2, greatest(87 - ascii(e.key), 0)),
                                        'fedcba9876543210', '0123456789abcdef'), 16, '0'))
                  ::bit(64)::bigint as below
    from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key limit 1
  ) near on true;
  if crdv.has_rules() then
    perform crdv.keep_sources(id_);
  end if;
end $$;
comment on function crdv.listprepend(text, text) is 'inserts at the start of a list';

create or replace function crdv.listadd(id text, index bigint, elem text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  index_ alias for index;
  elem_ alias for elem;
  near text[];
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
    order by e.key, e.site offset index_ - 1 limit 2);
  -- Two values at one position: it was written again concurrently.
  if near[1] = near[2] then
    near[2] := (
      select e.key from crdv.element e
      where e.type = 'l' and e.op = 'a' and e.id = id_ and e.key > near[1]
      order by e.key limit 1);
  end if;
  if near[2] is null then
    perform crdv.listappend(id_, elem_);
  else
    perform crdv.list_insert(id_, near[1], near[2], elem_);
  end if;
end $$;
comment on function crdv.listadd(text, bigint, text) is
  'inserts before the entry at an index, from 0; beyond the end, appends';

create or replace function crdv.listrmv(id text, index bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  index_ alias for index;
  position_ text;
  number bigint;
begin
  if index_ < 0 then
    return;
  end if;
  select e.key into position_ from crdv.element e
  where e.type = 'l' and e.op = 'a' and e.id = id_
  order by e.key, e.site offset index_ limit 1;
  if found then
    number := crdv.write('l', id_, position_, 'r', null);
  end if;
end $$;
comment on function crdv.listrmv(text, bigint) is
  'removes the entry at an index, from 0; does nothing beyond the end';

-- Two local writers pop different entries: the row lock of the first makes the second go on to the
-- next row.
create or replace function crdv.listpopfirst(id text) returns varchar
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  entry record;
  number bigint;
begin
  select e.key, e.data into entry from crdv.element e
  where e.type = 'l' and e.op = 'a' and e.id = id_
  order by e.key, e.site limit 1 for update;
  if found then
    number := crdv.write('l', id_, entry.key, 'r', null);
    return entry.data;
  end if;
  return null;
end $$;
comment on function crdv.listpopfirst(text) is 'removes and returns the first entry of a list';

create or replace function crdv.listpoplast(id text) returns varchar
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  entry record;
  number bigint;
begin
  select e.key, e.data into entry from crdv.element e
  where e.type = 'l' and e.op = 'a' and e.id = id_
  order by e.key desc, e.site desc limit 1 for update;
  if found then
    number := crdv.write('l', id_, entry.key, 'r', null);
    return entry.data;
  end if;
  return null;
end $$;
comment on function crdv.listpoplast(text) is 'removes and returns the last entry of a list';

create or replace function crdv.listclear(id text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  position_ text;
  number bigint;
begin
  for position_ in
    select distinct e.key from crdv.element e
    where e.type = 'l' and e.op = 'a' and e.id = id_
    order by e.key
  loop
    number := crdv.write('l', id_, position_, 'r', null);
  end loop;
end $$;
comment on function crdv.listclear(text) is 'removes the entries of a list that are visible here';
