-- Why: operations are made, covered and brought in by functions. A row that is deleted by hand is missing for
-- good, because checkpoints say that it is here; one that is changed or inserted by hand makes stores differ.
--
-- Guarantees: `update`, `delete` and `truncate` from anywhere but the functions of this schema are refused, to superusers as
-- well; so is an `insert` or a `copy` that does not say by which link the row came (`via`), which nobody does who does not
-- mean it. Dumps, which say it, can be restored; maintenance (`vacuum full`, `cluster`, `reindex`) is not concerned.
--
-- How: nobody who writes or applies may pay for it. A trigger of statements fires for the table that the statement
-- names; functions that are called often delete from `element_unguarded`, of which `element` is the only partition, others
-- are told by their search path, which nobody else has. For an insert that way would cost 4 % (and a trigger, even one that
-- does not fire, as much), so there the default of a column refuses, which is not looked at when the column is given.
--
-- Leaves out: a delete in session role `replica`, where a trigger would cost every apply worker 5 to 8 %; and who takes
-- the triggers away first, names the other table, or sets `crdv.via` to declare a session an apply worker.

create or replace function crdv.refuse_by_hand(what text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if current_setting('crdv.via', true) ~ '^[0-9]+$' then
    return;
  end if;
  raise '% of crdv.element is refused: only the functions of the schema crdv write operations', what
    using errcode = 'feature_not_supported',
    detail = 'Other stores rely on every row: one that is changed by hand makes them differ for good.',
    hint = 'To remove a value, use its function: mapRmv, setRmv, listRmv, reset_data. To restore a dump, '
           'restore all of it into an empty database.';
end $$;
comment on function crdv.refuse_by_hand(text) is 'raises an error outside of apply workers; internal';
revoke all on function crdv.refuse_by_hand(text) from public;

create or replace function crdv.guard() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.refuse_by_hand(lower(tg_op));
  return null;
end $$;
comment on function crdv.guard() is 'refuses what is done to operations by hand; internal';
revoke all on function crdv.guard() from public;

create or replace function crdv.no_via() returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.refuse_by_hand('insert');
  return 0;
end $$;
comment on function crdv.no_via() is 'refuses an insert of operations by hand; internal';
revoke all on function crdv.no_via() from public;

create or replace trigger guard before update or truncate on crdv.element
  for each statement execute function crdv.guard();
create or replace trigger guard_delete before delete on crdv.element
  for each statement
  when (pg_trigger_depth() = 0 and current_setting('search_path') <> 'pg_catalog, pg_temp')
  execute function crdv.guard();
alter table crdv.element enable always trigger guard;

-- What was here before it was judged: once for each version of these functions. It is parked as if it came in
-- now, because no other store of this version keeps it.
create or replace function crdv.park_unfit() returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  e crdv.element;
  parked bigint := 0;
begin
  for e in
    select u.* from crdv.element u
    where crdv.is_usual(u.type, u.site, u.ctx_sites) is not true
      and crdv.fault(u.type, u.id, u.key, u.site, u.seq, u.op, u.data, u.ctx_sites, u.ctx_seqs) is not null
  loop
    parked := parked + crdv.turns_away(e, 0)::integer;
    delete from crdv.element_unguarded d
    where d.type = e.type and d.id = e.id and d.key = e.key and d.site = e.site and d.seq = e.seq;
  end loop;
  return parked;
end $$;
comment on function crdv.park_unfit() is 'parks operations that no store can make use of; internal';
revoke all on function crdv.park_unfit() from public;
select crdv.park_unfit();
