-- Why: numbers are taken before commit, so commits are out of order and aborts leave gaps. A
-- checkpoint is a site's statement "all my operations up to N are committed before this one".
--
-- Guarantees: whoever has a checkpoint N of a site has that site's operations up to N, or ones that
-- cover them, because links keep the order of commits. No lock, nobody waits, and a store where
-- nothing is written writes no checkpoint.
--
-- How: read the last number, then draw a transaction id. Every writer draws its id before its
-- numbers, so those that took a number up to N have lower ids, and are over when the oldest running
-- transaction has reached that id. (The upper bound of a snapshot would not do: it is the successor
-- of the last id that *ended*, and transactions beyond it may be running.)
--
-- A checkpoint also says that those operations are visible at home. That is when those go that were covered
-- before they were visible.
--
-- Leaves out: when to make one; the controller decides.

-- A checkpoint that is itself the next number vouches for itself as well, so that a level peer lacks
-- nothing.
create or replace view crdv.vector as
select e.site, case e.seq when e.data::bigint + 1 then e.seq else e.data::bigint end as upto
from crdv.element e
where e.type = 'v' and e.id = '$site'
  and case when e.data ~ '^[0-9]{1,18}$' then e.key = lpad(to_hex(e.site), 16, '0') else false end;
comment on view crdv.vector is 'the newest checkpoint of each site that this store has';
revoke all on crdv.vector from public;

-- Whether the sequence still gives out each number once, and in order, to whoever asks first. Sessions would
-- keep numbers of a sequence with a cache, and use them after a checkpoint that vouches for them; but whenever
-- the sequence is altered, they let go of what they kept. So it is altered back, and a checkpoint made later.
--
-- Triggers are put back as well: tools that load data switch all of them off and on again, and leave them in
-- a state in which appliers do not fire them.
create or replace function crdv.mend() returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  altered text;
  is_logged boolean;
begin
  select c.relpersistence = 'p' into is_logged from pg_class c where c.oid = 'crdv.seq'::regclass;
  select string_agg(f.what, ' and ') into altered from (
    select 'the sequence crdv.seq' from pg_sequence s
    where s.seqrelid = 'crdv.seq'::regclass
      and (s.seqtypid <> 'bigint'::regtype or s.seqincrement <> 1 or s.seqcache <> 1 or s.seqcycle
           or s.seqmax <> 9223372036854775807 or not is_logged)
    union all
    select 'the trigger ' || g.tgname from pg_trigger g
    where g.tgrelid = 'crdv.element'::regclass
      and g.tgenabled <> case g.tgname when 'apply' then 'R' when 'guard' then 'A' when 'guard_delete' then 'O'
                         else g.tgenabled end
  ) f (what);
  if altered is null then
    return true;
  end if;
  -- It waits for all transactions that have drawn a number, and new ones would wait behind it.
  perform set_config('lock_timeout', '200ms', true);
  begin
    alter sequence crdv.seq as bigint increment 1 no maxvalue cache 1 no cycle;
    if not is_logged then
      alter sequence crdv.seq set logged;
    end if;
    alter table crdv.element enable replica trigger apply, enable always trigger guard,
      enable trigger guard_delete;
    raise warning '% of the store had been altered: as it was again', altered
      using detail = 'No checkpoint was made meanwhile. What came over links meanwhile was not judged if it was '
                     'the trigger apply: compare this store with another.';
  exception when lock_not_available then
    raise warning '% of the store was altered, and cannot be mended yet', altered
      using detail = 'A transaction that writes is running. No checkpoint is made meanwhile.';
  end;
  return false;
end $$;
comment on function crdv.mend() is
  'whether what checkpoints and links rest on is in place; mends it if not; internal';
revoke all on function crdv.mend() from public;

