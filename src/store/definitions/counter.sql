-- Why: a counter that every store changes at its own speed.
--
-- Semantics: each site has a share, the sum of its own increments, that only it writes; the counter
-- is the sum of the shares. Nothing is ever concurrent on a share, so nothing is lost.
--
-- Leaves out: resetting; a counter that starts again is a new id.

create or replace view crdv.counter as
select e.id, sum(e.data::bigint) as data
from crdv.element e
where e.type = 'c'
group by e.id;
comment on view crdv.counter is 'counters: id, data (numeric, so that no sum is out of its range)';
grant select on crdv.counter to public;

create or replace function crdv.counterget(id_ varchar) returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  return (select sum(e.data::bigint) from crdv.element e where e.type = 'c' and e.id = id_);
end $$;
comment on function crdv.counterget(varchar) is 'value of a counter, null if it does not exist';

-- Only this site's share is touched, and no other operation ever covers it, so the share needs
-- neither the context nor the care about numbers that `crdv.write` takes.
create or replace function crdv.counterinc(id_ varchar, delta_ bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  me constant bigint := crdv.siteid();
  xid constant xid8 := pg_current_xact_id();
  share bigint;
  clock bigint;
begin
  if me is null or id_ is null or starts_with(id_, '$') or octet_length(id_) > 1900 then
    perform crdv.refuse('c', id_, me::text, null);
  end if;
  if delta_ is null then
    raise 'a counter cannot change by null' using errcode = 'null_value_not_allowed';
  end if;
  loop
    delete from crdv.element e
    where e.type = 'c' and e.id = id_ and e.key = me::text and e.site = me
    returning e.data, e.hlc into share, clock;
    share := coalesce(share, 0);
    if delta_ > 0 and share > 9223372036854775807 - delta_
       or delta_ < 0 and share < -9223372036854775807 - 1 - delta_ then
      raise 'counter % would overflow: this site''s share is %, the change %', id_, share, delta_
        using errcode = 'numeric_value_out_of_range';
    end if;
    insert into crdv.element (id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
    values (id_, me, me, nextval('crdv.seq'), 'c', 'a', share + delta_, '{}', '{}',
            greatest((date_part('epoch', clock_timestamp()) * 1000)::bigint << 16, clock + 1))
    on conflict do nothing;
    exit when found;
  end loop;

  if crdv.has_rules() then
    perform crdv.keep_sources(id_);
  end if;
end $$;
comment on function crdv.counterinc(varchar, bigint) is 'adds to a counter';

create or replace function crdv.counterdec(id_ varchar, delta_ bigint) returns void
language sql volatile
return crdv.counterinc(id_, - delta_);
comment on function crdv.counterdec(varchar, bigint) is 'subtracts from a counter';
