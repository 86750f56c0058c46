-- Why: a store must know which operations are its own, cheaply: every write names its site, and
-- every replicated row is compared with it. And a copy of a store, however it was made, must not write before
-- its controller has looked into it, or numbers would be given out twice.
--
-- Guarantees: in a store that is open to writers `siteid()` is the site of the record in `self`, in one run of one
-- server, in one database, with one table. Anywhere else, and in a store that was closed, it is null: every local write
-- is refused, in whatever session. So a restarted server, a promoted standby, a restored dump, backup or image and a
-- copied database are closed until they are opened.
--
-- Appliers compare with `own_site()`, which is the same, but stays while a store is closed to writers only, so that
-- links go on. Where it is null the store may be an older copy of itself: it takes nothing in and gives no number
-- out until it is known what it is.
--
-- How: of one session neither the run of its server nor its database can ever change, so both functions may call
-- themselves immutable: they are looked up when a statement is planned, once a session, and cost a write nothing.
-- Replacing one invalidates every plan that holds the old one.
--
-- Nobody waits for a lock to close a store, so nobody queues behind it. A statement that writes locks the
-- table before it makes sure that its plan is still right. So, once `close_to_writers` has committed,
-- a transaction either has that lock already, and `writers` shows it, or it gets the lock later, learns
-- then that `siteid()` was replaced, and makes its plan anew. When `writers` shows nobody, nobody will
-- write under the site any more.
--
-- Leaves out: how a site is derived, when an incarnation ends, and when a store is in doubt; the
-- controller decides that.

-- The names are resolved when the function is made, and again when a dump of it is restored: a table that was made
-- anew has another number. The path of a relation's file holds the database's, whatever its tablespace.
create or replace function crdv.here() returns text
language sql stable parallel safe
return extract(epoch from pg_postmaster_start_time())::text
  || '/' || substring(pg_relation_filepath('crdv.seq'::regclass) from '([0-9]+)/[0-9]+$')
  || '/' || 'crdv.element'::regclass::oid::text;
comment on function crdv.here() is 'this run of the server, this database and this table; internal';
grant execute on function crdv.here() to public;

create or replace function crdv.close_to_writers() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute 'create or replace function crdv.siteid() returns bigint '
          'language sql immutable parallel safe return null::bigint';
end $$;
comment on function crdv.close_to_writers() is
  'refuses local writes that begin after its transaction, until crdv.open_to_writers; internal';
revoke all on function crdv.close_to_writers() from public;

create or replace function crdv.close_in_doubt() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.close_to_writers();
  execute 'create or replace function crdv.own_site() returns bigint '
          'language sql immutable parallel safe return null::bigint';
end $$;
comment on function crdv.close_in_doubt() is
  'refuses local writes and what links bring, until crdv.open_to_writers; internal';
revoke all on function crdv.close_in_doubt() from public;

-- The mode is that of inserts and deletes. A transaction that has locked the table in a stronger one takes
-- this one too before it writes. A prepared transaction keeps the virtual one that it had until the server is
-- started again, so it is found by its own number. Apply workers bring what other sites wrote.
create or replace function crdv.writers()
returns table (
  pid integer, gid text, role text, application text, since timestamptz, state text
)
language sql volatile
begin atomic
  select distinct l.pid, p.gid, coalesce(a.usename, p.owner)::text, a.application_name,
         coalesce(a.xact_start, p.prepared), a.state
  from pg_catalog.pg_locks l
  left join pg_catalog.pg_stat_activity a on a.pid = l.pid
  left join pg_catalog.pg_locks x
    on l.pid is null and x.pid is null and x.virtualtransaction = l.virtualtransaction
       and x.locktype = 'transactionid'
  left join pg_catalog.pg_prepared_xacts p on p.transaction = x.transactionid
  where l.locktype = 'relation' and l.relation = 'crdv.element'::regclass and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
    and l.mode = 'RowExclusiveLock' and l.pid is distinct from pg_backend_pid()
    and not exists (
      select from pg_catalog.pg_stat_subscription s
      where s.pid = l.pid and s.subname ~ '^starling_[0-9a-f]{16}_[0-9a-f]{16}$');