create or replace function crdv.checkpoint_begin(out upto bigint, out horizon bigint)
returns setof record
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  given bigint;
begin
  -- In this order: what is visible has been given out before, and what the sequence gave out to be kept, it gave
  -- out before it is seen how it was altered.
  select max(e.seq) into given from crdv.element e where e.site = crdv.siteid();
  select s.last_value into upto from crdv.seq s where s.is_called or given is not null;
  if upto < given then
    raise 'the sequence crdv.seq was set back to %: this store has given out numbers up to %', upto, given
      using errcode = 'SL001';
  end if;
  if not crdv.mend() then
    return;
  end if;
  if exists (select from pg_class c where c.oid = 'crdv.element'::regclass and c.relpersistence <> 'p') then
    raise 'crdv.element is not logged: links carry nothing, and a crash would empty it'
      using errcode = 'object_not_in_prerequisite_state', hint = 'alter table crdv.element set logged';
  end if;
  if upto > coalesce((select v.upto from crdv.vector v where v.site = crdv.siteid()), 0) then
    horizon := pg_current_xact_id()::text;
    return next;
  end if;
end $$;
comment on function crdv.checkpoint_begin() is
  'what crdv.checkpoint_finish needs; no row when nothing was written since the last checkpoint';
revoke all on function crdv.checkpoint_begin() from public;

-- To be called in a later transaction than its `checkpoint_begin`.
create or replace function crdv.checkpoint_finish(upto_ bigint, horizon_ bigint) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if pg_snapshot_xmin(pg_current_snapshot())::text::bigint < horizon_ then
    return false;
  end if;
  perform crdv.write('v', '$site', crdv.site_hex(crdv.siteid()), 'a', upto_::text);
  return true;
end $$;
comment on function crdv.checkpoint_finish(bigint, bigint) is
  'writes the checkpoint, or returns false while a transaction that it must wait for is running';
revoke all on function crdv.checkpoint_finish(bigint, bigint) from public;

-- Deletes what `early_cover` notes, and the entries: of this site what a checkpoint vouches for, so that
-- it is visible if it exists; of former sites everything, because `renew` refuses while one of
-- their writers runs. Waits
-- for nobody: what somebody holds is for the next round, and so is what is more than a round should take.
create or replace function crdv.drop_covered() returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  own_upto bigint;
begin
  if not exists (select from crdv.early_cover) then
    return false;
  end if;
  select v.upto into own_upto from crdv.vector v where v.site = crdv.own_site();
  delete from crdv.element e where e.ctid = any (array(
    select o.ctid from crdv.early_cover c join crdv.element o using (type, id, key, site)
    where o.seq <= c.seq and (c.site <> crdv.own_site() or c.seq <= own_upto)
    limit 5000 for update of o skip locked));
  delete from crdv.early_cover e where e.ctid = any (array(
    select c.ctid from crdv.early_cover c
    where (c.site <> crdv.own_site() or c.seq <= own_upto) and not exists (
      select from crdv.element o
      where o.type = c.type and o.id = c.id and o.key = c.key and o.site = c.site and o.seq <= c.seq)
    limit 5000 for update skip locked));
  return true;
end $$;
comment on function crdv.drop_covered() is
  'deletes what was covered before it was visible; whether there was anything of that kind';
revoke all on function crdv.drop_covered() from public;

-- A site that is given up vouches once more for all that it has written. Its store is closed, and everybody
-- who wrote has ended, so there is nothing to wait for.
create or replace function crdv.checkpoint_last() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  me constant bigint := crdv.own_site();
  last bigint;
  clock bigint;
begin
  if crdv.siteid() is not null then
    raise 'the last checkpoint comes when the store takes no more writes' using errcode = 'object_in_use';
  end if;
  select s.last_value into last from crdv.seq s where s.is_called;
  -- A store in doubt vouches for nothing.
  if me is not null and last > coalesce((select v.upto from crdv.vector v where v.site = me), 0) then
    perform pg_current_xact_id();
    delete from crdv.element e
    where e.type = 'v' and e.id = '$site' and e.key = crdv.site_hex(me) and e.site = me
    returning e.hlc into clock;
    insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
    values (0, '$site', crdv.site_hex(me), me, nextval('crdv.seq'), 'v', 'a', last::text, '{}', '{}',
            greatest((date_part('epoch', clock_timestamp()) * 1000)::bigint << 16, clock + 1));
  end if;
end $$;
comment on function crdv.checkpoint_last() is
  'writes the checkpoint of a store that is closed to writers and settled; internal';
revoke all on function crdv.checkpoint_last() from public;
