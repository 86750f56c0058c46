-- Why: clients of the CRDV interface also call functions that run their cluster. Here the controllers do
-- that, and there is nothing to merge and no mode to choose: remote operations are visible at once.
--
-- Semantics: what has a meaning here works. What has none says so in a notice and does nothing; arguments
-- that were never valid are refused as they always were.
--
-- Leaves out: anything that would change identities or links.

create or replace function crdv.nsites() returns integer
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  return (select count(*) from crdv.known_site);
end $$;
comment on function crdv.nsites() is
  'how many sites this store knows: those that have written, this one, and its neighbours';

create or replace function crdv.initiallogicaltime() returns crdv.vclock
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return array_fill(0::bigint, array[crdv.nsites()])::crdv.vclock;
end $$;
comment on function crdv.initiallogicaltime() is 'a vector of zeros, one for each known site';

create or replace function crdv.initsite(site_id integer) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if crdv.siteid() is null then
    raise 'this store has no identity yet' using errcode = 'object_not_in_prerequisite_state',
      hint = 'A store gets its identity when its controller starts for the first time.';
  end if;
  raise 'this store is initialised already: it is site %', crdv.siteid()
    using errcode = 'object_not_in_prerequisite_state', hint = 'Controllers number the sites; go on.';
end $$;
comment on function crdv.initsite(integer) is
  'always an error, as for a store that is initialised: controllers give stores their identity';

