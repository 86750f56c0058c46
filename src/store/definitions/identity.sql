-- Why: a store must know which operations are its own, cheaply: every write names its site, and
-- every replicated row is compared with it.
--
-- Guarantees: a store that is open to writers has the site of the record in `self` as the constant in
-- `siteid()`. A closed one has null there: every local write is refused, in whatever session. Appliers
-- compare with the constant in `own_site()`: it stays while the store is closed, so that links go on,
-- and is null as well for a store that may be an older copy of itself. Such a store takes nothing in
-- and gives no number out until it is known what it is.
--
-- Nobody waits for a lock to close a store, so nobody queues behind it. A statement that writes locks the
-- table before it makes sure that its plan is still right. So, once `close_to_writers` has committed,
-- a transaction either has that lock already, and `writers` shows it, or it gets the lock later, learns
-- then that `siteid()` was replaced, and makes its plan anew. When `writers` shows nobody, nobody will
-- write under the site any more.
--
-- Leaves out: how a site is derived, when an incarnation ends, and when a store is in doubt; the
-- controller decides that.

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

create or replace function crdv.open_to_writers() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  name text;
begin
  foreach name in array array['siteid', 'own_site'] loop
    execute format(
      'create or replace function crdv.%I() returns bigint '
      'language sql immutable parallel safe return %s::bigint', name, (select s.site from crdv.self s));
  end loop;
end $$;
comment on function crdv.open_to_writers() is 'takes local writes; internal';
revoke all on function crdv.open_to_writers() from public;

create or replace function crdv.become(
  site_ bigint, node_ text, incarnation_ bigint, cluster_ text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  insert into crdv.self as s (site, node, incarnation, cluster)
  values (site_, node_, incarnation_, cluster_)
  on conflict on constraint self_pkey do update
    set site = excluded.site, node = excluded.node,
        incarnation = excluded.incarnation, cluster = excluded.cluster;
  perform crdv.open_to_writers();
end $$;
comment on function crdv.become(bigint, text, bigint, text) is 'gives this store an identity';
revoke all on function crdv.become(bigint, text, bigint, text) from public;

-- The store goes on as another site. What its former site wrote stays, as the operations of a site like
-- any other: it comes back from whoever has more of it, and goes to whoever has less.
--
-- `is_doubtful`: the store's vector may claim what the store does not have. In an older copy of a store,
-- an old subscription goes on behind the gap, and brings a checkpoint that vouches for the gap. Without
-- a vector the next catch-up brings all that the cluster has, and drops what is known.
create or replace function crdv.renew(
  site_ bigint, node_ text, incarnation_ bigint, cluster_ text, is_doubtful boolean
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- The caller has closed the store and waited. What a late one writes under the former site could bear a
  -- number that somebody else has given out.
  if exists (select from crdv.writers()) then
    raise 'transactions that wrote under the former site have not ended' using errcode = 'object_in_use';
  end if;
  if is_doubtful then
    delete from crdv.element e where e.type = 'v';
  end if;
  perform crdv.become(site_, node_, incarnation_, cluster_);
end $$;
comment on function crdv.renew(bigint, text, bigint, text, boolean) is
  'gives this store another identity; internal';
revoke all on function crdv.renew(bigint, text, bigint, text, boolean) from public;

-- Fixed width, so that the order of the text is the order of the (positive) numbers.
create or replace function crdv.site_hex(site_ bigint) returns text
language sql immutable parallel safe
return lpad(to_hex(site_), 16, '0');
comment on function crdv.site_hex(bigint) is 'a site as 16 hexadecimal digits';
