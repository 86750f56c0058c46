-- Why: clients of the CRDV interface also read and write operations themselves, through the view `Data`.
--
-- Semantics: `Data` shows the present operations of registers, sets, maps, counters and lists. Inserting
-- into it writes an operation of this store:
--   type  r register, s set, m map, c counter, l list
--   key   r: ignored; s: the member; m: the key; l: a position, as the view `List` shows it; c: ignored
--         if empty, else this site
--   data  r, m, l: the value; s: ignored; c: what this site has counted in all, its share, not a change
--   op    a add, r remove (a register then does not exist, a site's share of a counter is 0)
--   site  this store's, or null
--   lts, pts  accepted and ignored: what the writer's transaction sees is what an operation covers, and its
--         clock is taken when it is written.
-- `lts` reads as a vector over the known sites in their order: the operation's own number at its own site,
-- and elsewhere the last number of that site which the writer had seen of the element, 0 for none. So of
-- two operations on one element, the one whose vector is less or equal everywhere came before.
--
-- Leaves out: changing and deleting operations. What was said is covered, never taken back.

-- A loose index scan from site to site (as in `missing`), and those that links are named after, who may
-- not have written anything yet: a subscription is named after its publisher, a publication after its
-- subscriber.
create or replace view crdv.known_site as
with recursive origin (site) as (
  select min(e.site) from crdv.element e
  union all
  select (select min(e.site) from crdv.element e where e.site > o.site)
  from origin o where o.site is not null
)
select o.site from origin o where o.site is not null
union
select crdv.siteid() where crdv.siteid() is not null
union
select ('x' || substr(l.name, 10, 16))::bit(64)::bigint
from (
  select s.subname from pg_catalog.pg_subscription s
  join pg_catalog.pg_database d on d.oid = s.subdbid and d.datname = current_database()
  union all
  select p.pubname from pg_catalog.pg_publication p
) l (name)
where l.name ~ '^starling_[0-9a-f]{16}_[0-9a-f]{16}$';
comment on view crdv.known_site is 'sites that this store has heard of; internal';
revoke all on crdv.known_site from public;

create or replace view crdv.data as
select e.id, e.key, e.type, e.data, e.site,
  array(
    select case s.site when e.site then e.seq
           else coalesce(e.ctx_seqs[array_position(e.ctx_sites, s.site)], 0) end
    from unnest(k.sites) with ordinality s (site, place)
    order by s.place
  )::crdv.vclock as lts,
  (e.hlc >> 16, (e.hlc & 65535)::integer)::crdv.hlc as pts,
  e.op
from crdv.element e
cross join (select array_agg(s.site order by s.site) as sites from crdv.known_site s) k
where e.type in ('r', 's', 'm', 'c', 'l');
comment on view crdv.data is
  'present operations: id, key, type, data, site, lts, pts, op; inserting writes an operation';
grant select, insert, update, delete on crdv.data to public;

create or replace function crdv.write_data() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  me constant bigint := crdv.siteid();
  removal boolean;
  share bigint;
  change numeric;
  part bigint;
begin
  if tg_op <> 'INSERT' then
    raise 'operations in the view Data cannot be changed or deleted' using errcode = 'feature_not_supported',
      hint = 'To change a value, write it again: registerSet, mapAdd. To remove one: setRmv, mapRmv, listRmv, '
             'setClear, mapClear, listClear, or an insert into Data with op r.';
  end if;
  if new.site <> me then
    raise 'this store is site %; operations of site % come by replication', me, new.site
      using errcode = 'invalid_parameter_value', hint = 'Insert with siteId() as the site.';
  end if;
  if new.op is null or new.op not in ('a', 'r') then
    raise 'no such operation: %', coalesce(quote_literal(new.op::text), 'null')
      using errcode = 'invalid_parameter_value', hint = 'The operations are a (add) and r (remove).';
  end if;
  removal := new.op = 'r';
  case new.type
    when 'r' then
      perform crdv.write('r', new.id, '', new.op, case when not removal then new.data end);
    when 's' then
      perform crdv.write('s', new.id, new.key, new.op, null);
    when 'm' then
      perform crdv.write('m', new.id, new.key, new.op, case when not removal then new.data end);
    when 'l' then
      -- Lists order and split positions by their form.
      if new.key !~ '^[G-Vg-v][0-9a-f]+[.-~]*\.[0-9a-f]{16}[g-v][0-9a-f]+$' or not crdv.is_position(new.key) then
        raise 'not a list position: %', new.key using errcode = 'invalid_parameter_value',
          hint = 'The view List shows the positions of entries; new ones are made by listAdd, listAppend '
                 'and listPrepend.';
      end if;
      perform crdv.write('l', new.id, new.key, new.op, case when not removal then new.data end);
    when 'c' then
      if new.key <> '' and new.key <> me::text then
        raise 'a site counts for itself only: this one is %, not %', me, new.key
          using errcode = 'invalid_parameter_value';
      end if;
      if new.data is null and not removal then
        raise 'a counter''s share must not be null' using errcode = 'null_value_not_allowed';
      end if;
      select e.data into share from crdv.element e
      where e.type = 'c' and e.id = new.id and e.key = me::text and e.site = me for update;
      change := case when removal then 0 else new.data::bigint end - coalesce(share, 0)::numeric;
      -- More than twice what one call can add, at the most.
      loop
        part := greatest(least(change, 9223372036854775807), -9223372036854775807);
        perform crdv.counterinc(new.id, part);
        change := change - part;
        exit when change = 0;
      end loop;
    else
      raise 'no such type: %', coalesce(quote_literal(new.type::text), 'null')
        using errcode = 'invalid_parameter_value',
        hint = 'The types are r (register), s (set), m (map), c (counter) and l (list).';
  end case;
  return new;
end $$;
comment on function crdv.write_data() is 'writes what is inserted into the view Data; internal';
revoke all on function crdv.write_data() from public;

create or replace trigger write_data instead of insert or update or delete on crdv.data
  for each row execute function crdv.write_data();
-- Also when no row is affected.
create or replace trigger refuse_change before update or delete on crdv.data
  for each statement execute function crdv.write_data();

create or replace function crdv.currenttimemillis() returns bigint
language sql volatile
return (date_part('epoch', clock_timestamp()) * 1000)::bigint;
comment on function crdv.currenttimemillis() is 'unix time in milliseconds';

create or replace function crdv.next_hlc(curr crdv.hlc) returns crdv.hlc
language sql volatile
return case when crdv.currenttimemillis() > coalesce((curr).physical_time, -1)
  then (crdv.currenttimemillis(), 1)::crdv.hlc
  else ((curr).physical_time, (curr).logical_time + 1)::crdv.hlc end;
comment on function crdv.next_hlc(crdv.hlc) is 'a hybrid clock that is later than another';

create or replace function crdv.vclock_lte(v1 crdv.vclock, v2 crdv.vclock) returns boolean
language sql immutable parallel safe
begin atomic
  select coalesce(bool_and(coalesce(u.a, 0) <= coalesce(u.b, 0)), true)
  from unnest(v1::bigint[], v2::bigint[]) u (a, b);
end;
comment on function crdv.vclock_lte(crdv.vclock, crdv.vclock) is
  'whether a vector is less than or equal to another at every place';

create or replace function crdv.vclock_max(v1 crdv.vclock, v2 crdv.vclock) returns crdv.vclock
language sql immutable parallel safe
begin atomic
  select array_agg(greatest(u.a, u.b) order by u.place)
  from unnest(v1::bigint[], v2::bigint[]) with ordinality u (a, b, place);
end;
comment on function crdv.vclock_max(crdv.vclock, crdv.vclock) is 'the greater of two vectors at each place';

create or replace function crdv.nexttimestamp(id text) returns crdv.vclock_and_hlc
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  return (
    array(
      select case when s.site = crdv.siteid() then q.last_value + q.is_called::integer
             else coalesce((select max(e.seq) from crdv.element e where e.site = s.site), 0) end
      from crdv.known_site s, crdv.seq q
      order by s.site
    )::crdv.vclock,
    crdv.next_hlc(null)
  )::crdv.vclock_and_hlc;
end $$;
comment on function crdv.nexttimestamp(text) is
  'clocks (lts, pts) for an insert into Data: what this store has seen of each known site';