create or replace function crdv.addremotesite(
  site_id integer, host varchar, port varchar, dbname varchar, "user" varchar, password varchar,
  replicate boolean default true
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  raise notice 'no site was added: controllers find each other and make the links'
    using hint = 'starling up --bootstrap ADDRESS joins a cluster.';
  return false;
end $$;
comment on function crdv.addremotesite(integer, varchar, varchar, varchar, varchar, varchar, boolean) is
  'does nothing, with a notice: controllers make the links';

create or replace function crdv.switch_read_mode(mode varchar) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if mode is null or mode not in ('local', 'all') then
    raise 'no such read mode: %', coalesce(mode, 'null') using errcode = 'invalid_parameter_value',
      hint = 'The modes are local and all.';
  end if;
  raise notice 'read mode % changes nothing: reads always see all operations that have arrived', mode;
end $$;
comment on function crdv.switch_read_mode(varchar) is 'local or all: does nothing, with a notice';

create or replace function crdv.switch_write_mode(mode varchar) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if mode is null or mode not in ('sync', 'async') then
    raise 'no such write mode: %', coalesce(mode, 'null') using errcode = 'invalid_parameter_value',
      hint = 'The modes are sync and async.';
  end if;
  raise notice 'write mode % changes nothing: writes always count at once', mode;
end $$;
comment on function crdv.switch_write_mode(varchar) is 'sync or async: does nothing, with a notice';

create or replace function crdv.switch_list_id_generation(mode varchar) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if mode is null or mode not in ('regular', 'appends', 'prepends') then
    raise 'no such way to make list positions: %', coalesce(mode, 'null')
      using errcode = 'invalid_parameter_value', hint = 'The ways are regular, appends and prepends.';
  end if;
  raise notice 'list positions % change nothing: one way serves all three', mode;
end $$;
comment on function crdv.switch_list_id_generation(varchar) is
  'regular, appends or prepends: does nothing, with a notice';

create or replace function crdv.merge() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  raise notice 'there is nothing to merge: operations are merged as they arrive';
end $$;
comment on function crdv.merge() is 'does nothing, with a notice: operations are merged as they arrive';

create or replace function crdv.merge(
  id varchar, key varchar, type "char", data varchar, site bigint,
  lts crdv.vclock, pts crdv.hlc, op "char"
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  key_ alias for key;
  type_ alias for type;
  data_ alias for data;
  site_ alias for site;
  lts_ alias for lts;
  pts_ alias for pts;
  op_ alias for op;
begin
  insert into crdv.data (id, key, type, data, site, lts, pts, op)
  values (id_, key_, type_, data_, site_, lts_, pts_, op_);
end $$;
comment on function crdv.merge(
  varchar, varchar, "char", varchar, bigint, crdv.vclock, crdv.hlc, "char"
) is 'an insert into Data';

create or replace function crdv.replicate() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  raise notice 'there is nothing to start: committed operations are on their way already'
    using hint = 'wait_for_replication() waits until they have arrived.';
end $$;
comment on function crdv.replicate() is 'does nothing, with a notice: replication goes on all the time';

create or replace function crdv.schedule_merge_daemon(
  workers integer, delta double precision, max_batch_size integer
) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  raise notice 'no daemon was started: operations are merged as they arrive';
end $$;
comment on function crdv.schedule_merge_daemon(integer, double precision, integer) is
  'does nothing, with a notice: operations are merged as they arrive';

create or replace function crdv.unschedule_merge_daemon() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  raise notice 'no daemon was stopped: operations are merged as they arrive';
end $$;
comment on function crdv.unschedule_merge_daemon() is
  'does nothing, with a notice: operations are merged as they arrive';

-- The last operation of each other site: changes whenever something comes in.
create or replace function crdv.incoming() returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select string_agg(s.site || ':' || m.seq, ' ' order by s.site)
    from crdv.known_site s
    cross join lateral (select max(e.seq) from crdv.element e where e.site = s.site) m (seq)
    where s.site <> crdv.siteid());
end $$;
comment on function crdv.incoming() is 'tells whether operations have come in; internal';
revoke all on function crdv.incoming() from public;

-- Takes no lock and no transaction id, so it holds up neither writers nor checkpoints; the caller's
-- snapshot keeps vacuum from what died since, for as long as it waits. It cannot wait for what the
-- caller's own transaction has written. Under REPEATABLE READ incoming operations are not seen, so only
-- the subscribers are waited for.
create or replace function crdv.wait_for_replication() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  -- A link that stalls longer is lost, and its peer catches up later.
  patience constant interval := '60 s';
  -- Longer than a hop and than the time in which a server flushes what it applied.
  quiet constant interval := '0.5 s';
  began constant timestamptz := clock_timestamp();
  last_change timestamptz := began;
  last_seen text := crdv.incoming();
  seen text;
  target pg_lsn;
  behind text;
begin
  loop
    seen := crdv.incoming();
    if seen is distinct from last_seen then
      last_seen := seen;
      last_change := clock_timestamp();
      target := null;
    elsif target is null and clock_timestamp() - last_change >= quiet then
      target := pg_current_wal_flush_lsn();
    end if;
    if target is not null then
      select string_agg(s.slot_name, ', ' order by s.slot_name) into behind
      from pg_replication_slots s
      where s.database = current_database() and starts_with(s.slot_name, 'starling_')
        and s.active and s.confirmed_flush_lsn < target;
      exit when behind is null;
    end if;
    if clock_timestamp() - began > patience then
      raise 'not replicated within %', patience using errcode = 'lock_not_available',
        detail = coalesce('behind: ' || behind, 'operations keep coming in'),
        hint = 'Call it when nothing is written, or look at `starling links`.';
    end if;
    perform pg_sleep(0.02);
  end loop;
end $$;
comment on function crdv.wait_for_replication() is
  'waits until every connected subscriber has what was committed here, and nothing has come in for half a second; an error after 60 s';

-- By ordinary operations, so that it converges everywhere and rules of integrity stay. Of counters only this
-- site's share goes to 0: were all of a counter taken off, two stores that do so at once would take it off
-- twice. So a counter reads 0 once every store was reset. What others write meanwhile stays.
create or replace function crdv.reset_data() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  e record;
  number bigint;
begin
  for e in
    select s.id from crdv.element s
    where s.type = 'c' and s.site = crdv.siteid() and s.data <> '0' order by s.id
  loop
    insert into crdv.data (id, type, op) values (e.id, 'c', 'r');
  end loop;
  -- In the order of the primary key, as every writer of many should.
  for e in
    select distinct d.type, d.id, d.key from crdv.element d
    where d.type in ('r', 's', 'm', 'l') and d.op = 'a' order by d.type, d.id, d.key
  loop
    number := crdv.write(e.type, e.id, e.key, 'r', null);
  end loop;
end $$;
comment on function crdv.reset_data() is
  'removes what this store sees of every register, set, map and list, and sets its share of every counter to 0';
