-- Why: a new link starts from what the subscriber lacks, whatever links it had before.
--
-- Guarantees: `missing` names, for a vector of checkpoints, all present operations that the vector
-- does not contain, without those that stand beside what covers them for the moment, in time proportional
-- to their number; `apply_catch_up` leaves this store with
-- all of them, or with operations that cover them, by the same decision as the trigger `apply`, in
-- one transaction, and excludes every other applier meanwhile, here and wherever the transaction is
-- replayed (the marker tells). A catch-up that brings nothing new writes nothing.
--
-- Leaves out: how the rows travel (a binary COPY into the table that `begin_catch_up` makes).

-- A plain SQL body that the planner can inline, so that the rows stream and are not collected first.
-- The recursion is a loose index scan, which PostgreSQL does not do by itself: it hops over the index from
-- site to site. (`known_site` has the same. As a view for both it would need a grant of its own to the roles
-- of links, who may read no more than they do here.) The planner cannot know how little lies beyond
-- a checkpoint, and would read the whole table; an upper bound makes it expect a small range, and the
-- subquery that it may not flatten makes it read that range of the index, site by site.
create or replace function crdv.missing(sites bigint[], seqs bigint[])
returns table (
  id varchar, key varchar, site bigint, seq bigint, type "char", op "char", data varchar,
  ctx_sites bigint[], ctx_seqs bigint[], hlc bigint
)
language sql stable
begin atomic
  with recursive origin (site) as (
    select min(e.site) from crdv.element e
    union all
    select (select min(e.site) from crdv.element e where e.site > o.site)
    from origin o where o.site is not null
  )
  select m.*
  from origin o
  left join unnest(sites, seqs) as v (site, upto) on v.site = o.site
  cross join lateral (
    select e.id, e.key, e.site, e.seq, e.type, e.op, e.data, e.ctx_sites, e.ctx_seqs, e.hlc
    from crdv.element e
    where e.site = o.site and e.seq > coalesce(v.upto, 0) and e.seq < 9223372036854775807
    order by e.seq offset 0
  ) m
  where not exists (
    select from crdv.early_cover c
    where c.type = m.type and c.id = m.id and c.key = m.key and c.site = m.site and c.seq >= m.seq)
  order by m.site, m.seq;
end;
comment on function crdv.missing(bigint[], bigint[]) is
  'operations that a store with these checkpoints (site, number) may lack, by site and number';
revoke all on function crdv.missing(bigint[], bigint[]) from public;

create or replace function crdv.begin_catch_up() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  create temporary table catch_up (
    id varchar collate "C" not null, key varchar collate "C" not null,
    site bigint not null, seq bigint not null, type "char" not null, op "char" not null, data varchar,
    ctx_sites bigint[] not null, ctx_seqs bigint[] not null, hlc bigint not null
  ) on commit drop;
end $$;
comment on function crdv.begin_catch_up() is
  'makes the temporary table catch_up, with the columns of crdv.missing';
revoke all on function crdv.begin_catch_up() from public;

-- The rows of one catch-up come from one snapshot of one publisher, so none of them covers another;
-- that is why deciding about all of them at once equals deciding one by one.
create or replace function crdv.apply_catch_up(from_site bigint) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  kept bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise 'a catch-up needs a READ COMMITTED transaction' using errcode = 'invalid_transaction_state';
  end if;
  perform pg_advisory_xact_lock(1398030674, 0);
  perform crdv.park(to_jsonb(c), f.reason, from_site)
  from pg_temp.catch_up c,
       crdv.fault(c.type, c.id, c.key, c.site, c.seq, c.op, c.data, c.ctx_sites, c.ctx_seqs) f (reason)
  where crdv.is_usual(c.type, c.site, c.ctx_sites) is not true
    and f.reason is not null;
  if found then
    delete from pg_temp.catch_up c
    where crdv.fault(c.type, c.id, c.key, c.site, c.seq, c.op, c.data, c.ctx_sites, c.ctx_seqs) is not null;
  end if;
  -- Somebody has seen a number of ours that we never gave out: we are an older copy of ourselves.
  if exists (
    select from pg_temp.catch_up c
    where c.ctx_seqs[array_position(c.ctx_sites, crdv.siteid())] > (select s.last_value from crdv.seq s))
  then
    raise 'operations of this site are known that this store never made' using errcode = 'SL001';
  end if;
  delete from pg_temp.catch_up c
  where c.site = crdv.siteid() or exists (
    select from crdv.element e
    where e.type = c.type and e.id = c.id and e.key = c.key
      and (e.site = c.site and e.seq >= c.seq
           or crdv.holds(e.ctx_sites, e.ctx_seqs, c.site, c.seq)));
  if not exists (select from pg_temp.catch_up) then
    return 0;
  end if;

  perform crdv.write('k', '$catchup', crdv.site_hex(crdv.siteid()), 'a', null);
  -- As in the trigger: what is covered and not visible yet is noted, and what it replaces is left to it.
  insert into crdv.early_cover (type, id, key, site, seq)
  select c.type, c.id, c.key, crdv.siteid(), c.ctx_seqs[array_position(c.ctx_sites, crdv.siteid())]
  from pg_temp.catch_up c
  where crdv.siteid() = any (c.ctx_sites) and not exists (
    select from crdv.element e
    where e.type = c.type and e.id = c.id and e.key = c.key
      and case e.site when crdv.siteid() then e.seq
          else e.ctx_seqs[array_position(e.ctx_sites, crdv.siteid())] end
          >= c.ctx_seqs[array_position(c.ctx_sites, crdv.siteid())]);
  delete from crdv.element e using pg_temp.catch_up c
  where e.type = c.type and e.id = c.id and e.key = c.key
    and (e.site = c.site
         or crdv.holds(c.ctx_sites, c.ctx_seqs, e.site, e.seq)
            and (e.site <> crdv.siteid()
                 or e.seq = c.ctx_seqs[array_position(c.ctx_sites, crdv.siteid())]));
  insert into crdv.element (id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc, via)
  select c.id, c.key, c.site, c.seq, c.type, c.op, c.data, c.ctx_sites, c.ctx_seqs, c.hlc, from_site
  from pg_temp.catch_up c
  order by c.site, c.seq;
  get diagnostics kept = row_count;
  if exists (select from pg_temp.catch_up c where c.type = 'i') then
    perform crdv.watch_rules();
  end if;
  return kept;
end $$;
comment on function crdv.apply_catch_up(bigint) is
  'applies the rows of the temporary table catch_up, which came from the store of this site';
revoke all on function crdv.apply_catch_up(bigint) from public;