end;
comment on function crdv.writers() is
  'transactions that have written to this store and have not ended: a session or a prepared one; internal';
revoke all on function crdv.writers() from public;

-- The first time in a run it also notes up to which number the site's operations are those of all copies of the store.
-- Later ones are this copy's alone, and nobody has got any, because all links have been taken down by then. (The last
-- number given out would not do: a crash skips some, which the original may have given out.)
create or replace function crdv.open_to_writers() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  place constant text := crdv.here();
  last_number bigint;
  name text;
begin
  lock table crdv.self in share row exclusive mode;
  if exists (select from crdv.self s where s.opened_at is distinct from place) then
    select coalesce(max(e.seq), 0) into last_number from crdv.element e
    where e.site = (select s.site from crdv.self s);
    update crdv.self set opened_at = place, trusted = last_number, has_published = false;
    delete from crdv.counter_base;
    execute format(
      'create or replace function crdv.trusted() returns bigint '
      'language sql immutable parallel safe return %s::bigint', last_number);
  end if;
  foreach name in array array['siteid', 'own_site'] loop
    execute format(
      'create or replace function crdv.%I() returns bigint language sql immutable parallel safe '
      'return case when crdv.here() = %L then %s::bigint end',
      name, place, (select s.site from crdv.self s));
  end loop;
end $$;
comment on function crdv.open_to_writers() is 'takes local writes in this run of the server; internal';
revoke all on function crdv.open_to_writers() from public;

