-- Why: what other stores wrote comes in by logical replication, over several links at once, in any
-- order of the origins, and more than once.
--
-- Guarantees: equal sets of operations give equal tables, in any order, with duplicates. A row is
-- 1. dropped when it is this store's own operation coming back (it can come back before it is
--    visible here, and would then hit the primary key);
-- 2. parked when no store can make use of it (`crdv.fault`);
-- 3. dropped when a present operation of its element covers it;
-- 4. kept otherwise, and what it covers goes. Being in the WAL it is forwarded, once.
-- A row is replicated if an apply worker brings it. The trigger also fires for every client whose session
-- role is `replica`, which tools and settings bring about; what such a one writes counts as its own write.
-- An operation of this store that it covers may not be visible here yet: then that is noted, and what was
-- noted goes with a later checkpoint (`drop_covered`).
--
-- Locks, all until the end of the transaction: the appliers' one, shared by every apply worker and
-- exclusive for a catch-up, then that of the row's origin, one at a time: two links may bring operations of
-- one origin at once, and each would decide without seeing what the other one is about to keep or delete.
-- Operations of different origins that cover each other come in order on every link. Their keys are in the table of
-- `operation.sql`, so that no other lock meets them. The lock comes first, then the
-- read: each statement of a volatile function sees what was committed before it.
--
-- Leaves out: local writers (`operation.sql`); they meet appliers on row locks only.

-- Whose changes this session applies: the site of the publisher, from the name of the subscription that
-- it serves as an apply worker; 0 if that is none of ours; null if it is no apply worker at all, but a client
-- whose session role is `replica`. Looked up once a session of an apply worker. (A superuser who sets `crdv.via` by hand
-- declares a session to be an apply worker; no tool does that by accident.)
create or replace function crdv.via() returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  via text;
begin
  select max(case when s.subname ~ '^starling_[0-9a-f]{16}_[0-9a-f]{16}$'
             then ('x' || substr(s.subname, 10, 16))::bit(64)::bigint else 0 end) into via
  from pg_stat_subscription s
  where s.pid = pg_backend_pid();
  if via is null then
    return null;
  end if;
  -- The rules above need a fresh snapshot after each lock, whatever the database's default is. It is too
  -- late for the transaction that has begun with another: deciding by an old snapshot, it would keep what
  -- is covered already.
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'links are applied at READ COMMITTED, not at %',
        upper(current_setting('transaction_isolation'))
      using errcode = 'object_not_in_prerequisite_state',
            hint = format('alter role %I in database %I set default_transaction_isolation to %L',
                          session_user, current_database(), 'read committed');
  end if;
  perform set_config('crdv.via', via, false);
  perform set_config('default_transaction_isolation', 'read committed', false);
  -- A time limit would end a big transaction, or one that waits for its turn, time after time.
  perform set_config(s.name, '0', false)
  from unnest(array['lock_timeout', 'transaction_timeout']) s (name)
  where current_setting(s.name, true) <> '0';
  -- Of a writer and a link that wait for each other, the writer is to give way: it tries again at once, a
  -- link has to be restarted. Whoever looks for the deadlock first gives way, so a link looks later.
  if has_parameter_privilege(session_user, 'deadlock_timeout', 'set') then
    perform set_config('deadlock_timeout', (s.setting::bigint * 2)::text, false)
    from pg_settings s where s.name = 'deadlock_timeout';
  end if;
  return via;
end $$;
comment on function crdv.via() is
  'site of the store whose changes this session applies, null if it applies none; internal';
revoke all on function crdv.via() from public;

-- The link is started again by its server, for as long as the store is closed: more slowly than that would be, so that
-- its log does not fill up.
create or replace function crdv.refuse_link() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_sleep(1);
  perform crdv.refuse('k', '$catchup', '', null);
  raise 'this store took no writes a moment ago' using errcode = 'read_only_sql_transaction';
end $$;
comment on function crdv.refuse_link() is 'raises an error after a while; internal';
revoke all on function crdv.refuse_link() from public;

-- Few statements and expressions, because each is prepared again in each transaction, and a cluster
-- pays for them at every store. For the same reason there is no `set search_path`, a tenth of the cost:
-- an apply worker's path is empty, which means pg_catalog. Whoever else may write in session role
-- `replica` is a superuser; casts and a qualified operator keep to pg_catalog under such a path, too.
create or replace function crdv.apply() returns trigger
language plpgsql as $$
declare
  brought_by bigint := coalesce(nullif(current_setting('crdv.via', true), '')::bigint, crdv.via());
  own_seq bigint;
  gone_site bigint;
  gone_met boolean;
  is_met boolean;
  is_new boolean;
