-- Why: a counter that every store changes at its own speed.
--
-- Semantics: each site has a share, the sum of its own increments, that only it writes; the counter
-- is the sum of the shares. Nothing is ever concurrent on a share, so nothing is lost. A share that is no number, which
-- no function writes, counts for nothing.
--
-- Leaves out: resetting; a counter that starts again is a new id.

create or replace view crdv.counter as
select e.id, sum(case when e.data ~ '^-?[0-9]{1,19}$' then e.data::numeric end) as data
from crdv.element e
where e.type = 'c'
group by e.id;
comment on view crdv.counter is 'counters: id, data (numeric, so that no sum is out of its range)';
grant select on crdv.counter to public;

create or replace function crdv.counterget(id text) returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
begin
  return (
    select sum(case when e.data ~ '^-?[0-9]{1,19}$' then e.data::numeric end)
    from crdv.element e where e.type = 'c' and e.id = id_);
end $$;
comment on function crdv.counterget(text) is 'value of a counter, null if it does not exist';

-- Only this site's share is touched, and no other operation ever covers it, so the share needs
-- neither the context nor the care about numbers that `crdv.write` takes. As there, the transaction id
-- comes first. The sum keeps the planner from the index of all that the site wrote.
create or replace function crdv.counterinc(id text, delta bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id_ alias for id;
  delta_ alias for delta;
  share bigint;
  clock bigint;
  number bigint;
begin
  if pg_current_xact_id() is null or crdv.siteid() is null or id_ is null or delta_ is null
     or starts_with(id_, '$') or octet_length(id_) > 1900 then
    perform crdv.refuse('c', id_, crdv.siteid()::text, null);
    if delta_ is null then
      raise 'a counter cannot change by null' using errcode = 'null_value_not_allowed';
    end if;
  end if;
  loop
    delete from crdv.element_unguarded e
    where e.type = 'c' and e.id = id_ and e.key = crdv.siteid()::text and e.site + 0 = crdv.siteid()
    returning e.data::bigint, e.hlc, e.seq into share, clock, number;
    if share > 0 and delta_ > 9223372036854775807 - share
       or share < 0 and delta_ < -9223372036854775807 - 1 - share then
      raise 'counter % would overflow: this site''s share is %, the change %', id_, share, delta_
        using errcode = 'numeric_value_out_of_range';
    end if;
    -- We hold the row that we deleted, so nobody else can have written.
    if share is not null then
      -- The first change since the store was opened: see `write_anew`.
      if number <= crdv.trusted() then
        insert into crdv.counter_base (id, share, seq) values (id_, share, number) on conflict do nothing;
      end if;
      insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
      values (0, id_, crdv.siteid(), crdv.writing_site(), nextval('crdv.seq'), 'c', 'a', share + delta_, '{}', '{}',
              greatest((date_part('epoch', clock_timestamp()) * 1000)::bigint << 16, crdv.after(clock)));
      exit;
    end if;
    insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
    values (0, id_, crdv.siteid(), crdv.writing_site(), nextval('crdv.seq'), 'c', 'a', delta_, '{}', '{}',
            (date_part('epoch', clock_timestamp()) * 1000)::bigint << 16)
    on conflict do nothing;
    exit when found;
  end loop;

  if crdv.has_rules() then
    perform crdv.keep_sources(id_);
  end if;
end $$;
comment on function crdv.counterinc(text, bigint) is 'adds to a counter';

create or replace function crdv.counterdec(id text, delta bigint) returns void
language sql volatile
return crdv.counterinc(id, - delta);
comment on function crdv.counterdec(text, bigint) is 'subtracts from a counter';