create or replace function crdv.become(
  site_ bigint, node_ text, incarnation_ bigint, cluster_ text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  insert into crdv.self as s (site, node, incarnation, cluster)
  values (site_, node_, incarnation_, cluster_)
  on conflict on constraint self_pkey do update
    set site = excluded.site, node = excluded.node, opened_at = null,
        incarnation = excluded.incarnation, cluster = excluded.cluster;
  perform crdv.open_to_writers();
end $$;
comment on function crdv.become(bigint, text, bigint, text) is 'gives this store an identity';
revoke all on function crdv.become(bigint, text, bigint, text) from public;

-- The store goes on as another site. What its former site wrote stays, as the operations of a site like
-- any other: it comes back from whoever has more of it, and goes to whoever has less.
--
-- `doubt_`:
--   none    the store is what it was;
--   behind  its vector may claim what the store does not have. In an older copy of a store,
--           an old subscription goes on behind the gap, and brings a checkpoint that vouches for the gap. Without
--           a vector the next catch-up brings all that the cluster has, and drops what is known. What this copy has
--           written under the former site is written anew, see `write_anew`;
--   twin    the same, and another copy of the store does the same.
-- `trusted_`: numbers up to this one are known to be the former site's alone, if the store does not know better.
create or replace function crdv.renew(
  site_ bigint, node_ text, incarnation_ bigint, cluster_ text, doubt_ text, trusted_ bigint
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  former record;
begin
  -- The caller has closed the store and waited. What a late one writes under the former site could bear a
  -- number that somebody else has given out.
  if exists (select from crdv.writers()) then
    raise 'transactions that wrote under the former site have not ended' using errcode = 'object_in_use';
  end if;
  if doubt_ in ('behind', 'twin') then
    delete from crdv.element e where e.type = 'v';
    -- A copy that was never opened has written nothing: all that it has is the original's.
    select s.site, greatest(s.trusted, trusted_) as trusted, s.has_published into former
    from crdv.self s where s.opened_at = crdv.here();
    if found then
      perform crdv.write_anew(former.site, site_, former.trusted, former.has_published, doubt_ = 'twin');
    end if;
  elsif doubt_ <> 'none' then
    raise 'no such doubt: %', doubt_ using errcode = 'invalid_parameter_value';
  end if;
  perform crdv.become(site_, node_, incarnation_, cluster_);
end $$;
comment on function crdv.renew(bigint, text, bigint, text, text, bigint) is
  'gives this store another identity; internal';
revoke all on function crdv.renew(bigint, text, bigint, text, text, bigint) from public;

-- Writes what this copy has written under a doubtful site, since it was opened, as operations of the new one, because
-- another copy may have given the same numbers to other operations: a vector that holds these vouches
-- for those.
--
-- Where the old ones may have got to others (`spread_`), the new ones cover them. Otherwise they would stay beside the
-- new ones, at some stores and not at others. What that might cover wrongly is an earlier number of another
-- copy on the same element, which the old one replaces wherever the two meet: one operation per site and element. And
-- a twin writes its own anew as well. Where nobody can have got them they are as if they had never been:
-- what another copy wrote meanwhile stays beside them, and they cover what the copies had in common.
--
-- A share adds up what was counted before, so only what was added goes to the new site's, and the former site's
-- is put back, as its last word, to what it was. The same is done with the checkpoint. Of twins both put back the same
-- shares: the word of the one that was opened first has to last, whose base is the lower one; so there a number does
-- not follow the others, but is far above all of them and the higher, the earlier it was opened.
create or replace function crdv.write_anew(
  former_ bigint, site_ bigint, trusted_ bigint, spread_ boolean, twin_ boolean
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  far constant bigint := 4611686018427387904;
  share record;
  base record;
  word bigint := far + ((1099511627776 - trusted_) << 20);
begin
  -- What stands beside what covers it for the moment is not said again.
  delete from crdv.element e using crdv.early_cover c
  where e.type = c.type and e.id = c.id and e.key = c.key and e.site = c.site and e.seq <= c.seq;

  -- It may have been set back.
  perform setval('crdv.seq', greatest(s.last_value, m.seq))
  from crdv.seq s, (select max(e.seq) from crdv.element e where e.site = former_ and e.seq < far) m (seq);

  for share in
    delete from crdv.element e
    where e.site = former_ and e.seq > trusted_ and e.type = 'c'
    returning e.id, e.data::bigint as data, e.hlc
  loop
    select b.share, b.seq into base from crdv.counter_base b where b.id = share.id;
    if spread_ or base.seq is not null then
      word := case when twin_ then word + 1 else nextval('crdv.seq') end;
      insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
      values (0, share.id, former_, former_, case when spread_ then word else base.seq end, 'c', 'a',
              coalesce(base.share, 0), '{}', '{}', share.hlc);
    end if;
    insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
    values (0, share.id, site_, site_, nextval('crdv.seq'), 'c', 'a', share.data - coalesce(base.share, 0),
            '{}', '{}', share.hlc);
  end loop;
  if spread_ then
    word := case when twin_ then word + 1 else nextval('crdv.seq') end;
    insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
    values (0, '$site', crdv.site_hex(former_), former_, word, 'v', 'a', trusted_,
            '{}', '{}', (date_part('epoch', clock_timestamp()) * 1000)::bigint << 16);
  end if;

  with gone as (
    delete from crdv.element e
    where e.site = former_ and e.seq > trusted_ and e.type in ('r', 's', 'm', 'l', 'i')
    returning e.*
  )
  insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
  select 0, g.id, g.key, site_, nextval('crdv.seq'), g.type, g.op, g.data, c.sites, c.seqs, g.hlc
  from gone g
  cross join lateral (
    select coalesce(array_agg(d.site order by d.site), '{}') as sites,
           coalesce(array_agg(d.seq order by d.site), '{}') as seqs
    from (
      select u.site, u.seq from unnest(g.ctx_sites, g.ctx_seqs) u (site, seq)
      union all
      select g.site, case when spread_ then g.seq else trusted_ end where spread_ or trusted_ > 0
    ) d
  ) c
  order by g.seq;
end $$;
comment on function crdv.write_anew(bigint, bigint, bigint, boolean, boolean) is
  'writes operations of a doubtful site as those of another; internal';
revoke all on function crdv.write_anew(bigint, bigint, bigint, boolean, boolean) from public;

-- Fixed width, so that the order of the text is the order of the (positive) numbers.
create or replace function crdv.site_hex(site_ bigint) returns text
language sql immutable parallel safe
return lpad(to_hex(site_), 16, '0');
comment on function crdv.site_hex(bigint) is 'a site as 16 hexadecimal digits';