begin
  -- A catch-up, and its replay at every further store, runs alone: it brings operations without
  -- those that they cover, which may be on their way over another link. Its marker is its first row.
  -- A store that is in doubt cannot tell its own operations from others': it takes nothing in, and the
  -- link tries again. What no link brought, a client wrote by the functions of this schema: a write is a write.
  -- In plain statements this is, in this order,
  --   if brought_by is null then return new; end if;
  --   if crdv.own_site() is null then perform crdv.refuse_link(); end if;
  --   if new.site = crdv.own_site() then return null; end if;
  --   if new.id = '$catchup' then perform (the appliers' lock, exclusive);
  --   else perform (the appliers' lock, shared); end if;
  --   perform (the origin's lock);
  -- As one expression it is prepared once in each transaction and not six times: as plain statements, a row
  -- that comes in a transaction of its own takes 5.6 % more instructions and 5 % more processor time (a
  -- map entry, on PostgreSQL 15). Taking a lock never gives null, so `is null` takes it and goes on.
  if (brought_by is null
      or (new.site = crdv.own_site()) is not false
      or case new.id::text when '$catchup' then pg_advisory_xact_lock(1398030674, 0) is null
         else pg_advisory_xact_lock_shared(1398030674, 0) is null end
      or pg_advisory_xact_lock(1398030675, hashint8(new.site)) is null) then
    if brought_by is null then
      return new;
    end if;
    if crdv.own_site() is null then
      perform crdv.refuse_link();
    end if;
    return null;
  end if;
  if new.type not in ('m', 'c', 's', 'l', 'r') then
    if crdv.turns_away(new, brought_by) then
      return null;
    end if;
    if new.type = 'i' then
      perform crdv.watch_rules();
    end if;
  end if;

  -- What covers the new operation covers the earlier ones of its site as well, so they would not both
  -- be present: when one of these was just replaced, there is nothing to look for.
  if new.ctx_sites operator(pg_catalog.=) '{}' then
    -- The most frequent case, an element that one site writes. The sum keeps the planner from the index on
    -- site and number, which it takes while the table has no statistics: that would read all of the site.
    delete from crdv.element e
    where e.type = new.type and e.id::text = new.id::text and e.key::text = new.key::text
      and e.site + 0 = new.site and e.seq < new.seq;
    if not found then
      if exists (
        select from crdv.element e
        where e.type = new.type and e.id::text = new.id::text and e.key::text = new.key::text
          and (e.site = new.site and e.seq >= new.seq
               or crdv.holds(e.ctx_sites, e.ctx_seqs, new.site, new.seq)))
      then
        -- What made it known may be visible and not yet on the disk. A transaction that writes nothing is
        -- confirmed to the publisher at once; one with an id is confirmed when its commit is on the disk,
        -- and with it all that was visible before. Without that a crash would undo what came over the
        -- one link, and the other would go on behind it.
        perform pg_current_xact_id();
        return null;
      end if;
    end if;
    new.via := brought_by;
    return new;
  end if;

  if (new.site <> all (new.ctx_sites) and array_upper(new.ctx_sites, 2) is null) is not true then
    perform crdv.turns_away(new, brought_by);
    return null;
  end if;
  -- An own row below the number that is named was replaced by one that is not visible yet. To delete
  -- it would be to wait for that commit, which deletes it anyway.
  own_seq := new.ctx_seqs[array_position(new.ctx_sites, crdv.own_site())];
  -- (What is returned names no `new`: from version 18 on that may be the deleted row's own.)
  for gone_site, gone_met in
    delete from crdv.element e
    where e.type = new.type and e.id::text = new.id::text and e.key::text = new.key::text
      and (e.site = new.site and e.seq < new.seq
           or crdv.holds(new.ctx_sites, new.ctx_seqs, e.site, e.seq)
              and (e.site <> crdv.own_site() or e.seq = own_seq))
    returning e.site,
      e.site = crdv.own_site() or crdv.holds(e.ctx_sites, e.ctx_seqs, crdv.own_site(), own_seq)
  loop
    is_new := is_new or gone_site = new.site;
    is_met := is_met or gone_met;
  end loop;
  if is_new is not true then
    if exists (
      select from crdv.element e
      where e.type = new.type and e.id::text = new.id::text and e.key::text = new.key::text
        and (e.site = new.site and e.seq >= new.seq
             or crdv.holds(e.ctx_sites, e.ctx_seqs, new.site, new.seq)))
    then
      perform pg_current_xact_id();
      return null;
    end if;
  end if;
  -- Our own operation that it covers is not visible yet, unless a later one is, or what covers it, too.
  if own_seq is not null and is_met is not true then
    insert into crdv.early_cover (type, id, key, site, seq)
    select new.type, new.id, new.key, crdv.own_site(), own_seq
    where not exists (
      select from crdv.element e
      where e.type = new.type and e.id::text = new.id::text and e.key::text = new.key::text
        and (e.site = crdv.own_site() and e.seq > own_seq
             or crdv.holds(e.ctx_sites, e.ctx_seqs, crdv.own_site(), own_seq)));
  end if;

  new.via := brought_by;
  return new;
end $$;
comment on function crdv.apply() is 'decides about a replicated operation; internal';
revoke all on function crdv.apply() from public;

create or replace trigger apply before insert on crdv.element
  for each row execute function crdv.apply();
alter table crdv.element enable replica trigger apply;
