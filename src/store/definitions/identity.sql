-- Why: a store must know which operations are its own, cheaply: every write names its site, and
-- every replicated row is compared with it.
--
-- Guarantees: a store that is open to writers has the site of the record in `self` as the constant in
-- `siteid()`. A closed one has null there: every local write is refused, in whatever session, and links
-- may go on. A store that may be an older copy of itself is closed until that is known, so that it never
-- gives out a number a second time.
--
-- Leaves out: how a site is derived, when an incarnation ends, and when a store is in doubt; the
-- controller decides that.

create or replace function crdv.close_to_writers() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- Behind those that write now: what they have begun belongs to what is to be looked into.
  lock table crdv.element in share row exclusive mode;
  execute 'create or replace function crdv.siteid() returns bigint '
          'language sql immutable parallel safe return null::bigint';
end $$;
comment on function crdv.close_to_writers() is
  'refuses local writes until crdv.open_to_writers; internal';
revoke all on function crdv.close_to_writers() from public;

create or replace function crdv.open_to_writers() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format(
    'create or replace function crdv.siteid() returns bigint '
    'language sql immutable parallel safe return %s::bigint', (select s.site from crdv.self s));
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
  lock table crdv.element in share row exclusive mode;
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
