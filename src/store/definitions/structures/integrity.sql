-- Why: structures are nested by storing the id of one as a value of another. When a store writes to the
-- inner one while another store removes the entry that leads to it, what was written can no longer be
-- reached.
--
-- Semantics: while a rule says that `src` holds `dst`, a local addition to `dst` also adds `dst` to
-- `src` again, in the same transaction; where additions win, the entry stays. Rules are operations like
-- any other: made at one store, they hold at all, and of a concurrent making and removal the making
-- wins. The addition to `src` counts for the rules above it in turn. In a list, the first entry that holds
-- `dst` is written again at its place; only where there is none is one inserted, at the rule's index.
--
-- Leaves out: removing what hangs below an entry that is removed.

create or replace view crdv.integrity_rule as
select distinct on (e.key)
  e.key::jsonb ->> 'dst' as dst, e.data as add_function,
  e.key::jsonb -> 'src' ->> 0 as src, e.key::jsonb -> 'src' ->> 1 as src_key
from crdv.element e
where e.type = 'i' and e.id = '$integrity' and e.op = 'a'
order by e.key, e.hlc desc, e.site;
comment on view crdv.integrity_rule is 'what holds what: dst, add_function, src, src_key';
revoke all on crdv.integrity_rule from public;

-- Replacing the function that the answer is a constant of invalidates every cached plan.
create or replace function crdv.watch_rules() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- Who makes the first rule may hold the lock for long: when it waits for its commit, for instance.
  if crdv.has_rules() then
    return;
  end if;
  perform pg_advisory_xact_lock(1398030676, 1);
  if not crdv.has_rules() then
    execute 'create or replace function crdv.has_rules() returns boolean '
            'language sql immutable parallel safe return true';
  end if;
end $$;
comment on function crdv.watch_rules() is 'makes local writers look for rules; internal';
revoke all on function crdv.watch_rules() from public;

-- Adds what holds `dst_`, and what holds that, for every writer of an addition. The rules may form a
-- circle, because stores make them concurrently; each holder is added once.
create or replace function crdv.keep_sources(dst_ text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  rule record;
  place text;
  number bigint;
begin
  if current_setting('crdv.keeping_sources', true) = 'on' then
    return;
  end if;
  perform set_config('crdv.keeping_sources', 'on', true);
  for rule in
    with recursive above as (
      select r.* from crdv.integrity_rule r where r.dst = dst_
      union
      select r.* from crdv.integrity_rule r join above a on r.dst = a.src
    )
    select a.* from above a order by a.src, a.src_key, a.dst
  loop
    case rule.add_function
      when 'mapadd' then number := crdv.write('m', rule.src, rule.src_key, 'a', rule.dst);
      when 'setadd' then number := crdv.write('s', rule.src, rule.dst, 'a', null);
      when 'registerset' then number := crdv.write('r', rule.src, '', 'a', rule.dst);
      when 'listadd' then
        select min(e.key) into place from crdv.element e
        where e.type = 'l' and e.op = 'a' and e.id = rule.src and e.data = rule.dst;
        if place is null then
          perform crdv.listadd(rule.src, rule.src_key::bigint, rule.dst);
        else
          number := crdv.write('l', rule.src, place, 'a', rule.dst);
        end if;
    end case;
  end loop;
  perform set_config('crdv.keeping_sources', 'off', true);
end $$;
comment on function crdv.keep_sources(text) is 'adds what holds a structure again; internal';
revoke all on function crdv.keep_sources(text) from public;

-- What a rule is called: an element's key that the same rule always gets.
create or replace function crdv.rule_key(src varchar[], dst varchar) returns varchar
language sql immutable parallel safe
return jsonb_build_object('src', src, 'dst', dst)::text;
comment on function crdv.rule_key(varchar[], varchar) is 'key of a rule of integrity; internal';

create or replace function crdv.add_referential_integrity(
  src varchar[], dst varchar, addfunc varchar
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  add_function constant text := lower(addfunc);
  parts constant integer := case add_function
    when 'mapadd' then 2 when 'listadd' then 2 when 'setadd' then 1 when 'registerset' then 1 end;
  number bigint;
begin
  perform crdv.refuse('m', src[1], dst, null);
  if parts is null then
    raise 'integrity can be kept by mapAdd, setAdd, listAdd or registerSet, not by %', addfunc
      using errcode = 'invalid_parameter_value';
  end if;
  if cardinality(src) <> parts or array_position(src, null) is not null then
    raise '% needs a source of % parts', addfunc, parts using errcode = 'invalid_parameter_value',
      detail = 'A map''s entry is its id and its key, a list''s its id and an index; a set or a register '
               'is its id.';
  end if;
  if add_function = 'listadd' and src[2] !~ '^[0-9]{1,18}$' then
    raise 'not a list index: %', src[2] using errcode = 'invalid_parameter_value';
  end if;
  if exists (
    with recursive above (id) as (
      select src[1]::text
      union
      select r.src from crdv.integrity_rule r join above a on r.dst = a.id
    )
    select from above a where a.id = dst)
  then
    raise '% would hold itself', dst using errcode = 'invalid_parameter_value';
  end if;
  number := crdv.write('i', '$integrity', crdv.rule_key(src, dst), 'a', add_function);
  perform crdv.watch_rules();
end $$;
comment on function crdv.add_referential_integrity(varchar[], varchar, varchar) is
  'makes additions to dst add it to src (id, or id and key or index) again, by mapAdd, setAdd, listAdd or registerSet';

create or replace function crdv.rmv_referential_integrity(src varchar[], dst varchar) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  number bigint;
begin
  number := crdv.write('i', '$integrity', crdv.rule_key(src, dst), 'r', null);
end $$;
comment on function crdv.rmv_referential_integrity(varchar[], varchar) is
  'ends what add_referential_integrity began';
